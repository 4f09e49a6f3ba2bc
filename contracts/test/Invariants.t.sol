// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IBLSSignatureChecker} from "../src/interfaces/IBLSSignatureChecker.sol";
import {IMachServiceManager} from "../src/interfaces/IMachServiceManager.sol";
import {MachFixture} from "./base/MachFixture.sol";
import {Vm} from "./base/Test.sol";

/// @notice What may happen to a service manager, in any order, and the books that are kept of it. The invariants compare
/// the contract with these books.
contract AlertHistory is MachFixture {
    uint256 private constant HASHES = 6;
    uint256 private constant STAKE = 303;

    bytes32[] public confirmed;
    mapping(bytes32 => uint256) public confirmations;
    mapping(bytes32 => uint256) public removals;
    uint256 public forbiddenConfirmations;
    uint256 public refusedThoughAllowed;

    constructor() {
        vm.roll(100);
        _deployMach(50_400, _oneQuorum());
        _joinMany(3);
        vm.roll(200);
    }

    /// @dev The confirmer confirms one of few alerts, which some of the three operators signed.
    function confirm(uint256 which, uint256 absentMask, uint8 percentage) external {
        bytes32 messageHash = keccak256(abi.encode(which % HASHES));
        uint256[] memory absent = _positions(absentMask);
        uint32 referenceBlock = uint32(block.number - 1);
        percentage = uint8(_bound(percentage, 1, 101));
        (IMachServiceManager.AlertHeader memory header, bytes32 digest) =
            _alert(messageHash, referenceBlock, percentage);
        IBLSSignatureChecker.NonSignerStakesAndSignature memory params = _sign(digest, hex"00", referenceBlock, absent);
        bool allowed = manager.paused() == 0 && manager.rollupChainIDs(ROLLUP) && confirmations[messageHash] == 0
            && percentage >= manager.quorumThresholdPercentage() && percentage <= 100
            && _signedStake(absent) * 100 >= STAKE * percentage && _signedStake(absent) != 0;
        vm.prank(confirmer, confirmer);
        try manager.confirmAlert(header, params) {
            confirmed.push(messageHash);
            ++confirmations[messageHash];
            if (!allowed) ++forbiddenConfirmations;
        } catch {
            if (allowed) ++refusedThoughAllowed;
        }
    }

    function remove(uint256 which) external {
        bytes32 messageHash = keccak256(abi.encode(which % HASHES));
        try manager.removeAlert(ROLLUP, messageHash) {
            ++removals[messageHash];
        } catch {}
    }

    function pause(uint256 status) external {
        status |= manager.paused();
        vm.prank(pauser);
        manager.pause(status);
    }

    function unpause() external {
        manager.unpause(0);
    }

    function setThreshold(uint8 percentage) external {
        manager.updateQuorumThresholdPercentage(uint8(_bound(percentage, 1, 100)));
    }

    function setAccepted(bool accepted) external {
        if (manager.rollupChainIDs(ROLLUP) != accepted) manager.setRollupChainID(ROLLUP, accepted);
    }

    function mine(uint8 blocks) external {
        vm.roll(block.number + 1 + blocks);
    }

    function serviceManager() external view returns (IMachServiceManager) {
        return manager;
    }

    function confirmedCount() external view returns (uint256) {
        return confirmed.length;
    }

    function _signedStake(uint256[] memory absent) private pure returns (uint256 stake) {
        stake = STAKE;
        for (uint256 i = 0; i < absent.length; ++i) {
            stake -= 100 + absent[i];
        }
    }

    function _positions(uint256 mask) private pure returns (uint256[] memory positions) {
        positions = new uint256[](3);
        uint256 count = 0;
        for (uint256 i = 0; i < 3; ++i) {
            if ((mask >> i) & 1 == 1) positions[count++] = i;
        }
        assembly ("memory-safe") {
            mstore(positions, count)
        }
    }
}

contract InvariantsTest is MachFixture {
    AlertHistory private history;

    function setUp() public {
        history = new AlertHistory();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(history);
    }

    /// @dev Confirmations are drawn more often than what hinders them.
    function targetSelectors() external view returns (Vm.FuzzSelector[] memory targets) {
        bytes4[] memory selectors = new bytes4[](10);
        for (uint256 i = 0; i < 4; ++i) {
            selectors[i] = history.confirm.selector;
        }
        selectors[4] = history.remove.selector;
        selectors[5] = history.pause.selector;
        selectors[6] = history.unpause.selector;
        selectors[7] = history.setThreshold.selector;
        selectors[8] = history.setAccepted.selector;
        selectors[9] = history.mine.selector;
        targets = new Vm.FuzzSelector[](1);
        targets[0] = Vm.FuzzSelector(address(history), selectors);
    }

    /// @dev Not while paused, not below the threshold, not about a rollup that is not accepted, not twice; and else yes.
    function invariantOnlyWhatMayBeConfirmedIs() public view {
        vm.assertEq(history.forbiddenConfirmations(), 0, "confirmed though forbidden");
        vm.assertEq(history.refusedThoughAllowed(), 0, "refused though allowed");
    }

    /// @dev A message hash is counted once, and no more once it is resolved.
    function invariantCountsEveryAlertOnce() public view {
        IMachServiceManager manager_ = history.serviceManager();
        uint256 active = 0;
        bytes32[] memory expected = new bytes32[](history.confirmedCount());
        for (uint256 i = 0; i < expected.length; ++i) {
            bytes32 messageHash = history.confirmed(i);
            vm.assertEq(history.confirmations(messageHash), 1, "confirmed twice");
            bool removed = history.removals(messageHash) == 1;
            vm.assertEq(manager_.contains(ROLLUP, messageHash), !removed, "contained or removed");
            if (!removed) expected[active++] = messageHash;
        }
        assembly ("memory-safe") {
            mstore(expected, active)
        }
        vm.assertEq(manager_.totalAlerts(ROLLUP), active, "total");
        if (active != 0) vm.assertEq(manager_.queryMessageHashes(ROLLUP, 0, type(uint256).max), expected);
    }
}
