"""One block's verdict: re-execution in Rust, off the event loop, and the alert that an INVALID block calls for."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mach import _core
from mach.protocol.alerts import BlockMismatch
from mach.rollup.node import header_of
from mach.storage.verdict_log import VerdictRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mach._core import BlockVerification
    from mach.rollup.node import BlockData

THREADS: Final = min(2, os.cpu_count() or 1)
"""The second recovers senders ahead of the first, makes code ready, and executes transactions that are not yet due."""
NO_ROOT: Final = bytes(32)
"""The expected root of a block that cannot be executed at all: no block follows from its inputs."""


@dataclass(frozen=True, slots=True)
class Tip:
    """The block that verification has reached: what the next one must build on."""

    number: int
    hash: bytes
    header: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What re-execution found about one block."""

    verification: BlockVerification
    seconds: float
    block: bytes
    """The block as served, in RLP."""
    served_by: str

    @property
    def tip(self) -> Tip | None:
        """Where verification goes on: the block as its inputs produce it, whatever was served. None if nothing does."""
        found = self.verification
        if found.verdict == "INCONCLUSIVE" or found.computed_header is None or found.computed_block_hash is None:
            return None
        return Tip(found.number, found.computed_block_hash, found.computed_header)

    def alert(self) -> BlockMismatch:
        """The alert over an INVALID block: output roots on OP Stack, block hashes where the chain has none."""
        found = self.verification
        if found.output_root is not None:
            served, computed = found.output_root, found.computed_output_root
        else:
            served, computed = found.block_hash, found.computed_block_hash
        return BlockMismatch(served, computed or NO_ROOT, found.number)

    def record(self) -> VerdictRecord:
        found = self.verification
        fields = [
            {"field": mismatch.field, "served": mismatch.served, "computed": mismatch.computed}
            for mismatch in found.mismatches
        ]
        return VerdictRecord(
            block_number=found.number,
            block_hash=found.block_hash,
            verdict=found.verdict,
            computed_hash=found.computed_block_hash,
            computed_header=found.computed_header,
            fields=json.dumps(fields),
            reason=found.reason,
            gas_used=found.gas_used,
            transaction_count=found.transaction_count,
            verified_at=time.time(),
            seconds=self.seconds,
            served_by=self.served_by,
            served_header=None if found.verdict == "VALID" else header_of(self.block),
            computed_output_root=found.computed_output_root,
        )


async def reexecute(
    chain_config: str, parent: Tip, block: BlockData, served_receipts: Sequence[bytes] | None = None
) -> Verdict:
    """Re-executes a block on its parent. Malformed data gives INCONCLUSIVE, never an exception."""
    started = time.perf_counter()
    verification = await asyncio.to_thread(
        _core.verify_block,
        chain_config,
        parent.header,
        block.block,
        block.preimages,
        block.ancestors,
        served_receipts,
        threads=THREADS,
    )
    return Verdict(verification, time.perf_counter() - started, block.block, block.served_by)
