// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IBLSSignatureChecker} from "./IBLSSignatureChecker.sol";
import {SignatureWithSaltAndExpiry} from "./IEigenLayer.sol";

/// @title Mach's service manager: alerts about rollups, confirmed by a quorum of operators
interface IMachServiceManager is IBLSSignatureChecker {
    /// @notice What the operators signed, and how much of each quorum must have.
    /// @param messageHash what is wrong: the hash of an alert, or the hash of a block
    /// @param quorumNumbers one byte a quorum, strictly rising
    /// @param quorumThresholdPercentages one byte a quorum: the percentage of its stake that must have signed
    /// @param referenceBlockNumber the past block whose operators and stakes count
    /// @param rollupChainID the rollup that the alert is about
    struct AlertHeader {
        bytes32 messageHash;
        bytes quorumNumbers;
        bytes quorumThresholdPercentages;
        uint32 referenceBlockNumber;
        uint256 rollupChainID;
    }

    /// @notice An alert was confirmed; `alertHeaderHash` is the digest that the operators signed.
    event AlertConfirmed(bytes32 indexed alertHeaderHash, bytes32 messageHash);

    /// @notice `sender` resolved an alert.
    event AlertRemoved(bytes32 messageHash, address sender);

    /// @notice Another account confirms alerts from now on.
    event AlertConfirmerChanged(address previousAddress, address newAddress);

    /// @notice Another account keeps the allowlist from now on.
    event WhitelisterChanged(address previousAddress, address newAddress);

    /// @notice Another percentage is the least that an alert may ask for.
    event QuorumThresholdPercentageChanged(uint8 thresholdPercentages);

    /// @notice Alerts about a rollup are accepted, or are no longer.
    event RollupChainIDUpdated(uint256 rollupChainId, bool status);

    /// @notice From now on only operators of the allowlist may join.
    event AllowlistEnabled();

    /// @notice From now on any operator may join.
    event AllowlistDisabled();

    /// @notice An operator may join.
    event OperatorAllowed(address operator);

    /// @notice An operator may no longer join.
    event OperatorDisallowed(address operator);

    /// @notice An operator joined.
    event OperatorAdded(address indexed operator);

    /// @notice An operator left.
    event OperatorRemoved(address indexed operator);

    /// @notice The alert is confirmed already, or the operator is allowed already.
    error AlreadyAdded();
    /// @notice The allowlist is disabled already.
    error AlreadyDisabled();
    /// @notice The allowlist is enabled already.
    error AlreadyEnabled();
    /// @notice The operator is in the allowlist already.
    error AlreadyInAllowlist();
    /// @notice Less of a quorum's stake signed than the alert asks for.
    error InsufficientThreshold();
    /// @notice The alert asks for less of a quorum than the contract does.
    error InsufficientThresholdPercentages();
    /// @notice The caller is not the confirmer of alerts.
    error InvalidConfirmer();
    /// @notice No quorum, or not one percentage a quorum.
    error InvalidQuorumParam();
    /// @notice A percentage that is zero or above one hundred.
    error InvalidQuorumThresholdPercentage();
    /// @notice The reference block is not past, or too long past.
    error InvalidReferenceBlockNum();
    /// @notice Alerts about this rollup are not accepted.
    error InvalidRollupChainID();
    /// @notice The confirmer calls through another contract, or a caller is not the registry coordinator.
    error InvalidSender();
    /// @notice The first alert asked for lies past the last.
    error InvalidStartIndex();
    /// @notice The setting has this value already.
    error NoStatusChange();
    /// @notice The alert is not there, or the operator is not in the allowlist.
    error NotAdded();
    /// @notice The caller does not keep the allowlist.
    error NotWhitelister();
    /// @notice The alert was resolved; it cannot be raised again.
    error ResolvedAlert();

    /// @notice Sets the contract up behind its proxy, once. The allowlist is enabled, the threshold is 66 percent.
    /// @param pauserRegistry_ who may pause
    /// @param initialPausedStatus_ the first mask of what is paused
    /// @param initialOwner_ the owner
    /// @param alertConfirmer_ who confirms alerts: the aggregator
    /// @param whitelister_ who keeps the allowlist
    /// @param rollupChainIDs_ the rollups that alerts may be about
    function initialize(
        address pauserRegistry_,
        uint256 initialPausedStatus_,
        address initialOwner_,
        address alertConfirmer_,
        address whitelister_,
        uint256[] calldata rollupChainIDs_
    ) external;

