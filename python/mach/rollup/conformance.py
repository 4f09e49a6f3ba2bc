"""Files of blockchain tests, wherever they lie: alone, in folders, in archives. Nothing is unpacked to disk.

An archive may be anything: a document and everything together are bounded, links and devices are passed over, and a
member's name is only ever shown.
"""

from __future__ import annotations

import gzip
import lzma
import os
import tarfile
import zipfile
import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from mach import _core
from mach.errors import MachError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from mach._core import ConformanceCase

MAX_DOCUMENT_BYTES: Final = 512 * 1024 * 1024
"""The largest documents of the execution specifications' releases are near 200 MB."""
MAX_TOTAL_BYTES: Final = 64 * 1024 * 1024 * 1024
MAX_MEMBERS: Final = 1_000_000

_TAR_MODES: Final = {".tar": "r|", ".tar.gz": "r|gz", ".tgz": "r|gz", ".tar.xz": "r|xz", ".txz": "r|xz"}
_DAMAGE: Final = (OSError, EOFError, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, zlib.error)


class TestSourceError(MachError):
    """A path holds no blockchain tests, or something that cannot be read."""

    __test__ = False


@dataclass(frozen=True, slots=True)
class CaseReport:
    """What came of one test of a document: `outcome` is passed, failed or skipped, `reason` says why."""

    document: str
    name: str
    outcome: str
    reason: str | None
    blocks: int = 0
    gas_used: int = 0


def run_paths(paths: Sequence[Path], threads: int | None = None) -> Iterator[CaseReport]:
    """Run every blockchain test under the paths, document by document in their order, several at a time.

    Raises TestSourceError for a path that cannot be read and for one that holds no blockchain test.
    """
    workers = threads or os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        for path in paths:
            cases = 0
            waiting: deque[tuple[str, Future[list[ConformanceCase]]]] = deque()
            for name, document in documents(path):
                waiting.append((name, pool.submit(_core.run_blockchain_tests, name, document)))
                # Reading ahead without bound would hold a whole archive in memory.
                while len(waiting) > 2 * workers:
                    for report in _reports(*waiting.popleft()):
                        cases += 1
                        yield report
            while waiting:
                for report in _reports(*waiting.popleft()):
                    cases += 1
                    yield report
            if cases == 0:
                raise TestSourceError(f"{path} holds no blockchain tests; name a file, folder or archive of them")


def documents(path: Path) -> Iterator[tuple[str, bytes]]:
    """Every JSON document under a path with its name, in the order of folders' names or as an archive has them."""
    try:
        found: Iterator[tuple[str, bytes]]
        if path.is_dir():
            files = (path / folder / name for folder, _, names in sorted(os.walk(path)) for name in sorted(names))
            found = (document for file in files if _is_known(file.name) for document in _of_file(file))
        else:
            found = _of_file(path)
        total = 0
        for count, (name, document) in enumerate(found, 1):
            total += len(document)
            if total > MAX_TOTAL_BYTES or count > MAX_MEMBERS:
                raise TestSourceError(f"{path} holds more than {MAX_MEMBERS} documents or {MAX_TOTAL_BYTES} bytes")
            yield name, document
    except _DAMAGE as error:
        raise TestSourceError(f"cannot read {path}: {error}; give a readable file, folder or archive") from error


def _reports(name: str, running: Future[list[ConformanceCase]]) -> list[CaseReport]:
    try:
        cases = running.result()
    except ValueError as error:
        return [CaseReport(name, "the whole document", "failed", str(error))]
    return [CaseReport(name, case.name, case.outcome, case.reason, case.blocks, case.gas_used) for case in cases]


def _is_known(name: str) -> bool:
    return name.endswith((".json", ".json.gz", ".zip", *_TAR_MODES))


def _of_file(path: Path) -> Iterator[tuple[str, bytes]]:
    name = path.name
    for suffix, mode in _TAR_MODES.items():
        if name.endswith(suffix):
            yield from _of_tar(path, mode)
            return
    if name.endswith(".zip"):
        yield from _of_zip(path)
    elif name.endswith(".json.gz"):
        with gzip.open(path) as file:
            yield str(path), _bounded(file, str(path))
    elif name.endswith(".json"):
        with path.open("rb") as file:
            yield str(path), _bounded(file, str(path))
    else:
        raise TestSourceError(f"{path} is none of {', '.join(('.json', '.json.gz', '.zip', *_TAR_MODES))}")


def _of_tar(path: Path, mode: str) -> Iterator[tuple[str, bytes]]:
    passed, count = 0, 0
    # As a stream: one pass, and no index of all members in memory.
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for member in archive:
            archive.members = []
            passed, count = passed + member.size, count + 1
            if passed > MAX_TOTAL_BYTES or count > MAX_MEMBERS:
                raise TestSourceError(f"{path} holds more than {MAX_MEMBERS} members or {MAX_TOTAL_BYTES} bytes")
            if not member.isreg() or not member.name.endswith(".json"):
                continue
            file = archive.extractfile(member)
            if file is not None:
                yield member.name, _bounded(file, f"{path}: {member.name}")


def _of_zip(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.is_dir() and member.filename.endswith(".json"):
                with archive.open(member) as file:
                    yield member.filename, _bounded(file, f"{path}: {member.filename}")


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _bounded(file: _Readable, name: str) -> bytes:
    """Everything, but no more than a document may be; what a header declares is not believed."""
    document = file.read(MAX_DOCUMENT_BYTES + 1)
    if len(document) > MAX_DOCUMENT_BYTES:
        raise TestSourceError(f"{name} is longer than {MAX_DOCUMENT_BYTES} bytes; split it")
    return document
