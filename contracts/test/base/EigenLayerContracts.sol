// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {G1Point, G2Point} from "../../src/libraries/BN254.sol";
import {
    IAVSDirectory,
    IRegistryCoordinator,
    SignatureWithSaltAndExpiry,
    StrategyParams
} from "../../src/interfaces/IEigenLayer.sol";

// What the tests call of the real contracts to set them up, written down from the deployed contracts' ABIs.

interface IProxyAdmin {
    function upgrade(address proxy, address implementation) external;
    function upgradeAndCall(address proxy, address implementation, bytes calldata data) external payable;
}

interface IPauserRegistryAdmin {
    function setIsPauser(address newPauser, bool canPause) external;
}

interface IDelegationManagerSetup {
    struct OperatorDetails {
        address earningsReceiver;
        address delegationApprover;
        uint32 stakerOptOutWindowBlocks;
    }

    function initialize(
        address initialOwner,
        address pauserRegistry,
        uint256 initialPausedStatus,
        uint256 minWithdrawalDelayBlocks,
        address[] calldata strategies,
        uint256[] calldata withdrawalDelayBlocks
    ) external;
    function registerAsOperator(OperatorDetails calldata details, string calldata metadataURI) external;
}

interface IStrategyManagerSetup {
    function initialize(address initialOwner, address whitelister, address pauserRegistry, uint256 initialPausedStatus)
        external;
    function addStrategiesToDepositWhitelist(address[] calldata strategies, bool[] calldata thirdPartyTransfers)
        external;
    function depositIntoStrategy(address strategy, address token, uint256 amount) external returns (uint256 shares);
}

/// @dev Slasher, EigenPodManager and AVSDirectory share this initializer.
interface ICoreSetup {
    function initialize(address initialOwner, address pauserRegistry, uint256 initialPausedStatus) external;
}

interface IStrategySetup {
    function initialize(address underlyingToken, address pauserRegistry) external;
}

interface IToken {
    function transfer(address to, uint256 amount) external returns (bool);
    function approve(address spender, uint256 amount) external returns (bool);
}

interface IAVSDirectorySetup is IAVSDirectory {
    function calculateOperatorAVSRegistrationDigestHash(address operator, address avs, bytes32 salt, uint256 expiry)
        external
        view
        returns (bytes32);
    function avsOperatorStatus(address avs, address operator) external view returns (uint8);
}

interface IRegistryCoordinatorSetup is IRegistryCoordinator {
    struct OperatorSetParam {
        uint32 maxOperatorCount;
        uint16 kickBIPsOfOperatorStake;
        uint16 kickBIPsOfTotalStake;
    }

    struct PubkeyRegistrationParams {
        G1Point pubkeyRegistrationSignature;
        G1Point pubkeyG1;
        G2Point pubkeyG2;
    }

    function initialize(
        address initialOwner,
        address churnApprover,
        address ejector,
        address pauserRegistry,
        uint256 initialPausedStatus,
        OperatorSetParam[] calldata operatorSetParams,
        uint96[] calldata minimumStakes,
        StrategyParams[][] calldata strategyParams
    ) external;
    function pubkeyRegistrationMessageHash(address operator) external view returns (G1Point memory);
    function registerOperator(
        bytes calldata quorumNumbers,
        string calldata socket,
        PubkeyRegistrationParams calldata params,
        SignatureWithSaltAndExpiry calldata operatorSignature
    ) external;
    function deregisterOperator(bytes calldata quorumNumbers) external;
    function ejectOperator(address operator, bytes calldata quorumNumbers) external;
    function updateOperators(address[] calldata operators) external;
    function updateOperatorsForQuorum(address[][] calldata operatorsPerQuorum, bytes calldata quorumNumbers) external;
}

interface IOperatorStateRetriever {
    struct Operator {
        address operator;
        bytes32 operatorId;
        uint96 stake;
    }

    struct CheckSignaturesIndices {
        uint32[] nonSignerQuorumBitmapIndices;
        uint32[] quorumApkIndices;
        uint32[] totalStakeIndices;
        uint32[][] nonSignerStakeIndices;
    }

    function getOperatorState(address registryCoordinator, bytes calldata quorumNumbers, uint32 blockNumber)
        external
        view
        returns (Operator[][] memory);
    function getCheckSignaturesIndices(
        address registryCoordinator,
        uint32 referenceBlockNumber,
        bytes calldata quorumNumbers,
        bytes32[] calldata nonSignerOperatorIds
    ) external view returns (CheckSignaturesIndices memory);
}
