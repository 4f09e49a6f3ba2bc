// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IBLSSignatureChecker} from "./interfaces/IBLSSignatureChecker.sol";
import {IBLSApkRegistry, IDelegationManager, IRegistryCoordinator, IStakeRegistry} from "./interfaces/IEigenLayer.sol";
import {BN254, G1Point, G2Point} from "./libraries/BN254.sol";

/// @title Checks aggregate signatures against EigenLayer's registries
/// @notice Accepts, refuses and returns what EigenLayer middleware v0.1.2's checker does, for less gas: its arguments
/// stay in calldata, points are summed in place, and the coordinator is not asked how many quorums there are, since the
/// registry of aggregate keys has no history for a quorum that does not exist and reverts.
abstract contract BLSSignatureChecker is IBLSSignatureChecker {
    using BN254 for G1Point;
    using BN254 for uint256[4];

    /// @inheritdoc IBLSSignatureChecker
    IRegistryCoordinator public immutable registryCoordinator;
    /// @inheritdoc IBLSSignatureChecker
    IStakeRegistry public immutable stakeRegistry;
    /// @inheritdoc IBLSSignatureChecker
    IBLSApkRegistry public immutable blsApkRegistry;
    /// @inheritdoc IBLSSignatureChecker
    IDelegationManager public immutable delegation;

    /// @inheritdoc IBLSSignatureChecker
    bool public staleStakesForbidden;

    constructor(IRegistryCoordinator coordinator) {
        registryCoordinator = coordinator;
        stakeRegistry = coordinator.stakeRegistry();
        blsApkRegistry = coordinator.blsApkRegistry();
        delegation = stakeRegistry.delegation();
    }

    /// @inheritdoc IBLSSignatureChecker
    function setStaleStakesForbidden(bool value) external {
        require(msg.sender == registryCoordinator.owner(), "not the coordinator's owner");
        staleStakesForbidden = value;
        emit StaleStakesForbiddenUpdate(value);
    }

    /// @inheritdoc IBLSSignatureChecker
    function checkSignatures(
        bytes32 msgHash,
        bytes calldata quorumNumbers,
        uint32 referenceBlockNumber,
        NonSignerStakesAndSignature calldata params
    ) external view returns (QuorumStakeTotals memory, bytes32) {
        return _checkSignatures(msgHash, quorumNumbers, referenceBlockNumber, params);
    }

    /// @inheritdoc IBLSSignatureChecker
    function trySignatureAndApkVerification(
        bytes32 msgHash,
        G1Point calldata apk,
        G2Point calldata apkG2,
        G1Point calldata sigma
    ) external view returns (bool pairingSuccessful, bool siganatureIsValid) {
        return BN254.verify(msgHash, [apk.X, apk.Y, 0, 0], apkG2, sigma);
    }

    function _checkSignatures(
        bytes32 msgHash,
        bytes calldata quorumNumbers,
        uint32 referenceBlockNumber,
        NonSignerStakesAndSignature calldata params
    ) internal view returns (QuorumStakeTotals memory totals, bytes32 signatoryRecordHash) {
        uint256 quorums = quorumNumbers.length;
        require(quorums != 0, "no quorum");
        require(
            params.quorumApks.length == quorums && params.quorumApkIndices.length == quorums
                && params.totalStakeIndices.length == quorums && params.nonSignerStakeIndices.length == quorums,
            "quorum lengths differ"
        );
        require(
            params.nonSignerPubkeys.length == params.nonSignerQuorumBitmapIndices.length, "non-signer lengths differ"
        );
        require(referenceBlockNumber < uint32(block.number), "reference block not past");
        for (uint256 i = 1; i < quorums; ++i) {
            require(quorumNumbers[i] > quorumNumbers[i - 1], "quorums not rising");
        }
        if (staleStakesForbidden) _requireFreshStakes(quorumNumbers, referenceBlockNumber);

        // The signers' key is each quorum's aggregate key less the keys of its non-signers. The sum is its opposite
        // until all are in.
        uint256[16] memory frame;
        uint256[4] memory key = _keyIn(frame);
        bytes32[] memory ids = new bytes32[](params.nonSignerPubkeys.length);
        uint256[] memory bitmaps;
        uint256 missing;
        if (quorums == 1) {
            missing = _onlyQuorumsNonSigners(frame, uint8(quorumNumbers[0]), referenceBlockNumber, params, ids);
        } else {
            bitmaps = _lookUpNonSigners(referenceBlockNumber, params, ids);
        }
        totals.signedStakeForQuorum = new uint96[](quorums);
        totals.totalStakeForQuorum = new uint96[](quorums);
        for (uint256 i = 0; i < quorums; ++i) {
            uint8 quorum = uint8(quorumNumbers[i]);
            if (quorums != 1) missing = _quorumsNonSigners(key, quorum, referenceBlockNumber, params, i, ids, bitmaps);
            uint96 total = _quorum(key, quorum, referenceBlockNumber, params, i);
            totals.totalStakeForQuorum[i] = total;
            // Checked: never more than the total is missing, hence the result fits its 96 bits.
            // forge-lint: disable-next-line(unsafe-typecast)
            totals.signedStakeForQuorum[i] = uint96(total - missing);
        }
        key.negate();

        (bool success, bool valid) = BN254.verify(msgHash, key, params.apkG2, params.sigma);
        require(success, "pairing precompile refused");
        require(valid, "signature is invalid");
        // keccak256(abi.encodePacked(referenceBlockNumber, ids)), in place: the block takes the place of the length.
        assembly ("memory-safe") {
            let length := mload(ids)
            mstore(ids, referenceBlockNumber)
            signatoryRecordHash := keccak256(add(ids, 0x1c), add(0x04, shl(5, length)))
            mstore(ids, length)
        }
    }

    /// @dev A quorum's stakes are stale when they were last brought up to date the withdrawal delay or longer before the
    /// reference block: an operator could have withdrawn by then.
    function _requireFreshStakes(bytes calldata quorumNumbers, uint32 referenceBlockNumber) private view {
        uint256 withdrawalDelay = delegation.minWithdrawalDelayBlocks();
        for (uint256 i = 0; i < quorumNumbers.length; ++i) {
            uint256 updated = registryCoordinator.quorumUpdateBlockNumber(uint8(quorumNumbers[i]));
            require(updated + withdrawalDelay > referenceBlockNumber, "stakes are stale");
        }
    }

    /// @dev Subtracts a quorum's aggregate key, and reads its total stake.
    /// @param i the quorum's place among those that sign
    function _quorum(
        uint256[4] memory key,
        uint8 quorum,
        uint32 referenceBlockNumber,
        NonSignerStakesAndSignature calldata params,
        uint256 i
    ) private view returns (uint96 total) {
        G1Point calldata apk = params.quorumApks[i];
        bytes24 apkHash =
            blsApkRegistry.getApkHashAtBlockNumberAndIndex(quorum, referenceBlockNumber, params.quorumApkIndices[i]);
        require(bytes24(apk.hashPoint()) == apkHash, "not the quorum's aggregate key");
        key.subtract(apk);
        return
            stakeRegistry.getTotalStakeAtBlockNumberFromIndex(quorum, referenceBlockNumber, params.totalStakeIndices[i]);
    }

    /// @dev The first words of a frame, as the buffer of a sum.
    function _keyIn(uint256[16] memory frame) private pure returns (uint256[4] memory key) {
        assembly ("memory-safe") {
            key := frame
        }
    }

    /// @dev Where several quorums sign: looks every non-signer up, and writes their operator ids to `ids`.
    /// @return bitmaps per non-signer, its quorums at the reference block
    function _lookUpNonSigners(
        uint32 referenceBlockNumber,
        NonSignerStakesAndSignature calldata params,
        bytes32[] memory ids
    ) private view returns (uint256[] memory bitmaps) {
        bitmaps = new uint256[](ids.length);
        for (uint256 j = 0; j < ids.length; ++j) {
            ids[j] = params.nonSignerPubkeys[j].hashPoint();
            // Strictly rising ids name no operator twice.
            require(j == 0 || ids[j] > ids[j - 1], "non-signers not sorted");
            bitmaps[j] = registryCoordinator.getQuorumBitmapAtBlockNumberByIndex(
                ids[j], referenceBlockNumber, params.nonSignerQuorumBitmapIndices[j]
            );
        }
    }

    /// @dev Where several quorums sign: adds the keys of the non-signers in one of them.
    /// @param i the quorum's place among those that sign
    /// @return missing the quorum's stake that did not sign
    function _quorumsNonSigners(
        uint256[4] memory key,
        uint8 quorum,
        uint32 referenceBlockNumber,
        NonSignerStakesAndSignature calldata params,
        uint256 i,
        bytes32[] memory ids,
        uint256[] memory bitmaps
    ) private view returns (uint256 missing) {
        uint32[] calldata stakeIndices = params.nonSignerStakeIndices[i];
        uint256 next = 0;
        for (uint256 j = 0; j < ids.length; ++j) {
            if ((bitmaps[j] >> quorum) & 1 == 0) continue;
            key.add(params.nonSignerPubkeys[j]);
            missing += stakeRegistry.getStakeAtBlockNumberAndIndex(
                quorum, referenceBlockNumber, ids[j], stakeIndices[next]
            );
            ++next;
        }
    }

    /// @dev Where one quorum signs, as a rule: looks every non-signer up, writes their operator ids to `ids`, and adds
    /// the keys of those in the quorum. The same as the two functions before, for less gas.
    /// @param frame the sum of keys (0x00), and room for the arguments of the calls to the coordinator (0x80) and to the
    /// stake registry (0x100)
    /// @return missing the quorum's stake that did not sign
    function _onlyQuorumsNonSigners(
        uint256[16] memory frame,
        uint8 quorum,
        uint32 referenceBlockNumber,
        NonSignerStakesAndSignature calldata params,
        bytes32[] memory ids
    ) private view returns (uint256 missing) {
        G1Point[] calldata pubkeys = params.nonSignerPubkeys;
        uint32[] calldata bitmapIndices = params.nonSignerQuorumBitmapIndices;
        uint32[] calldata stakeIndices = params.nonSignerStakeIndices[0];
        bytes4 bitmapSelector = IRegistryCoordinator.getQuorumBitmapAtBlockNumberByIndex.selector;
        bytes4 stakeSelector = IStakeRegistry.getStakeAtBlockNumberAndIndex.selector;
        uint256 count = ids.length;
        uint256 pubkey;
        uint256 stakeIndex;
        uint256 element;
        uint256 last;
        uint256 toBitmapIndex;
        assembly ("memory-safe") {
            mstore(add(frame, 0x80), bitmapSelector)
            mstore(add(frame, 0xa4), referenceBlockNumber)
            mstore(add(frame, 0x100), stakeSelector)
            mstore(add(frame, 0x104), quorum)
            mstore(add(frame, 0x124), referenceBlockNumber)
            pubkey := pubkeys.offset
            stakeIndex := stakeIndices.offset
            // One pointer walks through `ids`, a word behind the element that it writes next; the index of the
            // element's bitmap lies at a fixed distance from it.
            element := ids
            last := add(ids, shl(5, count))
            toBitmapIndex := sub(bitmapIndices.offset, ids)
            // The first element has no predecessor that it must be above: zero stands in.
            mstore(ids, 0)
        }
        uint256 end;
        // forge-lint: disable-next-line(incorrect-shift)
        (missing, end) = _walk(frame, 1 << quorum, pubkey, stakeIndex, element, last, toBitmapIndex);
        assembly ("memory-safe") {
            mstore(ids, count)
        }
        require(end != type(uint256).max, "non-signers not sorted");
        // An index that was read beyond the list's end did no harm, but must not count.
        require(end <= stakeIndex + 32 * stakeIndices.length, "too few stake indices");
    }

    /// @dev The loop of the function before, which is what a further non-signer costs beyond the registries. Assembly,
    /// so that only those arguments of the two calls are written that change, and each key is hashed where it is added.
    /// A function of its own, so that its variables fit on the stack; the early return keeps it from being inlined.
    /// @return missing the stake of the non-signers in the quorum
    /// @return where the next stake index would lie; the highest number where the non-signers are not sorted
    function _walk(
        uint256[16] memory frame,
        uint256 quorumBit,
        uint256 pubkey,
        uint256 stakeIndex,
        uint256 element,
        uint256 last,
        uint256 toBitmapIndex
    ) private view returns (uint256 missing, uint256) {
        if (element == last) return (0, stakeIndex);
        address coordinator = address(registryCoordinator);
        address stakes = address(stakeRegistry);
        assembly ("memory-safe") {
            for {} 1 {} {
                calldatacopy(add(frame, 0x40), pubkey, 0x40)
                pubkey := add(pubkey, 0x40)
                let id := keccak256(add(frame, 0x40), 0x40)
                // getQuorumBitmapAtBlockNumberByIndex(id, referenceBlockNumber, index)
                mstore(add(frame, 0x84), id)
                mstore(add(frame, 0xc4), calldataload(add(element, toBitmapIndex)))
                // Strictly rising ids name no operator twice.
                if iszero(
                    and(staticcall(gas(), coordinator, add(frame, 0x80), 0x64, 0x00, 0x20), gt(id, mload(element)))
                ) {
                    if gt(id, mload(element)) {
                        returndatacopy(frame, 0x00, returndatasize())
                        revert(frame, returndatasize())
                    }
                    stakeIndex := not(0)
                    break
                }
                element := add(element, 0x20)
                mstore(element, id)
                if and(mload(0x00), quorumBit) {
                    // getStakeAtBlockNumberAndIndex(quorum, referenceBlockNumber, id, index)
                    mstore(add(frame, 0x144), id)
                    mstore(add(frame, 0x164), calldataload(stakeIndex))
                    stakeIndex := add(stakeIndex, 0x20)
                    // The key is added first: arguments are evaluated from right to left.
                    if iszero(
                        and(
                            staticcall(gas(), stakes, add(frame, 0x100), 0x84, 0x00, 0x20),
                            staticcall(gas(), 0x06, frame, 0x80, frame, 0x40)
                        )
                    ) {
                        returndatacopy(frame, 0x00, returndatasize())
                        revert(frame, returndatasize())
                    }
                    missing := add(missing, mload(0x00))
                }
                if eq(element, last) { break }
            }
        }
        return (missing, stakeIndex);
    }
}
