// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @notice A point of the curve y² = x³ + 3 over the base field; (0, 0) is infinity.
struct G1Point {
    uint256 X;
    uint256 Y;
}

/// @notice A point of the twist over the quadratic extension. Each coordinate is [imaginary, real], as the pairing
/// precompile wants it.
struct G2Point {
    uint256[2] X;
    uint256[2] Y;
}

/// @title BN254 (alt_bn128) on the precompiles of EIP-196, EIP-197 and EIP-198
/// @notice Sums are made in place in a buffer of four words: two for the sum, two for the next addend.
library BN254 {
    /// @dev Order of the base field.
    uint256 internal constant P = 0x30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd47;

    /// @dev Order of the groups.
    uint256 internal constant R = 0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001;

    /// @dev (P + 1) / 4: a square's root is its power by this, since P = 3 mod 4.
    uint256 private constant SQUARE_ROOT_EXPONENT = 0xc19139cb84c680a6e14116da060561765e05aa45a1c72a34f082305b61f3f52;

    /// @dev The negated generator of G2.
    uint256 private constant NEGATED_G2_X_IMAGINARY =
        0x198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2;
    uint256 private constant NEGATED_G2_X_REAL = 0x1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed;
    uint256 private constant NEGATED_G2_Y_IMAGINARY =
        0x275dc4a288d1afb3cbb1ac09187524c7db36395df7be3b99e673b13a075a65ec;
    uint256 private constant NEGATED_G2_Y_REAL = 0x1d9befcd05a5323e6da4d435f3b617cdb3af83285c2df711ef39c01571827f9d;

    /// @dev A precompile that refuses its input burns all the gas it was given: these bound the loss. The prices are
    /// 150 and 6,000 gas (EIP-1108); two pairs cost 113,000, and 120,000 is the bound EigenLayer sets.
    uint256 private constant ADD_GAS = 5_000;
    uint256 private constant MULTIPLY_GAS = 20_000;
    uint256 private constant PAIRING_GAS = 120_000;

    /// @notice keccak256(x, y): an operator's id, and the name of an aggregate key in its registry.
    function hashPoint(G1Point calldata point) internal pure returns (bytes32 digest) {
        assembly ("memory-safe") {
            calldatacopy(0x00, point, 0x40)
            digest := keccak256(0x00, 0x40)
        }
    }

    /// @notice sum += point. Reverts where `point` is off the curve.
    function add(uint256[4] memory sum, G1Point calldata point) internal view {
        assembly ("memory-safe") {
            calldatacopy(add(sum, 0x40), point, 0x40)
            if iszero(staticcall(ADD_GAS, 0x06, sum, 0x80, sum, 0x40)) { revert(0x00, 0x00) }
        }
    }

    /// @notice sum −= point. Reverts where `point` is off the curve.
    function subtract(uint256[4] memory sum, G1Point calldata point) internal view {
        assembly ("memory-safe") {
            mstore(add(sum, 0x40), calldataload(point))
            mstore(add(sum, 0x60), mod(sub(P, calldataload(add(point, 0x20))), P))
            if iszero(staticcall(ADD_GAS, 0x06, sum, 0x80, sum, 0x40)) { revert(0x00, 0x00) }
        }
    }

    /// @notice sum := −sum
    function negate(uint256[4] memory sum) internal pure {
        assembly ("memory-safe") {
            let y := mload(add(sum, 0x20))
            if y { mstore(add(sum, 0x20), sub(P, y)) }
        }
    }

    /// @notice EigenLayer's hash to the curve: x = digest mod P, raised by one until x³ + 3 has a root y.
    /// Half of all x have one, and each try costs one modular exponentiation.
    function hashToG1(bytes32 digest) internal view returns (uint256 x, uint256 y) {
        bool called;
        assembly ("memory-safe") {
            x := mod(digest, P)
            let input := mload(0x40)
            mstore(input, 0x20)
            mstore(add(input, 0x20), 0x20)
            mstore(add(input, 0x40), 0x20)
            mstore(add(input, 0x80), SQUARE_ROOT_EXPONENT)
            mstore(add(input, 0xa0), P)
            for {} 1 { x := addmod(x, 1, P) } {
                let square := addmod(mulmod(mulmod(x, x, P), x, P), 3, P)
                mstore(add(input, 0x60), square)
                called := staticcall(gas(), 0x05, input, 0xc0, 0x00, 0x20)
                y := mload(0x00)
                if or(iszero(called), eq(mulmod(y, y, P), square)) { break }
            }
        }
        require(called, "modular exponentiation failed");
    }

    /// @notice Whether `sigma` signs `digest` under the key whose two forms are `apk` and `apkG2`.
    /// @dev Both equations, e(σ, −g₂) · e(H, apkG2) = 1 and e(apk, −g₂) · e(g₁, apkG2) = 1, are checked by one
    /// pairing of their sum, weighted by γ that is drawn from all inputs:
    /// e(σ + γ·apk, −g₂) · e(H + γ·g₁, apkG2) = 1.
    /// @param apk a buffer whose sum is the G1 key; it is spent
    /// @return success false where the pairing precompile refuses `apkG2`
    /// @return valid whether the product is one
    function verify(bytes32 digest, uint256[4] memory apk, G2Point calldata apkG2, G1Point calldata sigma)
        internal
        view
        returns (bool success, bool valid)
    {
        (uint256 x, uint256 y) = hashToG1(digest);
        assembly ("memory-safe") {
            // 12 words: first the preimage of γ in 9 of them, then two pairs (G1, G2).
            let pairs := mload(0x40)
            let second := add(pairs, 0xc0)
            mstore(pairs, digest)
            mcopy(add(pairs, 0x20), apk, 0x40)
            calldatacopy(add(pairs, 0x60), apkG2, 0x80)
            calldatacopy(add(pairs, 0xe0), sigma, 0x40)
            let gamma := mod(keccak256(pairs, 0x120), R)

            // apk := σ + γ·apk
            mstore(add(apk, 0x40), gamma)
            let done := staticcall(MULTIPLY_GAS, 0x07, apk, 0x60, apk, 0x40)
            calldatacopy(add(apk, 0x40), sigma, 0x40)
            done := and(staticcall(ADD_GAS, 0x06, apk, 0x80, pairs, 0x40), done)
            mstore(add(pairs, 0x40), NEGATED_G2_X_IMAGINARY)
            mstore(add(pairs, 0x60), NEGATED_G2_X_REAL)
            mstore(add(pairs, 0x80), NEGATED_G2_Y_IMAGINARY)
            mstore(add(pairs, 0xa0), NEGATED_G2_Y_REAL)

            // H + γ·g₁, where g₁ = (1, 2)
            mstore(apk, 1)
            mstore(add(apk, 0x20), 2)
            mstore(add(apk, 0x40), gamma)
            done := and(staticcall(MULTIPLY_GAS, 0x07, apk, 0x60, apk, 0x40), done)
            mstore(add(apk, 0x40), x)
            mstore(add(apk, 0x60), y)
            done := and(staticcall(ADD_GAS, 0x06, apk, 0x80, second, 0x40), done)
            if iszero(done) { revert(0x00, 0x00) }
            calldatacopy(add(second, 0x40), apkG2, 0x80)

            success := staticcall(PAIRING_GAS, 0x08, pairs, 0x180, 0x00, 0x20)
            valid := and(success, eq(mload(0x00), 1))
        }
    }
}
