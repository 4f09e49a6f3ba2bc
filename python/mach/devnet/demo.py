"""`make demo`: a devnet on which a lie is caught, signed by a quorum and confirmed on L1.

The lie is a block that an L2 node falsifies, or an output root that the proposer does.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final

from mach.chain.connection import connection
from mach.chain.service_manager import ServiceManager
from mach.devnet.faults import Fault, ProposerFault
from mach.devnet.l2_genesis import L2_CHAIN_ID
from mach.devnet.layout import L1_CHAIN_ID, OPERATORS
from mach.devnet.live_view import LiveView
from mach.devnet.story import Story
from mach.devnet.supervisor import Devnet, DevnetOptions
from mach.errors import MachError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from mach.devnet.story import AlertStory, VerifierStory

WARM_UP_BLOCKS: Final = 3
FAULT_AHEAD: Final = 2
"""How many blocks ahead of the L2's head the lie is placed: no verifier has asked for that block yet."""
BLOCKS_WITHOUT_FAULT: Final = 50
DEADLINE_S: Final = 300.0


class DemoFailedError(MachError):
    """The demo saw something other than it promises."""

    exit_code: ClassVar[int] = 1


class DemoTimeoutError(MachError):
    """The demo did not come to its end in time."""

    exit_code: ClassVar[int] = 3


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo showed, read back from the contract."""

    blocks_verified: int
    transactions: int
    alerts_on_chain: int
    seconds: float
    outputs_agree: int = 0
    fault: Fault | ProposerFault | None = None
    fields: tuple[str, ...] = ()
    alert_hash: str | None = None
    signers: tuple[str, ...] = ()
    tx_hash: str | None = None
    l1_block: int | None = None
    gas_used: int | None = None
    early_alerts: tuple[str, ...] = ()


async def run_demo(
    options: DevnetOptions, fault: Fault | ProposerFault | None, console: Console | None = None
) -> DemoResult:
    """Runs the devnet until the alert stands on L1 or, without a fault, until 50 blocks were found valid by everyone.

    Raises `DemoFailedError` when what is seen is not what was promised, `DemoTimeoutError`, and
    `ProcessFailedError` when a part of the devnet ends by itself.
    """
    story = Story()
    title = f"Mach devnet, fault {fault or 'none'}"
    with LiveView(story, title, console) as view:
        async with Devnet(replace(options, fault=fault), view.note) as net:
            watching = asyncio.create_task(net.watch())
            telling = asyncio.create_task(_tell(net, story, view, fault))
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await asyncio.wait([watching, telling], return_when=asyncio.FIRST_COMPLETED)
                if not telling.done():
                    await watching
                result = await telling
            except TimeoutError:
                raise DemoTimeoutError(
                    f"no end after {DEADLINE_S:g} s; the logs are in {net.layout.folder / 'logs'}"
                ) from None
            finally:
                for task in (watching, telling):
                    task.cancel()
                await asyncio.gather(watching, telling, return_exceptions=True)
    return result


async def _tell(net: Devnet, story: Story, view: LiveView, fault: Fault | ProposerFault | None) -> DemoResult:
    if fault is None:
        await _until(lambda: _least_valid(story) >= BLOCKS_WITHOUT_FAULT)
    else:
        await _until(lambda: _least_valid(story) >= WARM_UP_BLOCKS)
        if isinstance(fault, ProposerFault) and fault.block_number is None:
            await _until(lambda: all(verifier.outputs_agree for verifier in story.verifiers.values()))
        if fault.block_number is None or isinstance(fault, ProposerFault):
            chosen = fault.block_number or net.sequencer.head.number + FAULT_AHEAD
            fault = net.set_fault(fault.at(chosen))
        if isinstance(fault, ProposerFault):
            story.say("proposer", f"will lie on L1 about the output root of block {fault.block_number}", "bold magenta")
        else:
            story.say("lying node", f"will serve a falsified block {fault.block_number}: {fault.kind}", "bold magenta")
        view.refresh()
        await _until(lambda: any(alert.confirmed_block or alert.failed for alert in story.alerts.values()))
        await _until(lambda: _all_found(story, fault))
    return await _read_back(net, story, fault)


async def _read_back(net: Devnet, story: Story, fault: Fault | ProposerFault | None) -> DemoResult:
    """The end, by the contract's own word."""
    async with connection(net.l1_url, L1_CHAIN_ID) as w3:
        manager = ServiceManager(w3, net.deployment)
        on_chain = await manager.total_alerts(L2_CHAIN_ID)
        hashes = await manager.query_message_hashes(L2_CHAIN_ID, 0, on_chain) if on_chain else []
    result = DemoResult(
        blocks_verified=_least_valid(story),
        transactions=min(verifier.transactions for verifier in story.verifiers.values()),
        alerts_on_chain=on_chain,
        seconds=story.seconds,
    )
    false_blocks = {block for verifier in story.verifiers.values() for block in verifier.invalid}
    false_outputs = {block for verifier in story.verifiers.values() for block in verifier.false_outputs}
    result = replace(result, outputs_agree=min(verifier.outputs_agree for verifier in story.verifiers.values()))
    told_of = set() if fault is None else {fault.block_number}
    on_l1 = isinstance(fault, ProposerFault)
    if false_blocks != (set() if on_l1 else told_of) or false_outputs != (told_of if on_l1 else set()):
        raise DemoFailedError(
            f"the lie was {fault or 'none'}; blocks {sorted(false_blocks)} were found false, and the output roots of "
            f"blocks {sorted(false_outputs)}"
        )
    if on_chain != len(told_of):
        raise DemoFailedError(f"the lie was {fault or 'none'}; {on_chain} alerts stand on L1")
    if fault is None:
        return result
    alert_hash = "0x" + hashes[0].hex()
    alert: AlertStory | None = story.alerts.get(alert_hash)
    mismatches = _found(next(iter(story.verifiers.values())), fault)
    fits = isinstance(fault, ProposerFault) or any(text.startswith(fault.kind.expected_field) for text in mismatches)
    if alert is None or not fits:
        raise DemoFailedError(f"alert {alert_hash} on chain does not fit the lie {fault}: {mismatches}")
    return replace(
        result,
        fault=fault,
        fields=tuple(mismatches),
        alert_hash=alert_hash,
        signers=tuple(alert.signers),
        tx_hash=alert.tx_hash,
        l1_block=alert.confirmed_block,
        gas_used=alert.gas_used,
        early_alerts=tuple(story.early_alerts),
    )


def _least_valid(story: Story) -> int:
    if len(story.verifiers) < OPERATORS:
        return 0
    return min(verifier.valid for verifier in story.verifiers.values())


def _found(verifier: VerifierStory, fault: Fault | ProposerFault) -> list[str]:
    """What a verifier says of the lie; nothing as long as it has not seen it."""
    found = verifier.false_outputs if isinstance(fault, ProposerFault) else verifier.invalid
    return found.get(fault.block_number or 0, [])


def _all_found(story: Story, fault: Fault | ProposerFault) -> bool:
    everyone = all(_found(verifier, fault) for verifier in story.verifiers.values())
    return everyone and (bool(story.early_alerts) or not isinstance(fault, ProposerFault))


async def _until(condition: Callable[[], bool]) -> None:
    """Returns when the condition holds; the caller sets the deadline."""
    while not condition():  # noqa: ASYNC110 - the story has many writers and no one event
        await asyncio.sleep(0.05)
