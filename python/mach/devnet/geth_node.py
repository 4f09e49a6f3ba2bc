"""One process of geth or op-geth: its data folder, start and end. It listens on loopback and dies with its parent."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mach.devnet.engine import JWT_SECRET_BYTES, EngineClient
from mach.devnet.layout import LOOPBACK
from mach.devnet.processes import die_with
from mach.errors import EnvironmentFaultError
from mach.transport.jsonrpc_client import JsonRpcClient, PeerUnavailableError

if TYPE_CHECKING:
    from pathlib import Path

_INIT_DEADLINE_S: Final = 120.0
_READY_DEADLINE_S: Final = 60.0
_READY_POLL_S: Final = 0.02
_GRACE_S: Final = 10.0
_LOG_TAIL_BYTES: Final = 4_096
_CACHE_MIB: Final = 128

# An archive in the hash scheme has the witness of any block. LevelDB hands every write to the kernel at once, where
# Pebble would keep the last ones in the process: with it a SIGKILL rolls the chain back by some blocks.
_STORAGE: Final = ("--state.scheme", "hash", "--db.engine", "leveldb")

# The P2P listener has no flag for its address: without this file it would listen on every interface.
_CONFIG_TOML: Final = f'[Node.P2P]\nListenAddr = "{LOOPBACK}:0"\n'


class GethFailedError(EnvironmentFaultError):
    """The node does not start or has ended by itself. The message holds the last lines of its log."""


@dataclass(frozen=True)
class GethSettings:
    """Where one node keeps its chain and what it listens on (loopback). The folder is made if it is missing."""

    name: str
    """What it is called in messages: "op-geth"."""
    binary: Path
    folder: Path
    genesis: Path
    log_file: Path
    http_port: int
    auth_port: int
    chain_id: int
    arguments: tuple[str, ...] = ()
    """What only this kind of node takes."""

    @property
    def http_url(self) -> str:
        """The public JSON-RPC: eth, debug, web3, net, txpool. The same port takes websockets, for subscriptions."""
        return f"http://{LOOPBACK}:{self.http_port}"

    @property
    def auth_url(self) -> str:
        """The Engine API."""
        return f"http://{LOOPBACK}:{self.auth_port}"

    @property
    def jwt_file(self) -> Path:
        """The secret of the Engine API, as hex."""
        return self.folder / "jwt.hex"

    @property
    def initialised_file(self) -> Path:
        """Stands once the genesis is in the database."""
        return self.folder / "initialised"


class GethNode:
    """Starts, watches and ends one node. `start` may be called again after an end or a crash: the chain goes on."""

    def __init__(self, settings: GethSettings) -> None:
        self.settings = settings
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process id while the node runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    @property
    def crashed(self) -> bool:
        """Whether the node was started, was not stopped, and does not run any more."""
        return self._process is not None and self._process.returncode is not None

    def check_running(self) -> None:
        """Raises `GethFailedError` with the last lines of the log if the node has crashed."""
        if self._process is not None and self._process.returncode is not None:
            raise self._failure(f"{self.settings.name} ended by itself with {_describe_exit(self._process.returncode)}")

    async def wait_crashed(self) -> None:
        """Returns when the running node ends, whoever ends it."""
        if self._process is not None:
            await self._process.wait()

    async def start(self) -> bytes:
        """Loads the genesis into a new data folder, starts the node and waits until both its ports answer.

        Returns the secret of the Engine API (32 bytes).

        Raises:
            GethFailedError: a port is in use, or the node ends or stays silent; the message says which and why.
        """
        settings = self.settings
        for port in (settings.http_port, settings.auth_port):
            _check_port_free(port, settings.name)
        settings.folder.mkdir(parents=True, exist_ok=True)
        settings.log_file.parent.mkdir(parents=True, exist_ok=True)
        jwt_secret = self._jwt_secret()
        config = settings.folder / "config.toml"
        _write(config, _CONFIG_TOML)
        if not settings.initialised_file.exists():
            await self._initialise()
        arguments = [
            *("--config", str(config)),
            *("--datadir", str(settings.folder)),
            *("--networkid", str(settings.chain_id)),
            *("--http", "--http.addr", LOOPBACK, "--http.port", str(settings.http_port)),
            *("--http.api", "eth,debug,web3,net,txpool"),
            *("--ws", "--ws.addr", LOOPBACK, "--ws.port", str(settings.http_port), "--ws.api", "eth"),
            *("--authrpc.addr", LOOPBACK, "--authrpc.port", str(settings.auth_port)),
            *("--authrpc.jwtsecret", str(settings.jwt_file)),
            *("--nodiscover", "--maxpeers", "0", "--nat", "none", "--ipcdisable"),
            *("--syncmode", "full", "--gcmode", "archive", *_STORAGE),
            *("--miner.gasprice", "1"),
            *settings.arguments,
            *("--cache", str(_CACHE_MIB)),
        ]
        self._process = await self._spawn(arguments)
        try:
            await self._wait_ready(jwt_secret)
        except BaseException:
            await self.stop()
            raise
        return jwt_secret

    async def stop(self) -> None:
        """Asks the node to end, and kills it if it has not within 10 s. Does nothing if it does not run."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        try:
            await asyncio.wait_for(process.wait(), _GRACE_S)
        except BaseException as error:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            if not isinstance(error, TimeoutError):
                raise

    def _jwt_secret(self) -> bytes:
        path = self.settings.jwt_file
        with suppress(OSError, ValueError):
            secret = bytes.fromhex(path.read_text())
            if len(secret) == JWT_SECRET_BYTES:
                return secret
        secret = secrets.token_bytes(JWT_SECRET_BYTES)
        _write(path, secret.hex())
        return secret

    async def _initialise(self) -> None:
        settings = self.settings
        arguments = ["init", "--datadir", str(settings.folder), *_STORAGE, str(settings.genesis)]
        process = await self._spawn(arguments)
        try:
            code = await asyncio.wait_for(process.wait(), _INIT_DEADLINE_S)
        except BaseException as error:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            if isinstance(error, TimeoutError):
                raise self._failure(f"`{settings.name} init` ran past {_INIT_DEADLINE_S:.0f} s") from None
            raise
        if code != 0:
            raise self._failure(f"`{settings.name} init` of {settings.genesis} ended with {_describe_exit(code)}")
        settings.initialised_file.touch()

    async def _spawn(self, arguments: list[str]) -> asyncio.subprocess.Process:
        # geth takes settings from GETH_* too, which would change this node behind our back.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("GETH_")}
        parent = os.getpid()
        with self.settings.log_file.open("ab") as log:
            try:
                return await asyncio.create_subprocess_exec(
                    str(self.settings.binary),
                    *arguments,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    # Its own session: Ctrl-C reaches Mach alone, which then stops the node in order.
                    start_new_session=True,
                    preexec_fn=lambda: die_with(parent),
                )
            except OSError as error:
                raise GethFailedError(
                    f"cannot run {self.settings.binary}: {error}: it must be {self.settings.name} for this machine"
                ) from error

    async def _wait_ready(self, jwt_secret: bytes) -> None:
        settings = self.settings
        async with (
            JsonRpcClient(settings.http_url, timeout_s=2.0) as public,
            EngineClient(settings.auth_url, jwt_secret, timeout_s=2.0) as engine,
        ):
            try:
                async with asyncio.timeout(_READY_DEADLINE_S):
                    for client in (public, engine):
                        while True:
                            self.check_running()
                            with suppress(PeerUnavailableError):
                                await client.call("eth_chainId")
                                break
                            await asyncio.sleep(_READY_POLL_S)
            except TimeoutError:
                raise self._failure(f"{settings.name} did not answer within {_READY_DEADLINE_S:.0f} s") from None

    def _failure(self, what: str) -> GethFailedError:
        return GethFailedError(f"{what}; see {self.settings.log_file}, which ends: {_tail(self.settings.log_file)}")


def _write(path: Path, text: str) -> None:
    """Writes a file that only this user may read, in one step."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    partial.write_text(text)
    partial.replace(path)


def _check_port_free(port: int, name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise GethFailedError(
                f"{name} cannot listen on {LOOPBACK}:{port}: {error.strerror}: end what listens there, or set another"
                " port"
            ) from None


def _describe_exit(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _LOG_TAIL_BYTES))
            lines = log.read().decode(errors="replace").strip().splitlines()
    except OSError as error:
        return f"({error})"
    return " | ".join(lines[-3:]) if lines else "(empty)"
