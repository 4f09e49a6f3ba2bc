// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IBLSSignatureChecker} from "../src/interfaces/IBLSSignatureChecker.sol";
import {IMachServiceManager} from "../src/interfaces/IMachServiceManager.sol";
import {BN254, G1Point, G2Point} from "../src/libraries/BN254.sol";
import {MachFixture} from "./base/MachFixture.sol";

/// @notice Confirming, resolving and reading alerts, with three operators of 100, 101 and 102 shares.
contract AlertsTest is MachFixture {
    bytes32 private constant HASH = keccak256("a lie about a block");

    function setUp() public {
        vm.roll(100);
        _deployMach(50_400, _oneQuorum());
        _joinMany(3);
        vm.roll(60_000);
    }

    function testConfirms() public {
        IMachServiceManager.AlertHeader memory header = _header(HASH, 66);
        IBLSSignatureChecker.NonSignerStakesAndSignature memory params = _signed(header, _range(0, 0));
        vm.assertFalse(manager.contains(ROLLUP, HASH));
        vm.prank(confirmer, confirmer);
        vm.expectEmit();
        emit IMachServiceManager.AlertConfirmed(_digest(header), HASH);
        manager.confirmAlert(header, params);
        vm.assertTrue(manager.contains(ROLLUP, HASH));
        vm.assertFalse(manager.contains(ROLLUP + 1, HASH));
        vm.assertEq(manager.totalAlerts(ROLLUP), 1);
        vm.assertEq(manager.totalAlerts(ROLLUP + 1), 0);
    }

    function testTwoOfThreeConfirm(uint256 absent) public {
        _confirm(HASH, _range(absent % 3, 1));
        vm.assertTrue(manager.contains(ROLLUP, HASH));
    }

    function testOneOfThreeDoesNot() public {
        _expect(IMachServiceManager.InsufficientThreshold.selector, _range(0, 2));
    }

    function testNobodyDoesNot() public {
        _expect(IMachServiceManager.InsufficientThreshold.selector, _range(0, 3));
    }

    /// @dev 203 of 303 signed: 20,300 hundredths, where 67 percent ask for 20,301.
    function testThresholdIsMetExactlyOrNot() public {
        _expectWith(_header(HASH, 67), IMachServiceManager.InsufficientThreshold.selector, _range(0, 1));
        _confirmWith(_header(HASH, 66), _range(0, 1));
        manager.updateQuorumThresholdPercentage(67);
        _expectWith(_header("other", 66), IMachServiceManager.InsufficientThresholdPercentages.selector, _range(0, 0));
        _expectWith(_header("other", 101), IMachServiceManager.InvalidQuorumThresholdPercentage.selector, _range(0, 0));
        _confirmWith(_header("other", 100), _range(0, 0));
    }

    function testCountsOnce() public {
        _confirm(HASH, _range(0, 0));
        _expect(IMachServiceManager.AlreadyAdded.selector, _range(0, 0));
        vm.roll(block.number + 1);
        _expect(IMachServiceManager.AlreadyAdded.selector, _range(1, 1));
        vm.assertEq(manager.totalAlerts(ROLLUP), 1);
    }

    function testSameHashOnTwoRollups() public {
        manager.setRollupChainID(7, true);
        _confirm(HASH, _range(0, 0));
        IMachServiceManager.AlertHeader memory header = _header(HASH, 66);
        header.rollupChainID = 7;
        _confirmWith(header, _range(0, 0));
        vm.assertTrue(manager.contains(7, HASH));
        manager.removeAlert(7, HASH);
        vm.assertTrue(manager.contains(ROLLUP, HASH));
    }

    function testSignatureOfOneRollupDoesNotServeAnother() public {
        manager.setRollupChainID(7, true);
        IMachServiceManager.AlertHeader memory header = _header(HASH, 66);
        IBLSSignatureChecker.NonSignerStakesAndSignature memory params = _signed(header, _range(0, 0));
        header.rollupChainID = 7;
        vm.prank(confirmer, confirmer);
        vm.expectRevert("signature is invalid");
        manager.confirmAlert(header, params);
    }

    function testOnlyTheConfirmerConfirms() public {
        IMachServiceManager.AlertHeader memory header = _header(HASH, 66);
        IBLSSignatureChecker.NonSignerStakesAndSignature memory params = _signed(header, _range(0, 0));
        vm.prank(address(this), address(this));
        vm.expectRevert(IMachServiceManager.InvalidConfirmer.selector);
        manager.confirmAlert(header, params);
        vm.prank(confirmer, address(this));
        vm.expectRevert(IMachServiceManager.InvalidSender.selector);
        manager.confirmAlert(header, params);
    }

    function testUnknownRollup() public {
        IMachServiceManager.AlertHeader memory header = _header(HASH, 66);
        header.rollupChainID = 8;
        _expectWith(header, IMachServiceManager.InvalidRollupChainID.selector, _range(0, 0));
        manager.setRollupChainID(ROLLUP, false);
        _expect(IMachServiceManager.InvalidRollupChainID.selector, _range(0, 0));
    }

    function testReferenceBlockIsPastButNotLongPast() public {
        IMachServiceManager.AlertHeader memory header = _header(HASH, 66);
        IBLSSignatureChecker.NonSignerStakesAndSignature memory params = _signed(header, _range(0, 0));
        bytes4 invalid = IMachServiceManager.InvalidReferenceBlockNum.selector;
        header.referenceBlockNumber = uint32(block.number);
        _expectCall(header, params, abi.encodePacked(invalid));
        header.referenceBlockNumber = type(uint32).max;
        _expectCall(header, params, abi.encodePacked(invalid));
        header.referenceBlockNumber = uint32(block.number - 50_401);
        _expectCall(header, params, abi.encodePacked(invalid));
        header.referenceBlockNumber = uint32(block.number - 50_400);
        _confirmWith(header, _range(0, 0));
    }

    function testQuorumsAndPercentagesMatch() public {
        IMachServiceManager.AlertHeader memory header = _header(HASH, 66);
        IBLSSignatureChecker.NonSignerStakesAndSignature memory params = _signed(header, _range(0, 0));
        bytes memory invalid = abi.encodePacked(IMachServiceManager.InvalidQuorumParam.selector);
        header.quorumThresholdPercentages = "";
        _expectCall(header, params, invalid);
        header.quorumThresholdPercentages = hex"4242";
        _expectCall(header, params, invalid);
        header.quorumNumbers = "";
        header.quorumThresholdPercentages = "";
        _expectCall(header, params, invalid);
    }

    /// @dev Without quorums nothing needs to be signed: infinity is everyone's signature.
    function testNoQuorumIsNoQuorum() public {
        IMachServiceManager.AlertHeader memory header = _header(HASH, 66);
        header.quorumNumbers = "";
        header.quorumThresholdPercentages = "";
        IBLSSignatureChecker.NonSignerStakesAndSignature memory nothing;
        _expectCall(header, nothing, abi.encodePacked(IMachServiceManager.InvalidQuorumParam.selector));
    }

    /// @dev In a quorum that everyone has left the aggregate key is infinity, and infinity signs anything.
    function testEmptiedQuorumConfirmsNothing() public {
        for (uint256 i = 0; i < 3; ++i) {
            _leave(operators[i], hex"00");
        }
        vm.roll(block.number + 10);
        IMachServiceManager.AlertHeader memory header = _header(HASH, 66);
        IBLSSignatureChecker.NonSignerStakesAndSignature memory params = _signed(header, _range(0, 0));
        vm.assertEq(params.quorumApks[0].X, 0);
        vm.assertEq(params.sigma.X, 0);
        (IBLSSignatureChecker.QuorumStakeTotals memory totals,) =
            manager.checkSignatures(_digest(header), hex"00", header.referenceBlockNumber, params);
        vm.assertEq(totals.totalStakeForQuorum[0], 0);
        _expectCall(header, params, abi.encodePacked(IMachServiceManager.InsufficientThreshold.selector));
    }

    function testZeroHashIsNoAlert() public {
        IMachServiceManager.AlertHeader memory header = _header(0, 66);
        _expectCall(
            header, _signed(header, _range(0, 0)), abi.encodeWithSignature("Error(string)", "message hash is zero")
        );
    }

    function testForgedSignature() public {
        IMachServiceManager.AlertHeader memory header = _header(HASH, 66);
        IBLSSignatureChecker.NonSignerStakesAndSignature memory params = _signed(header, _range(0, 0));
        params.sigma = G1Point(1, 2);
        _expectCall(header, params, abi.encodeWithSignature("Error(string)", "signature is invalid"));
        params.apkG2 = G2Point([uint256(1), 2], [uint256(3), 4]);
        _expectCall(header, params, abi.encodeWithSignature("Error(string)", "pairing precompile refused"));
        params.sigma = G1Point(1, 3);
        _expectCall(header, params, "");
    }

    function testStaleStakes() public {
        // Brought up to date never, and the reference block lies past the withdrawal delay.
        manager.setStaleStakesForbidden(true);
        IMachServiceManager.AlertHeader memory header = _header(HASH, 66);
        IBLSSignatureChecker.NonSignerStakesAndSignature memory params = _signed(header, _range(0, 0));
        _expectCall(header, params, abi.encodeWithSignature("Error(string)", "stakes are stale"));
        manager.setStaleStakesForbidden(false);
        _confirmWith(header, _range(0, 0));
    }

    function testPausedConfirmsNothing(uint256 status) public {
        vm.assume(status != 0);
        vm.prank(pauser);
        manager.pause(status);
        IMachServiceManager.AlertHeader memory header = _header(HASH, 66);
        _expectCall(header, _signed(header, _range(0, 0)), abi.encodeWithSignature("Error(string)", "paused"));
        manager.unpause(0);
        _confirmWith(header, _range(0, 0));
    }

    function testResolvedAlertsStayResolved() public {
        vm.expectRevert(IMachServiceManager.NotAdded.selector);
        manager.removeAlert(ROLLUP, HASH);
        vm.expectRevert(IMachServiceManager.InvalidRollupChainID.selector);
        manager.removeAlert(8, HASH);
        _confirm(HASH, _range(0, 0));
        vm.expectEmit();
        emit IMachServiceManager.AlertRemoved(HASH, address(this));
        manager.removeAlert(ROLLUP, HASH);
        vm.assertFalse(manager.contains(ROLLUP, HASH));
        vm.assertEq(manager.totalAlerts(ROLLUP), 0);
        vm.expectRevert(IMachServiceManager.NotAdded.selector);
        manager.removeAlert(ROLLUP, HASH);
        _expect(IMachServiceManager.ResolvedAlert.selector, _range(0, 0));
        _confirm("another", _range(0, 0));
        vm.assertEq(manager.totalAlerts(ROLLUP), 1);
    }

    function testAlertsOfADisabledRollupCanBeResolved() public {
        _confirm(HASH, _range(0, 0));
        manager.setRollupChainID(ROLLUP, false);
        vm.assertTrue(manager.contains(ROLLUP, HASH));
        manager.removeAlert(ROLLUP, HASH);
        vm.assertEq(manager.totalAlerts(ROLLUP), 0);
    }

    /// @dev Confirms alerts and resolves some, and reads every window of what is left, oldest first.
    function testQuery(uint256 seed) public {
        uint256 count = 1 + _draw(seed, "count", 7);
        bytes32[] memory left = new bytes32[](count);
        uint256 total = 0;
        for (uint256 i = 0; i < count; ++i) {
            bytes32 messageHash = keccak256(abi.encode(seed, i));
            _confirm(messageHash, _range(0, 0));
            if (_draw(seed, vm.toString(i), 3) != 0) left[total++] = messageHash;
            else manager.removeAlert(ROLLUP, messageHash);
        }
        vm.assertEq(manager.totalAlerts(ROLLUP), total);
        vm.expectRevert(IMachServiceManager.InvalidStartIndex.selector);
        manager.queryMessageHashes(ROLLUP, total, 1);
        for (uint256 start = 0; start < total; ++start) {
            for (uint256 size = 0; size <= total + 1; ++size) {
                _assertWindow(left, total, start, size);
            }
            _assertWindow(left, total, start, type(uint256).max);
        }
    }

    function _assertWindow(bytes32[] memory all, uint256 total, uint256 start, uint256 size) private view {
        uint256 length = size < total - start ? size : total - start;
        bytes32[] memory expected = new bytes32[](length);
        for (uint256 i = 0; i < length; ++i) {
            expected[i] = all[start + i];
        }
        vm.assertEq(manager.queryMessageHashes(ROLLUP, start, size), expected);
    }

    function _header(bytes32 messageHash, uint8 percentage)
        private
        view
        returns (IMachServiceManager.AlertHeader memory header)
    {
        (header,) = _alert(messageHash, uint32(block.number - 1), percentage);
    }

    function _digest(IMachServiceManager.AlertHeader memory header) private pure returns (bytes32) {
        return keccak256(abi.encode(header.messageHash, header.referenceBlockNumber, header.rollupChainID));
    }

    function _signed(IMachServiceManager.AlertHeader memory header, uint256[] memory absent)
        private
        view
        returns (IBLSSignatureChecker.NonSignerStakesAndSignature memory)
    {
        return _sign(_digest(header), header.quorumNumbers, header.referenceBlockNumber, absent);
    }

    function _confirmWith(IMachServiceManager.AlertHeader memory header, uint256[] memory absent) private {
        IBLSSignatureChecker.NonSignerStakesAndSignature memory params = _signed(header, absent);
        vm.prank(confirmer, confirmer);
        manager.confirmAlert(header, params);
    }

    function _expect(bytes4 selector, uint256[] memory absent) private {
        _expectWith(_header(HASH, 66), selector, absent);
    }

    function _expectWith(IMachServiceManager.AlertHeader memory header, bytes4 selector, uint256[] memory absent)
        private
    {
        _expectCall(header, _signed(header, absent), abi.encodePacked(selector));
    }

    function _expectCall(
        IMachServiceManager.AlertHeader memory header,
        IBLSSignatureChecker.NonSignerStakesAndSignature memory params,
        bytes memory reason
    ) private {
        vm.prank(confirmer, confirmer);
        vm.expectRevert(reason);
        manager.confirmAlert(header, params);
    }
}
