// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @notice What became of a game, as the OP Stack numbers it.
enum GameStatus {
    IN_PROGRESS,
    CHALLENGER_WINS,
    DEFENDER_WINS
}

/// @title A double of one OP Stack dispute game, for Mach's devnet and tests alone
/// @notice It states a claim and how it ended; nothing is disputed in it. Its creator says the end.
contract DisputeGame {
    /// @notice The kind of game.
    uint32 public immutable gameType;
    /// @notice The output root that is claimed.
    bytes32 public immutable rootClaim;
    /// @notice The L2 block that it is claimed for.
    uint256 public immutable l2BlockNumber;
    /// @notice Who made the claim.
    address public immutable gameCreator;
    /// @notice When the game began.
    uint64 public immutable createdAt;
    /// @notice Whether the game is open, and else who won it.
    GameStatus public status;

    /// @notice The game ended.
    event Resolved(GameStatus indexed status);

    error NotCreator();
    error GameNotInProgress();

    constructor(uint32 gameType_, bytes32 rootClaim_, uint256 l2BlockNumber_, address gameCreator_) {
        gameType = gameType_;
        rootClaim = rootClaim_;
        l2BlockNumber = l2BlockNumber_;
        gameCreator = gameCreator_;
        createdAt = uint64(block.timestamp);
    }

    /// @notice Ends the game: the claim stands or falls.
    /// @param claimStands whether the defender wins
    function resolve(bool claimStands) external {
        if (msg.sender != gameCreator) revert NotCreator();
        if (status != GameStatus.IN_PROGRESS) revert GameNotInProgress();
        status = claimStands ? GameStatus.DEFENDER_WINS : GameStatus.CHALLENGER_WINS;
        emit Resolved(status);
    }

    /// @notice What the claim is about, as the factory was given it.
    function extraData() external view returns (bytes memory) {
        return abi.encode(l2BlockNumber);
    }
}
