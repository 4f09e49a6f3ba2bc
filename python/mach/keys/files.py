"""Reading small files and writing new ones that only their owner may read."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from mach.keys.errors import KeystoreError, KeystoreExistsError

if TYPE_CHECKING:
    from pathlib import Path


class FileTooLargeError(ValueError):
    """The file is larger than anything of its kind."""


def read_small_file(path: Path, limit: int) -> bytes:
    """The content of a file of at most `limit` bytes. Raises OSError or FileTooLargeError."""
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise FileTooLargeError(f"larger than {limit} bytes")
    return content


def write_new_private_file(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 whole or not at all, and never over an existing one.

    Missing parent folders are made. Raises KeystoreExistsError, or KeystoreError where the system refuses.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            _write_private_file(temporary, content)
            # Unlike a rename, a link fails where a file already stands, in one step.
            _link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise KeystoreError(f"cannot write {path}: {error.strerror}; check the folder and its permissions") from error


def refuse_existing(path: Path) -> None:
    """Raise KeystoreExistsError where something stands at `path`, a dangling link included."""
    if os.path.lexists(path):
        raise _exists(path)


def _write_private_file(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _link(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError as error:
        raise _exists(path) from error


def _exists(path: Path) -> KeystoreExistsError:
    return KeystoreExistsError(f"{path} exists and is not overwritten: choose another path or move it away")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
