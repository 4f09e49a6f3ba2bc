"""`mach keys` as a person and a script use it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from eth_account import Account

from mach.bls import SecretKey
from mach.cli.keys import keys
from mach.keys import (
    KeystoreExistsError,
    PasswordError,
    PrivateKeyFormatError,
    WrongPasswordError,
    load_bls_keystore,
    load_ecdsa_keystore,
)

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

PASSWORD = "a password"
PRIVATE_KEY = "0x" + "11" * 32
DEADLINE_S = 60.0


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    return file


def run(*arguments: str | Path, stdin: str | None = None, env: dict[str, str | None] | None = None) -> Result:
    environment = {"MACH_KEY_PASSWORD": None} | (env or {})
    return CliRunner().invoke(keys, [str(argument) for argument in arguments], input=stdin, env=environment)


def run_ok(*arguments: str | Path, stdin: str | None = None, env: dict[str, str | None] | None = None) -> str:
    result = run(*arguments, stdin=stdin, env=env)
    assert result.exception is None, result.output
    return result.output


def test_a_created_bls_key_is_shown_again(tmp_path: Path, password_file: Path) -> None:
    path = tmp_path / "keys" / "bls.json"
    created = run_ok("create", "--type", "bls", "--output", path, "--password-file", password_file, "--light", "--json")
    shown = run_ok("show", "--type", "bls", path, "--password-file", password_file, "--json")
    assert json.loads(created) == json.loads(shown)
    key = load_bls_keystore(path, PASSWORD)
    assert json.loads(shown) == {
        "type": "bls",
        "keystore": str(path),
        "operator_id": "0x" + key.public_key_g1.operator_id.hex(),
        "public_key_g1": "0x" + key.public_key_g1.to_bytes().hex(),
        "public_key_g2": "0x" + key.public_key_g2.to_bytes().hex(),
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_created_ecdsa_key_is_shown_again(tmp_path: Path, password_file: Path) -> None:
    path = tmp_path / "ecdsa.json"
    created = run_ok("create", "--type", "ecdsa", "--output", path, "--password-file", password_file, "--light")
    address = load_ecdsa_keystore(path, PASSWORD).address
    assert re.search(rf"^address +{address}$", created, re.MULTILINE)
    shown = run_ok("show", "--type", "ecdsa", path, "--json", env={"MACH_KEY_PASSWORD": PASSWORD})
    assert json.loads(shown) == {"type": "ecdsa", "keystore": str(path), "address": address}


def test_a_person_reads_a_line_for_each_public_part(tmp_path: Path) -> None:
    path = tmp_path / "bls.json"
    environment: dict[str, str | None] = {"MACH_KEY_PASSWORD": PASSWORD}
    output = run_ok("create", "--type", "bls", "--output", path, "--light", env=environment)
    names = [re.split(r"  +", line)[0] for line in output.splitlines()]
    assert names == ["type", "keystore", "operator id", "public key g1", "public key g2"]


def test_a_key_is_imported_from_a_file(tmp_path: Path, password_file: Path) -> None:
    key_file, path = tmp_path / "key.txt", tmp_path / "ecdsa.json"
    key_file.write_text(PRIVATE_KEY + "\n")
    arguments = ["--output", path, "--key-file", key_file, "--password-file", password_file, "--light"]
    output = run_ok("import", "--type", "ecdsa", *arguments)
    expected = Account.from_key(PRIVATE_KEY)
    assert expected.address in output
    assert load_ecdsa_keystore(path, PASSWORD).key == expected.key


@pytest.mark.parametrize("dash", [["--key-file", "-"], []])
@pytest.mark.parametrize("text", [PRIVATE_KEY, str(int(PRIVATE_KEY, 16))], ids=["hex", "decimal"])
def test_a_key_is_imported_from_standard_input(tmp_path: Path, password_file: Path, dash: list[str], text: str) -> None:
    path = tmp_path / "bls.json"
    arguments = ["--output", path, "--password-file", password_file, "--light", *dash]
    output = run_ok("import", "--type", "bls", *arguments, stdin=text + "\n")
    assert load_bls_keystore(path, PASSWORD) == SecretKey.from_bytes(bytes.fromhex(PRIVATE_KEY[2:]))
    assert text.removeprefix("0x") not in output


def test_a_private_key_is_no_argument(tmp_path: Path, password_file: Path) -> None:
    arguments = ["--output", tmp_path / "ecdsa.json", "--password-file", password_file]
    result = run("import", "--type", "ecdsa", *arguments, PRIVATE_KEY)
    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == [password_file]


def test_what_is_no_key_is_not_imported(tmp_path: Path, password_file: Path) -> None:
    arguments = ["--output", tmp_path / "bls.json", "--password-file", password_file]
    for text in ("", "0x1234", "f" * 64):
        result = run("import", "--type", "bls", *arguments, stdin=text)
        assert isinstance(result.exception, PrivateKeyFormatError)
    assert list(tmp_path.iterdir()) == [password_file]


@pytest.mark.parametrize("command", [["create"], ["import", "--key-file", "-"]])
def test_an_existing_file_is_not_overwritten(tmp_path: Path, command: list[str]) -> None:
    path = tmp_path / "key.json"
    path.write_text("precious")
    result = run(*command, "--type", "bls", "--output", path, stdin=PRIVATE_KEY, env={"MACH_KEY_PASSWORD": PASSWORD})
    assert isinstance(result.exception, KeystoreExistsError)
    assert path.read_text() == "precious"


def test_a_dangling_link_is_not_written_through(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.symlink_to(tmp_path / "elsewhere")
    result = run("create", "--type", "bls", "--output", path, "--light", env={"MACH_KEY_PASSWORD": PASSWORD})
    assert isinstance(result.exception, KeystoreExistsError)
    assert list(tmp_path.iterdir()) == [path]


def test_without_a_password_nothing_is_written(tmp_path: Path) -> None:
    result = run("create", "--type", "bls", "--output", tmp_path / "key.json")
    assert isinstance(result.exception, PasswordError)
    assert "MACH_KEY_PASSWORD" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_password_shows_nothing(tmp_path: Path, password_file: Path) -> None:
    path = tmp_path / "key.json"
    run_ok("create", "--type", "bls", "--output", path, "--password-file", password_file, "--light")
    result = run("show", "--type", "bls", path, env={"MACH_KEY_PASSWORD": "wrong"})
    assert isinstance(result.exception, WrongPasswordError)
    assert result.output == ""


def test_a_type_that_is_not_known_is_a_usage_error(tmp_path: Path) -> None:
    result = run("create", "--type", "rsa", "--output", tmp_path / "key.json")
    assert result.exit_code == 2
    assert "'ecdsa', 'bls'" in result.output


def converse(arguments: list[str], answers: list[str]) -> tuple[int, str]:
    """Run `mach keys` on a pseudo-terminal and answer each prompt, text that ends in ": ". Exit code and screen."""
    controller, terminal = pty.openpty()
    program = "from mach.cli.keys import keys; keys()"
    environment = {name: value for name, value in os.environ.items() if name != "MACH_KEY_PASSWORD"}
    # A session of its own has no controlling terminal, so the prompt uses standard input.
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=environment,
        start_new_session=True,
    )
    os.close(terminal)
    screen, unanswered, deadline = b"", list(answers), time.monotonic() + DEADLINE_S
    answered_until = 0
    try:
        while True:
            ready, _, _ = select.select([controller], [], [], deadline - time.monotonic())
            assert ready, f"no end within {DEADLINE_S} s: {screen!r}"
            try:
                chunk = os.read(controller, 4096)
            except OSError:  # Linux reports the closed terminal so.
                break
            if not chunk:
                break
            screen += chunk
            if unanswered and screen[answered_until:].endswith(b": "):
                answered_until = len(screen)
                os.write(controller, unanswered.pop(0).encode() + b"\n")
        return process.wait(timeout=DEADLINE_S), screen.decode()
    finally:
        process.kill()
        process.wait()
        os.close(controller)


def test_a_terminal_is_asked_for_the_password_twice_without_echo(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    arguments = ["create", "--type", "bls", "--output", str(path), "--light"]
    code, screen = converse(arguments, [PASSWORD, PASSWORD])
    assert code == 0, screen
    assert PASSWORD not in screen
    assert screen.count("Password for") == 2
    assert load_bls_keystore(path, PASSWORD)


def test_a_terminal_is_asked_for_the_private_key_without_echo(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    arguments = ["import", "--type", "ecdsa", "--output", str(path), "--light"]
    code, screen = converse(arguments, [PRIVATE_KEY, PASSWORD, PASSWORD])
    assert code == 0, screen
    assert PRIVATE_KEY not in screen
    assert load_ecdsa_keystore(path, PASSWORD).address == Account.from_key(PRIVATE_KEY).address


def test_two_different_answers_write_nothing(tmp_path: Path) -> None:
    arguments = ["create", "--type", "bls", "--output", str(tmp_path / "key.json"), "--light"]
    code, screen = converse(arguments, [PASSWORD, PASSWORD + "!"])
    assert code != 0
    assert "the two passwords differ" in screen
    assert list(tmp_path.iterdir()) == []
