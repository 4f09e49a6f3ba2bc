"""The devnet's L2: its node and the sequencer that drives it, one block every `block_time_s`."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog

from mach.devnet import l2_genesis
from mach.devnet.accounts import FUNDED_ADDRESSES
from mach.devnet.engine import BuiltPayload, EngineClient, EngineError
from mach.devnet.geth_node import GethNode, GethSettings
from mach.devnet.l2_stacks import STACKS, L2Kind
from mach.errors import ConfigurationError
from mach.transport.jsonrpc_client import JsonRpcClient, PeerRefusedError, PeerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from mach.devnet.engine import EthereumAttributes, PayloadAttributes

log = structlog.get_logger()

_ATTEMPTS: Final = 5
_BUILDS: Final = 4
_PREPARATION_DEADLINE_S: Final = 1.0
_LAST_BLOCK_DEADLINE_S: Final = 5.0
_RETRY_DELAY_S: Final = 0.2


@dataclass(frozen=True)
class SequencerSettings:
    """One L2 chain. `folder` is the devnet's: the chain lies in `l2/`, the log under `logs/` by the node's name.

    Block times below one second are possible, but a header's timestamp counts whole seconds and must grow from block
    to block: it then runs ahead of the clock.
    """

    folder: Path
    http_port: int = 9545
    auth_port: int = 9551
    block_time_s: float = 1.0
    build_time_s: float = 0.05
    """How long the node may fill a block from its pool before it is asked for it."""
    chain_id: int = l2_genesis.L2_CHAIN_ID
    funded: tuple[str, ...] = field(default=FUNDED_ADDRESSES)
    """Addresses that hold 10,000 ether at genesis."""
    kind: L2Kind = L2Kind.OP_STACK

    def __post_init__(self) -> None:
        for name in ("block_time_s", "build_time_s"):
            value: float = getattr(self, name)
            if not 0.001 <= value <= 3600:
                raise ConfigurationError(f"{name} is {value}: set it between 0.001 and 3600 seconds")


@dataclass(frozen=True)
class Head:
    """The newest block."""

    number: int
    hash: bytes
    timestamp: int


class Sequencer:
    """Runs the L2's node and builds blocks: what its kind of chain puts into them, and what the pool holds.

    `start`, then either `run` in a task of its own or `produce_block` as often as wanted, then `stop`. After an end or
    a crash, `start` takes the chain up where it stood. An async context manager does `start` and `stop`.
    """

    def __init__(self, settings: SequencerSettings) -> None:
        self.settings = settings
        self._stack = STACKS[settings.kind]
        self._node: GethNode | None = None
        self._engine: EngineClient | None = None
        self._head: Head | None = None
        self._stopping = asyncio.Event()
        self._building = asyncio.Lock()
        self._advanced = asyncio.Condition()

    async def __aenter__(self) -> Sequencer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def http_url(self) -> str:
        """The L2's public JSON-RPC."""
        return f"http://127.0.0.1:{self.settings.http_port}"

    @property
    def chain_config_file(self) -> Path:
        """The chain's `config` object, as a verifier reads it."""
        return self.settings.folder / l2_genesis.CHAIN_CONFIG_FILE

    @property
    def log_file(self) -> Path:
        """The node's log."""
        return self.settings.folder / "logs" / f"{self.node_name}.log"

    @property
    def node_name(self) -> str:
        """What the node is called."""
        return self._stack.node.name

    @property
    def head(self) -> Head:
        """The newest block; only after `start`."""
        if self._head is None:
            raise EngineError("the L2 has no head before it is started: call start() first")
        return self._head

    @property
    def pid(self) -> int | None:
        """The node's process id while it runs."""
        return self._node.pid if self._node is not None else None

    @property
    def crashed(self) -> bool:
        """Whether the node ended without being asked to."""
        return self._node is not None and self._node.crashed

    async def start(self) -> None:
        """Starts the node, on a new chain or on the one that the folder holds; builds the node first if there is none.

        Raises:
            NodeUnavailableError: no such node, and none can be built.
            GethFailedError: the node does not start; a port in use is named.
        """
        await self.stop()
        self._stopping.clear()
        binary = await asyncio.to_thread(self._stack.node.ensure)
        chain = self.settings.folder / "l2"
        settings = GethSettings(
            name=self.node_name,
            binary=binary,
            folder=chain,
            genesis=chain / l2_genesis.GENESIS_FILE,
            log_file=self.log_file,
            http_port=self.settings.http_port,
            auth_port=self.settings.auth_port,
            chain_id=self.settings.chain_id,
            arguments=self._stack.arguments,
        )
        await asyncio.to_thread(self._prepare_genesis, settings)
        self._node = GethNode(settings)
        try:
            jwt_secret = await self._node.start()
            engine = EngineClient(settings.auth_url, jwt_secret, get_payload=self._stack.get_payload)
            self._engine = await engine.__aenter__()
            await self._read_head()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Ends `run` after the block it is building, and then the node. Does nothing if they do not run."""
        self._stopping.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_BLOCK_DEADLINE_S), self._building:
                pass
        node, self._node = self._node, None
        if node is not None:
            await node.stop()  # a call that is still under way fails with it
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.__aexit__(None, None, None)

    async def run(self, before_block: Callable[[], Awaitable[object]] | None = None) -> None:
        """Builds a block every `block_time_s` until `stop`. A block that comes late moves the ones after it.

        `before_block` is awaited before each block, at most for a second: `Traffic.fill` has every block full of
        transactions however busy the machine is.

        Raises:
            GethFailedError: the node has ended by itself.
            EngineError, PeerUnavailableError: it runs but built no block in five attempts.
        """
        clock = asyncio.get_running_loop()
        due = clock.time()
        failures = 0
        while not self._stopping.is_set():
            try:
                if before_block is not None:
                    await self._prepare_block(before_block)
                await self.produce_block()
                failures = 0
            except (EngineError, PeerRefusedError, PeerUnavailableError) as error:
                if self._stopping.is_set():
                    return
                await self._explain_crash()
                failures += 1
                if failures >= _ATTEMPTS:
                    raise
                log.warning("no block was built", attempt=failures, error=str(error))
            due = max(due + self.settings.block_time_s, clock.time())
            await self._sleep_until(due)
            if self._node is not None:
                self._node.check_running()

    async def produce_block(self) -> int:
        """Builds one block on the head and makes it the head; returns its number.

        Raises:
            EngineError: the node did not build or accept the block.
            PeerUnavailableError, PeerRefusedError: the node did not answer, or refused.
        """
        async with self._building:
            engine = self._engine
            if engine is None or self._stopping.is_set():
                raise EngineError("the L2 is not running: call start() first")
            built, parent_beacon_block_root = await self._build(engine, await self._read_head())
            payload = built.payload
            await engine.import_payload(payload, parent_beacon_block_root, built.requests)
            head = Head(
                number=int(payload["blockNumber"], 16),
                hash=bytes.fromhex(payload["blockHash"][2:]),
                timestamp=int(payload["timestamp"], 16),
            )
            await engine.set_head(head.hash)
            await self._advance(head)
            return head.number

    async def wait_for_block(self, number: int) -> None:
        """Returns once the chain has block `number`. The caller sets the deadline."""
        async with self._advanced:
            await self._advanced.wait_for(lambda: self._head is not None and self._head.number >= number)

    async def _prepare_block(self, before_block: Callable[[], Awaitable[object]]) -> None:
        try:
            async with asyncio.timeout(_PREPARATION_DEADLINE_S):
                await before_block()
        except TimeoutError:
            log.warning("a block is built without waiting for its preparation", deadline_s=_PREPARATION_DEADLINE_S)

    async def _build(self, engine: EngineClient, parent: Head) -> tuple[BuiltPayload, bytes]:
        """A block on top of `parent`, and its parent beacon block root.

        The node stops filling a block the moment it is asked for it. On a busy machine it may not even have begun by
        then: a block that holds nothing of what the pool holds is built once more, with more time.
        """
        for attempt in range(_BUILDS):
            attributes = self._attributes(parent, attempt)
            payload_id = await engine.start_payload(parent.hash, attributes)
            await asyncio.sleep(self.settings.build_time_s * 2**attempt)
            built = await engine.finish(payload_id)
            if len(built.payload["transactions"]) > len(attributes.transactions) or await self._pool_is_empty():
                break
        return built, attributes.parent_beacon_block_root

    async def _pool_is_empty(self) -> bool:
        async with JsonRpcClient(self.http_url) as public:
            return int((await public.call("txpool_status"))["pending"], 16) == 0

    def _attributes(self, parent: Head, attempt: int) -> PayloadAttributes | EthereumAttributes:
        return self._stack.attributes(parent.number + 1, parent.timestamp, attempt)

    async def _read_head(self) -> Head:
        if self._engine is None:
            raise EngineError("the L2 is not running: call start() first")
        block: dict[str, Any] = await self._engine.call("eth_getBlockByNumber", "latest", False)
        head = Head(int(block["number"], 16), bytes.fromhex(block["hash"][2:]), int(block["timestamp"], 16))
        await self._advance(head)
        return head

    async def _advance(self, head: Head) -> None:
        self._head = head
        async with self._advanced:
            self._advanced.notify_all()

    async def _sleep_until(self, due: float) -> None:
        """Waits for the time `due`, the stop, or the node's end, whichever comes first."""
        if self._node is None:
            return
        ended = [asyncio.ensure_future(self._stopping.wait()), asyncio.ensure_future(self._node.wait_crashed())]
        try:
            await asyncio.wait(
                ended, timeout=due - asyncio.get_running_loop().time(), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for waiter in ended:
                waiter.cancel()

    async def _explain_crash(self) -> None:
        """A dying node drops its connections first: give its end a moment to be seen, then report it."""
        if self._node is None:
            return
        try:
            await asyncio.wait_for(self._node.wait_crashed(), _RETRY_DELAY_S)
        except TimeoutError:
            return
        self._node.check_running()

    def _prepare_genesis(self, settings: GethSettings) -> None:
        """Writes the genesis of a new chain; of a chain that exists, only the `config` file if it is gone."""
        if not settings.initialised_file.exists():
            genesis = self._stack.genesis(
                settings.binary, self.settings.funded, timestamp=int(time.time()), chain_id=self.settings.chain_id
            )
            l2_genesis.write_genesis(genesis, settings.folder, self.settings.folder)
        elif not self.chain_config_file.exists():
            l2_genesis.write_chain_config(json.loads(settings.genesis.read_bytes())["config"], self.settings.folder)
