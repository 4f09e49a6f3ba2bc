"""The AVS's operators as the contracts count them: members, stakes and keys of the quorums at a block."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mach import bls
from mach.chain.addresses import checksum_of
from mach.chain.connection import L1Client, request
from mach.chain.contracts import contract_at
from mach.chain.errors import MalformedAnswerError
from mach.chain.event_follower import EventFollower
from mach.chain.indexed_operator_set import IndexedOperatorSet
from mach.chain.operator_set import (
    Member,
    NoSignatureError,
    OperatorKeys,
    OperatorSet,
    build_operator_set,
)
from mach.chain.points import G1_BYTES, G2_BYTES
from mach.chain.service_manager import CheckSignaturesIndices, NonSignerStakesAndSignature
from mach.errors import MachError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from mach.chain.blocks import ChainLog
    from mach.chain.deploy_output import DeployOutput

__all__ = ["Member", "NoSignatureError", "OperatorKeyUnknownError", "OperatorKeys", "OperatorRegistry", "OperatorSet"]

_KEY_ATTEMPTS = 5
_RETRY_FIRST_S = 0.05


class OperatorKeyUnknownError(MachError):
    """The chain counts an operator whose key registration the node's logs do not show."""


def key_unknown(operator_id: bytes, from_block: int) -> OperatorKeyUnknownError:
    """The error for a member whose key was not found in the logs from `from_block` on."""
    return OperatorKeyUnknownError(
        f"no key registration of operator 0x{operator_id.hex()} in the logs of the BLS key registry from block "
        f"{from_block}: check deploymentBlock in the deployment file, and that the node keeps logs"
    )


