// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {L2OutputOracle} from "./L2OutputOracle.sol";

/// @title A double of the early alert of MachOptimismZkServiceManager, for Mach's devnet and tests alone
/// @notice It takes the call, checks it against the oracle as the real contract does, and tells of it. It has no
/// operators, no proofs and no queue.
contract EarlyAlerts {
    /// @notice Where the outputs stand that alerts are about.
    L2OutputOracle public immutable l2OutputOracle;
    /// @notice What an output should be, by its index; zero where nobody has raised an alert.
    mapping(uint256 => bytes32) public expected;

    /// @notice An output on the oracle is wrong.
    event AlertBlockOutputOracleMismatch(
        uint256 indexed invalidOutputIndex,
        bytes32 invalidOutputRoot,
        bytes32 expectOutputRoot,
        uint256 indexed l2BlockNumber
    );

    /// @notice An alert stands already, or says what the oracle says.
    error UselessAlert();
    error ZeroValue();

    constructor(address l2OutputOracle_) {
        l2OutputOracle = L2OutputOracle(l2OutputOracle_);
    }

    /// @notice Says that an output is wrong.
    /// @param invalidOutputIndex its index on the oracle
    /// @param expectOutputRoot what it should be
    function alertBlockOutputOracleMismatch(uint256 invalidOutputIndex, bytes32 expectOutputRoot) external {
        if (expectOutputRoot == 0) revert ZeroValue();
        L2OutputOracle.OutputProposal memory output = l2OutputOracle.getL2Output(invalidOutputIndex);
        if (output.outputRoot == expectOutputRoot || expected[invalidOutputIndex] != 0) revert UselessAlert();
        expected[invalidOutputIndex] = expectOutputRoot;
        emit AlertBlockOutputOracleMismatch(
            invalidOutputIndex, output.outputRoot, expectOutputRoot, output.l2BlockNumber
        );
    }
}
