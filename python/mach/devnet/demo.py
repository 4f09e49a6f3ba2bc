"""`make demo`: a devnet on which a lie about an L2 block is caught, signed by a quorum and confirmed on L1."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final

from mach.chain.connection import connection
from mach.chain.service_manager import ServiceManager
from mach.devnet.l2_genesis import L2_CHAIN_ID
from mach.devnet.layout import L1_CHAIN_ID, OPERATORS
from mach.devnet.live_view import LiveView
from mach.devnet.story import Story
from mach.devnet.supervisor import Devnet, DevnetOptions
from mach.errors import MachError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from mach.devnet.faults import Fault
    from mach.devnet.story import AlertStory

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
    fault: Fault | None = None
    fields: tuple[str, ...] = ()
    alert_hash: str | None = None
    signers: tuple[str, ...] = ()
    tx_hash: str | None = None
    l1_block: int | None = None
    gas_used: int | None = None


async def run_demo(options: DevnetOptions, fault: Fault | None, console: Console | None = None) -> DemoResult:
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


async def _tell(net: Devnet, story: Story, view: LiveView, fault: Fault | None) -> DemoResult:
    if fault is None:
        await _until(lambda: _least_valid(story) >= BLOCKS_WITHOUT_FAULT)
    else:
        await _until(lambda: _least_valid(story) >= WARM_UP_BLOCKS)
        if fault.block_number is None:
            fault = fault.at(net.sequencer.head.number + FAULT_AHEAD)
            net.lying_node.set_fault(fault)
        story.say("lying node", f"will serve a falsified block {fault.block_number}: {fault.kind}", "bold magenta")
        view.refresh()
        await _until(lambda: any(alert.confirmed_block or alert.failed for alert in story.alerts.values()))
        await _until(lambda: _all_found(story, fault))
    return await _read_back(net, story, fault)


async def _read_back(net: Devnet, story: Story, fault: Fault | None) -> DemoResult:
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
    wrong = {block for verifier in story.verifiers.values() for block in verifier.invalid}
    if fault is None:
        if on_chain or wrong:
            raise DemoFailedError(
                f"no fault was asked for, yet {on_chain} alerts stand and blocks {sorted(wrong)} failed"
            )
        return result
    if wrong != {fault.block_number} or on_chain != 1:
        raise DemoFailedError(
            f"the lie was about block {fault.block_number}; blocks {sorted(wrong)} were found, {on_chain} alerts stand"
        )
    alert_hash = "0x" + hashes[0].hex()
    alert: AlertStory | None = story.alerts.get(alert_hash)
    mismatches = next(iter(story.verifiers.values())).invalid[fault.block_number or 0]
    if alert is None or not any(text.startswith(fault.kind.expected_field) for text in mismatches):
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
    )


def _least_valid(story: Story) -> int:
    if len(story.verifiers) < OPERATORS:
        return 0
    return min(verifier.valid for verifier in story.verifiers.values())


def _all_found(story: Story, fault: Fault) -> bool:
    return all(fault.block_number in verifier.invalid for verifier in story.verifiers.values())


async def _until(condition: Callable[[], bool]) -> None:
    """Returns when the condition holds; the caller sets the deadline."""
    while not condition():  # noqa: ASYNC110 - the story has many writers and no one event
        await asyncio.sleep(0.05)