    /// @notice Confirms an alert that enough of every named quorum's stake signed. Only the confirmer, and not through
    /// another contract, so that the non-signers can be read from the transaction's own calldata.
    function confirmAlert(
        AlertHeader calldata alertHeader,
        NonSignerStakesAndSignature calldata nonSignerStakesAndSignature
    ) external;

    /// @notice Resolves an alert. Only the owner, whether paused or not. The same message hash can never be confirmed
    /// for that rollup again: the signatures that confirmed it are public and could be sent a second time.
    function removeAlert(uint256 rollupChainId, bytes32 messageHash) external;

    /// @notice Accepts alerts about a rollup, or no longer. Only the owner. Alerts that are confirmed stay.
    function setRollupChainID(uint256 rollupChainId, bool status) external;

    /// @notice Sets the least percentage of stake, 1 to 100, that an alert may ask for. Only the owner.
    function updateQuorumThresholdPercentage(uint8 thresholdPercentage) external;

    /// @notice Names who confirms alerts. Only the owner.
    function setConfirmer(address confirmer) external;

    /// @notice Names who keeps the allowlist. Only the owner.
    function setWhitelister(address whitelister) external;

    /// @notice Lets only operators of the allowlist join. Only the owner. Operators that are in stay.
    function enableAllowlist() external;

    /// @notice Lets any operator join. Only the owner.
    function disableAllowlist() external;

    /// @notice Lets an operator join. Only the whitelister.
    function addToAllowlist(address operator) external;

    /// @notice Lets an operator join no longer. Only the whitelister. An operator that is in stays until it is ejected.
    function removeFromAllowlist(address operator) external;

    /// @notice Lets operators join, all or none. Only the whitelister.
    function allowOperators(address[] calldata operators) external;

    /// @notice Lets operators join no longer, all or none. Only the whitelister.
    function disallowOperators(address[] calldata operators) external;

    /// @notice Enters an operator in EigenLayer's directory. Only the registry coordinator, not while paused.
    function registerOperatorToAVS(address operator, SignatureWithSaltAndExpiry calldata operatorSignature) external;

    /// @notice Strikes an operator off EigenLayer's directory. Only the registry coordinator; a pause does not hold
    /// operators back from leaving, nor the ejector from ejecting.
    function deregisterOperatorFromAVS(address operator) external;

    /// @notice Announces where the service's description lies. Only the owner.
    function updateAVSMetadataURI(string calldata _metadataURI) external;

    /// @notice Whether an alert is confirmed and not resolved.
    function contains(uint256 rollupChainId, bytes32 messageHash) external view returns (bool);

    /// @notice How many alerts about a rollup are confirmed and not resolved.
    function totalAlerts(uint256 rollupChainId) external view returns (uint256);

    /// @notice The alerts about a rollup that are not resolved, oldest first, from `start` on, at most `querySize`.
    /// @dev The cost grows with the number of alerts confirmed later than those asked for. Contracts should ask
    /// `contains` or `totalAlerts`.
    function queryMessageHashes(uint256 rollupChainId, uint256 start, uint256 querySize)
        external
        view
        returns (bytes32[] memory);

    /// @notice Whether alerts about a rollup are accepted.
    function rollupChainIDs(uint256 rollupChainId) external view returns (bool);

    /// @notice Whether an operator may join while the allowlist is enabled.
    function allowlist(address operator) external view returns (bool);

    /// @notice Whether only operators of the allowlist may join.
    function allowlistEnabled() external view returns (bool);

    /// @notice Who confirms alerts.
    function alertConfirmer() external view returns (address);

    /// @notice Who keeps the allowlist.
    function whitelister() external view returns (address);

    /// @notice The least percentage of stake that an alert may ask for.
    function quorumThresholdPercentage() external view returns (uint8);

    /// @notice What a percentage is a part of: 100.
    function THRESHOLD_DENOMINATOR() external view returns (uint256);

    /// @notice EigenLayer's directory of services.
    function avsDirectory() external view returns (address);

    /// @notice The strategies that count in an operator's quorums; one that counts in two stands there twice.
    function getOperatorRestakedStrategies(address operator) external view returns (address[] memory);

    /// @notice The strategies that count in any quorum; one that counts in two stands there twice.
    function getRestakeableStrategies() external view returns (address[] memory);
}
