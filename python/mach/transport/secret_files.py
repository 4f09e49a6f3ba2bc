"""Secrets that stand alone in a file: read once, checked, never shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mach.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


def read_secret(path: Path, setting: str, *, least_characters: int = 1) -> str:
    """The one line of printable characters that a file holds. Raises `ConfigurationError` without showing it."""
    try:
        secret = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"`{setting}` {path} cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}; "
            f"name a file that holds the token alone"
        ) from None
    if not secret or not secret.isprintable() or " " in secret:
        raise ConfigurationError(f"`{setting}` {path} must hold one token and nothing else")
    if len(secret) < least_characters:
        raise ConfigurationError(
            f"the token in `{setting}` {path} has {len(secret)} characters, it needs {least_characters}; "
            f"make one with `openssl rand -hex 32`"
        )
    return secret
