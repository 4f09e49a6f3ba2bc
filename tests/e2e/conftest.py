"""The BLS half of Mach on real parts: anvil with EigenLayer and Mach, an aggregator, three operator signers."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from mach.chain.connection import connection
from mach.chain.service_manager import ServiceManager
from mach.devnet.anvil import Anvil
from mach.devnet.l1 import prepare_l1
from mach.devnet.l2_genesis import L2_CHAIN_ID
from mach.devnet.layout import L1_CHAIN_ID, LOOPBACK, Layout, Ports
from mach.devnet.services import start_service, write_configs
from mach.transport.jsonrpc_client import JsonRpcClient, PeerRefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from mach.chain.deployment import DeployOutput
    from mach.devnet.processes import Event, ManagedProcess

OPERATOR_NAMES = ("operator1", "operator2", "operator3")


def change_settings(layout: Layout, name: str, **settings: Any) -> None:
    """Changes a service's settings file."""
    path = layout.config(name)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | settings))


@dataclass
class BlsNetwork:
    """L1 with everything deployed and registered; services are started by the test that needs them."""

    layout: Layout
    ports: Ports
    anvil: Anvil
    deployment: DeployOutput
    manager: ServiceManager
    stack: AsyncExitStack
    events: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    services: dict[str, ManagedProcess] = field(default_factory=dict)

    async def start(self, *names: str) -> None:
        await asyncio.gather(*(self._start(name) for name in names))

    async def _start(self, name: str) -> None:
        process = await start_service(name, self.layout, self.events[name].append)
        self.stack.push_async_callback(process.stop)
        self.services[name] = process

    async def kill(self, name: str) -> None:
        """kill -9."""
        await self.services[name].kill()

    def configure(self, name: str, **settings: Any) -> None:
        """Changes a service's settings file before it is started."""
        change_settings(self.layout, name, **settings)

    async def raise_alert(self, operator: str, alert: dict[str, Any]) -> dict[str, Any]:
        """Calls alert_blockMismatch at one operator, as its verifier does."""
        port = self.ports.operators[OPERATOR_NAMES.index(operator)]
        async with JsonRpcClient(f"http://{LOOPBACK}:{port}", timeout_s=30.0) as client:
            answer = await client.call_with("alert_blockMismatch", alert)
        assert isinstance(answer, dict)
        return answer

    async def aggregator(self, method: str, *params: Any) -> Any:
        async with JsonRpcClient(f"http://{LOOPBACK}:{self.ports.aggregator}", timeout_s=30.0) as client:
            return await client.call(method, *params)

    async def raise_at_all(self, alert: dict[str, Any]) -> list[dict[str, Any] | PeerRefusedError]:
        """The same alert at all three operators in the same moment; a late one may be told that it is finished."""
        answers = await asyncio.gather(
            *(self.raise_alert(name, alert) for name in OPERATOR_NAMES), return_exceptions=True
        )
        kept: list[dict[str, Any] | PeerRefusedError] = []
        for answer in answers:
            if isinstance(answer, PeerRefusedError):
                assert answer.code == 2, answer
                kept.append(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                kept.append(answer)
        return kept

    async def eventually(self, condition: Callable[[], bool], what: str, deadline_s: float = 30.0) -> None:
        """Waits until a condition over the events holds."""
        try:
            async with asyncio.timeout(deadline_s):
                while not condition():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pytest.fail(
                f"not within {deadline_s} s: {what}; aggregator's last events: {self.events['aggregator'][-5:]}"
            )

    async def eventually_refused(
        self, call: Callable[[], Awaitable[Any]], words: str, deadline_s: float = 10.0
    ) -> None:
        """Calls until the answer is an error with these words."""
        told = ""
        try:
            async with asyncio.timeout(deadline_s):
                while words not in told:
                    try:
                        await call()
                    except PeerRefusedError as error:
                        told = str(error)
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"not refused with {words!r} within {deadline_s} s, but with {told!r}")

    def seen(self, name: str, event: str, **values: Any) -> list[Event]:
        """Events of a service by name and values."""
        wanted = {"event": event, **values}
        return [entry for entry in self.events[name] if wanted.items() <= entry.items()]

    async def confirmations(self) -> list[bytes]:
        """Message hash of every AlertConfirmed event there ever was, in order."""
        async with connection(self.anvil.url, L1_CHAIN_ID) as w3:
            fresh = ServiceManager(w3, self.deployment)
            total = await fresh.total_alerts(L2_CHAIN_ID)
            return await fresh.query_message_hashes(L2_CHAIN_ID, 0, total) if total else []


@contextlib.asynccontextmanager
async def bls_network(folder: Path) -> AsyncIterator[BlsNetwork]:
    """Chain and contracts with instant mining, keys and settings; no service runs yet."""
    layout, ports = Layout(folder), Ports.free()
    async with AsyncExitStack() as stack:
        anvil = Anvil(ports.l1, layout.log("anvil"))
        stack.push_async_callback(anvil.stop)
        await anvil.start()
        deployment, _ = await prepare_l1(anvil.url, layout, L2_CHAIN_ID)
        await anvil.mine(2)
        write_configs(layout, ports)
        for name in OPERATOR_NAMES:  # most tests raise alerts themselves; those of the safe default turn this off
            change_settings(layout, name, trust_alerts=True)
        w3 = await stack.enter_async_context(connection(anvil.url, L1_CHAIN_ID))
        yield BlsNetwork(layout, ports, anvil, deployment, ServiceManager(w3, deployment), stack)


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[BlsNetwork]:
    """A network of the test's own."""
    async with bls_network(tmp_path) as made:
        yield made
