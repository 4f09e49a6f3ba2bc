// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title A double of the OP Stack's L2OutputOracle, for Mach's devnet and tests alone
/// @notice Its reads, its events and its order of proposals are those of the real contract; it has neither a proxy nor a
/// period after which outputs can no longer be deleted, and guards nothing.
contract L2OutputOracle {
    /// @notice One proposal: the output root of an L2 block, and when it was made.
    struct OutputProposal {
        bytes32 outputRoot;
        uint128 timestamp;
        uint128 l2BlockNumber;
    }

    /// @notice How many L2 blocks lie between two proposals.
    uint256 public immutable SUBMISSION_INTERVAL;
    /// @notice The one account that may propose, and here delete too.
    address public immutable PROPOSER;

    OutputProposal[] private _outputs;

    /// @notice An output root was proposed.
    event OutputProposed(
        bytes32 indexed outputRoot, uint256 indexed l2OutputIndex, uint256 indexed l2BlockNumber, uint256 l1Timestamp
    );
    /// @notice The outputs from an index on were deleted.
    event OutputsDeleted(uint256 indexed prevNextOutputIndex, uint256 indexed newNextOutputIndex);

    error NotProposer();
    error WrongBlockNumber(uint256 expected);
    error ZeroOutputRoot();
    error WrongL1Block();
    error NoSuchOutput();

    modifier onlyProposer() {
        if (msg.sender != PROPOSER) revert NotProposer();
        _;
    }

    /// @param submissionInterval L2 blocks between two proposals, from 1 on
    /// @param proposer who may propose
    constructor(uint256 submissionInterval, address proposer) {
        SUBMISSION_INTERVAL = submissionInterval;
        PROPOSER = proposer;
    }

    /// @notice Proposes the output root of the next block that is due.
    /// @param _outputRoot the root, not zero
    /// @param _l2BlockNumber must be `nextBlockNumber()`
    /// @param _l1BlockHash of an L1 block that must be part of the chain; zero leaves that open
    /// @param _l1BlockNumber that block's number
    function proposeL2Output(bytes32 _outputRoot, uint256 _l2BlockNumber, bytes32 _l1BlockHash, uint256 _l1BlockNumber)
        external
        payable
        onlyProposer
    {
        if (_l2BlockNumber != nextBlockNumber()) revert WrongBlockNumber(nextBlockNumber());
        if (_outputRoot == 0) revert ZeroOutputRoot();
        if (_l1BlockHash != 0 && blockhash(_l1BlockNumber) != _l1BlockHash) revert WrongL1Block();
        emit OutputProposed(_outputRoot, _outputs.length, _l2BlockNumber, block.timestamp);
        // forge-lint: disable-next-line(unsafe-typecast)
        _outputs.push(OutputProposal(_outputRoot, uint128(block.timestamp), uint128(_l2BlockNumber)));
    }

    /// @notice Deletes all outputs from an index on.
    /// @param _l2OutputIndex the first that goes
    function deleteL2Outputs(uint256 _l2OutputIndex) external onlyProposer {
        uint256 length = _outputs.length;
        if (_l2OutputIndex >= length) revert NoSuchOutput();
        for (uint256 i = length; i > _l2OutputIndex; --i) {
            _outputs.pop();
        }
        emit OutputsDeleted(length, _l2OutputIndex);
    }

    /// @notice The proposal at an index.
    function getL2Output(uint256 _l2OutputIndex) external view returns (OutputProposal memory) {
        return _outputs[_l2OutputIndex];
    }

    /// @notice The first proposal for a block of at least this number.
    function getL2OutputAfter(uint256 _l2BlockNumber) external view returns (OutputProposal memory) {
        return _outputs[getL2OutputIndexAfter(_l2BlockNumber)];
    }

    /// @notice The block of the last proposal; zero before the first.
    function latestBlockNumber() external view returns (uint256) {
        return _latestBlockNumber();
    }

    /// @notice The index of the last proposal; reverts before the first.
    function latestOutputIndex() external view returns (uint256) {
        return _outputs.length - 1;
    }

    /// @notice How many outputs there are.
    function nextOutputIndex() external view returns (uint256) {
        return _outputs.length;
    }

    /// @notice The index of the first proposal for a block of at least this number.
    function getL2OutputIndexAfter(uint256 _l2BlockNumber) public view returns (uint256) {
        if (_l2BlockNumber > _latestBlockNumber() || _outputs.length == 0) revert NoSuchOutput();
        uint256 low = 0;
        uint256 high = _outputs.length;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            if (_outputs[middle].l2BlockNumber < _l2BlockNumber) low = middle + 1;
            else high = middle;
        }
        return low;
    }

    /// @notice The block whose root is due next.
    function nextBlockNumber() public view returns (uint256) {
        return _latestBlockNumber() + SUBMISSION_INTERVAL;
    }

    function _latestBlockNumber() private view returns (uint256) {
        uint256 length = _outputs.length;
        return length == 0 ? 0 : _outputs[length - 1].l2BlockNumber;
    }
}
