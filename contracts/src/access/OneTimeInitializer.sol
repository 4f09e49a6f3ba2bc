// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title A guard that lets a contract behind a proxy be initialized once
/// @notice OpenZeppelin 5 announces `Initialized(uint64)`; Mach's ABI has had `Initialized(uint8)` from the start, and
/// indexers filter on it, so this guard is our own.
abstract contract OneTimeInitializer {
    uint8 private constant LOCKED = type(uint8).max;

    uint8 private _initializedVersion;

    /// @notice The contract was initialized to `version`; 255 locks an implementation for good.
    event Initialized(uint8 version);

    modifier initializer() {
        require(_initializedVersion == 0, "already initialized");
        _initializedVersion = 1;
        _;
        emit Initialized(1);
    }

    /// @dev For constructors: nobody can initialize the bare implementation and own it.
    function _disableInitializers() internal {
        _initializedVersion = LOCKED;
        emit Initialized(LOCKED);
    }
}
