"""Writes bls.json beside this file: BN254 keys, signatures, sums, faulty encodings and statement hashes.

Independent of the code under test: py-ecc for the curve, eth-hash (through eth-utils) for Keccak, eth-abi for the ABI.
Run it with the Python of the project; it always writes the same bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak
from py_ecc.optimized_bn128 import FQ, FQ2, G1, G2, Z1, Z2, add, b2, is_inf, multiply, neg, normalize
from py_ecc.optimized_bn128 import curve_order as r
from py_ecc.optimized_bn128 import field_modulus as p

SOURCE = "py-ecc, eth-hash and eth-abi, by tests/vectors/make_bls_vectors.py"


def number(label: str) -> int:
    """A fixed pseudo-random 256-bit number."""
    return int.from_bytes(keccak(text=f"mach test vector: {label}"), "big")


def encode_numbers(*numbers: int) -> str:
    return b"".join(value.to_bytes(32, "big") for value in numbers).hex()


def encode_g1(point: Any) -> str:
    if is_inf(point):
        return encode_numbers(0, 0)
    x, y = normalize(point)
    return encode_numbers(x.n, y.n)


def encode_g2(point: Any) -> str:
    if is_inf(point):
        return encode_numbers(0, 0, 0, 0)
    x, y = normalize(point)
    return encode_numbers(int(x.coeffs[1]), int(x.coeffs[0]), int(y.coeffs[1]), int(y.coeffs[0]))


def hash_to_g1(message: bytes) -> Any:
    x = int.from_bytes(message, "big") % p
    while True:
        square = (pow(x, 3, p) + 3) % p
        y = pow(square, (p + 1) // 4, p)
        if y * y % p == square:
            return FQ(x), FQ(y), FQ(1)
        x = (x + 1) % p


def square_root_fq2(value: FQ2) -> FQ2 | None:
    """A root in Fq2 = Fq[i], i² = -1, from the norm; None where there is none."""
    real, imaginary = (int(c) for c in value.coeffs)
    norm = (real * real + imaginary * imaginary) % p
    norm_root = pow(norm, (p + 1) // 4, p)
    for sign in (1, -1):
        half = (real + sign * norm_root) * pow(2, -1, p) % p
        root_real = pow(half, (p + 1) // 4, p)
        if root_real == 0:
            continue
        root = FQ2((root_real, imaginary * pow(2 * root_real, -1, p) % p))
        if root * root == value:
            return root
    return None


def g2_point_outside_the_subgroup() -> Any:
    x = 1
    while True:
        candidate = FQ2((x, 0))
        y = square_root_fq2(candidate * candidate * candidate + b2)
        if y is not None:
            point = (candidate, y, FQ2.one())
            if not is_inf(multiply(point, r)):
                return point
        x += 1


def make_keys() -> list[dict[str, str]]:
    secrets = [1, 2, r - 1, *(number(f"key {index}") % r for index in range(5))]
    vectors = []
    for secret in secrets:
        public_key_g1 = encode_g1(multiply(G1, secret))
        vectors.append(
            {
                "secret_key": encode_numbers(secret),
                "public_key_g1": public_key_g1,
                "public_key_g2": encode_g2(multiply(G2, secret)),
                "operator_id": keccak(hexstr=public_key_g1).hex(),
            }
        )
    return vectors


def make_signatures() -> list[dict[str, str]]:
    edges = [0, 1, p - 1, p, p + 1, 2**256 - 1]
    messages = [value.to_bytes(32, "big") for value in edges]
    messages += [keccak(text=f"mach test vector: message {index}") for index in range(10)]
    vectors = []
    for index, message in enumerate(messages):
        secret = number(f"signer {index}") % r
        point = hash_to_g1(message)
        vectors.append(
            {
                "secret_key": encode_numbers(secret),
                "message": message.hex(),
                "hash_to_g1": encode_g1(point),
                "signature": encode_g1(multiply(point, secret)),
            }
        )
    return vectors


def make_aggregates() -> list[dict[str, Any]]:
    one, two, three = (number(f"aggregate {index}") % r for index in range(3))
    cases = {
        "no points": [],
        "one key": [one],
        "three keys": [one, two, three],
        "the same key twice": [one, one],
        "a key and its double": [one, one, 2 * one % r],
        "opposite keys": [one, r - one],
        "opposite keys and another": [one, r - one, two],
    }
    vectors = []
    for case, secrets in cases.items():
        message = keccak(text=f"mach test vector: {case}")
        point = hash_to_g1(message)
        keys_g1 = [multiply(G1, secret) for secret in secrets]
        keys_g2 = [multiply(G2, secret) for secret in secrets]
        signatures = [multiply(point, secret) for secret in secrets]
        sums = [Z1, Z2, Z1]
        for index, points in enumerate((keys_g1, keys_g2, signatures)):
            for summand in points:
                sums[index] = add(sums[index], summand)
        vectors.append(
            {
                "case": case,
                "message": message.hex(),
                "public_keys_g1": [encode_g1(key) for key in keys_g1],
                "public_keys_g2": [encode_g2(key) for key in keys_g2],
                "signatures": [encode_g1(signature) for signature in signatures],
                "aggregate_public_key_g1": encode_g1(sums[0]),
                "aggregate_public_key_g2": encode_g2(sums[1]),
                "aggregate_signature": encode_g1(sums[2]),
                "valid": sum(secrets) % r != 0,
            }
        )
    return vectors


def make_rejected() -> list[dict[str, str]]:
    x, y = (coordinate.n for coordinate in normalize(multiply(G1, 7)))
    g2_bytes = bytes.fromhex(encode_g2(multiply(G2, 7)))
    coordinates = [int.from_bytes(g2_bytes[start : start + 32], "big") for start in range(0, 128, 32)]

    def g2_with(index: int, value: int) -> str:
        return encode_numbers(*coordinates[:index], value, *coordinates[index + 1 :])

    twist_outside = g2_point_outside_the_subgroup()
    return [
        {"kind": "secret_key", "bytes": "", "fault": "wrong_length"},
        {"kind": "secret_key", "bytes": encode_numbers(1)[2:], "fault": "wrong_length"},
        {"kind": "secret_key", "bytes": encode_numbers(1) + "00", "fault": "wrong_length"},
        {"kind": "secret_key", "bytes": encode_numbers(0), "fault": "secret_key_range"},
        {"kind": "secret_key", "bytes": encode_numbers(r), "fault": "secret_key_range"},
        {"kind": "secret_key", "bytes": encode_numbers(2**256 - 1), "fault": "secret_key_range"},
        {"kind": "g1", "bytes": "", "fault": "wrong_length"},
        {"kind": "g1", "bytes": encode_numbers(x, y)[2:], "fault": "wrong_length"},
        {"kind": "g1", "bytes": encode_numbers(x, y) + "00", "fault": "wrong_length"},
        {"kind": "g1", "bytes": encode_numbers(x + p, y), "fault": "non_canonical_coordinate"},
        {"kind": "g1", "bytes": encode_numbers(x, y + p), "fault": "non_canonical_coordinate"},
        {"kind": "g1", "bytes": encode_numbers(p, p), "fault": "non_canonical_coordinate"},
        {"kind": "g1", "bytes": encode_numbers(2**256 - 1, y), "fault": "non_canonical_coordinate"},
        {"kind": "g1", "bytes": encode_numbers(y, x), "fault": "not_on_curve"},
        {"kind": "g1", "bytes": encode_numbers(x, 0), "fault": "not_on_curve"},
        {"kind": "g1", "bytes": encode_numbers(0, y), "fault": "not_on_curve"},
        {"kind": "g1", "bytes": encode_numbers(0, 0), "fault": "identity"},
        {"kind": "g2", "bytes": "", "fault": "wrong_length"},
        {"kind": "g2", "bytes": encode_numbers(x, y), "fault": "wrong_length"},
        {"kind": "g2", "bytes": g2_bytes.hex() + "00", "fault": "wrong_length"},
        *(
            {"kind": "g2", "bytes": g2_with(index, coordinates[index] + p), "fault": "non_canonical_coordinate"}
            for index in range(4)
        ),
        {
            "kind": "g2",
            "bytes": encode_numbers(coordinates[1], coordinates[0], coordinates[3], coordinates[2]),
            "fault": "not_on_curve",
        },
        {"kind": "g2", "bytes": encode_g2(twist_outside), "fault": "not_in_subgroup"},
        {"kind": "g2", "bytes": encode_g2(neg(add(twist_outside, G2))), "fault": "not_in_subgroup"},
        {"kind": "g2", "bytes": encode_numbers(0, 0, 0, 0), "fault": "identity"},
    ]


def make_statements() -> list[dict[str, Any]]:
    numbers = [0, 1, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**63, 2**64 - 1]
    vectors = []
    for index, value in enumerate(numbers):
        invalid = keccak(text=f"mach test vector: invalid root {index}")
        expected = keccak(text=f"mach test vector: expected root {index}")
        minimal = value.to_bytes((value.bit_length() + 7) // 8, "big")
        block_mismatch = keccak(invalid + expected + minimal)
        reference_block = value % 2**32
        chain_id = [0, 1, 901, 2**64, 2**256 - 1][index % 5]
        vectors.append(
            {
                "invalid_output_root": invalid.hex(),
                "expect_output_root": expected.hex(),
                "number": value,
                "block_mismatch_hash": block_mismatch.hex(),
                "output_oracle_mismatch_hash": keccak(expected + minimal).hex(),
                "reference_block_number": reference_block,
                "rollup_chain_id": f"{chain_id:064x}",
                "sign_hash_v1": keccak(encode(["bytes32", "uint32"], [block_mismatch, reference_block])).hex(),
                "sign_hash_v2": keccak(
                    encode(["bytes32", "uint32", "uint256"], [block_mismatch, reference_block, chain_id])
                ).hex(),
            }
        )
    return vectors


def main() -> None:
    vectors = {
        "source": SOURCE,
        "keys": make_keys(),
        "signatures": make_signatures(),
        "aggregates": make_aggregates(),
        "rejected": make_rejected(),
        "statements": make_statements(),
    }
    Path(__file__).with_name("bls.json").write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main()
