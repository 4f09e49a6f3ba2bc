"""A real PostgreSQL server for tests, from whatever package the machine has, in a folder of its own.

Fixtures are in `tests/conftest.py`: `postgres_url` is an empty database of one test, `database_url` runs a test on
SQLite and on PostgreSQL.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 30.0
USER = "mach"
MISSING = "PostgreSQL's server is not installed: neither PATH nor /usr/lib/postgresql/*/bin has initdb and postgres"


def server_programs() -> Path | None:
    """The folder with `initdb` and `postgres`: from PATH, else the newest where Debian puts them."""
    found = shutil.which("initdb")
    candidates = [Path(found).resolve().parent] if found else []
    versions = (path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.parent.name.isdigit())
    candidates += sorted(versions, key=lambda path: int(path.parent.name), reverse=True)
    for folder in candidates:
        if all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres")):
            return folder
    return None


class PostgresServer:
    """One server on loopback with password authentication. As root it runs as an unprivileged user, as it insists."""

    def __init__(self, programs: Path, **settings: str) -> None:
        self._programs = programs
        self._settings = settings
        self._folder = Path(tempfile.mkdtemp(prefix="mach-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.password = secrets.token_urlsafe(12)
        self.port = _free_port()
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            user = _unprivileged_user()
            setpriv = shutil.which("setpriv")
            if setpriv is None:
                raise RuntimeError("PostgreSQL refuses to run as root, and util-linux' setpriv is not in PATH")
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._as_user = [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]
        self._data = self._folder / "data"

    def start(self) -> None:
        """Makes the data folder the first time, starts the server and waits until it takes connections."""
        if not self._data.exists():
            password_file = self._folder / "password"
            password_file.write_text(self.password)
            if self._as_user:
                shutil.chown(password_file, *(self._folder.owner(), self._folder.group()))
            self._run("initdb", "--pgdata", str(self._data), "--username", USER, "--auth=scram-sha-256", "--no-sync",
                      f"--pwfile={password_file}", "--encoding=UTF8", "--no-locale", "--no-instructions")  # fmt: skip
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self._folder),
            "max_connections": "100",
            **self._settings,
        }
        command = [*self._as_user, str(self._programs / "postgres"), "-D", str(self._data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        deadline = time.monotonic() + START_DEADLINE_S
        while not asyncio.run(self._answers()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{(self._folder / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        """Ends the server at once: clients are cut off, what was committed is written."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """The crash of a server: it recovers at the next start."""
        self._end(signal.SIGQUIT)

    def remove(self) -> None:
        """Ends the server and removes its folder."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, database: str) -> str:
        """As services are given it."""
        return f"postgresql+asyncpg://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    async def admin(self, database: str = "postgres") -> asyncpg.Connection[Any]:
        """A connection of the superuser; the caller closes it."""
        return await asyncpg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=self.password, database=database, timeout=10
        )

    async def execute(self, statement: str, database: str = "postgres") -> None:
        """Runs one statement as the superuser."""
        connection = await self.admin(database)
        try:
            await connection.execute(statement, timeout=30)
        finally:
            await connection.close()

    async def _answers(self) -> bool:
        try:
            await self.execute("SELECT 1")
        except (OSError, asyncpg.PostgresError):
            await asyncio.sleep(0.05)
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(self._programs / program), *arguments]
        done = subprocess.run(command, capture_output=True, cwd=self._folder, timeout=START_DEADLINE_S, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed:\n{done.stderr.decode(errors='replace')}")

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(STOP_DEADLINE_S)
        self._process = None


def _unprivileged_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("PostgreSQL refuses to run as root, and there is no user postgres or nobody")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