class OperatorRegistry:
    """Reads one deployment's registries. Keys are followed through events and kept: no key is ever read twice."""

    def __init__(self, w3: L1Client, deployment: DeployOutput) -> None:
        self._w3 = w3
        self._coordinator = deployment.registry_coordinator
        self._retriever = contract_at(w3, "OperatorStateRetriever", deployment.operator_state_retriever)
        self._stakes = contract_at(w3, "StakeRegistry", deployment.stake_registry)
        self._registrations = EventFollower(
            w3, "BLSApkRegistry", deployment.apk_registry, "NewPubkeyRegistration", deployment.deployment_block or 0
        )
        self._keys: dict[bytes, OperatorKeys] = {}
        self._following = asyncio.Lock()

    async def operator_set(self, quorum_numbers: bytes, reference_block: int) -> OperatorSet:
        """Members, stakes, keys and aggregate keys of the quorums (one byte each) at the end of `reference_block`.

        Raises `RevertedError` when a quorum did not exist then, `OperatorKeyUnknownError`, `L1UnavailableError`.
        """
        read_state = self._retriever.get_function_by_signature("getOperatorState(address,bytes,uint32)")
        state = await request(
            self._w3,
            read_state(self._coordinator, quorum_numbers, reference_block).call(),
            f"read the operators of quorums {list(quorum_numbers)} at block {reference_block}",
        )
        stakes: dict[bytes, dict[int, int]] = {}
        for number, quorum in zip(quorum_numbers, state, strict=True):
            for _, operator_id, stake in quorum:
                stakes.setdefault(bytes(operator_id), {})[number] = int(stake)
        return build_operator_set(quorum_numbers, reference_block, stakes, await self.operator_keys(stakes))

    async def operator_keys(self, operator_ids: Collection[bytes]) -> dict[bytes, OperatorKeys]:
        """The keys of operators by id, asking the chain for news while one is unknown.

        Raises `OperatorKeyUnknownError` when the logs do not show it after a few turns.
        """
        for attempt in range(_KEY_ATTEMPTS):
            missing = [operator_id for operator_id in operator_ids if operator_id not in self._keys]
            if not missing:
                return {operator_id: self._keys[operator_id] for operator_id in operator_ids}
            if attempt > 1:
                # Nodes behind a balancer lag each other: the state may be ahead of the logs for a moment.
                await asyncio.sleep(_RETRY_FIRST_S * 2 ** (attempt - 2))
            await self._follow()
        missing = [operator_id for operator_id in operator_ids if operator_id not in self._keys]
        if not missing:
            return {operator_id: self._keys[operator_id] for operator_id in operator_ids}
        raise key_unknown(missing[0], self._registrations.from_block)

    async def total_stakes(self, quorum_numbers: bytes, reference_block: int) -> dict[int, int]:
        """The stake registry's own total in wei of each quorum at a block, read through its history indices."""
        indices = await request(
            self._w3,
            self._stakes.functions.getTotalStakeIndicesAtBlockNumber(reference_block, quorum_numbers).call(),
            f"read the stake indices at block {reference_block}",
        )
        totals = await asyncio.gather(
            *(
                request(
                    self._w3,
                    self._stakes.functions.getTotalStakeAtBlockNumberFromIndex(number, reference_block, index).call(),
                    f"read the total stake of quorum {number}",
                )
                for number, index in zip(quorum_numbers, indices, strict=True)
            )
        )
        return {number: int(total) for number, total in zip(quorum_numbers, totals, strict=True)}

    async def check_signatures_indices(
        self, reference_block: int, quorum_numbers: bytes, non_signer_ids: Sequence[bytes]
    ) -> CheckSignaturesIndices:
        """Where the registries' histories hold what `checkSignatures` compares; ids sorted ascending.

        The chain must be past `reference_block`. Raises `RevertedError` for an id that was never registered.
        """
        bitmaps, apks, totals, stakes = await request(
            self._w3,
            self._retriever.functions.getCheckSignaturesIndices(
                self._coordinator, reference_block, quorum_numbers, list(non_signer_ids)
            ).call(),
            f"read the non-signer indices at block {reference_block}",
        )
        return CheckSignaturesIndices(
            non_signer_quorum_bitmap_indices=tuple(bitmaps),
            quorum_apk_indices=tuple(apks),
            total_stake_indices=tuple(totals),
            non_signer_stake_indices=tuple(tuple(per_quorum) for per_quorum in stakes),
        )

    async def non_signer_stakes_and_signature(
        self, operators: OperatorSet, signatures: Mapping[bytes, bytes]
    ) -> NonSignerStakesAndSignature:
        """What `confirmAlert` needs beside the header, from the signatures (64 bytes) by operator id.

        Signatures of strangers to `operators` are left out, the others must be valid. Raises `NoSignatureError` when
        none is left. Needs no request for an `IndexedOperatorSet`.
        """
        if isinstance(operators, IndexedOperatorSet):
            return operators.non_signer_stakes_and_signature(signatures)
        signers = [
            operators.members[operator_id] for operator_id in sorted(signatures) if operator_id in operators.members
        ]
        if not signers:
            raise NoSignatureError(
                f"none of {len(signatures)} signatures is of a member of quorums {list(operators.quorum_numbers)} at "
                f"block {operators.reference_block}: wait for members to sign"
            )
        # The contracts add a key once for each quorum its operator is in, to the sum they check the signature against.
        weighted = [(member, len(member.stakes)) for member in signers]
        non_signers = operators.non_signers(signatures.keys())
        indices = await self.check_signatures_indices(
            operators.reference_block, operators.quorum_numbers, [member.operator_id for member in non_signers]
        )
        return NonSignerStakesAndSignature(
            non_signer_public_keys=tuple(member.public_key_g1.to_bytes() for member in non_signers),
            quorum_apks=operators.quorum_apks,
            apk_g2=bls.aggregate_public_keys_g2(
                b"".join(member.public_key_g2.to_bytes() * times for member, times in weighted)
            ),
            sigma=bls.aggregate_signatures(
                b"".join(signatures[member.operator_id] * times for member, times in weighted)
            ),
            indices=indices,
        )

    async def _follow(self) -> None:
        async with self._following:
            for log in await self._registrations.new_logs():
                keys = registered_keys(log)
                self._keys.setdefault(keys.operator_id, keys)


def registered_keys(log: ChainLog) -> OperatorKeys:
    """Reads NewPubkeyRegistration(address indexed operator, G1Point, G2Point), whose words are `mach.bls` bytes.

    Raises `MalformedAnswerError` for keys that are none.
    """
    try:
        public_key_g1 = bls.PublicKeyG1.from_bytes(log.data[:G1_BYTES])
        public_key_g2 = bls.PublicKeyG2.from_bytes(log.data[G1_BYTES : G1_BYTES + G2_BYTES])
        account = checksum_of(log.topics[1][-20:])
    except (bls.BlsError, IndexError) as error:
        raise MalformedAnswerError(f"a key registration in the L1's logs is malformed: {error}") from error
    return OperatorKeys(public_key_g1.operator_id, account, public_key_g1, public_key_g2)
