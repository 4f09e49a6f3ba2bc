// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IBLSSignatureChecker} from "../src/interfaces/IBLSSignatureChecker.sol";
import {BN254, G1Point, G2Point} from "../src/libraries/BN254.sol";
import {BLSKeys} from "./base/BLSKeys.sol";
import {IOperatorStateRetriever} from "./base/EigenLayerContracts.sol";
import {MachFixture} from "./base/MachFixture.sol";

/// @notice Mach's checkSignatures against the deployed bytecode of EigenLayer middleware v0.1.2's, over the same
/// registries: the same answer to the same bytes, or both refuse.
///
/// Ten operators join, leave and gain stake in three quorums over many blocks, so that every history has several
/// entries; reference block, quorums, non-signers and what is wrong with the call are drawn at random.
contract SignatureCheckerTest is MachFixture {
    using BLSKeys for uint256;
    using BLSKeys for G1Point;
    using BLSKeys for G2Point;

    uint256 private constant OPERATORS = 10;
    uint256 private constant QUORUMS = 3;
    uint256 private constant FIRST_BLOCK = 100;
    uint256 private constant LAST_BLOCK = 190;
    uint256 private constant WITHDRAWAL_DELAY = 40;
    uint256 private constant GAS_LIMIT = 30_000_000;
    /// @dev How many ways to spoil a call there are; drawn as often as each of them, nothing is spoilt.
    uint256 private constant FAULTS = 29;

    address private original;

    function setUp() public {
        vm.roll(FIRST_BLOCK);
        uint96[] memory multipliers = new uint96[](QUORUMS);
        (multipliers[0], multipliers[1], multipliers[2]) = (1e18, 2e18, 5e17);
        _deployMach(WITHDRAWAL_DELAY, multipliers);
        original = _create("BLSSignatureChecker", abi.encode(coordinator));
        IBLSSignatureChecker(original).setStaleStakesForbidden(false);
        manager.disableAllowlist();
        _live();
    }

    /// @dev A call as an aggregator makes it: both answer, and alike.
    function testAnswersAlike(uint256 seed) public view {
        (bytes memory data,) = _call(seed, FAULTS);
        vm.assertTrue(_compare(data), "a sound call was refused");
    }

    /// @dev A call that is spoilt in one place.
    function testRefusesAlike(uint256 seed) public view {
        (bytes memory data,) = _call(seed, _draw(seed, "fault", FAULTS));
        _compare(data);
    }

    /// @dev Each way to spoil a call, a few times: none of the faults is there for nothing.
    function testEveryFault() public view {
        for (uint256 fault = 0; fault < FAULTS; ++fault) {
            uint256 refused = 0;
            for (uint256 seed = 0; seed < 6; ++seed) {
                (bytes memory data, bool applied) = _call(uint256(keccak256(abi.encode(fault, seed))), fault);
                if (!_compare(data) && applied) ++refused;
            }
            // The last fault lengthens a list that nobody reads to its end.
            vm.assertTrue(refused > 0 || fault == FAULTS - 1, vm.toString(fault));
        }
    }

    /// @dev A sound call with one bit of its encoding turned over. EigenLayer's decodes all arguments before it looks at
    /// any; Mach's reads them where they are, and may answer where something is malformed that it never reads.
    function testAnyBit(uint256 seed, uint256 where) public view {
        (bytes memory data,) = _call(seed, FAULTS);
        uint256 bit = _bound(where, 32, data.length * 8 - 1);
        data[bit / 8] ^= bytes1(uint8(1) << uint8(bit % 8));
        (bool answered,) = address(manager).staticcall{gas: GAS_LIMIT}(data);
        if (!answered || _isWellFormed(data)) _compare(data);
    }

    /// @dev Quorums out of order or named twice, everything else as it should be: keys, indices and signature fit.
    function testQuorumsAreNamedOnceAndRising() public view {
        bytes[4] memory lists = [bytes(hex"0100"), hex"0000", hex"000201", hex"00010102"];
        for (uint256 i = 0; i < lists.length; ++i) {
            vm.assertFalse(_compare(_encode("quorums", lists[i], 150, _range(0, 1))), vm.toString(i));
        }
        vm.assertTrue(_compare(_encode("quorums", hex"0001", 150, _range(0, 1))), "in order");
    }

    /// @dev Non-signers in falling order, everything else as it should be.
    function testNonSignersAreSorted() public view {
        bytes[2] memory lists = [bytes(hex"00"), hex"000102"];
        for (uint256 i = 0; i < lists.length; ++i) {
            IBLSSignatureChecker.NonSignerStakesAndSignature memory params =
                _sign("sorted", lists[i], 150, _range(0, 2));
            (G1Point[] memory keys, uint32[] memory indices) =
                (params.nonSignerPubkeys, params.nonSignerQuorumBitmapIndices);
            vm.assertTrue(_compare(_encoded("sorted", lists[i], params)), "sorted");
            (keys[0], keys[1]) = (keys[1], keys[0]);
            (indices[0], indices[1]) = (indices[1], indices[0]);
            for (uint256 k = 0; k < lists[i].length; ++k) {
                uint32[] memory stakeIndices = params.nonSignerStakeIndices[k];
                vm.assertEq(stakeIndices.length, 2);
                (stakeIndices[0], stakeIndices[1]) = (stakeIndices[1], stakeIndices[0]);
            }
            vm.assertFalse(_compare(_encoded("sorted", lists[i], params)), "not sorted");
        }
    }

    /// @dev One non-signer named twice, and its key taken off the signature twice.
    function testNonSignersAreNamedOnce() public view {
        bytes[2] memory lists = [bytes(hex"00"), hex"000102"];
        for (uint256 i = 0; i < lists.length; ++i) {
            IBLSSignatureChecker.NonSignerStakesAndSignature memory params = _sign("once", lists[i], 150, _range(0, 1));
            params.nonSignerPubkeys = new G1Point[](2);
            params.nonSignerPubkeys[0] = operators[0].publicKey;
            params.nonSignerPubkeys[1] = operators[0].publicKey;
            params.nonSignerQuorumBitmapIndices = _twice(params.nonSignerQuorumBitmapIndices);
            for (uint256 k = 0; k < lists[i].length; ++k) {
                params.nonSignerStakeIndices[k] = _twice(params.nonSignerStakeIndices[k]);
            }
            uint256 lessOnce = BN254.R - mulmod(operators[0].blsSecret, lists[i].length, BN254.R);
            params.sigma = params.sigma.add(lessOnce.sign("once"));
            params.apkG2 = params.apkG2.add(lessOnce.publicKeyG2());
            vm.assertFalse(_compare(_encoded("once", lists[i], params)), vm.toString(i));
        }
    }

    /// @dev Stakes that were last brought up to date at block b count before block b + delay, in both.
    function testStaleStakes() public {
        manager.setStaleStakesForbidden(true);
        IBLSSignatureChecker(original).setStaleStakesForbidden(true);
        address[][] memory members = new address[][](1);
        members[0] = new address[](operators.length);
        uint256 count = 0;
        for (uint256 i = 0; i < operators.length; ++i) {
            if ((coordinator.getCurrentQuorumBitmap(operators[i].id) >> 1) & 1 == 1) {
                members[0][count++] = operators[i].account;
            }
        }
        address[] memory list = members[0];
        assembly ("memory-safe") {
            mstore(list, count)
        }
        _sort(list);
        vm.roll(300);
        coordinator.updateOperatorsForQuorum(members, hex"01");
        vm.roll(400);
        uint256[] memory nobody = new uint256[](0);
        for (uint32 referenceBlock = 338; referenceBlock < 343; ++referenceBlock) {
            bool answered = _compare(_encode("stale", hex"01", referenceBlock, nobody));
            vm.assertEq(answered, referenceBlock < 300 + WITHDRAWAL_DELAY, vm.toString(referenceBlock));
        }
        vm.assertFalse(_compare(_encode("stale", hex"00", 150, nobody)), "quorum 0 was never brought up to date");
    }

    /// @dev One signature under one key: sound, wrong in each part, and off the curve.
    function testTrySignatureAndApkVerification(uint256 secret, bytes32 digest, uint256 fault) public view {
        secret = _bound(secret, 1, BN254.R - 1);
        G1Point memory apk = secret.publicKeyG1();
        G2Point memory apkG2 = secret.publicKeyG2();
        G1Point memory sigma = secret.sign(digest);
        fault = fault % 9;
        bytes32 asked = fault == 1 ? keccak256(abi.encode(digest)) : digest;
        if (fault == 2) apk = apk.add(G1Point(1, 2));
        if (fault == 3) apkG2 = addmod(secret, 1, BN254.R).publicKeyG2();
        if (fault == 4) sigma = sigma.add(G1Point(1, 2));
        if (fault == 5) apkG2.X[0] ^= 1;
        if (fault == 6) sigma.X ^= 1;
        if (fault == 7) (apk, sigma) = (G1Point(0, 0), G1Point(0, 0));
        if (fault == 8) {
            // Another key, and a signature that fits the sum of both equations where it is not weighted.
            apkG2 = uint256(7).publicKeyG2();
            sigma = uint256(7).sign(digest).add(uint256(7).publicKeyG1()).add(G1Point(apk.X, BN254.P - apk.Y));
        }
        bytes memory data =
            abi.encodeCall(IBLSSignatureChecker.trySignatureAndApkVerification, (asked, apk, apkG2, sigma));
        (bool answered, bytes memory answer) = address(manager).staticcall{gas: GAS_LIMIT}(data);
        vm.assertEq(_compare(data), answered, "compared");
        if (answered) {
            (bool success, bool valid) = abi.decode(answer, (bool, bool));
            vm.assertEq(success, fault != 5, "the precompile takes it");
            vm.assertEq(valid, fault == 0, "sound");
        } else {
            vm.assertTrue(fault == 6, "only points off G1 are refused");
        }
    }

    /// @dev Asks both. Whether they answered.
    function _compare(bytes memory data) private view returns (bool) {
        // A bound, since EigenLayer's gives a precompile all its gas, and one that refuses its input burns it.
        (bool answered, bytes memory answer) = address(manager).staticcall{gas: GAS_LIMIT}(data);
        (bool expectedAnswered, bytes memory expected) = original.staticcall{gas: GAS_LIMIT}(data);
        vm.assertEq(answered, expectedAnswered, "one answers, the other refuses");
        if (answered) vm.assertEq(answer, expected, "the answers differ");
        return answered;
    }

    /// @dev Whether the arguments of a call of checkSignatures can be decoded.
    function _isWellFormed(bytes memory data) private view returns (bool) {
        try this.decode(data) {
            return true;
        } catch {
            return false;
        }
    }

    function decode(bytes calldata data) external pure {
        abi.decode(data[4:], (bytes32, bytes, uint32, IBLSSignatureChecker.NonSignerStakesAndSignature));
    }

    /// @dev A call of checkSignatures with a fault; `FAULTS` is none.
    /// @return applied false where the drawn call has nothing that this fault could spoil
    function _call(uint256 seed, uint256 fault) private view returns (bytes memory, bool applied) {
        bytes32 digest = keccak256(abi.encode(seed));
        // Two operators are in for good from block 104 on, in every quorum.
        uint32 referenceBlock = uint32(FIRST_BLOCK + 10 + _draw(seed, "block", LAST_BLOCK - FIRST_BLOCK - 10));
        bytes memory quorums = _drawQuorums(seed);
        IBLSSignatureChecker.NonSignerStakesAndSignature memory params =
            _sign(digest, quorums, referenceBlock, _drawNonSigners(seed, referenceBlock));
        applied = true;
        if (fault < 10) (digest, quorums, referenceBlock) = _spoilTerms(fault, digest, quorums, referenceBlock);
        else if (fault < FAULTS) applied = _spoil(fault, seed, params);
        return
            (abi.encodeCall(IBLSSignatureChecker.checkSignatures, (digest, quorums, referenceBlock, params)), applied);
    }

    function _spoilTerms(uint256 fault, bytes32 digest, bytes memory quorums, uint32 referenceBlock)
        private
        view
        returns (bytes32, bytes memory, uint32)
    {
        if (fault == 0) digest = ~digest;
        else if (fault == 1) quorums = "";
        else if (fault == 2) quorums = bytes.concat(quorums, hex"02");
        else if (fault == 3) quorums[0] = bytes1(uint8(QUORUMS));
        else if (fault == 4) quorums[quorums.length - 1] = quorums[0] == 0 ? bytes1(uint8(1)) : bytes1(0);
        else if (fault == 5) quorums = quorums.length > 1 ? abi.encodePacked(quorums[1], quorums[0]) : bytes(hex"ff");
        else if (fault == 6) referenceBlock = uint32(block.number);
        else if (fault == 7) referenceBlock = uint32(block.number + 1);
        else if (fault == 8) referenceBlock = uint32(FIRST_BLOCK - 1);
        else referenceBlock = type(uint32).max;
        return (digest, quorums, referenceBlock);
    }

    function _spoil(uint256 fault, uint256 seed, IBLSSignatureChecker.NonSignerStakesAndSignature memory params)
        private
        view
        returns (bool)
    {
        uint256 i = _draw(seed, "quorum", params.quorumApks.length);
        uint256 absent = params.nonSignerPubkeys.length;
        uint256 j = absent == 0 ? 0 : _draw(seed, "non-signer", absent);
        if (fault == 10) params.sigma = params.sigma.add(G1Point(1, 2));
        else if (fault == 11) params.sigma.Y ^= 1;
        else if (fault == 12) params.sigma.X += BN254.P;
        else if (fault == 13) params.apkG2 = uint256(2).publicKeyG2();
        else if (fault == 14) params.apkG2.Y[1] ^= 1;
        else if (fault == 15) params.quorumApks[i] = params.quorumApks[i].add(G1Point(1, 2));
        else if (fault == 16) ++params.quorumApkIndices[i];
        else if (fault == 17) ++params.totalStakeIndices[i];
        else if (fault == 18) params.quorumApkIndices = new uint32[](params.quorumApkIndices.length + 1);
        else if (fault == 19) params.totalStakeIndices = new uint32[](params.totalStakeIndices.length + 1);
        else if (fault == 20) params.quorumApks = new G1Point[](params.quorumApks.length - 1);
        else if (fault == 21) params.nonSignerStakeIndices = new uint32[][](params.quorumApks.length + 1);
        else if (fault == 22) params.nonSignerQuorumBitmapIndices = new uint32[](absent + 1);
        else if (fault == 28) params.nonSignerStakeIndices[i] = _longer(params.nonSignerStakeIndices[i]);
        else if (absent == 0) return false;
        else if (fault == 23) ++params.nonSignerQuorumBitmapIndices[j];
        else if (fault == 24) params.nonSignerPubkeys[j] = params.nonSignerPubkeys[j].add(G1Point(1, 2));
        else if (fault == 25) params.nonSignerPubkeys[j].X += BN254.P;
        else if (fault == 26) return _repeat(params, absent, j);
        else if (params.nonSignerStakeIndices[i].length == 0) return false;
        else if (seed % 2 == 0) ++params.nonSignerStakeIndices[i][0];
        else params.nonSignerStakeIndices[i] = new uint32[](params.nonSignerStakeIndices[i].length - 1);
        return true;
    }

    /// @dev Puts one non-signer in another's place: the list is no longer sorted, or names one twice.
    function _repeat(IBLSSignatureChecker.NonSignerStakesAndSignature memory params, uint256 absent, uint256 j)
        private
        pure
        returns (bool)
    {
        if (absent == 1) return false;
        uint256 other = (j + 1) % absent;
        params.nonSignerPubkeys[j] = params.nonSignerPubkeys[other];
        params.nonSignerQuorumBitmapIndices[j] = params.nonSignerQuorumBitmapIndices[other];
        return true;
    }

    function _longer(uint32[] memory list) private pure returns (uint32[] memory longer) {
        longer = new uint32[](list.length + 1);
        for (uint256 i = 0; i < list.length; ++i) {
            longer[i] = list[i];
        }
        longer[list.length] = 7;
    }

    function _encode(bytes32 digest, bytes memory quorums, uint32 referenceBlock, uint256[] memory absent)
        private
        view
        returns (bytes memory)
    {
        return abi.encodeCall(
            IBLSSignatureChecker.checkSignatures,
            (digest, quorums, referenceBlock, _sign(digest, quorums, referenceBlock, absent))
        );
    }

    function _encoded(
        bytes32 digest,
        bytes memory quorums,
        IBLSSignatureChecker.NonSignerStakesAndSignature memory params
    ) private pure returns (bytes memory) {
        return abi.encodeCall(IBLSSignatureChecker.checkSignatures, (digest, quorums, 150, params));
    }

    function _twice(uint32[] memory one) private pure returns (uint32[] memory two) {
        two = new uint32[](2);
        (two[0], two[1]) = (one[0], one[0]);
    }

    /// @dev One quorum, two or all, rising.
    function _drawQuorums(uint256 seed) private pure returns (bytes memory quorums) {
        uint256 chosen = 1 + _draw(seed, "quorums", (1 << QUORUMS) - 1);
        for (uint8 quorum = 0; quorum < QUORUMS; ++quorum) {
            if ((chosen >> quorum) & 1 == 1) quorums = abi.encodePacked(quorums, quorum);
        }
    }

    /// @dev Some of those who were in any quorum then, whether in a signing one or not; the first two operators never.
    function _drawNonSigners(uint256 seed, uint32 referenceBlock) private view returns (uint256[] memory absent) {
        IOperatorStateRetriever.Operator[][] memory members =
            retriever.getOperatorState(address(coordinator), hex"000102", referenceBlock);
        bool[] memory known = new bool[](OPERATORS);
        for (uint256 i = 0; i < members.length; ++i) {
            for (uint256 k = 0; k < members[i].length; ++k) {
                known[positionOf[members[i][k].operatorId]] = true;
            }
        }
        absent = new uint256[](OPERATORS);
        uint256 count = 0;
        for (uint256 i = 2; i < OPERATORS; ++i) {
            if (known[i] && _draw(seed, vm.toString(i), 2) == 0) absent[count++] = i;
        }
        assembly ("memory-safe") {
            mstore(absent, count)
        }
    }

    /// @dev Operators join every second block, in quorums of their own; later they leave some, come back to others and
    /// gain stake.
    function _live() private {
        bytes[4] memory choices = [bytes(hex"000102"), hex"00", hex"0102", hex"0002"];
        for (uint256 i = 0; i < OPERATORS; ++i) {
            vm.roll(FIRST_BLOCK + 2 * (i + 1));
            OperatorKeys memory keys = _newOperator(SHARE * (10 + 3 * i));
            _join(keys, i < 2 ? choices[0] : choices[i % 4]);
        }
        uint256 when = FIRST_BLOCK + 2 * (OPERATORS + 1);
        for (uint256 i = 2; i < OPERATORS; ++i) {
            when += 4;
            vm.roll(when);
            if (i % 3 == 0) _leave(operators[i], choices[i % 4]);
            else _leave(operators[i], abi.encodePacked(choices[i % 4][0]));
            vm.roll(when + 2);
            _deposit(operators[i - 1], SHARE);
            address[] memory updated = new address[](1);
            updated[0] = operators[i - 1].account;
            coordinator.updateOperators(updated);
            if (i % 3 == 1) _join(operators[i], abi.encodePacked(choices[i % 4][0]));
        }
        require(when + 2 < LAST_BLOCK, "the last block comes too early");
        vm.roll(LAST_BLOCK + 1);
    }

    function _sort(address[] memory list) private pure {
        for (uint256 i = 1; i < list.length; ++i) {
            for (uint256 j = i; j > 0 && list[j] < list[j - 1]; --j) {
                (list[j], list[j - 1]) = (list[j - 1], list[j]);
            }
        }
    }
}
