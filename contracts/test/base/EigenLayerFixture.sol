// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {StrategyParams} from "../../src/interfaces/IEigenLayer.sol";
import {
    IAVSDirectorySetup,
    ICoreSetup,
    IDelegationManagerSetup,
    IOperatorStateRetriever,
    IPauserRegistryAdmin,
    IProxyAdmin,
    IRegistryCoordinatorSetup,
    IStrategyManagerSetup,
    IStrategySetup,
    IToken
} from "./EigenLayerContracts.sol";
import {Test} from "./Test.sol";

/// @notice EigenLayer's M2 core and middleware v0.1.2 as deployed: the real bytecode, nothing stood in for.
/// The test contract owns all of it.
abstract contract EigenLayerFixture is Test {
    string private constant ARTIFACT = "../python/mach/chain/artifacts/eigenlayer_m2.json";

    uint256 internal constant SHARE = 1e18;

    address internal pauser = address(uint160(uint256(keccak256("pauser"))));

    IProxyAdmin internal proxyAdmin;
    address internal pauserRegistry;
    address internal emptyContract;
    IDelegationManagerSetup internal delegationManager;
    IStrategyManagerSetup internal strategyManager;
    IAVSDirectorySetup internal directory;
    IToken internal token;
    address internal strategy;
    IRegistryCoordinatorSetup internal coordinator;
    address internal stakes;
    address internal apks;
    IOperatorStateRetriever internal retriever;

    /// @dev Deploys the core. `withdrawalDelay` is EigenLayer's minWithdrawalDelayBlocks.
    function _deployCore(uint256 withdrawalDelay) internal {
        require(vm.exists(ARTIFACT), "eigenlayer_m2.json is missing: run `make eigenlayer`");
        proxyAdmin = IProxyAdmin(_create("ProxyAdmin", ""));
        address[] memory pausers = new address[](1);
        pausers[0] = pauser;
        pauserRegistry = _create("PauserRegistry", abi.encode(pausers, address(this)));
        emptyContract = _create("EmptyContract", "");

        address delegation = _proxy();
        address strategies = _proxy();
        address slasher = _proxy();
        address pods = _proxy();
        address services = _proxy();
        delegationManager = IDelegationManagerSetup(delegation);
        strategyManager = IStrategyManagerSetup(strategies);
        directory = IAVSDirectorySetup(services);

        address depositContract = _create("ETHPOSDepositMock", "");
        address pod = _create("EigenPod", abi.encode(depositContract, pods, uint64(1)));
        address beacon = _create("UpgradeableBeacon", abi.encode(pod));
        proxyAdmin.upgradeAndCall(
            delegation,
            _create("DelegationManager", abi.encode(strategies, slasher, pods)),
            abi.encodeCall(
                IDelegationManagerSetup.initialize,
                (address(this), pauserRegistry, 0, withdrawalDelay, new address[](0), new uint256[](0))
            )
        );
        proxyAdmin.upgradeAndCall(
            strategies,
            _create("StrategyManager", abi.encode(delegation, pods, slasher)),
            abi.encodeCall(IStrategyManagerSetup.initialize, (address(this), address(this), pauserRegistry, 0))
        );
        bytes memory initialize = abi.encodeCall(ICoreSetup.initialize, (address(this), pauserRegistry, 0));
        proxyAdmin.upgradeAndCall(slasher, _create("Slasher", abi.encode(strategies, delegation)), initialize);
        proxyAdmin.upgradeAndCall(
            pods,
            _create("EigenPodManager", abi.encode(depositContract, beacon, strategies, slasher, delegation)),
            initialize
        );
        proxyAdmin.upgradeAndCall(services, _create("AVSDirectory", abi.encode(delegation)), initialize);
        _deployStrategy();
    }

    /// @dev Deploys the middleware of a service at `serviceManager`, with one quorum per multiplier, each over the one
    /// strategy.
    function _deployMiddleware(address serviceManager, uint96[] memory multipliers) internal {
        address rc = _proxy();
        stakes = _proxy();
        apks = _proxy();
        address indices = _proxy();
        proxyAdmin.upgrade(apks, _create("BLSApkRegistry", abi.encode(rc)));
        proxyAdmin.upgrade(indices, _create("IndexRegistry", abi.encode(rc)));
        proxyAdmin.upgrade(stakes, _create("StakeRegistry", abi.encode(rc, delegationManager)));

        uint256 quorums = multipliers.length;
        IRegistryCoordinatorSetup.OperatorSetParam[] memory sets =
            new IRegistryCoordinatorSetup.OperatorSetParam[](quorums);
        uint96[] memory minimumStakes = new uint96[](quorums);
        StrategyParams[][] memory params = new StrategyParams[][](quorums);
        for (uint256 i = 0; i < quorums; ++i) {
            sets[i] = IRegistryCoordinatorSetup.OperatorSetParam(200, 11_000, 1_001);
            minimumStakes[i] = 1;
            params[i] = new StrategyParams[](1);
            params[i][0] = StrategyParams(strategy, multipliers[i]);
        }
        proxyAdmin.upgradeAndCall(
            rc,
            _create("RegistryCoordinator", abi.encode(serviceManager, stakes, apks, indices)),
            abi.encodeCall(
                IRegistryCoordinatorSetup.initialize,
                (address(this), address(this), address(this), pauserRegistry, 0, sets, minimumStakes, params)
            )
        );
        coordinator = IRegistryCoordinatorSetup(rc);
        retriever = IOperatorStateRetriever(_create("OperatorStateRetriever", ""));
    }

    /// @dev Deploys a contract of EigenLayer from its creation code.
    function _create(string memory name, bytes memory arguments) internal returns (address deployed) {
        bytes memory code = vm.parseJsonBytes(vm.readFile(ARTIFACT), string.concat(".", name, ".bytecode"));
        bytes memory creation = bytes.concat(code, arguments);
        assembly ("memory-safe") {
            deployed := create(0, add(creation, 0x20), mload(creation))
        }
        require(deployed != address(0), string.concat("deployment failed: ", name));
    }

    function _setPauser(address account, bool canPause) internal {
        IPauserRegistryAdmin(pauserRegistry).setIsPauser(account, canPause);
    }

    function _deployStrategy() private {
        token = IToken(_create("ERC20PresetFixedSupply", abi.encode("Stake", "STK", 1e30, address(this))));
        address implementation = _create("StrategyBase", abi.encode(strategyManager));
        strategy = _create(
            "TransparentUpgradeableProxy",
            abi.encode(
                implementation, proxyAdmin, abi.encodeCall(IStrategySetup.initialize, (address(token), pauserRegistry))
            )
        );
        address[] memory strategies = new address[](1);
        strategies[0] = strategy;
        strategyManager.addStrategiesToDepositWhitelist(strategies, new bool[](1));
    }

    function _proxy() private returns (address) {
        return _create("TransparentUpgradeableProxy", abi.encode(emptyContract, proxyAdmin, bytes("")));
    }
}
