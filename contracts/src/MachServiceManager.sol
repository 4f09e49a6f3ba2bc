// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {BLSSignatureChecker} from "./BLSSignatureChecker.sol";
import {OneTimeInitializer} from "./access/OneTimeInitializer.sol";
import {Owned, ZeroAddress} from "./access/Owned.sol";
import {PausableByRegistry} from "./access/PausableByRegistry.sol";
import {IAVSDirectory, IRegistryCoordinator, SignatureWithSaltAndExpiry} from "./interfaces/IEigenLayer.sol";
import {IMachServiceManager} from "./interfaces/IMachServiceManager.sol";

/// @title Mach's service manager: alerts about rollups, confirmed by a quorum of operators
/// @notice What operators sign is keccak256(abi.encode(messageHash, uint32 referenceBlockNumber, rollupChainID)). It
/// names neither this contract nor its chain: operators should register one BLS key per deployment, since a signature
/// counts wherever the same key is registered. Any quorum of the coordinator may confirm an alert alone.
contract MachServiceManager is IMachServiceManager, OneTimeInitializer, Owned, PausableByRegistry, BLSSignatureChecker {
    /// @dev A rollup's alerts: a list from the newest to the oldest, linked by message hash, so that an alert takes
    /// one new storage slot. A resolved alert stays in the list, and every reader skips it.
    struct Alerts {
        /// Whether alerts about the rollup are accepted.
        bool accepted;
        /// How many are confirmed and not resolved.
        uint64 total;
        /// The alert confirmed last, or zero.
        bytes32 newest;
        /// Per alert, the one confirmed before it; the first alert names itself. Zero: never confirmed.
        mapping(bytes32 => bytes32) older;
        /// The alerts that were removed.
        mapping(bytes32 => bool) resolved;
    }

    /// @inheritdoc IMachServiceManager
    uint256 public constant THRESHOLD_DENOMINATOR = 100;

    /// @dev The percentage that holds until the owner sets another.
    uint8 private constant DEFAULT_THRESHOLD_PERCENTAGE = 66;

    /// @dev Seven days of 12 seconds: EigenLayer's withdrawal delay. Stake of an older block may have left since, with
    /// nothing at risk for its former holder's signature.
    uint256 private constant MAX_REFERENCE_BLOCK_AGE = 50_400;

    IAVSDirectory private immutable _AVS_DIRECTORY;

    // These two share their slot with staleStakesForbidden of the base before: a confirmation reads all three.
    /// @inheritdoc IMachServiceManager
    uint8 public quorumThresholdPercentage;
    /// @inheritdoc IMachServiceManager
    address public alertConfirmer;

    /// @inheritdoc IMachServiceManager
    address public whitelister;
    /// @inheritdoc IMachServiceManager
    bool public allowlistEnabled;
    /// @inheritdoc IMachServiceManager
    mapping(address => bool) public allowlist;

    mapping(uint256 => Alerts) private _alerts;

    uint256[43] private __gap;

    modifier onlyWhitelister() {
        if (msg.sender != whitelister) revert NotWhitelister();
        _;
    }

    modifier onlyRegistryCoordinator() {
        if (msg.sender != address(registryCoordinator)) revert InvalidSender();
        _;
    }

    /// @param __avsDirectory EigenLayer's directory of services
    /// @param __registryCoordinator the coordinator of operators and quorums, already set up
    /// @param __stakeRegistry the coordinator's registry of stakes
    constructor(address __avsDirectory, address __registryCoordinator, address __stakeRegistry)
        BLSSignatureChecker(IRegistryCoordinator(__registryCoordinator))
    {
        if (__avsDirectory == address(0)) revert ZeroAddress();
        require(__stakeRegistry == address(stakeRegistry), "not the coordinator's stakes");
        _AVS_DIRECTORY = IAVSDirectory(__avsDirectory);
        _disableInitializers();
    }

    /// @inheritdoc IMachServiceManager
    function initialize(
        address pauserRegistry_,
        uint256 initialPausedStatus_,
        address initialOwner_,
        address alertConfirmer_,
        address whitelister_,
        uint256[] calldata rollupChainIDs_
    ) external initializer {
        _initializePauser(pauserRegistry_, initialPausedStatus_);
        _setOwner(initialOwner_);
        _setConfirmer(alertConfirmer_);
        _setWhitelister(whitelister_);
        _setQuorumThresholdPercentage(DEFAULT_THRESHOLD_PERCENTAGE);
        // Set here and not where it is declared: a proxy's storage never sees the implementation's initial values.
        allowlistEnabled = true;
        emit AllowlistEnabled();
        for (uint256 i = 0; i < rollupChainIDs_.length; ++i) {
            _setRollupChainID(rollupChainIDs_[i], true);
        }
    }

    /// @inheritdoc IMachServiceManager
    function confirmAlert(
        AlertHeader calldata alertHeader,
        NonSignerStakesAndSignature calldata nonSignerStakesAndSignature
    ) external whenNotPaused {
        if (msg.sender != alertConfirmer) {
            revert InvalidConfirmer();
        }
        // solhint-disable-next-line avoid-tx-origin
        if (tx.origin != msg.sender) revert InvalidSender();
        Alerts storage alerts = _alerts[alertHeader.rollupChainID];
        if (!alerts.accepted) revert InvalidRollupChainID();
        bytes32 messageHash = alertHeader.messageHash;
        require(messageHash != 0, "message hash is zero");
        if (alerts.older[messageHash] != 0) {
            if (alerts.resolved[messageHash]) revert ResolvedAlert();
            revert AlreadyAdded();
        }
        uint32 referenceBlockNumber = alertHeader.referenceBlockNumber;
        if (referenceBlockNumber >= block.number || block.number - referenceBlockNumber > MAX_REFERENCE_BLOCK_AGE) {
            revert InvalidReferenceBlockNum();
        }

        bytes32 alertHeaderHash = keccak256(abi.encode(messageHash, referenceBlockNumber, alertHeader.rollupChainID));
        _requireQuorums(alertHeader, alertHeaderHash, nonSignerStakesAndSignature);

        bytes32 newest = alerts.newest;
        alerts.older[messageHash] = newest == 0 ? messageHash : newest;
        alerts.newest = messageHash;
        ++alerts.total;
        emit AlertConfirmed(alertHeaderHash, messageHash);
    }

    /// @inheritdoc IMachServiceManager
    function removeAlert(uint256 rollupChainId, bytes32 messageHash) external onlyOwner {
        Alerts storage alerts = _alerts[rollupChainId];
        if (!contains(rollupChainId, messageHash)) {
            // An alert of a rollup that is no longer accepted can still be resolved.
            if (!alerts.accepted) revert InvalidRollupChainID();
            revert NotAdded();
        }
        alerts.resolved[messageHash] = true;
        --alerts.total;
        emit AlertRemoved(messageHash, msg.sender);
    }

    /// @inheritdoc IMachServiceManager
    function setRollupChainID(uint256 rollupChainId, bool status) external onlyOwner {
        _setRollupChainID(rollupChainId, status);
    }

    /// @inheritdoc IMachServiceManager
    function updateQuorumThresholdPercentage(uint8 thresholdPercentage) external onlyOwner {
        _setQuorumThresholdPercentage(thresholdPercentage);
    }

    /// @inheritdoc IMachServiceManager
    function setConfirmer(address confirmer) external onlyOwner {
        _setConfirmer(confirmer);
    }

    /// @inheritdoc IMachServiceManager
    function setWhitelister(address whitelister) external onlyOwner {
        _setWhitelister(whitelister);
    }

    /// @inheritdoc IMachServiceManager
    function enableAllowlist() external onlyOwner {
        if (allowlistEnabled) revert AlreadyEnabled();
        allowlistEnabled = true;
        emit AllowlistEnabled();
    }

    /// @inheritdoc IMachServiceManager
    function disableAllowlist() external onlyOwner {
        if (!allowlistEnabled) revert AlreadyDisabled();
        allowlistEnabled = false;
        emit AllowlistDisabled();
    }

    /// @inheritdoc IMachServiceManager
    function addToAllowlist(address operator) external onlyWhitelister {
        _allow(operator);
    }

    /// @inheritdoc IMachServiceManager
    function removeFromAllowlist(address operator) external onlyWhitelister {
        _disallow(operator);
    }

    /// @inheritdoc IMachServiceManager
    function allowOperators(address[] calldata operators) external onlyWhitelister {
        for (uint256 i = 0; i < operators.length; ++i) {
            _allow(operators[i]);
        }
    }

    /// @inheritdoc IMachServiceManager
    function disallowOperators(address[] calldata operators) external onlyWhitelister {
        for (uint256 i = 0; i < operators.length; ++i) {
            _disallow(operators[i]);
        }
    }

    /// @inheritdoc IMachServiceManager
    function registerOperatorToAVS(address operator, SignatureWithSaltAndExpiry calldata operatorSignature)
        external
        whenNotPaused
        onlyRegistryCoordinator
    {
        if (allowlistEnabled && !allowlist[operator]) revert NotAdded();
        _AVS_DIRECTORY.registerOperatorToAVS(operator, operatorSignature);
        emit OperatorAdded(operator);
    }

    /// @inheritdoc IMachServiceManager
    function deregisterOperatorFromAVS(address operator) external onlyRegistryCoordinator {
        _AVS_DIRECTORY.deregisterOperatorFromAVS(operator);
        emit OperatorRemoved(operator);
    }

    /// @inheritdoc IMachServiceManager
    function updateAVSMetadataURI(string calldata _metadataURI) external onlyOwner {
        _AVS_DIRECTORY.updateAVSMetadataURI(_metadataURI);
    }

    /// @inheritdoc IMachServiceManager
    function totalAlerts(uint256 rollupChainId) external view returns (uint256) {
        return _alerts[rollupChainId].total;
    }

    /// @inheritdoc IMachServiceManager
    function queryMessageHashes(uint256 rollupChainId, uint256 start, uint256 querySize)
        external
        view
        returns (bytes32[] memory)
    {
        Alerts storage alerts = _alerts[rollupChainId];
        uint256 position = alerts.total;
        if (start >= position) revert InvalidStartIndex();
        uint256 size = position - start;
        if (querySize < size) size = querySize;
        bytes32[] memory messageHashes = new bytes32[](size);
        // From the newest down to `start`, and only what lies before start + size is wanted.
        for (bytes32 alert = alerts.newest; position > start; alert = alerts.older[alert]) {
            if (alerts.resolved[alert]) continue;
            --position;
            if (position < start + size) messageHashes[position - start] = alert;
        }
        return messageHashes;
    }

    /// @inheritdoc IMachServiceManager
    /// @dev The ABI has the parameter without a name, as the getter of a mapping.
    function rollupChainIDs(uint256) external view returns (bool) {
        return _alerts[uint256(bytes32(msg.data[4:36]))].accepted;
    }

    /// @inheritdoc IMachServiceManager
    function avsDirectory() external view returns (address) {
        return address(_AVS_DIRECTORY);
    }

    /// @inheritdoc IMachServiceManager
    function getOperatorRestakedStrategies(address operator) external view returns (address[] memory) {
        return _strategies(registryCoordinator.getCurrentQuorumBitmap(registryCoordinator.getOperatorId(operator)));
    }

    /// @inheritdoc IMachServiceManager
    function getRestakeableStrategies() external view returns (address[] memory) {
        return _strategies(type(uint256).max);
    }

    /// @inheritdoc IMachServiceManager
    function contains(uint256 rollupChainId, bytes32 messageHash) public view returns (bool) {
        Alerts storage alerts = _alerts[rollupChainId];
        return alerts.older[messageHash] != 0 && !alerts.resolved[messageHash];
    }

    function _setRollupChainID(uint256 rollupChainId, bool status) private {
        Alerts storage alerts = _alerts[rollupChainId];
        if (alerts.accepted == status) revert NoStatusChange();
        alerts.accepted = status;
        emit RollupChainIDUpdated(rollupChainId, status);
    }

    function _setQuorumThresholdPercentage(uint8 thresholdPercentage) private {
        if (thresholdPercentage == 0 || thresholdPercentage > THRESHOLD_DENOMINATOR) {
            revert InvalidQuorumThresholdPercentage();
        }
        quorumThresholdPercentage = thresholdPercentage;
        emit QuorumThresholdPercentageChanged(thresholdPercentage);
    }

    function _setConfirmer(address confirmer) private {
        if (confirmer == address(0)) revert ZeroAddress();
        emit AlertConfirmerChanged(alertConfirmer, confirmer);
        alertConfirmer = confirmer;
    }

    function _setWhitelister(address whitelister_) private {
        if (whitelister_ == address(0)) revert ZeroAddress();
        emit WhitelisterChanged(whitelister, whitelister_);
        whitelister = whitelister_;
    }

    function _allow(address operator) private {
        if (operator == address(0)) revert ZeroAddress();
        if (allowlist[operator]) revert AlreadyInAllowlist();
        allowlist[operator] = true;
        emit OperatorAllowed(operator);
    }

    function _disallow(address operator) private {
        if (!allowlist[operator]) revert NotAdded();
        allowlist[operator] = false;
        emit OperatorDisallowed(operator);
    }

    /// @dev Reverts unless at least the header's percentage of every named quorum's stake signed, and that percentage
    /// is at least the contract's.
    function _requireQuorums(
        AlertHeader calldata alertHeader,
        bytes32 alertHeaderHash,
        NonSignerStakesAndSignature calldata nonSignerStakesAndSignature
    ) private view {
        bytes calldata percentages = alertHeader.quorumThresholdPercentages;
        uint256 quorums = percentages.length;
        if (quorums == 0 || quorums != alertHeader.quorumNumbers.length) revert InvalidQuorumParam();
        uint256 minimum = quorumThresholdPercentage;
        for (uint256 i = 0; i < quorums; ++i) {
            uint256 percentage = uint8(percentages[i]);
            if (percentage > THRESHOLD_DENOMINATOR) revert InvalidQuorumThresholdPercentage();
            if (percentage < minimum) revert InsufficientThresholdPercentages();
        }
        (QuorumStakeTotals memory totals,) = _checkSignatures(
            alertHeaderHash, alertHeader.quorumNumbers, alertHeader.referenceBlockNumber, nonSignerStakesAndSignature
        );
        for (uint256 i = 0; i < quorums; ++i) {
            uint256 signed = totals.signedStakeForQuorum[i];
            uint256 total = totals.totalStakeForQuorum[i];
            // A quorum that everyone has left is never signed: its percentages would hold of nothing.
            if (signed == 0 || signed * THRESHOLD_DENOMINATOR < total * uint8(percentages[i])) {
                revert InsufficientThreshold();
            }
        }
    }

    /// @dev The strategies of the quorums of `bitmap`, quorum by quorum.
    function _strategies(uint256 bitmap) private view returns (address[] memory strategies) {
        uint8 quorums = registryCoordinator.quorumCount();
        uint256 count = 0;
        for (uint8 quorum = 0; quorum < quorums; ++quorum) {
            if ((bitmap >> quorum) & 1 == 1) count += stakeRegistry.strategyParamsLength(quorum);
        }
        strategies = new address[](count);
        uint256 next = 0;
        for (uint8 quorum = 0; quorum < quorums; ++quorum) {
            if ((bitmap >> quorum) & 1 == 0) continue;
            uint256 length = stakeRegistry.strategyParamsLength(quorum);
            for (uint256 i = 0; i < length; ++i) {
                strategies[next] = stakeRegistry.strategyParamsByIndex(quorum, i).strategy;
                ++next;
            }
        }
    }
}
