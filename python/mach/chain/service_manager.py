"""`MachServiceManager`: what it knows of alerts, and the calldata that confirms one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mach.chain.blocks import latest_block
from mach.chain.confirm_alert import encode_confirm_alert
from mach.chain.connection import L1Client, request, require_code
from mach.chain.contracts import contract_at
from mach.chain.errors import MalformedAnswerError
from mach.chain.event_follower import REORG_DEPTH, EventFollower
from mach.chain.points import g1_struct, g2_struct

if TYPE_CHECKING:
    from mach.chain.deploy_output import DeployOutput


@dataclass(frozen=True, slots=True)
class AlertHeader:
    """What `confirmAlert` is told of an alert: one byte a quorum for its number, one for its threshold in percent."""

    message_hash: bytes
    quorum_numbers: bytes
    quorum_threshold_percentages: bytes
    reference_block_number: int
    rollup_chain_id: int


@dataclass(frozen=True, slots=True)
class CheckSignaturesIndices:
    """Positions in the registries' histories (`OperatorStateRetriever.getCheckSignaturesIndices`).

    One bitmap index a non-signer; one apk and one total-stake index a quorum; and for each quorum one stake index for
    each non-signer who is in it.
    """

    non_signer_quorum_bitmap_indices: tuple[int, ...]
    quorum_apk_indices: tuple[int, ...]
    total_stake_indices: tuple[int, ...]
    non_signer_stake_indices: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class NonSignerStakesAndSignature:
    """EigenLayer's struct of that name, points as `mach.bls` bytes: G1 64, G2 128.

    Non-signers stand sorted by operator id; `quorum_apks` in the order of the header's quorums; `apk_g2` and `sigma`
    are the sums over the signers.
    """

    non_signer_public_keys: tuple[bytes, ...]
    quorum_apks: tuple[bytes, ...]
    apk_g2: bytes
    sigma: bytes
    indices: CheckSignaturesIndices

    def to_struct(self) -> tuple[Any, ...]:
        """The tuple that the contract's ABI takes."""
        return (
            self.indices.non_signer_quorum_bitmap_indices,
            [g1_struct(key) for key in self.non_signer_public_keys],
            [g1_struct(apk) for apk in self.quorum_apks],
            g2_struct(self.apk_g2),
            g1_struct(self.sigma),
            self.indices.quorum_apk_indices,
            self.indices.total_stake_indices,
            self.indices.non_signer_stake_indices,
        )


@dataclass(frozen=True, slots=True)
class AlertConfirmation:
    """The mined transaction that confirmed an alert; both hashes are 32 bytes."""

    message_hash: bytes
    alert_header_hash: bytes
    tx_hash: bytes
    block_number: int


class ServiceManager:
    """Reads one deployment's `MachServiceManager` and encodes calls to it. Reverts come as `RevertedError`."""

    def __init__(self, w3: L1Client, deployment: DeployOutput) -> None:
        self._w3 = w3
        self._contract = contract_at(w3, "MachServiceManager", deployment.mach_service_manager)
        self._confirmed = EventFollower(
            w3,
            "MachServiceManager",
            deployment.mach_service_manager,
            "AlertConfirmed",
            deployment.deployment_block or 0,
        )
        self._confirmations: dict[bytes, AlertConfirmation] = {}
        self._following = asyncio.Lock()

    @property
    def address(self) -> str:
        """The contract's address, in checksum form."""
        return str(self._contract.address)

    async def check(self) -> None:
        """Raises `ContractNotFoundError` unless the contract stands on this chain."""
        await require_code(self._w3, self.address, "MachServiceManager")

    async def block_number(self) -> int:
        """The number of the L1's latest block."""
        return (await latest_block(self._w3)).number

    async def contains(self, rollup_chain_id: int, message_hash: bytes) -> bool:
        """Whether the alert stands confirmed and not removed."""
        return bool(await self._read("contains", rollup_chain_id, message_hash))

    async def total_alerts(self, rollup_chain_id: int) -> int:
        """How many alerts of a rollup stand."""
        return int(await self._read("totalAlerts", rollup_chain_id))

    async def query_message_hashes(self, rollup_chain_id: int, start: int, count: int) -> list[bytes]:
        """Up to `count` message hashes of a rollup's standing alerts from position `start` on.

        Raises `RevertedError` (`InvalidStartIndex`) when `start` is past the end.
        """
        return [bytes(value) for value in await self._read("queryMessageHashes", rollup_chain_id, start, count)]

    async def quorum_threshold_percentage(self) -> int:
        """The least percentage of stake that `confirmAlert` accepts in a header."""
        return int(await self._read("quorumThresholdPercentage"))

    async def alert_confirmer(self) -> str:
        """The one account that may confirm alerts, in checksum form."""
        return str(await self._read("alertConfirmer"))

    async def serves_rollup(self, rollup_chain_id: int) -> bool:
        """Whether alerts of this rollup are accepted."""
        return bool(await self._read("rollupChainIDs", rollup_chain_id))

    def confirm_alert_calldata(self, header: AlertHeader, signed: NonSignerStakesAndSignature) -> bytes:
        """Calldata of `confirmAlert`."""
        return encode_confirm_alert(header, signed)

    async def find_alert_confirmed(self, message_hash: bytes, from_block: int = 0) -> AlertConfirmation | None:
        """The confirmation of an alert in block `from_block` or later, None when there is none so far.

        Reads only the events that are new since the last call. A confirmation that was removed later is found still.
        """
        async with self._following:
            settled = self._confirmed.next_block - REORG_DEPTH
            # The last blocks are read again: what a reorganisation took out of them must not stay.
            self._confirmations = {
                key: known for key, known in self._confirmations.items() if known.block_number < settled
            }
            for log in await self._confirmed.new_logs():
                if len(log.data) != 32 or len(log.topics) != 2:
                    raise MalformedAnswerError("an event of the service manager lacks its message hash")
                self._confirmations[log.data] = AlertConfirmation(
                    message_hash=log.data,
                    alert_header_hash=log.topics[1],
                    tx_hash=log.transaction_hash,
                    block_number=log.block_number,
                )
        found = self._confirmations.get(message_hash)
        return found if found is not None and found.block_number >= from_block else None

    async def _read(self, function: str, *arguments: Any) -> Any:
        call = self._contract.functions[function](*arguments).call()
        return await request(self._w3, call, f"read {function} of MachServiceManager {self.address}")
