"""Child processes of a devnet: started in order, read line by line, dead when their parent is, whatever ends it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

from mach.errors import EnvironmentFaultError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

PR_SET_PDEATHSIG: Final = 1
GRACE_S: Final = 10.0
LINE_LIMIT: Final = 1 << 20
_libc: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

Event = dict[str, Any]
"""One line of a service's log: the JSON object that structlog wrote."""


class ProcessFailedError(EnvironmentFaultError):
    """A process of the devnet could not be started, or ended by itself."""


def die_with(parent: int) -> None:
    """In a new process, before its program: has the kernel kill it when process `parent` ends, however that ends."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the call
            os.kill(os.getpid(), signal.SIGKILL)


class ManagedProcess:
    """One child. What it prints goes to its log file, and line by line to whoever listens."""

    def __init__(self, name: str, log_file: Path) -> None:
        self.name = name
        self._log_file = log_file
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._listeners: list[Callable[[Event], None]] = []
        self._last_lines: list[str] = []

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Calls `listener` with every JSON line the process writes from now on; others come as {"text": …}."""
        self._listeners.append(listener)

    async def start(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        parent = os.getpid()
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                limit=LINE_LIMIT,
                env={**os.environ, **(environment or {})},
                # Its own session: Ctrl-C reaches the devnet alone, which then stops everything in order.
                start_new_session=True,
                preexec_fn=lambda: die_with(parent),
            )
        except OSError as error:
            raise ProcessFailedError(f"cannot run {command[0]}: {error.strerror}; run `make setup`") from None
        self._reader = asyncio.create_task(self._read())

    async def wait_for(self, matches: Callable[[Event], bool], deadline_s: float) -> Event:
        """The first event from now on that `matches`; raises `ProcessFailedError` if the process ends or time is up."""
        found: asyncio.Future[Event] = asyncio.get_running_loop().create_future()

        def look(event: Event) -> None:
            if not found.done() and matches(event):
                found.set_result(event)

        self._listeners.append(look)
        ended = asyncio.ensure_future(self.wait())
        try:
            async with asyncio.timeout(deadline_s):
                await asyncio.wait((found, ended), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise ProcessFailedError(
                f"{self.name} is not ready after {deadline_s:g} s; see {self._log_file}: {self._tail()}"
            ) from None
        finally:
            ended.cancel()
            self._listeners.remove(look)
        if not found.done():
            raise self.failure()
        return found.result()

    async def wait(self) -> int:
        """Returns the exit code once the process has ended and all it printed is read."""
        if self._process is None or self._reader is None:
            raise ProcessFailedError(f"{self.name} was not started")
        await asyncio.shield(self._reader)
        return await self._process.wait()

    def failure(self) -> ProcessFailedError:
        """What to raise when this process ended and should not have."""
        code = self._process.returncode if self._process is not None else None
        return ProcessFailedError(f"{self.name} ended with code {code}; see {self._log_file}: {self._tail()}")

    async def stop(self) -> None:
        """Asks the process to end, and kills it if it has not within the grace time."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(GRACE_S):
                    await process.wait()
            except TimeoutError:
                await self.kill()
        if self._reader is not None:
            await self._reader

    async def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _read(self) -> None:
        if self._process is None or self._process.stdout is None:
            return
        with self._log_file.open("ab") as log:
            while True:
                try:
                    line = await self._process.stdout.readline()
                except ValueError:  # longer than the limit: its start is dropped by asyncio
                    continue
                if not line:
                    break
                log.write(line)
                log.flush()
                self._publish(line.decode(errors="replace").rstrip())
        await self._process.wait()

    def _publish(self, text: str) -> None:
        self._last_lines = [*self._last_lines[-4:], text]
        try:
            event = json.loads(text)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            event = {"text": text}
        for listener in list(self._listeners):
            listener(event)

    def _tail(self) -> str:
        return " | ".join(line[-300:] for line in self._last_lines[-2:]) or "(nothing printed)"
