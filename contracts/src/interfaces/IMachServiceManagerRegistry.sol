// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title The service manager of every rollup
interface IMachServiceManagerRegistry {
    /// @notice A service manager answers for a rollup.
    event ServiceManagerRegistered(uint256 indexed rollupChainId, address serviceManager, address sender);

    /// @notice A service manager no longer answers for a rollup.
    event ServiceManagerDeregistered(uint256 indexed rollupChainId, address serviceManager, address sender);

    /// @notice This service manager answers for the rollup already.
    error AlreadyAdded();
    /// @notice This service manager does not answer for the rollup.
    error NotAdded();

    /// @notice Sets the contract up behind its proxy, once; the caller becomes its owner.
    function initialize() external;

    /// @notice Lets a service manager answer for a rollup, in place of the one before. Only the owner.
    function registerServiceManager(uint256 rollupChainId_, address serviceManager_) external;

    /// @notice Lets a service manager no longer answer for a rollup. Only the owner.
    function deregisterServiceManager(uint256 rollupChainId_, address serviceManager_) external;

    /// @notice Whether the rollup's service manager has an alert that is not resolved; false where there is none.
    function hasActiveAlerts(uint256 rollupChainId_) external view returns (bool);

    /// @notice The service manager that answers for a rollup, or zero.
    function serviceManagers(uint256 rollupChainId) external view returns (address);
}
