// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IBLSSignatureChecker} from "../../src/interfaces/IBLSSignatureChecker.sol";
import {IMachServiceManager} from "../../src/interfaces/IMachServiceManager.sol";
import {BLSKeys} from "../base/BLSKeys.sol";
import {MachFixture} from "../base/MachFixture.sol";

/// @notice What a confirmation costs as a transaction, with one quorum of 60 operators, against EigenLayer's checker
/// and the figures of the original service manager. Forge must run this with `--isolate`.
contract GasTest is MachFixture {
    /// @dev The least that the original's confirmAlert was seen to cost with everyone signing.
    uint256 private constant ORIGINAL_CONFIRMATION = 290_000;
    uint256 private constant OPERATORS = 60;
    uint256 private constant TRANSACTION_GAS = 21_000;

    address private original;

    function setUp() public {
        vm.roll(100);
        _deployMach(50_400, _oneQuorum());
        _joinMany(OPERATORS);
        original = _create("BLSSignatureChecker", abi.encode(coordinator));
        vm.roll(200);
        // The first alert of a rollup writes one more slot than those that follow, and is measured apart.
        uint256 first = _confirmation(0);
        vm.snapshotValue("MachServiceManager", "confirmAlert, 0 of 60 absent, first alert of the rollup", first);
    }

    function testConfirmAlert() public {
        uint256 none = _confirmation(0);
        uint256 one = _confirmation(1);
        uint256 ten = _confirmation(10);
        vm.snapshotValue("MachServiceManager", "confirmAlert, 0 of 60 absent", none);
        vm.snapshotValue("MachServiceManager", "confirmAlert, 1 of 60 absent", one);
        vm.snapshotValue("MachServiceManager", "confirmAlert, 10 of 60 absent", ten);
        vm.assertLe(none * 100, ORIGINAL_CONFIRMATION * 88, "88 % of the original");
        vm.assertLe((ten - one) * 100, (_check(original, 10) - _check(original, 1)) * 80, "80 % per further non-signer");
    }

    function testCheckSignatures() public {
        string[3] memory names = ["0", "1", "10"];
        uint256[3] memory counts = [uint256(0), 1, 10];
        for (uint256 i = 0; i < 3; ++i) {
            uint256 ours = _check(address(manager), counts[i]);
            uint256 theirs = _check(original, counts[i]);
            vm.snapshotValue("BLSSignatureChecker", string.concat("Mach, ", names[i], " of 60 absent"), ours);
            vm.snapshotValue("BLSSignatureChecker", string.concat("EigenLayer, ", names[i], " of 60 absent"), theirs);
            vm.assertLe(ours * 100, theirs * 91, "91 % of EigenLayer's, proxy included");
        }
    }

    /// @dev Gas of a transaction that confirms a new alert.
    function _confirmation(uint256 absent) private returns (uint256) {
        uint32 referenceBlock = uint32(block.number - 1);
        uint256 total = manager.totalAlerts(ROLLUP);
        IMachServiceManager.AlertHeader memory header;
        bytes32 digest;
        for (uint256 nonce = 0; digest == 0 || !BLSKeys.isAbscissa(digest); ++nonce) {
            (header, digest) = _alert(keccak256(abi.encode(total, nonce)), referenceBlock, 66);
        }
        bytes memory data =
            abi.encodeCall(manager.confirmAlert, (header, _sign(digest, hex"00", referenceBlock, _range(3, absent))));
        vm.prank(confirmer, confirmer);
        return _transact(address(manager), data);
    }

    /// @dev Gas of a transaction that checks signatures.
    function _check(address checker, uint256 absent) private returns (uint256) {
        uint256 nonce = 0;
        while (!BLSKeys.isAbscissa(keccak256(abi.encode(nonce)))) {
            ++nonce;
        }
        bytes32 digest = keccak256(abi.encode(nonce));
        uint32 referenceBlock = uint32(block.number - 1);
        return _transact(
            checker,
            abi.encodeCall(
                IBLSSignatureChecker.checkSignatures,
                (digest, hex"00", referenceBlock, _sign(digest, hex"00", referenceBlock, _range(3, absent)))
            )
        );
    }

    function _transact(address target, bytes memory data) private returns (uint256 used) {
        (bool success,) = target.call(data);
        vm.assertTrue(success, "transaction failed");
        used = vm.lastCallGas().gasTotalUsed;
        uint256 intrinsic = TRANSACTION_GAS;
        for (uint256 i = 0; i < data.length; ++i) {
            intrinsic += data[i] == 0 ? 4 : 16;
        }
        vm.assertTrue(used > intrinsic + 113_000, "not isolated: run with FOUNDRY_PROFILE=gas");
    }
}
