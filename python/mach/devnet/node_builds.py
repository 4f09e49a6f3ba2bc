"""Finds the devnet's L2 nodes, or builds them from the pinned Go modules beside this file.

Only the standard library and `mach.errors` are imported, so that it runs before any dependency is installed. A build
takes every module through the Go module proxy and checks it against the module's `go.sum`.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from mach.errors import EnvironmentFaultError, MachError

if TYPE_CHECKING:
    from collections.abc import Iterator

MINIMUM_GO = (1, 24)
"""`tool` directives in go.mod need Go 1.24, the nodes' own go.mod too."""

_PACKAGE = "github.com/ethereum/go-ethereum/cmd/geth"
_BUILD_DEADLINE_S = 1800.0
_LOCK_DEADLINE_S = _BUILD_DEADLINE_S + 60.0
_LOCK_POLL_S = 0.5


class NodeUnavailableError(EnvironmentFaultError):
    """There is no usable binary of a node and none can be built. The message says what is missing."""


def cache_directory() -> Path:
    """The folder of what is built or fetched once per user: `$MACH_CACHE`, by default `~/.cache/mach`."""
    configured = os.environ.get("MACH_CACHE")
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "mach"


@dataclass(frozen=True)
class NodeBuild:
    """A node of the geth family: its release, and the folder with the go.mod and go.sum that pin it."""

    name: str
    version: str
    module: str
    override: str
    """Environment variable that names a ready binary."""

    @property
    def binary(self) -> Path:
        """Where `ensure` installs what it builds."""
        return cache_directory() / "bin" / f"{self.name}-{self.version}"

    def ensure(self) -> Path:
        """The path of a binary: the one that `override` names, else the cached build, else built now (minutes, once).

        Blocks while it builds: call it from a worker thread in async code. Two callers at once build once.

        Raises:
            NodeUnavailableError: the override is no executable file, Go is absent or too old, or the build failed.
        """
        named = os.environ.get(self.override)
        if named:
            path = Path(named).expanduser()
            if not _is_executable(path):
                raise NodeUnavailableError(
                    f"{self.override} is {named!r}, which is no executable file: correct it, or unset it to build one"
                )
            return path
        binary = self.binary
        if _is_executable(binary):
            return binary
        try:
            binary.parent.mkdir(parents=True, exist_ok=True)
            with _lock(binary.with_name(f".{binary.name}.lock")):
                if not _is_executable(binary):
                    _build(self, binary)
        except OSError as error:
            raise NodeUnavailableError(
                f"cannot install {self.name} at {binary}: {error}: make that folder writable or set MACH_CACHE to one"
                " that is"
            ) from error
        return binary

    def main(self) -> int:
        """A command: exit code 0 and the binary's path on stdout, or 2 and one line on stderr."""
        try:
            sys.stdout.write(f"{self.ensure()}\n")
        except MachError as error:
            sys.stderr.write(f"error: {error}\n")
            return error.exit_code
        return 0


def _is_executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on `path` against other processes and threads."""
    deadline = time.monotonic() + _LOCK_DEADLINE_S
    with path.open("w") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise NodeUnavailableError(
                        f"another process has held {path} for {_LOCK_DEADLINE_S:.0f} s: end it and try again"
                    ) from None
                time.sleep(_LOCK_POLL_S)
        yield


def _build(node: NodeBuild, target: Path) -> None:
    """Builds a node and puts it at `target` in one step; a build that is cut off leaves nothing there."""
    with tempfile.TemporaryDirectory(prefix=f"mach-{node.name}-") as scratch:
        # A copy: the installed package may be read-only, and Go resolves the module from its working directory.
        module = Path(scratch)
        for name in ("go.mod", "go.sum"):
            source = resources.files("mach.devnet").joinpath(node.module, name)
            (module / name).write_bytes(source.read_bytes())
        go = _go_command(node, module)
        sys.stderr.write(f"building {node.name} {node.version} with {go} (a few minutes, once)\n")
        started = time.monotonic()
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        command = [go, "build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o", str(partial), _PACKAGE]
        try:
            _run(node, command, module)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        sys.stderr.write(f"built {target} in {time.monotonic() - started:.0f} s\n")


def _go_command(node: NodeBuild, module: Path) -> str:
    """The `go` command, checked to be new enough for the module.

    The check runs inside the module's folder, where Go from 1.21 on fetches a newer toolchain by itself if it may.
    """
    go = shutil.which("go")
    needed = ".".join(map(str, MINIMUM_GO))
    remedy = f"install it from https://go.dev/dl, or set {node.override} to a ready {node.name} binary"
    if go is None:
        raise NodeUnavailableError(f"building {node.name} needs Go {needed} or newer and no `go` is on PATH: {remedy}")
    answer = _run(node, [go, "version"], module)
    version = re.search(r"\bgo(\d+)\.(\d+)", answer)
    if version is None or (int(version[1]), int(version[2])) < MINIMUM_GO:
        raise NodeUnavailableError(
            f"building {node.name} needs Go {needed} or newer and {go} says {answer.strip()!r}: {remedy}"
        )
    return go


def _run(node: NodeBuild, command: list[str], folder: Path) -> str:
    """Runs a Go command in `folder` and returns what it wrote to stdout."""
    shown = f"`{' '.join(command[:2])}` for {node.name} {node.version}"
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command line, no shell
            command, cwd=folder, capture_output=True, text=True, timeout=_BUILD_DEADLINE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise NodeUnavailableError(
            f"{shown} ran past {_BUILD_DEADLINE_S:.0f} s: try again on a less busy machine, or set {node.override} to a"
            f" ready {node.name} binary"
        ) from None
    if done.returncode != 0:
        last_lines = " | ".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise NodeUnavailableError(
            f"{shown} ended with {done.returncode}: {last_lines} (is the Go module proxy reachable? {node.override} may"
            f" name a ready {node.name} binary)"
        )
    return done.stdout
