"""Blob transactions (EIP-4844) of the devnet's Ethereum L2, without any KZG library.

Their blobs are all zero. The commitment to the zero polynomial is the point at infinity, and so is the proof of each of
its cells: nothing has to be computed, and a node's check of the sidecar passes as for any other blob.
"""

from __future__ import annotations

import hashlib
from typing import Final

import rlp

BLOB_TYPE: Final = 3
BLOB_BYTES: Final = 131_072
CELLS_PER_BLOB: Final = 128
"""EIP-7594: a blob of 64 cells is extended to twice as many, each with a proof."""

POINT_AT_INFINITY: Final = b"\xc0" + bytes(47)
"""BLS12-381's G1, compressed: commitment and proofs of the zero polynomial."""
ZERO_BLOB_HASH: Final = b"\x01" + hashlib.sha256(POINT_AT_INFINITY).digest()[1:]
"""The versioned hash (EIP-4844) of a blob that is all zero."""

_WRAPPER_VERSION: Final = b"\x01"
_HASHES_FIELD: Final = 10


def with_zero_blobs(transaction: bytes, count: int) -> bytes:
    """A signed transaction of type 3 that names `count` times `ZERO_BLOB_HASH`, as it is sent: with its sidecar.

    EIP-7594's network form: `0x03 ‖ rlp([transaction, 1, blobs, commitments, cell proofs])`.
    """
    infinity = [POINT_AT_INFINITY]
    wrapped: bytes = rlp.encode(
        [
            rlp.decode(transaction[1:]),
            _WRAPPER_VERSION,
            [bytes(BLOB_BYTES)] * count,
            infinity * count,
            infinity * (count * CELLS_PER_BLOB),
        ]
    )
    return bytes([BLOB_TYPE]) + wrapped


def blob_hashes(transaction: bytes) -> list[bytes]:
    """The versioned hashes (32 bytes) in a transaction of a block; none of any type but 3."""
    if transaction[:1] != bytes([BLOB_TYPE]):
        return []
    hashes: list[bytes] = rlp.decode(transaction[1:])[_HASHES_FIELD]
    return hashes
