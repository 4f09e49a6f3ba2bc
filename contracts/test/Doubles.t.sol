// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {DisputeGame, GameStatus} from "../src/devnet/DisputeGame.sol";
import {DisputeGameFactory} from "../src/devnet/DisputeGameFactory.sol";
import {EarlyAlerts} from "../src/devnet/EarlyAlerts.sol";
import {L2OutputOracle} from "../src/devnet/L2OutputOracle.sol";
import {Test} from "./base/Test.sol";

contract DoublesTest is Test {
    uint256 private constant INTERVAL = 5;

    L2OutputOracle private oracle;
    DisputeGameFactory private factory;

    function setUp() public {
        vm.roll(100);
        oracle = new L2OutputOracle(INTERVAL, address(this));
        factory = new DisputeGameFactory();
    }

    function testOutputsComeInOrder() public {
        vm.assertEq(oracle.latestBlockNumber(), 0);
        vm.expectRevert();
        oracle.latestOutputIndex();
        _propose(3);
        vm.assertEq(oracle.latestBlockNumber(), 15);
        vm.assertEq(oracle.latestOutputIndex(), 2);
        vm.assertEq(oracle.nextOutputIndex(), 3);
        vm.assertEq(oracle.getL2Output(1).outputRoot, bytes32(uint256(10)));
        vm.assertEq(oracle.getL2Output(1).l2BlockNumber, 10);
    }

    function testFuzz_FindsTheFirstOutputThatCoversABlock(uint256 count, uint256 number) public {
        count = _bound(count, 1, 12);
        number = _bound(number, 0, count * INTERVAL);
        _propose(count);
        uint256 index = oracle.getL2OutputIndexAfter(number);
        vm.assertTrue(oracle.getL2Output(index).l2BlockNumber >= number);
        vm.assertTrue(index == 0 || oracle.getL2Output(index - 1).l2BlockNumber < number);
        vm.assertEq(oracle.getL2OutputAfter(number).l2BlockNumber, oracle.getL2Output(index).l2BlockNumber);
        vm.expectRevert(L2OutputOracle.NoSuchOutput.selector);
        oracle.getL2OutputIndexAfter(count * INTERVAL + 1);
    }

    function testRefusesProposalsThatAreOutOfPlace() public {
        vm.expectRevert(abi.encodeWithSelector(L2OutputOracle.WrongBlockNumber.selector, 5));
        oracle.proposeL2Output("root", 6, 0, 0);
        vm.expectRevert(L2OutputOracle.ZeroOutputRoot.selector);
        oracle.proposeL2Output(0, 5, 0, 0);
        vm.expectRevert(L2OutputOracle.WrongL1Block.selector);
        oracle.proposeL2Output("root", 5, "other", 99);
        oracle.proposeL2Output("root", 5, blockhash(99), 99);
        vm.prank(address(1));
        vm.expectRevert(L2OutputOracle.NotProposer.selector);
        oracle.proposeL2Output("root", 10, 0, 0);
    }

    function testDeletedOutputsAreProposedAnew() public {
        _propose(4);
        vm.expectRevert(L2OutputOracle.NoSuchOutput.selector);
        oracle.deleteL2Outputs(4);
        vm.expectEmit();
        emit L2OutputOracle.OutputsDeleted(4, 2);
        oracle.deleteL2Outputs(2);
        vm.assertEq(oracle.latestBlockNumber(), 10);
        vm.expectEmit();
        emit L2OutputOracle.OutputProposed("again", 2, 15, block.timestamp);
        oracle.proposeL2Output("again", 15, 0, 0);
    }

    function testGamesHoldTheirClaims() public {
        DisputeGame game = DisputeGame(factory.create(8, "claim", abi.encode(uint256(20))));
        vm.assertEq(factory.gameCount(), 1);
        (uint32 gameType, uint64 timestamp, address proxy) = factory.gameAtIndex(0);
        vm.assertEq(gameType, 8);
        vm.assertEq(timestamp, block.timestamp);
        vm.assertTrue(proxy == address(game));
        vm.assertEq(game.rootClaim(), "claim");
        vm.assertEq(game.l2BlockNumber(), 20);
        vm.assertEq(game.extraData(), abi.encode(uint256(20)), "extra data");
        vm.assertTrue(game.status() == GameStatus.IN_PROGRESS);
        vm.expectRevert(abi.encodeWithSelector(DisputeGameFactory.GameAlreadyExists.selector, proxy));
        factory.create(8, "claim", abi.encode(uint256(20)));
        vm.expectRevert(DisputeGameFactory.BadExtraData.selector);
        factory.create(8, "claim", "");
        factory.create(8, "claim", abi.encode(uint256(21)));
        vm.assertEq(factory.gameCount(), 2);
    }

    function testAGameEndsOnce() public {
        DisputeGame game = DisputeGame(factory.create(8, "claim", abi.encode(uint256(20))));
        vm.prank(address(1));
        vm.expectRevert(DisputeGame.NotCreator.selector);
        game.resolve(true);
        game.resolve(false);
        vm.assertTrue(game.status() == GameStatus.CHALLENGER_WINS);
        vm.expectRevert(DisputeGame.GameNotInProgress.selector);
        game.resolve(true);
    }

    function testAnEarlyAlertIsTakenOnceAndOnlyIfItSaysSomething() public {
        EarlyAlerts alerts = new EarlyAlerts(address(oracle));
        _propose(2);
        vm.expectRevert(EarlyAlerts.UselessAlert.selector);
        alerts.alertBlockOutputOracleMismatch(1, bytes32(uint256(10)));
        vm.expectRevert(EarlyAlerts.ZeroValue.selector);
        alerts.alertBlockOutputOracleMismatch(1, 0);
        vm.expectRevert();
        alerts.alertBlockOutputOracleMismatch(2, "right");
        vm.expectEmit();
        emit EarlyAlerts.AlertBlockOutputOracleMismatch(1, bytes32(uint256(10)), "right", 10);
        alerts.alertBlockOutputOracleMismatch(1, "right");
        vm.expectRevert(EarlyAlerts.UselessAlert.selector);
        alerts.alertBlockOutputOracleMismatch(1, "another");
    }

    function _propose(uint256 count) private {
        for (uint256 i = 1; i <= count; ++i) {
            oracle.proposeL2Output(bytes32(i * INTERVAL), i * INTERVAL, 0, 0);
        }
    }
}
