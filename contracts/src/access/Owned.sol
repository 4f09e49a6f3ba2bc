// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @notice An address is zero where it may not be.
error ZeroAddress();

/// @title One owner, who may hand the contract on
/// @notice The owner is set by the initializer. OpenZeppelin 5's version would add its own errors to Mach's fixed ABI.
abstract contract Owned {
    /// @notice The owner.
    address public owner;

    /// @notice The contract went from one owner to the next.
    event OwnershipTransferred(address indexed previousOwner, address indexed newOwner);

    modifier onlyOwner() {
        require(msg.sender == owner, "caller is not the owner");
        _;
    }

    /// @notice Makes `newOwner` the owner, at once.
    function transferOwnership(address newOwner) external onlyOwner {
        _setOwner(newOwner);
    }

    /// @notice Leaves the contract without an owner, for ever.
    function renounceOwnership() external onlyOwner {
        emit OwnershipTransferred(owner, address(0));
        owner = address(0);
    }

    function _setOwner(address newOwner) internal {
        if (newOwner == address(0)) revert ZeroAddress();
        emit OwnershipTransferred(owner, newOwner);
        owner = newOwner;
    }
}
