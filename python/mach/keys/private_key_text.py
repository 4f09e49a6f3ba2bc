"""Private keys as the text that people and tools keep them in."""

from __future__ import annotations

import getpass
import re
import sys
from typing import TYPE_CHECKING

from mach.keys.errors import PrivateKeyFormatError, PrivateKeySourceError
from mach.keys.files import FileTooLargeError, read_small_file

if TYPE_CHECKING:
    from pathlib import Path

_TEXT_LIMIT_BYTES = 1024
_HEX = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")
_DECIMAL = re.compile(r"[0-9]{1,78}")


def parse_private_key(text: str) -> bytes:
    """The 32 big-endian bytes of a key written as 64 hex digits, with or without 0x, or as a decimal number.

    EigenLayer's tools print BLS keys in decimal. Sixty-four digits are hex. Raises PrivateKeyFormatError, whose text
    does not quote the key.
    """
    text = text.strip()
    if match := _HEX.fullmatch(text):
        return bytes.fromhex(match[1])
    if _DECIMAL.fullmatch(text) and (value := int(text)) < 2**256:
        return value.to_bytes(32, "big")
    raise PrivateKeyFormatError(
        "the private key must be 64 hex digits (0x optional) or a decimal number below 2^256, "
        f"got text of {len(text)} characters"
    )


def read_private_key(*, file: Path | None = None, prompt: str | None = None) -> bytes:
    """The private key from a file, else from a prompt without echo where there is a terminal, else from standard input.

    Raises PrivateKeySourceError where there is nothing to read, PrivateKeyFormatError where it is not a key.
    """
    if file is not None:
        return parse_private_key(_text_of_file(file))
    if prompt is not None and sys.stdin.isatty():
        try:
            return parse_private_key(getpass.getpass(f"{prompt}: "))
        except EOFError:
            raise PrivateKeySourceError("the terminal closed before a private key was given") from None
    return parse_private_key(sys.stdin.read(_TEXT_LIMIT_BYTES))


def _text_of_file(file: Path) -> str:
    try:
        return read_small_file(file, _TEXT_LIMIT_BYTES).decode("ascii")
    except OSError as error:
        raise PrivateKeySourceError(
            f"cannot read the private key file {file}: {error.strerror}; check its path"
        ) from error
    except FileTooLargeError as error:
        raise PrivateKeySourceError(f"the private key file {file} is {error}: is it the right file?") from error
    except UnicodeDecodeError:
        # The cause would quote the file's bytes.
        raise PrivateKeySourceError(f"the private key file {file} is not text: save the key as hex digits") from None
