"""Calls to precompiled contracts: inputs that they accept, and now and then one that they do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mach.devnet.blobs import POINT_AT_INFINITY, ZERO_BLOB_HASH

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

_BN254_G1: Final = (1).to_bytes(32, "big") + (2).to_bytes(32, "big")
_BN254_G1_NEGATED: Final = (1).to_bytes(32, "big") + bytes.fromhex(
    "30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd45"
)
_BN254_G2: Final = bytes.fromhex(  # EIP-197's generator, imaginary parts first
    "198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2"
    "1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed"
    "090689d0585ff075ec9e99ad690c3395bc4b313370b38ef355acdadcd122975b"
    "12c85ea5db8c6deb4aab71808dcb408fe3d1e7690c43d37b4ce6cc0166fa7daa"
)
_BLS12_G1: Final = (
    bytes(16)
    + bytes.fromhex(  # EIP-2537's generator, coordinates padded to 64 bytes
        "17f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb"
    )
    + bytes(16)
    + bytes.fromhex("08b3f481e3aaa0f1a09e30ed741d8ae4fcf5e095d5d00af600db18cb2c04b3edd03cc744a2888ae40caa232946c5e7e1")
)
_BLS12_G2_INFINITY: Final = bytes(256)
_P256_SIGNED: Final = bytes.fromhex(  # RIP-7212's example: digest, r, s, x, y
    "4cee90eb86eaa050036147a12d49004b6b9c72bd725d39d4785011fe190f0b4d"
    "a73bd4903f0ce3b639bbbf6e8e80d16931ff4bcf5993d58468e8fb19086e8cac"
    "36dbcd03009df8c59286b162af3bd7fcc0450c9aa81be5d10d312af6c66b1d60"
    "4aebd3099c618202fcfe16ae7770b0c49ab5eadf74b754204a3bb6060e44eff3"
    "7618b065f9832de4ca6ca971a7a1adc826d0f7c00181a5fb2ddf79ae00b4e10e"
)
_SPOILT_ONE_IN: Final = 5


def precompile_call(source: random.Random) -> tuple[int, bytes]:
    """A precompile's address and an input for it; one in five inputs has a bit changed or its end cut off."""
    address = source.choice(list(_INPUTS))
    data = _INPUTS[address](source)
    if data and source.randrange(_SPOILT_ONE_IN) == 0:
        if source.randrange(2):
            return address, data[: source.randrange(len(data))]
        position = source.randrange(len(data))
        data = data[:position] + bytes([data[position] ^ 1 << source.randrange(8)]) + data[position + 1 :]
    return address, data


def _modexp(source: random.Random) -> bytes:
    """EIP-198; a modulus of zero and operands of no length at all are part of it."""
    parts = [source.randbytes(source.choice([0, 1, 31, 32, 33, 64])) for _ in range(2)]
    modulus = source.choice([b"", bytes(32), source.randbytes(32), source.randbytes(65)])
    operands = [*parts, modulus]
    return b"".join(len(operand).to_bytes(32, "big") for operand in operands) + b"".join(operands)


def _blake2f(source: random.Random) -> bytes:
    rounds = source.choice([0, 1, 12, 300]).to_bytes(4, "big")
    return rounds + source.randbytes(64 + 128 + 16) + bytes([source.randrange(2)])


def _scalar(source: random.Random) -> bytes:
    return source.choice([bytes(32), source.randbytes(32)])


def _field_element(source: random.Random) -> bytes:
    """Below BLS12-381's modulus, which begins with 0x1a."""
    return bytes(16) + bytes([source.randrange(0x1A)]) + source.randbytes(47)


_INPUTS: Final[dict[int, Callable[[random.Random], bytes]]] = {
    0x02: lambda source: source.randbytes(source.randrange(200)),
    0x03: lambda source: source.randbytes(source.randrange(200)),
    0x04: lambda source: source.randbytes(source.randrange(200)),
    0x05: _modexp,
    0x06: lambda source: _BN254_G1 + source.choice([_BN254_G1, _BN254_G1_NEGATED, bytes(64)]),
    0x07: lambda source: _BN254_G1 + _scalar(source),
    0x08: lambda source: source.choice(
        [b"", _BN254_G1 + _BN254_G2, _BN254_G1 + _BN254_G2 + _BN254_G1_NEGATED + _BN254_G2]
    ),
    0x09: _blake2f,
    # EIP-4844's point evaluation: the zero polynomial is zero everywhere, and the proof of it is infinity.
    0x0A: lambda source: ZERO_BLOB_HASH + bytes([0]) + source.randbytes(31) + bytes(32) + POINT_AT_INFINITY * 2,
    0x0B: lambda source: _BLS12_G1 + source.choice([_BLS12_G1, bytes(128)]),
    0x0C: lambda source: _BLS12_G1 + _scalar(source),
    0x0D: lambda _: _BLS12_G2_INFINITY * 2,
    0x0E: lambda source: _BLS12_G2_INFINITY + _scalar(source),
    0x0F: lambda _: _BLS12_G1 + _BLS12_G2_INFINITY,
    0x10: _field_element,
    0x11: lambda source: _field_element(source) + _field_element(source),
    0x0100: lambda source: source.choice([_P256_SIGNED, source.randbytes(160)]),
}
