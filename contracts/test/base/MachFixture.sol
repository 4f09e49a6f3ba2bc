// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {ProxyAdmin} from "@openzeppelin/contracts/proxy/transparent/ProxyAdmin.sol";
import {ITransparentUpgradeableProxy} from "@openzeppelin/contracts/proxy/transparent/TransparentUpgradeableProxy.sol";

import {MachProxy} from "../../src/MachProxy.sol";
import {MachServiceManager} from "../../src/MachServiceManager.sol";
import {IBLSSignatureChecker} from "../../src/interfaces/IBLSSignatureChecker.sol";
import {SignatureWithSaltAndExpiry} from "../../src/interfaces/IEigenLayer.sol";
import {IMachServiceManager} from "../../src/interfaces/IMachServiceManager.sol";
import {BN254, G1Point, G2Point} from "../../src/libraries/BN254.sol";
import {BLSKeys} from "./BLSKeys.sol";
import {IDelegationManagerSetup, IOperatorStateRetriever, IRegistryCoordinatorSetup} from "./EigenLayerContracts.sol";
import {EigenLayerFixture} from "./EigenLayerFixture.sol";

/// @notice Mach's service manager behind its proxy on the real EigenLayer, operators that register there, and what an
/// aggregator makes of their signatures. The test contract is owner and whitelister.
abstract contract MachFixture is EigenLayerFixture {
    using BLSKeys for G1Point;
    using BLSKeys for G2Point;
    using BLSKeys for uint256;

    struct OperatorKeys {
        address account;
        uint256 ecdsaSecret;
        uint256 blsSecret;
        G1Point publicKey;
        G2Point publicKeyG2;
        bytes32 id;
    }

    uint256 internal constant ROLLUP = 901;
    bytes32 private constant ADMIN_SLOT = 0xb53127684a568b3173ae13b9f8a6016e243e63b6e8ee1178d6a717850b5d6103;

    address internal confirmer = address(uint160(uint256(keccak256("confirmer"))));

    MachServiceManager internal manager;

    OperatorKeys[] internal operators;
    mapping(bytes32 => uint256) internal positionOf;

    /// @dev Deploys everything, with one quorum per multiplier.
    function _deployMach(uint256 withdrawalDelay, uint96[] memory multipliers) internal {
        _deployCore(withdrawalDelay);
        MachProxy proxy = new MachProxy(emptyContract, address(this), "");
        _deployMiddleware(address(proxy), multipliers);
        address implementation = address(new MachServiceManager(address(directory), address(coordinator), stakes));
        uint256[] memory rollups = new uint256[](1);
        rollups[0] = ROLLUP;
        ProxyAdmin(address(uint160(uint256(vm.load(address(proxy), ADMIN_SLOT)))))
            .upgradeAndCall(
                ITransparentUpgradeableProxy(address(proxy)),
                implementation,
                abi.encodeCall(
                    MachServiceManager.initialize, (pauserRegistry, 0, address(this), confirmer, address(this), rollups)
                )
            );
        manager = MachServiceManager(address(proxy));
    }

    function _oneQuorum() internal pure returns (uint96[] memory multipliers) {
        multipliers = new uint96[](1);
        multipliers[0] = 1e18;
    }

    /// @dev Makes a new operator's keys and enters it in EigenLayer with `amount` at stake; it is in no quorum yet.
    function _newOperator(uint256 amount) internal returns (OperatorKeys memory keys) {
        uint256 position = operators.length;
        keys.ecdsaSecret = uint256(keccak256(abi.encode("ecdsa", position)));
        keys.account = vm.addr(keys.ecdsaSecret);
        keys.blsSecret = uint256(keccak256(abi.encode("bls", position))) % BN254.R;
        keys.publicKey = keys.blsSecret.publicKeyG1();
        keys.publicKeyG2 = keys.blsSecret.publicKeyG2();
        keys.id = keys.publicKey.hashPoint();
        operators.push(keys);
        positionOf[keys.id] = position;
        vm.prank(keys.account);
        delegationManager.registerAsOperator(IDelegationManagerSetup.OperatorDetails(keys.account, address(0), 0), "");
        _deposit(keys, amount);
    }

    function _deposit(OperatorKeys memory keys, uint256 amount) internal {
        require(token.transfer(keys.account, amount), "transfer failed");
        vm.startPrank(keys.account);
        require(token.approve(address(strategyManager), amount), "approve failed");
        strategyManager.depositIntoStrategy(strategy, address(token), amount);
        vm.stopPrank();
    }

    /// @dev The operator joins quorums.
    function _join(OperatorKeys memory keys, bytes memory quorums) internal {
        IRegistryCoordinatorSetup.PubkeyRegistrationParams memory params;
        params.pubkeyRegistrationSignature =
            coordinator.pubkeyRegistrationMessageHash(keys.account).multiply(keys.blsSecret);
        params.pubkeyG1 = keys.publicKey;
        params.pubkeyG2 = keys.publicKeyG2;
        SignatureWithSaltAndExpiry memory permission;
        permission.salt = keccak256(abi.encode(keys.account, quorums, block.number));
        permission.expiry = block.timestamp + 1 days;
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(
            keys.ecdsaSecret,
            directory.calculateOperatorAVSRegistrationDigestHash(
                keys.account, address(manager), permission.salt, permission.expiry
            )
        );
        permission.signature = abi.encodePacked(r, s, v);
        vm.prank(keys.account);
        coordinator.registerOperator(quorums, "socket", params, permission);
    }

    /// @dev The operator leaves quorums.
    function _leave(OperatorKeys memory keys, bytes memory quorums) internal {
        vm.prank(keys.account);
        coordinator.deregisterOperator(quorums);
    }

    /// @dev Allows, funds and enters `count` operators in quorum 0, with `SHARE` · (100 + position) each.
    function _joinMany(uint256 count) internal {
        for (uint256 i = 0; i < count; ++i) {
            OperatorKeys memory keys = _newOperator(SHARE * (100 + i));
            manager.addToAllowlist(keys.account);
            _join(keys, hex"00");
        }
    }

    /// @dev What an aggregator sends where everyone but `nonSigners` signed `digest`.
    /// @param nonSigners positions of operators, in any order, each once
    function _sign(bytes32 digest, bytes memory quorums, uint32 referenceBlock, uint256[] memory nonSigners)
        internal
        view
        returns (IBLSSignatureChecker.NonSignerStakesAndSignature memory params)
    {
        _sortById(nonSigners);
        bytes32[] memory ids = new bytes32[](nonSigners.length);
        params.nonSignerPubkeys = new G1Point[](nonSigners.length);
        for (uint256 j = 0; j < nonSigners.length; ++j) {
            ids[j] = operators[nonSigners[j]].id;
            params.nonSignerPubkeys[j] = operators[nonSigners[j]].publicKey;
        }
        IOperatorStateRetriever.CheckSignaturesIndices memory indices =
            retriever.getCheckSignaturesIndices(address(coordinator), referenceBlock, quorums, ids);
        params.nonSignerQuorumBitmapIndices = indices.nonSignerQuorumBitmapIndices;
        params.quorumApkIndices = indices.quorumApkIndices;
        params.totalStakeIndices = indices.totalStakeIndices;
        params.nonSignerStakeIndices = indices.nonSignerStakeIndices;

        IOperatorStateRetriever.Operator[][] memory state =
            retriever.getOperatorState(address(coordinator), quorums, referenceBlock);
        params.quorumApks = new G1Point[](quorums.length);
        uint256 secret = 0;
        for (uint256 i = 0; i < quorums.length; ++i) {
            secret = addmod(secret, _addQuorum(params, i, state[i], nonSigners), BN254.R);
        }
        params.sigma = secret.sign(digest);
    }

    /// @dev Sums the keys of a quorum's members and of the signers among them.
    /// @return secret the sum of the signers' secret keys
    function _addQuorum(
        IBLSSignatureChecker.NonSignerStakesAndSignature memory params,
        uint256 i,
        IOperatorStateRetriever.Operator[] memory members,
        uint256[] memory nonSigners
    ) private view returns (uint256 secret) {
        for (uint256 k = 0; k < members.length; ++k) {
            uint256 position = positionOf[members[k].operatorId];
            OperatorKeys storage keys = operators[position];
            params.quorumApks[i] = params.quorumApks[i].add(keys.publicKey);
            if (_isIn(nonSigners, position)) continue;
            secret = addmod(secret, keys.blsSecret, BN254.R);
            params.apkG2 = params.apkG2.add(keys.publicKeyG2);
        }
    }

    /// @dev The header of an alert over quorum 0, and the digest that operators sign.
    function _alert(bytes32 messageHash, uint32 referenceBlock, uint8 percentage)
        internal
        pure
        returns (IMachServiceManager.AlertHeader memory header, bytes32 digest)
    {
        header = IMachServiceManager.AlertHeader(
            messageHash, hex"00", abi.encodePacked(percentage), referenceBlock, ROLLUP
        );
        digest = keccak256(abi.encode(messageHash, referenceBlock, ROLLUP));
    }

    /// @dev The confirmer confirms an alert over quorum 0 that everyone but `nonSigners` signed.
    function _confirm(bytes32 messageHash, uint256[] memory nonSigners) internal {
        uint32 referenceBlock = uint32(block.number - 1);
        (IMachServiceManager.AlertHeader memory header, bytes32 digest) = _alert(messageHash, referenceBlock, 66);
        IBLSSignatureChecker.NonSignerStakesAndSignature memory params =
            _sign(digest, header.quorumNumbers, referenceBlock, nonSigners);
        vm.prank(confirmer, confirmer);
        manager.confirmAlert(header, params);
    }

    /// @dev The positions [first, first + count).
    function _range(uint256 first, uint256 count) internal pure returns (uint256[] memory positions) {
        positions = new uint256[](count);
        for (uint256 i = 0; i < count; ++i) {
            positions[i] = first + i;
        }
    }

    function _isIn(uint256[] memory positions, uint256 position) internal pure returns (bool) {
        for (uint256 i = 0; i < positions.length; ++i) {
            if (positions[i] == position) return true;
        }
        return false;
    }

    function _sortById(uint256[] memory positions) private view {
        for (uint256 i = 1; i < positions.length; ++i) {
            for (uint256 j = i; j > 0 && operators[positions[j]].id < operators[positions[j - 1]].id; --j) {
                (positions[j], positions[j - 1]) = (positions[j - 1], positions[j]);
            }
        }
    }
}
