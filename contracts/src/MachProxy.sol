// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {TransparentUpgradeableProxy} from "@openzeppelin/contracts/proxy/transparent/TransparentUpgradeableProxy.sol";

/// @title The proxy in front of Mach's contracts
/// @notice OpenZeppelin 5's transparent proxy under a name that is not also that of EigenLayer's older one. It keeps
/// its admin in its code instead of in storage, which spares every call one cold read (2,100 gas). The constructor
/// deploys the proxy's own `ProxyAdmin`, whose `upgradeAndCall` upgrades it; the admin's address stands in the
/// `AdminChanged` event and in the admin slot of ERC-1967.
contract MachProxy is TransparentUpgradeableProxy {
    /// @param logic the first implementation; must have code
    /// @param adminOwner the owner of the new `ProxyAdmin`
    /// @param data the first call to make through the proxy, or nothing
    constructor(address logic, address adminOwner, bytes memory data)
        payable
        TransparentUpgradeableProxy(logic, adminOwner, data)
    {}

    /// @dev EigenLayer's coordinator must know the service manager's address, and the service manager's implementation
    /// the coordinator's: the proxy is deployed first, in front of an empty contract that holds nothing to seize, and
    /// is upgraded and initialized in one call.
    function _unsafeAllowUninitialized() internal pure override returns (bool) {
        return true;
    }
}
