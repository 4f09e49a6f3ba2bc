"""Calldata and gas of `confirmAlert`, from the layout of its arguments alone: a general ABI encoder takes 100 times as
long, and the node's estimate a request that runs the whole check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mach import bls
from mach.chain.points import FIELD_MODULUS, G1_BYTES, G2_BYTES, PointLengthError
from mach.protocol.alerts import sign_hash
from mach.protocol.hashing import keccak256

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mach.chain.service_manager import AlertHeader, NonSignerStakesAndSignature

SIGNATURE: Final = (
    "confirmAlert((bytes32,bytes,bytes,uint32,uint256),"
    "(uint32[],(uint256,uint256)[],(uint256,uint256)[],(uint256[2],uint256[2]),(uint256,uint256),"
    "uint32[],uint32[],uint32[][]))"
)
_SELECTOR: Final = keccak256(SIGNATURE.encode())[:4]
_WORD: Final = 32

# Gas as measured on the contract in front of EigenLayer's registries, rounded up.
_BASE_GAS: Final = 270_000
"""Everything that does not grow, for a rollup's first alert, with what the first of any non-signers adds once."""
_GAS_PER_FURTHER_QUORUM: Final = 18_500
_GAS_PER_NON_SIGNER: Final = 14_500
_GAS_PER_NON_SIGNER_AND_FURTHER_QUORUM: Final = 11_000
_GAS_PER_FAILED_TRY: Final = 4_400
"""One x that is of no point, on the way from a digest to the curve."""
_MARGIN: Final = 1.15

_STANDS_ALREADY: Final = ("AlreadyAdded", "ResolvedAlert")
_OUTDATED: Final = (
    "InvalidReferenceBlockNum",
    "InsufficientThreshold()",
    "stakes are stale",
    "not the quorum's aggregate key",
    "signature is invalid",
    "StakeRegistry.",
    "BLSApkRegistry.",
    "RegistryCoordinator.",
)
"""The contract's reasons, and the beginnings of its registries', that blame the reference block or what stood there."""


def stands_already(reason: str) -> bool:
    """Whether `confirmAlert` reverted since the alert was confirmed before."""
    return reason.startswith(_STANDS_ALREADY)


def fresh_signatures_help(reason: str) -> bool:
    """Whether what `confirmAlert` reverted with may not come again with signatures over a present reference block."""
    return reason.startswith(_OUTDATED)


def encode_confirm_alert(header: AlertHeader, signed: NonSignerStakesAndSignature) -> bytes:
    """Calldata of `confirmAlert`. Raises `PointLengthError`, OverflowError for a number out of its range."""
    indices = signed.indices
    alert = _tuple(
        [
            _bytes32(header.message_hash),
            _Tail(_bytes(header.quorum_numbers)),
            _Tail(_bytes(header.quorum_threshold_percentages)),
            _uint32(header.reference_block_number),
            header.rollup_chain_id.to_bytes(_WORD),
        ]
    )
    proof = _tuple(
        [
            _Tail(_uint32s(indices.non_signer_quorum_bitmap_indices)),
            _Tail(_points(signed.non_signer_public_keys)),
            _Tail(_points(signed.quorum_apks)),
            _point(signed.apk_g2, G2_BYTES),
            _point(signed.sigma, G1_BYTES),
            _Tail(_uint32s(indices.quorum_apk_indices)),
            _Tail(_uint32s(indices.total_stake_indices)),
            _Tail(
                _length(indices.non_signer_stake_indices)
                + _tuple([_Tail(_uint32s(places)) for places in indices.non_signer_stake_indices])
            ),
        ]
    )
    return _SELECTOR + _tuple([_Tail(alert), _Tail(proof)])


def gas_limit(header: AlertHeader, non_signers: int) -> int:
    """Gas that `confirmAlert` stays below, with an eighth to spare.

    Tight, so that many transactions fit a block: a block is filled by their limits, not by what they use.
    """
    quorums = len(header.quorum_numbers)
    needed = (
        _BASE_GAS
        + _GAS_PER_FURTHER_QUORUM * (quorums - 1)
        + (_GAS_PER_NON_SIGNER + _GAS_PER_NON_SIGNER_AND_FURTHER_QUORUM * (quorums - 1)) * non_signers
        + _GAS_PER_FAILED_TRY * _failed_tries(header)
    )
    return int(needed * _MARGIN)


def _failed_tries(header: AlertHeader) -> int:
    """How many x from the digest on are of no point: what the contract's hash to the curve pays for."""
    digest = sign_hash(header.message_hash, header.reference_block_number, header.rollup_chain_id)
    found = int.from_bytes(bls.hash_to_g1(digest)[:_WORD])
    return (found - int.from_bytes(digest)) % FIELD_MODULUS


class _Tail(bytes):
    """A dynamic component: stands behind the static ones, which hold its offset instead."""

    __slots__ = ()


def _tuple(components: Sequence[bytes]) -> bytes:
    """Components laid out by the contract ABI's rules ("Formal specification of the encoding")."""
    offset = sum(_WORD if isinstance(component, _Tail) else len(component) for component in components)
    heads: list[bytes] = []
    tails: list[bytes] = []
    for component in components:
        if isinstance(component, _Tail):
            heads.append(offset.to_bytes(_WORD))
            tails.append(component)
            offset += len(component)
        else:
            heads.append(component)
    return b"".join(heads + tails)


def _bytes32(value: bytes) -> bytes:
    if len(value) != _WORD:
        raise OverflowError(f"{len(value)} bytes where 32 are needed")
    return value


def _bytes(value: bytes) -> bytes:
    return _length(value) + value + bytes(-len(value) % _WORD)


def _length(value: Sequence[object]) -> bytes:
    return len(value).to_bytes(_WORD)


def _uint32(value: int) -> bytes:
    return bytes(28) + value.to_bytes(4)


def _uint32s(values: Sequence[int]) -> bytes:
    return _length(values) + b"".join(_uint32(value) for value in values)


def _points(points: Sequence[bytes]) -> bytes:
    return _length(points) + b"".join(_point(point, G1_BYTES) for point in points)


def _point(point: bytes, length: int) -> bytes:
    if len(point) != length:
        raise PointLengthError(f"a point of {len(point)} bytes was given where {length} are needed")
    return point
