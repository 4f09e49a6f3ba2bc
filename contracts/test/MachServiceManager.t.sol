// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {MachServiceManager} from "../src/MachServiceManager.sol";
import {ZeroAddress} from "../src/access/Owned.sol";
import {IBLSSignatureChecker} from "../src/interfaces/IBLSSignatureChecker.sol";
import {SignatureWithSaltAndExpiry} from "../src/interfaces/IEigenLayer.sol";
import {IMachServiceManager} from "../src/interfaces/IMachServiceManager.sol";
import {MachFixture} from "./base/MachFixture.sol";

/// @notice Settings, roles, allowlist and pausing.
contract MachServiceManagerTest is MachFixture {
    address private constant STRANGER = address(0xBAD);
    address private constant SOMEONE = address(0x50E);

    event Initialized(uint8 version);
    event OwnershipTransferred(address indexed previousOwner, address indexed newOwner);
    event Paused(address indexed account, uint256 newPausedStatus);
    event Unpaused(address indexed account, uint256 newPausedStatus);
    event PauserRegistrySet(address pauserRegistry, address newPauserRegistry);

    function setUp() public {
        vm.roll(100);
        _deployMach(50_400, _twoQuorums());
    }

    function testStartsAsInitialized() public view {
        vm.assertEq(manager.owner(), address(this));
        vm.assertEq(manager.alertConfirmer(), confirmer);
        vm.assertEq(manager.whitelister(), address(this));
        vm.assertTrue(manager.allowlistEnabled(), "the allowlist holds behind the proxy");
        vm.assertEq(manager.quorumThresholdPercentage(), 66);
        vm.assertEq(manager.THRESHOLD_DENOMINATOR(), 100);
        vm.assertTrue(manager.rollupChainIDs(ROLLUP));
        vm.assertFalse(manager.rollupChainIDs(ROLLUP + 1));
        vm.assertFalse(manager.staleStakesForbidden());
        vm.assertEq(manager.paused(), 0);
        vm.assertEq(address(manager.registryCoordinator()), address(coordinator));
        vm.assertEq(address(manager.stakeRegistry()), stakes);
        vm.assertEq(address(manager.blsApkRegistry()), apks);
        vm.assertEq(address(manager.delegation()), address(delegationManager));
        vm.assertEq(manager.avsDirectory(), address(directory));
        vm.assertEq(address(manager.pauserRegistry()), pauserRegistry);
    }

    function testIsInitializedOnce() public {
        uint256[] memory none = new uint256[](0);
        vm.expectRevert("already initialized");
        manager.initialize(pauserRegistry, 0, STRANGER, STRANGER, STRANGER, none);
        MachServiceManager bare = new MachServiceManager(address(directory), address(coordinator), stakes);
        vm.expectRevert("already initialized");
        bare.initialize(pauserRegistry, 0, STRANGER, STRANGER, STRANGER, none);
        vm.assertLe(address(bare).code.length, 24_576, "EIP-170");
    }

    function testImplementationAnnouncesItsLock() public {
        vm.expectEmit();
        emit Initialized(255);
        new MachServiceManager(address(directory), address(coordinator), stakes);
    }

    function testConstructorRefusesOtherStakes() public {
        vm.expectRevert("not the coordinator's stakes");
        new MachServiceManager(address(directory), address(coordinator), apks);
        vm.expectRevert(ZeroAddress.selector);
        new MachServiceManager(address(0), address(coordinator), stakes);
    }

    function testOwnerSettingsRefuseStrangers() public {
        bytes[9] memory calls = [
            abi.encodeCall(manager.setConfirmer, (STRANGER)),
            abi.encodeCall(manager.setWhitelister, (STRANGER)),
            abi.encodeCall(manager.setRollupChainID, (7, true)),
            abi.encodeCall(manager.updateQuorumThresholdPercentage, (1)),
            abi.encodeCall(manager.enableAllowlist, ()),
            abi.encodeCall(manager.disableAllowlist, ()),
            abi.encodeCall(manager.removeAlert, (ROLLUP, bytes32("x"))),
            abi.encodeCall(manager.updateAVSMetadataURI, ("https://stranger")),
            abi.encodeCall(manager.transferOwnership, (STRANGER))
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            vm.prank(STRANGER);
            (bool success, bytes memory data) = address(manager).call(calls[i]);
            vm.assertFalse(success, vm.toString(i));
            vm.assertEq(data, abi.encodeWithSignature("Error(string)", "caller is not the owner"), vm.toString(i));
        }
    }

    function testSetConfirmerAndWhitelister() public {
        vm.expectEmit();
        emit IMachServiceManager.AlertConfirmerChanged(confirmer, SOMEONE);
        manager.setConfirmer(SOMEONE);
        vm.assertEq(manager.alertConfirmer(), SOMEONE);
        vm.expectEmit();
        emit IMachServiceManager.WhitelisterChanged(address(this), SOMEONE);
        manager.setWhitelister(SOMEONE);
        vm.assertEq(manager.whitelister(), SOMEONE);
        vm.expectRevert(ZeroAddress.selector);
        manager.setConfirmer(address(0));
        vm.expectRevert(ZeroAddress.selector);
        manager.setWhitelister(address(0));
        // Settings that share a storage slot stay apart.
        vm.assertEq(manager.quorumThresholdPercentage(), 66);
        vm.assertFalse(manager.staleStakesForbidden());
    }

    function testSetRollupChainId() public {
        vm.expectEmit();
        emit IMachServiceManager.RollupChainIDUpdated(7, true);
        manager.setRollupChainID(7, true);
        vm.assertTrue(manager.rollupChainIDs(7));
        vm.expectRevert(IMachServiceManager.NoStatusChange.selector);
        manager.setRollupChainID(7, true);
        manager.setRollupChainID(7, false);
        vm.assertFalse(manager.rollupChainIDs(7));
        vm.expectRevert(IMachServiceManager.NoStatusChange.selector);
        manager.setRollupChainID(7, false);
    }

    function testThresholdIsAPercentage(uint8 percentage) public {
        if (percentage == 0 || percentage > 100) {
            vm.expectRevert(IMachServiceManager.InvalidQuorumThresholdPercentage.selector);
            manager.updateQuorumThresholdPercentage(percentage);
            return;
        }
        vm.expectEmit();
        emit IMachServiceManager.QuorumThresholdPercentageChanged(percentage);
        manager.updateQuorumThresholdPercentage(percentage);
        vm.assertEq(manager.quorumThresholdPercentage(), percentage);
    }

    function testOwnership() public {
        vm.expectRevert(ZeroAddress.selector);
        manager.transferOwnership(address(0));
        vm.expectEmit();
        emit OwnershipTransferred(address(this), SOMEONE);
        manager.transferOwnership(SOMEONE);
        vm.assertEq(manager.owner(), SOMEONE);
        vm.prank(SOMEONE);
        vm.expectEmit();
        emit OwnershipTransferred(SOMEONE, address(0));
        manager.renounceOwnership();
        vm.assertEq(manager.owner(), address(0));
        vm.prank(SOMEONE);
        vm.expectRevert("caller is not the owner");
        manager.setConfirmer(SOMEONE);
    }

    function testPausing() public {
        vm.expectRevert("caller is not a pauser");
        manager.pause(1);
        vm.expectRevert("caller is not a pauser");
        manager.pauseAll();
        vm.prank(pauser);
        vm.expectEmit();
        emit Paused(pauser, 5);
        manager.pause(5);
        vm.assertTrue(manager.paused(0));
        vm.assertFalse(manager.paused(1));
        vm.assertTrue(manager.paused(2));
        vm.prank(pauser);
        vm.expectRevert("pause would clear a bit");
        manager.pause(1);
        vm.prank(pauser);
        vm.expectRevert("caller is not the unpauser");
        manager.unpause(0);
        vm.expectRevert("unpause would set a bit");
        manager.unpause(7);
        vm.expectEmit();
        emit Unpaused(address(this), 4);
        manager.unpause(4);
        vm.assertEq(manager.paused(), 4);
        vm.prank(pauser);
        manager.pauseAll();
        vm.assertEq(manager.paused(), type(uint256).max);
        vm.assertTrue(manager.paused(255));
    }

    function testPauserRegistry() public {
        vm.prank(pauser);
        vm.expectRevert("caller is not the unpauser");
        manager.setPauserRegistry(SOMEONE);
        vm.expectRevert(ZeroAddress.selector);
        manager.setPauserRegistry(address(0));
        vm.expectEmit();
        emit PauserRegistrySet(pauserRegistry, SOMEONE);
        manager.setPauserRegistry(SOMEONE);
        vm.assertEq(address(manager.pauserRegistry()), SOMEONE);
    }

    function testAllowlist() public {
        vm.expectEmit();
        emit IMachServiceManager.OperatorAllowed(SOMEONE);
        manager.addToAllowlist(SOMEONE);
        vm.assertTrue(manager.allowlist(SOMEONE));
        vm.expectRevert(IMachServiceManager.AlreadyInAllowlist.selector);
        manager.addToAllowlist(SOMEONE);
        vm.expectRevert(ZeroAddress.selector);
        manager.addToAllowlist(address(0));
        vm.expectEmit();
        emit IMachServiceManager.OperatorDisallowed(SOMEONE);
        manager.removeFromAllowlist(SOMEONE);
        vm.assertFalse(manager.allowlist(SOMEONE));
        vm.expectRevert(IMachServiceManager.NotAdded.selector);
        manager.removeFromAllowlist(SOMEONE);

        address[] memory several = new address[](3);
        (several[0], several[1], several[2]) = (address(1), address(2), address(3));
        manager.allowOperators(several);
        vm.assertTrue(manager.allowlist(address(1)) && manager.allowlist(address(2)) && manager.allowlist(address(3)));
        manager.disallowOperators(several);
        vm.assertFalse(manager.allowlist(address(1)) || manager.allowlist(address(2)) || manager.allowlist(address(3)));
        // All or none.
        several[2] = address(1);
        vm.expectRevert(IMachServiceManager.AlreadyInAllowlist.selector);
        manager.allowOperators(several);
        vm.assertFalse(manager.allowlist(address(1)));
    }

    function testAllowlistIsTheWhitelisters() public {
        address[] memory several = new address[](1);
        several[0] = SOMEONE;
        bytes[4] memory calls = [
            abi.encodeCall(manager.addToAllowlist, (SOMEONE)),
            abi.encodeCall(manager.removeFromAllowlist, (SOMEONE)),
            abi.encodeCall(manager.allowOperators, (several)),
            abi.encodeCall(manager.disallowOperators, (several))
        ];
        manager.setWhitelister(SOMEONE);
        for (uint256 i = 0; i < calls.length; ++i) {
            (bool success, bytes memory data) = address(manager).call(calls[i]);
            vm.assertFalse(success, vm.toString(i));
            vm.assertEq(data, abi.encodePacked(IMachServiceManager.NotWhitelister.selector), vm.toString(i));
        }
    }

    function testAllowlistSwitch() public {
        vm.expectRevert(IMachServiceManager.AlreadyEnabled.selector);
        manager.enableAllowlist();
        vm.expectEmit();
        emit IMachServiceManager.AllowlistDisabled();
        manager.disableAllowlist();
        vm.expectRevert(IMachServiceManager.AlreadyDisabled.selector);
        manager.disableAllowlist();
        vm.expectEmit();
        emit IMachServiceManager.AllowlistEnabled();
        manager.enableAllowlist();
        vm.assertTrue(manager.allowlistEnabled());
    }

    function testOnlyAllowedOperatorsJoin() public {
        OperatorKeys memory keys = _newOperator(SHARE);
        vm.assertFalse(_tryJoin(), "not in the allowlist");
        manager.addToAllowlist(keys.account);
        vm.assertTrue(_tryJoin(), "in the allowlist");
        vm.assertEq(directory.avsOperatorStatus(address(manager), keys.account), 1);
        // Leaving needs no permission, and a pause does not hinder it.
        manager.removeFromAllowlist(keys.account);
        vm.prank(pauser);
        manager.pauseAll();
        _leave(keys, hex"00");
        vm.assertEq(directory.avsOperatorStatus(address(manager), keys.account), 0);
    }

    function testAnyoneJoinsWithoutAllowlist() public {
        _newOperator(SHARE);
        manager.disableAllowlist();
        vm.assertTrue(_tryJoin(), "the allowlist is disabled");
    }

    function testNobodyJoinsWhilePaused() public {
        OperatorKeys memory keys = _newOperator(SHARE);
        manager.addToAllowlist(keys.account);
        vm.prank(pauser);
        manager.pause(2);
        vm.assertFalse(_tryJoin(), "paused");
        manager.unpause(0);
        vm.assertTrue(_tryJoin(), "unpaused");
    }

    function testRegistrationIsTheCoordinators() public {
        SignatureWithSaltAndExpiry memory permission;
        vm.expectRevert(IMachServiceManager.InvalidSender.selector);
        manager.registerOperatorToAVS(SOMEONE, permission);
        vm.expectRevert(IMachServiceManager.InvalidSender.selector);
        manager.deregisterOperatorFromAVS(SOMEONE);
    }

    function testStrategies() public {
        address[] memory both = new address[](2);
        (both[0], both[1]) = (strategy, strategy);
        vm.assertEq(manager.getRestakeableStrategies(), both);
        OperatorKeys memory keys = _newOperator(SHARE);
        vm.assertEq(manager.getOperatorRestakedStrategies(keys.account), new address[](0));
        manager.addToAllowlist(keys.account);
        _join(keys, hex"01");
        address[] memory one = new address[](1);
        one[0] = strategy;
        vm.assertEq(manager.getOperatorRestakedStrategies(keys.account), one);
    }

    function testStaleStakesAreTheCoordinatorsOwners() public {
        vm.prank(STRANGER);
        vm.expectRevert("not the coordinator's owner");
        manager.setStaleStakesForbidden(true);
        vm.expectEmit();
        emit IBLSSignatureChecker.StaleStakesForbiddenUpdate(true);
        manager.setStaleStakesForbidden(true);
        vm.assertTrue(manager.staleStakesForbidden());
        vm.assertEq(manager.alertConfirmer(), confirmer);
        vm.assertEq(manager.quorumThresholdPercentage(), 66);
    }

    function testMetadata() public {
        vm.expectEmit();
        emit AVSMetadataURIUpdated(address(manager), "https://mach");
        manager.updateAVSMetadataURI("https://mach");
    }

    event AVSMetadataURIUpdated(address indexed avs, string metadataURI);

    /// @dev Whether the newest operator could join quorum 0.
    function _tryJoin() private returns (bool) {
        try this.joinNewest() {
            return true;
        } catch {
            return false;
        }
    }

    function joinNewest() external {
        _join(operators[operators.length - 1], hex"00");
    }

    function _twoQuorums() private pure returns (uint96[] memory multipliers) {
        multipliers = new uint96[](2);
        (multipliers[0], multipliers[1]) = (1e18, 2e18);
    }
}
