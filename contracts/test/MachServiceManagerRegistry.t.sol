// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {MachProxy} from "../src/MachProxy.sol";
import {MachServiceManagerRegistry} from "../src/MachServiceManagerRegistry.sol";
import {ZeroAddress} from "../src/access/Owned.sol";
import {IMachServiceManagerRegistry} from "../src/interfaces/IMachServiceManagerRegistry.sol";
import {MachFixture} from "./base/MachFixture.sol";

contract MachServiceManagerRegistryTest is MachFixture {
    MachServiceManagerRegistry private registry;

    function setUp() public {
        vm.roll(100);
        _deployMach(50_400, _oneQuorum());
        _joinMany(3);
        vm.roll(200);
        registry = MachServiceManagerRegistry(
            address(
                new MachProxy(
                    address(new MachServiceManagerRegistry()),
                    address(this),
                    abi.encodeCall(MachServiceManagerRegistry.initialize, ())
                )
            )
        );
    }

    function testFollowsTheServiceManagersAlerts() public {
        vm.assertFalse(registry.hasActiveAlerts(ROLLUP), "none registered");
        registry.registerServiceManager(ROLLUP, address(manager));
        vm.assertFalse(registry.hasActiveAlerts(ROLLUP), "no alert");
        _confirm("lie", _range(0, 0));
        vm.assertTrue(registry.hasActiveAlerts(ROLLUP), "an alert");
        vm.assertFalse(registry.hasActiveAlerts(ROLLUP + 1), "another rollup");
        manager.removeAlert(ROLLUP, "lie");
        vm.assertFalse(registry.hasActiveAlerts(ROLLUP), "resolved");
    }

    function testRegistersAndDeregisters() public {
        vm.expectEmit();
        emit IMachServiceManagerRegistry.ServiceManagerRegistered(ROLLUP, address(manager), address(this));
        registry.registerServiceManager(ROLLUP, address(manager));
        vm.assertEq(registry.serviceManagers(ROLLUP), address(manager));
        vm.expectRevert(IMachServiceManagerRegistry.AlreadyAdded.selector);
        registry.registerServiceManager(ROLLUP, address(manager));
        vm.expectRevert(IMachServiceManagerRegistry.NotAdded.selector);
        registry.deregisterServiceManager(ROLLUP, address(this));
        vm.expectEmit();
        emit IMachServiceManagerRegistry.ServiceManagerDeregistered(ROLLUP, address(manager), address(this));
        registry.deregisterServiceManager(ROLLUP, address(manager));
        vm.assertEq(registry.serviceManagers(ROLLUP), address(0));
        vm.assertFalse(registry.hasActiveAlerts(ROLLUP));
        vm.expectRevert(IMachServiceManagerRegistry.NotAdded.selector);
        registry.deregisterServiceManager(ROLLUP, address(manager));
    }

    function testReplacesAtOnce() public {
        registry.registerServiceManager(ROLLUP, address(this));
        vm.expectEmit();
        emit IMachServiceManagerRegistry.ServiceManagerDeregistered(ROLLUP, address(this), address(this));
        vm.expectEmit();
        emit IMachServiceManagerRegistry.ServiceManagerRegistered(ROLLUP, address(manager), address(this));
        registry.registerServiceManager(ROLLUP, address(manager));
        vm.assertEq(registry.serviceManagers(ROLLUP), address(manager));
    }

    function testRefusesWhatCannotAnswer() public {
        vm.expectRevert(ZeroAddress.selector);
        registry.registerServiceManager(ROLLUP, address(0));
        vm.expectRevert(ZeroAddress.selector);
        registry.deregisterServiceManager(ROLLUP, address(0));
        vm.expectRevert("service manager has no code");
        registry.registerServiceManager(ROLLUP, address(0xE0A));
    }

    function testIsTheOwners() public {
        vm.assertEq(registry.owner(), address(this));
        vm.expectRevert("already initialized");
        registry.initialize();
        registry.transferOwnership(confirmer);
        vm.expectRevert("caller is not the owner");
        registry.registerServiceManager(ROLLUP, address(manager));
        vm.expectRevert("caller is not the owner");
        registry.deregisterServiceManager(ROLLUP, address(manager));
        MachServiceManagerRegistry bare = new MachServiceManagerRegistry();
        vm.expectRevert("already initialized");
        bare.initialize();
    }
}
