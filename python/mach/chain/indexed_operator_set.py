"""An operator set with all that `confirmAlert` needs of the chain, read once: any signers, no further request."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Self

from eth_abi.abi import encode

from mach import bls
from mach.chain.operator_set import Member, NoSignatureError, OperatorSet
from mach.chain.service_manager import CheckSignaturesIndices, NonSignerStakesAndSignature
from mach.protocol.hashing import keccak256

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SET_ID_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class HistoryIndices:
    """Where the registries' histories hold a set: what `getCheckSignaturesIndices` gives, for all members at once.

    `bitmap` by operator id; `stake` by operator id and quorum number; the others in the order of the quorums.
    """

    quorum_apk: tuple[int, ...]
    total_stake: tuple[int, ...]
    bitmap: Mapping[bytes, int]
    stake: Mapping[bytes, Mapping[int, int]]


@dataclass(frozen=True, slots=True)
class OperatorColumns:
    """A set laid end to end for the native intake, sorted by operator id: n·32 and n·128 bytes.

    `stakes` holds n stakes in wei for each quorum, 0 for an operator who is not in it; `totals` one sum a quorum.
    """

    operator_ids: bytes
    public_keys_g2: bytes
    stakes: list[list[int]]
    totals: list[int]


@dataclass(frozen=True, slots=True)
class IndexedOperatorSet(OperatorSet):
    """An `OperatorSet` with the histories' indices and its signers' keys.

    `set_id` (63 bits) names the content, indices included: the same operators with the same stakes at the same places
    have the same id in every process, whatever the block. `reference_block` is the first block known to have the set.
    """

    set_id: int
    indices: HistoryIndices
    sorted_ids: tuple[bytes, ...]
    signers: bls.SignerSet = field(compare=False)
    """The G2 keys in the order of `sorted_ids`, each once for every quorum its operator is in: the contracts add a key
    so often to the sum that they check the signature against."""

    @classmethod
    def build(cls, operators: OperatorSet, indices: HistoryIndices) -> Self:
        """Puts a set and its indices together. Checks all keys, 0.1 ms each: call it off the event loop."""
        members = sorted(operators.members.values(), key=lambda member: member.operator_id)
        return cls(
            **{one.name: getattr(operators, one.name) for one in fields(OperatorSet)},
            set_id=_set_id(operators, indices),
            indices=indices,
            sorted_ids=tuple(member.operator_id for member in members),
            signers=bls.SignerSet.from_bytes(
                b"".join(member.public_key_g2.to_bytes() * len(member.stakes) for member in members)
            ),
        )

    def columns(self) -> OperatorColumns:
        """The set as the native intake takes it."""
        members = [self.members[operator_id] for operator_id in self.sorted_ids]
        return OperatorColumns(
            operator_ids=b"".join(self.sorted_ids),
            public_keys_g2=b"".join(member.public_key_g2.to_bytes() for member in members),
            stakes=[[member.stakes.get(number, 0) for member in members] for number in self.quorum_numbers],
            totals=[self.total_stakes[number] for number in self.quorum_numbers],
        )

    def check_signatures_indices(self, non_signer_ids: Sequence[bytes]) -> CheckSignaturesIndices:
        """What the contract's `getCheckSignaturesIndices` answers for these members, sorted by operator id."""
        stake = self.indices.stake
        return CheckSignaturesIndices(
            non_signer_quorum_bitmap_indices=tuple(self.indices.bitmap[operator_id] for operator_id in non_signer_ids),
            quorum_apk_indices=self.indices.quorum_apk,
            total_stake_indices=self.indices.total_stake,
            non_signer_stake_indices=tuple(
                tuple(stake[operator_id][number] for operator_id in non_signer_ids if number in stake[operator_id])
                for number in self.quorum_numbers
            ),
        )

    def non_signer_stakes_and_signature(self, signatures: Mapping[bytes, bytes]) -> NonSignerStakesAndSignature:
        """What `confirmAlert` needs beside the header, from the signatures (64 bytes) by operator id.

        Signatures of strangers are left out, the others must be valid. Raises `NoSignatureError` when none is left.
        """
        absent: list[Member] = []
        present: list[int] = []
        signed: list[bytes] = []
        position = 0
        for operator_id in self.sorted_ids:
            member = self.members[operator_id]
            times = len(member.stakes)
            if operator_id in signatures:
                present += range(position, position + times)
                signed.append(signatures[operator_id] * times)
            else:
                absent.append(member)
            position += times
        if not present:
            raise NoSignatureError(
                f"none of {len(signatures)} signatures is of a member of quorums {list(self.quorum_numbers)} at block "
                f"{self.reference_block}: wait for members to sign"
            )
        return NonSignerStakesAndSignature(
            non_signer_public_keys=tuple(member.public_key_g1.to_bytes() for member in absent),
            quorum_apks=self.quorum_apks,
            apk_g2=self.signers.aggregate(present),
            sigma=bls.aggregate_signatures(b"".join(signed)),
            indices=self.check_signatures_indices([member.operator_id for member in absent]),
        )


def index_members(operators: OperatorSet, answer: CheckSignaturesIndices) -> HistoryIndices:
    """Reads the contract's answer for all members, sorted by operator id, apart by operator.

    Raises ValueError when the answer does not fit the set.
    """
    members = sorted(operators.members)
    stake: dict[bytes, dict[int, int]] = {operator_id: {} for operator_id in members}
    for number, places in zip(operators.quorum_numbers, answer.non_signer_stake_indices, strict=True):
        in_quorum = [operator_id for operator_id in members if number in operators.members[operator_id].stakes]
        for operator_id, place in zip(in_quorum, places, strict=True):
            stake[operator_id][number] = place
    return HistoryIndices(
        quorum_apk=answer.quorum_apk_indices,
        total_stake=answer.total_stake_indices,
        bitmap=MappingProxyType(dict(zip(members, answer.non_signer_quorum_bitmap_indices, strict=True))),
        stake=MappingProxyType({key: MappingProxyType(value) for key, value in stake.items()}),
    )


def _set_id(operators: OperatorSet, indices: HistoryIndices) -> int:
    members = sorted(operators.members)
    content = encode(
        ["bytes", "uint256[]", "uint256[]", "(bytes32,uint256,uint256[],uint256[],uint256[])[]"],
        [
            operators.quorum_numbers,
            indices.quorum_apk,
            indices.total_stake,
            [
                (
                    operator_id,
                    indices.bitmap[operator_id],
                    sorted(operators.members[operator_id].stakes),
                    [stake for _, stake in sorted(operators.members[operator_id].stakes.items())],
                    [place for _, place in sorted(indices.stake[operator_id].items())],
                )
                for operator_id in members
            ],
        ],
    )
    return int.from_bytes(keccak256(content)[:SET_ID_BYTES]) >> 1
