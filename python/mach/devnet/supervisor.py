"""A whole network on one machine, as one thing to start, watch and stop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import socket
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final, Self

from mach.devnet.anvil import Anvil
from mach.devnet.faults import Fault, ProposerFault
from mach.devnet.l1 import DevnetOperator, prepare_l1
from mach.devnet.l2_genesis import L2_CHAIN_ID
from mach.devnet.l2_stacks import L2Kind
from mach.devnet.layout import LOOPBACK, Layout, Ports
from mach.devnet.lying_node import LyingNode
from mach.devnet.output_contracts import OutputContracts, deploy_output_contracts
from mach.devnet.processes import Event, ManagedProcess, ProcessFailedError
from mach.devnet.proposer import DEFAULT_INTERVAL, OutputProposer
from mach.devnet.sequencer import Sequencer, SequencerSettings
from mach.devnet.services import service_names, start_service, write_configs
from mach.devnet.traffic import Traffic, TrafficSettings
from mach.errors import ConfigurationError, EnvironmentFaultError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path
    from typing import IO

    from mach.chain.deployment import DeployOutput

_OWNED: Final = (
    *("l2", "db", "keys", "logs", "config"),
    *("machavs_deploy_output.json", "l2-chain-config.json", "output-contracts.json"),
)
_PORT_SETTINGS: Final = {
    "l1": "L1",
    "l2": "L2",
    "l2_auth": "L2 Engine API",
    "lying_node": "lying node",
    "aggregator": "aggregator",
    "operators": "operator",
}


class DevnetBusyError(EnvironmentFaultError):
    """The folder is in use by a devnet that is up, or holds things that are not a devnet's."""


@dataclass(frozen=True, slots=True)
class DevnetOptions:
    """What to run, where, how fast. `services` False leaves the chains without Mach, for services run by hand."""

    folder: Path
    ports: Ports = field(default_factory=Ports)
    l1_block_time_s: float = 1.0
    l2_block_time_s: float = 1.0
    services: bool = True
    traffic: bool = True
    fault: Fault | ProposerFault | None = None
    l2_kind: L2Kind = L2Kind.OP_STACK
    proposal_interval: int = DEFAULT_INTERVAL
    """L2 blocks between two proposals of an output root on L1."""

    def __post_init__(self) -> None:
        if isinstance(self.fault, ProposerFault) and self.l2_kind is not L2Kind.OP_STACK:
            raise _no_output_roots(self.fault, self.l2_kind)


class Devnet:
    """`async with Devnet(options) as net:` is a network that runs; `net.watch()` ends with the first part that fails.

    L1 (anvil with EigenLayer and Mach), L2 (op-geth or geth, with traffic), a node between L2 and verifiers that lies
    on demand, a proposer of output roots that does too, an aggregator, three operators, and a verifier for each.
    """

    def __init__(
        self, options: DevnetOptions, on_event: Callable[[str, Event], None] = lambda _name, _event: None
    ) -> None:
        self.options = options
        self.layout = Layout(options.folder.absolute())
        self.services: dict[str, ManagedProcess] = {}
        self.deployment: DeployOutput
        self.operators: list[DevnetOperator] = []
        self.output_contracts: OutputContracts | None = None
        self.proposer: OutputProposer | None = None
        """On the OP Stack alone: other chains have no output roots."""
        self._on_event = on_event
        self._stack = AsyncExitStack()
        self.anvil = Anvil(options.ports.l1, self.layout.log("anvil"))
        self.sequencer = Sequencer(
            SequencerSettings(
                self.layout.folder,
                http_port=options.ports.l2,
                auth_port=options.ports.l2_auth,
                block_time_s=options.l2_block_time_s,
                kind=options.l2_kind,
            )
        )
        self.lying_node = LyingNode(self.sequencer.http_url, LOOPBACK, options.ports.lying_node)

    @property
    def l1_url(self) -> str:
        return self.anvil.url

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        check_ports(self.options.ports)
        self._stack.enter_context(_claimed(self.layout, self.options.ports))
        # Both chains come up at the same time: together they take as long as the slower one.
        async with _failing_plainly(), asyncio.TaskGroup() as group:
            group.create_task(self._start_l1())
            group.create_task(self._start_l2())
        write_configs(self.layout, self.options.ports, self.output_contracts)
        if self.options.fault is not None and self.options.fault.block_number is not None:
            self.set_fault(self.options.fault)
        if self.options.services:
            async with _failing_plainly(), asyncio.TaskGroup() as group:
                for name in service_names():
                    group.create_task(self._start_service(name))

    def set_fault(self, fault: Fault | ProposerFault) -> Fault | ProposerFault:
        """Has the lying node or the proposer lie; returns the fault with the block that it will be about."""
        if isinstance(fault, ProposerFault):
            if self.proposer is None:
                raise _no_output_roots(fault, self.options.l2_kind)
            return self.proposer.set_fault(fault)
        self.lying_node.set_fault(fault)
        return fault

    async def _start_l1(self) -> None:
        self._stack.push_async_callback(self.anvil.stop)
        await self.anvil.start()
        self._tell("anvil", "l1.up", url=self.anvil.url)
        self.deployment, self.operators = await prepare_l1(self.anvil.url, self.layout, L2_CHAIN_ID)
        if self.options.l2_kind is L2Kind.OP_STACK:
            await self._prepare_proposer()
        if self.options.l1_block_time_s > 0:
            await self.anvil.mine_every(self.options.l1_block_time_s)
        self._tell("anvil", "l1.ready", service_manager=self.deployment.mach_service_manager)

    async def _prepare_proposer(self) -> None:
        interval = self.options.proposal_interval
        self.output_contracts = await deploy_output_contracts(self.anvil.url, interval)
        self.output_contracts.write(self.layout.output_contracts)
        self.proposer = OutputProposer(
            self.anvil.url,
            self.sequencer.http_url,
            self.output_contracts,
            interval=interval,
            on_event=lambda event, values: self._tell("proposer", event, **values),
        )

    async def _start_l2(self) -> None:
        self._stack.push_async_callback(self.sequencer.stop)
        await self.sequencer.start()
        # Verifiers begin at block 1 and need its parent's child to exist.
        await self.sequencer.produce_block()
        self._stack.push_async_callback(self.lying_node.stop)
        await self.lying_node.start()
        self._tell(self.sequencer.node_name, "l2.ready", url=self.sequencer.http_url)

    async def _start_service(self, name: str) -> None:
        process = await start_service(name, self.layout, lambda event: self._on_event(name, event))
        self.services[name] = process
        self._stack.push_async_callback(process.stop)

    async def watch(self) -> None:
        """Builds L2 blocks and sends traffic until cancelled; raises `ProcessFailedError` when any part ends."""
        async with _failing_plainly(), asyncio.TaskGroup() as group:
            group.create_task(self._build_blocks())
            if self.proposer is not None:
                group.create_task(self.proposer.run())
            for process in (self.anvil.process, *self.services.values()):
                group.create_task(_fail_when_ended(process))

    async def _build_blocks(self) -> None:
        settings = TrafficSettings(self.sequencer.http_url, kind=self.options.l2_kind)
        async with Traffic(settings) as traffic:
            await self.sequencer.run(before_block=traffic.fill if self.options.traffic else None)

    def _tell(self, name: str, event: str, **values: object) -> None:
        self._on_event(name, {"event": event, **values})


