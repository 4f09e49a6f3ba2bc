// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {IPauserRegistry} from "../interfaces/IEigenLayer.sol";
import {ZeroAddress} from "./Owned.sol";

/// @title Pausing as EigenLayer does it
/// @notice A bit mask says what is paused. Any pauser of the registry may set bits, only its unpauser may clear them.
abstract contract PausableByRegistry {
    uint256 private constant ALL_PAUSED = type(uint256).max;

    /// @notice Who may pause and unpause.
    IPauserRegistry public pauserRegistry;

    uint256 private _pausedStatus;

    /// @notice `account` set bits; the mask is now `newPausedStatus`.
    event Paused(address indexed account, uint256 newPausedStatus);

    /// @notice `account` cleared bits; the mask is now `newPausedStatus`.
    event Unpaused(address indexed account, uint256 newPausedStatus);

    /// @notice Another registry says from now on who may pause and unpause.
    event PauserRegistrySet(address pauserRegistry, address newPauserRegistry);

    modifier onlyPauser() {
        require(pauserRegistry.isPauser(msg.sender), "caller is not a pauser");
        _;
    }

    modifier onlyUnpauser() {
        require(msg.sender == pauserRegistry.unpauser(), "caller is not the unpauser");
        _;
    }

    /// @dev Whichever bit is set: a contract that is paused in part is not trusted with the rest.
    modifier whenNotPaused() {
        require(_pausedStatus == 0, "paused");
        _;
    }

    /// @notice Sets bits. The new mask must hold every bit of the old one.
    function pause(uint256 newPausedStatus) external onlyPauser {
        require(_pausedStatus & newPausedStatus == _pausedStatus, "pause would clear a bit");
        _pausedStatus = newPausedStatus;
        emit Paused(msg.sender, newPausedStatus);
    }

    /// @notice Sets every bit.
    function pauseAll() external onlyPauser {
        _pausedStatus = ALL_PAUSED;
        emit Paused(msg.sender, ALL_PAUSED);
    }

    /// @notice Clears bits. The new mask may hold no bit that the old one lacks.
    function unpause(uint256 newPausedStatus) external onlyUnpauser {
        require(_pausedStatus & newPausedStatus == newPausedStatus, "unpause would set a bit");
        _pausedStatus = newPausedStatus;
        emit Unpaused(msg.sender, newPausedStatus);
    }

    /// @notice Lets another registry say who may pause and unpause. Only the present unpauser.
    function setPauserRegistry(address newPauserRegistry) external onlyUnpauser {
        _setPauserRegistry(newPauserRegistry);
    }

    /// @notice The mask: zero where nothing is paused.
    function paused() external view returns (uint256) {
        return _pausedStatus;
    }

    /// @notice Whether bit `index` of the mask is set.
    function paused(uint8 index) external view returns (bool) {
        return (_pausedStatus >> index) & 1 == 1;
    }

    function _initializePauser(address pauserRegistry_, uint256 initialPausedStatus) internal {
        _setPauserRegistry(pauserRegistry_);
        _pausedStatus = initialPausedStatus;
        emit Paused(msg.sender, initialPausedStatus);
    }

    function _setPauserRegistry(address newPauserRegistry) private {
        if (newPauserRegistry == address(0)) revert ZeroAddress();
        emit PauserRegistrySet(address(pauserRegistry), newPauserRegistry);
        pauserRegistry = IPauserRegistry(newPauserRegistry);
    }
}
