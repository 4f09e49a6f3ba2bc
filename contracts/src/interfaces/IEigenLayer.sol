// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

// What Mach calls of EigenLayer's M2 core and middleware v0.1.2, written down from the deployed contracts' ABIs.

/// @notice An operator's ECDSA signature by which EigenLayer lets it join a service.
struct SignatureWithSaltAndExpiry {
    bytes signature;
    bytes32 salt;
    uint256 expiry;
}

/// @notice One strategy that counts in a quorum, and how much its shares weigh (1e18 is one to one).
struct StrategyParams {
    address strategy;
    uint96 multiplier;
}

/// @title The addresses that may pause and unpause
interface IPauserRegistry {
    /// @notice Whether `account` may pause.
    function isPauser(address account) external view returns (bool);

    /// @notice The one account that may unpause.
    function unpauser() external view returns (address);
}

/// @title EigenLayer's directory of services (AVSs) and their operators
interface IAVSDirectory {
    /// @notice Enters `operator` as an operator of the calling service.
    function registerOperatorToAVS(address operator, SignatureWithSaltAndExpiry calldata operatorSignature) external;

    /// @notice Strikes `operator` off the calling service.
    function deregisterOperatorFromAVS(address operator) external;

    /// @notice Announces where the calling service's description lies.
    function updateAVSMetadataURI(string calldata metadataURI) external;
}

/// @title EigenLayer's delegation manager
interface IDelegationManager {
    /// @notice Blocks that a withdrawal waits at least.
    function minWithdrawalDelayBlocks() external view returns (uint256);
}

/// @title The history of every operator's stake in every quorum
interface IStakeRegistry {
    /// @notice The delegation manager that the stakes come from.
    function delegation() external view returns (IDelegationManager);

    /// @notice Total stake of a quorum at a block; reverts where history entry `index` is not the one in force then.
    function getTotalStakeAtBlockNumberFromIndex(uint8 quorumNumber, uint32 blockNumber, uint256 index)
        external
        view
        returns (uint96);

    /// @notice One operator's stake in a quorum at a block; reverts where entry `index` is not the one in force then.
    function getStakeAtBlockNumberAndIndex(uint8 quorumNumber, uint32 blockNumber, bytes32 operatorId, uint256 index)
        external
        view
        returns (uint96);

    /// @notice How many strategies count in a quorum.
    function strategyParamsLength(uint8 quorumNumber) external view returns (uint256);

    /// @notice The strategy of a quorum at `index`.
    function strategyParamsByIndex(uint8 quorumNumber, uint256 index) external view returns (StrategyParams memory);
}

/// @title The history of every quorum's aggregate public key
interface IBLSApkRegistry {
    /// @notice First 24 bytes of keccak256(x, y) of a quorum's aggregate key at a block; reverts where history entry
    /// `index` is not the one in force then.
    function getApkHashAtBlockNumberAndIndex(uint8 quorumNumber, uint32 blockNumber, uint256 index)
        external
        view
        returns (bytes24);
}

/// @title The coordinator of a service's operators and quorums
interface IRegistryCoordinator {
    /// @notice The coordinator's owner.
    function owner() external view returns (address);

    /// @notice The registry of stakes.
    function stakeRegistry() external view returns (IStakeRegistry);

    /// @notice The registry of aggregate public keys.
    function blsApkRegistry() external view returns (IBLSApkRegistry);

    /// @notice How many quorums there are; they are numbered from zero.
    function quorumCount() external view returns (uint8);

    /// @notice The block at which all stakes of a quorum were last brought up to date.
    function quorumUpdateBlockNumber(uint8 quorumNumber) external view returns (uint256);

    /// @notice The quorums of an operator at a block, one bit each; reverts where history entry `index` is not the one
    /// in force then.
    function getQuorumBitmapAtBlockNumberByIndex(bytes32 operatorId, uint32 blockNumber, uint256 index)
        external
        view
        returns (uint192);

    /// @notice keccak256(x, y) of the operator's G1 public key; zero for an address that never registered.
    function getOperatorId(address operator) external view returns (bytes32);

    /// @notice The quorums of an operator now, one bit each.
    function getCurrentQuorumBitmap(bytes32 operatorId) external view returns (uint192);
}
