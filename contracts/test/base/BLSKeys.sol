// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {BN254, G1Point, G2Point} from "../../src/libraries/BN254.sol";

/// @notice Secret-key arithmetic on BN254 for tests: slow, plain, and apart from the code under test. The long functions
/// are public, so that they are compiled once and their memory is given back after each call.
library BLSKeys {
    uint256 private constant P = BN254.P;

    /// @dev An element a + b·u of the quadratic extension, u² = −1.
    struct Fp2 {
        uint256 a;
        uint256 b;
    }

    /// @dev A point of the twist; both coordinates zero is infinity.
    struct Twist {
        Fp2 x;
        Fp2 y;
    }

    error PrecompileFailed(uint256 precompile);

    function multiply(G1Point memory point, uint256 scalar) internal view returns (G1Point memory product) {
        uint256[3] memory input = [point.X, point.Y, scalar];
        bool done;
        assembly ("memory-safe") {
            done := staticcall(gas(), 0x07, input, 0x60, product, 0x40)
        }
        if (!done) revert PrecompileFailed(7);
    }

    function add(G1Point memory left, G1Point memory right) internal view returns (G1Point memory sum) {
        uint256[4] memory input = [left.X, left.Y, right.X, right.Y];
        bool done;
        assembly ("memory-safe") {
            done := staticcall(gas(), 0x06, input, 0x80, sum, 0x40)
        }
        if (!done) revert PrecompileFailed(6);
    }

    function hashPoint(G1Point memory point) internal pure returns (bytes32) {
        return keccak256(abi.encode(point.X, point.Y));
    }

    function publicKeyG1(uint256 secret) internal view returns (G1Point memory) {
        return multiply(G1Point(1, 2), secret);
    }

    /// @dev Double and add, affine, highest bit first.
    function publicKeyG2(uint256 secret) public view returns (G2Point memory) {
        Twist memory generator = Twist(
            Fp2(
                0x1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed,
                0x198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2
            ),
            Fp2(
                0x12c85ea5db8c6deb4aab71808dcb408fe3d1e7690c43d37b4ce6cc0166fa7daa,
                0x090689d0585ff075ec9e99ad690c3395bc4b313370b38ef355acdadcd122975b
            )
        );
        Twist memory product;
        for (uint256 bit = 256; bit > 0; --bit) {
            product = _add(product, product);
            if ((secret >> (bit - 1)) & 1 == 1) product = _add(product, generator);
        }
        return _encode(product);
    }

    function add(G2Point memory left, G2Point memory right) public view returns (G2Point memory) {
        return _encode(_add(_decode(left), _decode(right)));
    }

    /// @dev The signature of `digest`: its hash to the curve times the secret.
    function sign(uint256 secret, bytes32 digest) public view returns (G1Point memory) {
        uint256 x = uint256(digest) % P;
        while (true) {
            (bool found, uint256 root) = _ordinate(x);
            if (found) return multiply(G1Point(x, root), secret);
            x = addmod(x, 1, P);
        }
        return G1Point(0, 0);
    }

    /// @dev Whether `digest` is hashed to the curve in one try.
    function isAbscissa(bytes32 digest) public view returns (bool found) {
        (found,) = _ordinate(uint256(digest) % P);
    }

    function _ordinate(uint256 x) private view returns (bool found, uint256 root) {
        uint256 square = addmod(mulmod(mulmod(x, x, P), x, P), 3, P);
        root = _power(square, (P + 1) / 4);
        found = mulmod(root, root, P) == square;
    }

    function _encode(Twist memory point) private pure returns (G2Point memory) {
        return G2Point([point.x.b, point.x.a], [point.y.b, point.y.a]);
    }

    function _decode(G2Point memory point) private pure returns (Twist memory) {
        return Twist(Fp2(point.X[1], point.X[0]), Fp2(point.Y[1], point.Y[0]));
    }

    function _add(Twist memory left, Twist memory right) private view returns (Twist memory sum) {
        if (_isZero(left.x) && _isZero(left.y)) return right;
        if (_isZero(right.x) && _isZero(right.y)) return left;
        Fp2 memory slope;
        if (left.x.a == right.x.a && left.x.b == right.x.b) {
            if (_isZero(_sum(left.y, right.y))) return sum;
            Fp2 memory square = _product(left.x, left.x);
            slope = _product(_sum(_sum(square, square), square), _inverse(_sum(left.y, left.y)));
        } else {
            slope = _product(_difference(right.y, left.y), _inverse(_difference(right.x, left.x)));
        }
        sum.x = _difference(_difference(_product(slope, slope), left.x), right.x);
        sum.y = _difference(_product(slope, _difference(left.x, sum.x)), left.y);
    }

    function _sum(Fp2 memory left, Fp2 memory right) private pure returns (Fp2 memory) {
        return Fp2(addmod(left.a, right.a, P), addmod(left.b, right.b, P));
    }

    function _difference(Fp2 memory left, Fp2 memory right) private pure returns (Fp2 memory) {
        return Fp2(addmod(left.a, P - right.a, P), addmod(left.b, P - right.b, P));
    }

    function _product(Fp2 memory left, Fp2 memory right) private pure returns (Fp2 memory) {
        return Fp2(
            addmod(mulmod(left.a, right.a, P), P - mulmod(left.b, right.b, P), P),
            addmod(mulmod(left.a, right.b, P), mulmod(left.b, right.a, P), P)
        );
    }

    /// @dev 1 / (a + b·u) = (a − b·u) / (a² + b²)
    function _inverse(Fp2 memory value) private view returns (Fp2 memory) {
        uint256 norm = addmod(mulmod(value.a, value.a, P), mulmod(value.b, value.b, P), P);
        uint256 inverse = _power(norm, P - 2);
        return Fp2(mulmod(value.a, inverse, P), mulmod(P - value.b, inverse, P));
    }

    function _isZero(Fp2 memory value) private pure returns (bool) {
        return value.a == 0 && value.b == 0;
    }

    function _power(uint256 base, uint256 exponent) private view returns (uint256 power) {
        uint256[6] memory input = [uint256(32), 32, 32, base, exponent, P];
        bool done;
        assembly ("memory-safe") {
            done := staticcall(gas(), 0x05, input, 0xc0, 0x00, 0x20)
            power := mload(0x00)
        }
        if (!done) revert PrecompileFailed(5);
    }
}
