// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IMachServiceManager} from "./interfaces/IMachServiceManager.sol";
import {IMachServiceManagerRegistry} from "./interfaces/IMachServiceManagerRegistry.sol";
import {OneTimeInitializer} from "./access/OneTimeInitializer.sol";
import {Owned, ZeroAddress} from "./access/Owned.sol";

/// @title The one address that says whether a rollup has alerts, whichever contract holds them
contract MachServiceManagerRegistry is IMachServiceManagerRegistry, OneTimeInitializer, Owned {
    /// @inheritdoc IMachServiceManagerRegistry
    mapping(uint256 => address) public serviceManagers;

    uint256[48] private __gap;

    constructor() {
        _disableInitializers();
    }

    /// @inheritdoc IMachServiceManagerRegistry
    function initialize() external initializer {
        _setOwner(msg.sender);
    }

    /// @inheritdoc IMachServiceManagerRegistry
    /// @dev A replacement is one transaction, so that no rollup is without an answer between two.
    function registerServiceManager(uint256 rollupChainId_, address serviceManager_) external onlyOwner {
        if (serviceManager_ == address(0)) revert ZeroAddress();
        address previous = serviceManagers[rollupChainId_];
        if (previous == serviceManager_) revert AlreadyAdded();
        // An address that cannot answer would make hasActiveAlerts revert for everyone.
        require(serviceManager_.code.length != 0, "service manager has no code");
        serviceManagers[rollupChainId_] = serviceManager_;
        if (previous != address(0)) emit ServiceManagerDeregistered(rollupChainId_, previous, msg.sender);
        emit ServiceManagerRegistered(rollupChainId_, serviceManager_, msg.sender);
    }

    /// @inheritdoc IMachServiceManagerRegistry
    function deregisterServiceManager(uint256 rollupChainId_, address serviceManager_) external onlyOwner {
        if (serviceManager_ == address(0)) revert ZeroAddress();
        if (serviceManagers[rollupChainId_] != serviceManager_) revert NotAdded();
        delete serviceManagers[rollupChainId_];
        emit ServiceManagerDeregistered(rollupChainId_, serviceManager_, msg.sender);
    }

    /// @inheritdoc IMachServiceManagerRegistry
    function hasActiveAlerts(uint256 rollupChainId_) external view returns (bool) {
        address serviceManager = serviceManagers[rollupChainId_];
        return serviceManager != address(0) && IMachServiceManager(serviceManager).totalAlerts(rollupChainId_) != 0;
    }
}
