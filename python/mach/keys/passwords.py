"""Where a keystore's password comes from: a file, the environment or a prompt, never a command line."""

from __future__ import annotations

import getpass
import os
import sys
from typing import TYPE_CHECKING

from mach.keys.errors import PasswordError
from mach.keys.files import FileTooLargeError, read_small_file

if TYPE_CHECKING:
    from pathlib import Path

_PASSWORD_FILE_LIMIT_BYTES = 4096


def resolve_password(
    *, file: Path | None = None, env: str | None = None, prompt: str | None = None, confirm: bool = False
) -> str:
    """The password from the first source given: a file, an environment variable that is set, a prompt.

    A file's password is its UTF-8 text without one final line break; an empty one is a password too. `env` is the
    name of the variable. `prompt` is the question asked without echo, twice where `confirm`; it is asked only where
    standard input is a terminal. Raises PasswordError.
    """
    if file is not None:
        return _password_from_file(file)
    if env is not None and env in os.environ:
        return _password_from_environment(env)
    if prompt is not None and sys.stdin.isatty():
        return _password_from_prompt(prompt, confirm=confirm)
    sources = ["a password file"]
    if env is not None:
        sources.append(f"the environment variable {env}")
    if prompt is not None:
        sources.append("a terminal to ask on")
    raise PasswordError(f"no password was given: give {' or '.join(sources)}")


def _password_from_file(file: Path) -> str:
    try:
        text = read_small_file(file, _PASSWORD_FILE_LIMIT_BYTES).decode()
    except OSError as error:
        raise PasswordError(f"cannot read the password file {file}: {error.strerror}; check its path") from error
    except FileTooLargeError as error:
        raise PasswordError(f"the password file {file} is {error}: is it the right file?") from error
    except UnicodeDecodeError:
        # The cause would quote the file's bytes.
        raise PasswordError(f"the password file {file} is not UTF-8 text: save it as UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")


def _password_from_environment(name: str) -> str:
    password = os.environ[name]
    try:
        password.encode()
    except UnicodeEncodeError:
        # The cause would quote the password.
        raise PasswordError(f"the environment variable {name} is not UTF-8 text: set it again") from None
    return password


def _password_from_prompt(prompt: str, *, confirm: bool) -> str:
    try:
        password = getpass.getpass(f"{prompt}: ")
        if confirm and getpass.getpass(f"{prompt} (again): ") != password:
            raise PasswordError("the two passwords differ: try again")
    except EOFError as error:
        raise PasswordError("the terminal closed before a password was given") from error
    return password
