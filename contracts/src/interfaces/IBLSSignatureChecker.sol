// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IBLSApkRegistry, IDelegationManager, IRegistryCoordinator, IStakeRegistry} from "./IEigenLayer.sol";
import {G1Point, G2Point} from "../libraries/BN254.sol";

/// @title Checking an operator set's aggregate BLS signature
/// @notice The interface of EigenLayer middleware v0.1.2's checker, and its meaning.
interface IBLSSignatureChecker {
    /// @notice Who of the quorums did not sign, where the registries' histories hold the state at the reference block,
    /// and the signature of those who did.
    /// @param nonSignerQuorumBitmapIndices per non-signer, the entry of its quorum bitmap's history
    /// @param nonSignerPubkeys the non-signers' G1 keys, by strictly rising operator id keccak256(x, y)
    /// @param quorumApks per quorum, the G1 aggregate key of all its operators
    /// @param apkG2 the G2 aggregate key of the signers
    /// @param sigma the signers' aggregate signature
    /// @param quorumApkIndices per quorum, the entry of its aggregate key's history
    /// @param totalStakeIndices per quorum, the entry of its total stake's history
    /// @param nonSignerStakeIndices per quorum, for each non-signer that is in it, the entry of its stake's history
    struct NonSignerStakesAndSignature {
        uint32[] nonSignerQuorumBitmapIndices;
        G1Point[] nonSignerPubkeys;
        G1Point[] quorumApks;
        G2Point apkG2;
        G1Point sigma;
        uint32[] quorumApkIndices;
        uint32[] totalStakeIndices;
        uint32[][] nonSignerStakeIndices;
    }

    /// @notice Per quorum, the stake that signed and the stake there was.
    struct QuorumStakeTotals {
        uint96[] signedStakeForQuorum;
        uint96[] totalStakeForQuorum;
    }

    /// @notice Stakes that were not brought up to date are accepted or refused from now on.
    event StaleStakesForbiddenUpdate(bool value);

    /// @notice Checks that everyone in the quorums but the non-signers signed `msgHash`, as of the reference block.
    /// @param msgHash the 32 bytes that were signed
    /// @param quorumNumbers one byte a quorum, strictly rising, at least one
    /// @param referenceBlockNumber a past block; keys and stakes are those at its end
    /// @param params non-signers, history entries, signature
    /// @return per quorum, the stake that signed and the total
    /// @return keccak256(referenceBlockNumber as 4 bytes, ids of the non-signers)
    function checkSignatures(
        bytes32 msgHash,
        bytes calldata quorumNumbers,
        uint32 referenceBlockNumber,
        NonSignerStakesAndSignature calldata params
    ) external view returns (QuorumStakeTotals memory, bytes32);

    /// @notice Checks one signature, and that the G1 and the G2 key have the same secret.
    /// @return pairingSuccessful false where the precompile refuses the input: a point off its curve or subgroup
    /// @return siganatureIsValid whether the signature and the keys hold (the name is EigenLayer's)
    function trySignatureAndApkVerification(
        bytes32 msgHash,
        G1Point calldata apk,
        G2Point calldata apkG2,
        G1Point calldata sigma
    ) external view returns (bool pairingSuccessful, bool siganatureIsValid);

    /// @notice Accepts or refuses stakes that were not brought up to date within the withdrawal delay before the
    /// reference block. Only the owner of the registry coordinator.
    function setStaleStakesForbidden(bool value) external;

    /// @notice Whether such stakes are refused.
    function staleStakesForbidden() external view returns (bool);

    /// @notice The coordinator of operators and quorums.
    function registryCoordinator() external view returns (IRegistryCoordinator);

    /// @notice The registry of stakes.
    function stakeRegistry() external view returns (IStakeRegistry);

    /// @notice The registry of aggregate public keys.
    function blsApkRegistry() external view returns (IBLSApkRegistry);

    /// @notice EigenLayer's delegation manager.
    function delegation() external view returns (IDelegationManager);
}
