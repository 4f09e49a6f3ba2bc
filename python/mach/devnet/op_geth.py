"""Finds op-geth, the devnet's L2 node, or builds it from the pinned Go module beside this file.

`python -m mach.devnet.op_geth` does so from the command line and prints the binary's path. Only the standard library
and `mach.errors` are imported, so that it runs before any dependency is installed.

The build takes every module through the Go module proxy and checks it against `op_geth_module/go.sum`.
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
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from mach.errors import EnvironmentFaultError, MachError

if TYPE_CHECKING:
    from collections.abc import Iterator

OP_GETH_VERSION = "v1.101702.3"
"""The release that `op_geth_module/go.mod` pins: the one whose witnesses were checked block by block."""

MINIMUM_GO = (1, 24)
"""`tool` directives in go.mod need Go 1.24, op-geth's own go.mod too."""

_PACKAGE = "github.com/ethereum/go-ethereum/cmd/geth"
_BUILD_DEADLINE_S = 1800.0
_LOCK_DEADLINE_S = _BUILD_DEADLINE_S + 60.0
_LOCK_POLL_S = 0.5


class OpGethUnavailableError(EnvironmentFaultError):
    """There is no usable op-geth and none can be built. The message says what is missing."""


def cache_directory() -> Path:
    """The folder of what is built or fetched once per user: `$MACH_CACHE`, by default `~/.cache/mach`."""
    configured = os.environ.get("MACH_CACHE")
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "mach"


def built_binary_path() -> Path:
    """Where `ensure_op_geth` installs the binary it builds."""
    return cache_directory() / "bin" / f"op-geth-{OP_GETH_VERSION}"


def ensure_op_geth() -> Path:
    """The path of an op-geth binary: `$MACH_OP_GETH` if set, else the cached build, else built now (minutes, once).

    Blocks while it builds: call it from a worker thread in async code. Two callers at once build once.

    Raises:
        OpGethUnavailableError: `$MACH_OP_GETH` is no executable file, Go is absent or too old, or the build failed.
    """
    override = os.environ.get("MACH_OP_GETH")
    if override:
        path = Path(override).expanduser()
        if not _is_executable(path):
            raise OpGethUnavailableError(
                f"MACH_OP_GETH is {override!r}, which is no executable file: correct it, or unset it to build one"
            )
        return path
    binary = built_binary_path()
    if _is_executable(binary):
        return binary
    try:
        binary.parent.mkdir(parents=True, exist_ok=True)
        with _lock(binary.with_name(f".{binary.name}.lock")):
            if not _is_executable(binary):
                _build(binary)
    except OSError as error:
        raise OpGethUnavailableError(
            f"cannot install op-geth at {binary}: {error}: make that folder writable or set MACH_CACHE to one that is"
        ) from error
    return binary


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
                    raise OpGethUnavailableError(
                        f"another process has held {path} for {_LOCK_DEADLINE_S:.0f} s: end it and try again"
                    ) from None
                time.sleep(_LOCK_POLL_S)
        yield


def _build(target: Path) -> None:
    """Builds op-geth and puts it at `target` in one step; a build that is cut off leaves nothing there."""
    with tempfile.TemporaryDirectory(prefix="mach-op-geth-") as scratch:
        # A copy: the installed package may be read-only, and Go resolves the module from its working directory.
        module = Path(scratch)
        for name in ("go.mod", "go.sum"):
            source = resources.files("mach.devnet").joinpath("op_geth_module", name)
            (module / name).write_bytes(source.read_bytes())
        go = _go_command(module)
        sys.stderr.write(f"building op-geth {OP_GETH_VERSION} with {go} (a few minutes, once)\n")
        started = time.monotonic()
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        try:
            _run([go, "build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o", str(partial), _PACKAGE], module)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        sys.stderr.write(f"built {target} in {time.monotonic() - started:.0f} s\n")


def _go_command(module: Path) -> str:
    """The `go` command, checked to be new enough for the module.

    The check runs inside the module's folder, where Go from 1.21 on fetches a newer toolchain by itself if it may.
    """
    go = shutil.which("go")
    needed = ".".join(map(str, MINIMUM_GO))
    if go is None:
        raise OpGethUnavailableError(
            f"building op-geth needs Go {needed} or newer and no `go` is on PATH: install it from https://go.dev/dl, or"
            " set MACH_OP_GETH to an op-geth binary"
        )
    answer = _run([go, "version"], module)
    version = re.search(r"\bgo(\d+)\.(\d+)", answer)
    if version is None or (int(version[1]), int(version[2])) < MINIMUM_GO:
        raise OpGethUnavailableError(
            f"building op-geth needs Go {needed} or newer and {go} says {answer.strip()!r}: install it from"
            " https://go.dev/dl, or set MACH_OP_GETH to an op-geth binary"
        )
    return go


def _run(command: list[str], folder: Path) -> str:
    """Runs a Go command in `folder` and returns what it wrote to stdout."""
    shown = " ".join(command[:2])
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command line, no shell
            command, cwd=folder, capture_output=True, text=True, timeout=_BUILD_DEADLINE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise OpGethUnavailableError(
            f"`{shown}` for op-geth {OP_GETH_VERSION} ran past {_BUILD_DEADLINE_S:.0f} s: try again on a less busy"
            " machine, or set MACH_OP_GETH to an op-geth binary"
        ) from None
    if done.returncode != 0:
        last_lines = " | ".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise OpGethUnavailableError(
            f"`{shown}` for op-geth {OP_GETH_VERSION} ended with {done.returncode}: {last_lines} (is the Go module"
            " proxy reachable? MACH_OP_GETH may name a ready op-geth binary)"
        )
    return done.stdout


def main() -> int:
    """The command `python -m mach.devnet.op_geth`: exit code 0 and the path on stdout, or 2 and one line on stderr."""
    try:
        sys.stdout.write(f"{ensure_op_geth()}\n")
    except MachError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
