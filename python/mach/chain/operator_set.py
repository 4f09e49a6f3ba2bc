"""The operators of some quorums as values: members, stakes and keys, and where the contracts' histories hold them."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from mach import bls
from mach.errors import MachError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class NoSignatureError(MachError):
    """There is nothing to confirm an alert with."""


@dataclass(frozen=True, slots=True)
class OperatorKeys:
    """The BLS keys that one operator registered, for ever: `operator_id` is keccak256 of the G1 key, 32 bytes."""

    operator_id: bytes
    address: str
    public_key_g1: bls.PublicKeyG1
    public_key_g2: bls.PublicKeyG2


@dataclass(frozen=True, slots=True)
class Member:
    """One operator of an `OperatorSet`: its keys, and its stake in wei by quorum number."""

    operator_id: bytes
    address: str
    public_key_g1: bls.PublicKeyG1
    public_key_g2: bls.PublicKeyG2
    stakes: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class OperatorSet:
    """The members of some quorums at one block, by operator id; total stakes in wei by quorum number.

    `quorum_apks` are the 64-byte aggregate G1 keys in the order of `quorum_numbers`.
    """

    reference_block: int
    quorum_numbers: bytes
    members: Mapping[bytes, Member]
    total_stakes: Mapping[int, int]
    quorum_apks: tuple[bytes, ...]

    def signed_stake(self, signers: Collection[bytes], quorum_number: int) -> int:
        """The stake in wei that `signers` (operator ids; strangers count nothing) have in a quorum."""
        return sum(
            self.members[operator_id].stakes.get(quorum_number, 0)
            for operator_id in set(signers)
            if operator_id in self.members
        )

    def threshold_met(self, signers: Collection[bytes], percentages: bytes) -> bool:
        """Whether `signers` hold at least each quorum's percentage (one byte a quorum), as `confirmAlert` decides it.

        A quorum without stake is never met.
        """
        return all(
            self.total_stakes[number] > 0
            and self.signed_stake(signers, number) * 100 >= self.total_stakes[number] * percentage
            for number, percentage in zip(self.quorum_numbers, percentages, strict=True)
        )

    def non_signers(self, signers: Collection[bytes]) -> tuple[Member, ...]:
        """The members who are not among `signers`, sorted by operator id as the contracts want them."""
        present = set(signers)
        return tuple(self.members[operator_id] for operator_id in sorted(self.members) if operator_id not in present)


def build_operator_set(
    quorum_numbers: bytes,
    reference_block: int,
    stakes: Mapping[bytes, Mapping[int, int]],
    keys: Mapping[bytes, OperatorKeys],
) -> OperatorSet:
    """The set of these operators: stakes in wei by operator id and quorum number, and everyone's keys."""
    members = {
        operator_id: Member(
            operator_id=operator_id,
            address=keys[operator_id].address,
            public_key_g1=keys[operator_id].public_key_g1,
            public_key_g2=keys[operator_id].public_key_g2,
            stakes=MappingProxyType(dict(by_quorum)),
        )
        for operator_id, by_quorum in stakes.items()
    }
    return OperatorSet(
        reference_block=reference_block,
        quorum_numbers=quorum_numbers,
        members=MappingProxyType(members),
        total_stakes=MappingProxyType(
            {number: sum(by_quorum.get(number, 0) for by_quorum in stakes.values()) for number in quorum_numbers}
        ),
        quorum_apks=tuple(_quorum_apk(members.values(), number) for number in quorum_numbers),
    )


def _quorum_apk(members: Collection[Member], quorum_number: int) -> bytes:
    keys = b"".join(member.public_key_g1.to_bytes() for member in members if quorum_number in member.stakes)
    return bls.aggregate_public_keys_g1(keys) if keys else bytes(64)
