// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {DisputeGame} from "./DisputeGame.sol";

/// @title A double of the OP Stack's DisputeGameFactory, for Mach's devnet and tests alone
/// @notice Anyone may create a game of any type, without a bond; a claim about a block can be made once a type.
contract DisputeGameFactory {
    struct Entry {
        uint32 gameType;
        uint64 timestamp;
        address proxy;
    }

    Entry[] private _games;
    mapping(bytes32 => address) private _byClaim;

    /// @notice A game was created.
    event DisputeGameCreated(address indexed disputeProxy, uint32 indexed gameType, bytes32 indexed rootClaim);

    error GameAlreadyExists(address game);
    error BadExtraData();

    /// @notice Claims the output root of an L2 block.
    /// @param _gameType the kind of game
    /// @param _rootClaim the output root
    /// @param _extraData the L2 block's number, as a uint256
    /// @return proxy_ the game
    function create(uint32 _gameType, bytes32 _rootClaim, bytes calldata _extraData)
        external
        payable
        returns (address proxy_)
    {
        if (_extraData.length != 32) revert BadExtraData();
        bytes32 claim = keccak256(abi.encode(_gameType, _rootClaim, _extraData));
        if (_byClaim[claim] != address(0)) revert GameAlreadyExists(_byClaim[claim]);
        uint256 l2BlockNumber = abi.decode(_extraData, (uint256));
        proxy_ = address(new DisputeGame(_gameType, _rootClaim, l2BlockNumber, msg.sender));
        _byClaim[claim] = proxy_;
        _games.push(Entry(_gameType, uint64(block.timestamp), proxy_));
        emit DisputeGameCreated(proxy_, _gameType, _rootClaim);
    }

    /// @notice How many games there are.
    function gameCount() external view returns (uint256) {
        return _games.length;
    }

    /// @notice The game at an index.
    function gameAtIndex(uint256 _index) external view returns (uint32 gameType_, uint64 timestamp_, address proxy_) {
        Entry storage entry = _games[_index];
        return (entry.gameType, entry.timestamp, entry.proxy);
    }
}