def _no_output_roots(fault: ProposerFault, kind: L2Kind) -> ConfigurationError:
    return ConfigurationError(f"{fault} needs an OP Stack L2: a chain of the kind {kind} has no output roots")


async def _fail_when_ended(process: ManagedProcess) -> None:
    await process.wait()
    raise process.failure()


@contextlib.asynccontextmanager
async def _failing_plainly() -> AsyncIterator[None]:
    """Turns the group of failures of a task group into its first: the others are its consequences."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


def check_ports(ports: Ports) -> None:
    """Raises `ProcessFailedError` that names the first port in use."""
    for name, value in asdict(ports).items():
        for port in value if isinstance(value, (tuple, list)) else (value,):
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((LOOPBACK, port))
                except OSError:
                    raise ProcessFailedError(
                        f"port {port} ({_PORT_SETTINGS[name]}) is already in use; stop what listens on "
                        f"{LOOPBACK}:{port}, or let the devnet choose its ports with --free-ports"
                    ) from None


@contextlib.contextmanager
def _claimed(layout: Layout, ports: Ports) -> Iterator[None]:
    """Holds the folder for one devnet, emptied of an earlier one's files; a lock tells whether it is up."""
    layout.folder.mkdir(parents=True, exist_ok=True)
    foreign = [entry.name for entry in layout.folder.iterdir() if entry.name not in (*_OWNED, layout.state.name)]
    if foreign:
        raise DevnetBusyError(f"{layout.folder} holds {foreign[0]}, which is not a devnet's; name an empty folder")
    with layout.state.open("a+", encoding="utf-8") as state:
        if not _lock(state):
            raise DevnetBusyError(f"a devnet is up in {layout.folder}; end it with `mach devnet down`")
        for name in _OWNED:
            path = layout.folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        state.truncate(0)
        state.write(json.dumps({"pid": os.getpid(), "ports": asdict(ports)}))
        state.flush()
        yield
        state.truncate(0)


def _lock(state: IO[str]) -> bool:
    try:
        fcntl.flock(state, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class RunningDevnet:
    """A devnet that is up, as another process sees it."""

    pid: int
    ports: Ports


def running_devnet(layout: Layout) -> RunningDevnet | None:
    """The devnet that is up in a folder; None where none is, whatever an ended one left there."""
    try:
        with layout.state.open("r+", encoding="utf-8") as state:
            if _lock(state):
                return None
            content = json.loads(state.read())
            ports = content["ports"]
            return RunningDevnet(content["pid"], Ports(**{**ports, "operators": tuple(ports["operators"])}))
    except (OSError, ValueError, KeyError, TypeError):
        return None
