"""The root of every exception that Mach raises on purpose."""

from __future__ import annotations

from typing import ClassVar


class MachError(Exception):
    """A failure a caller can act on. The message says what was wrong, with which value, and what to do.

    `exit_code` is what a command ends with when nothing handles the error: 1 the answer is no, 2 usage,
    configuration or environment, 3 no answer.
    """

    exit_code: ClassVar[int] = 2


class ConfigurationError(MachError):
    """A configuration key, flag or environment variable is missing or malformed."""


class EnvironmentFaultError(MachError):
    """Something outside the process is not as needed: a node, a port, a file, a contract."""
