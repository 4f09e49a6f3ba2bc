"""`mach keys`: create, import and show ECDSA and BLS keystores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mach.bls import SecretKey
from mach.keys import (
    ScryptCost,
    bls_key_from_bytes,
    create_ecdsa_key,
    ecdsa_key_from_bytes,
    load_bls_keystore,
    load_ecdsa_keystore,
    read_private_key,
    refuse_existing,
    resolve_password,
    save_bls_keystore,
    save_ecdsa_keystore,
)

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

PASSWORD_VARIABLE = "MACH_KEY_PASSWORD"  # noqa: S105  the name of a variable

_type = click.option(
    "--type",
    "key_type",
    type=click.Choice(["ecdsa", "bls"]),
    required=True,
    help="ecdsa: a web3 V3 keystore that sends transactions; bls: an EigenLayer keystore that signs alerts.",
)
_output = click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="The keystore to write; never overwritten."
)
_password_file = click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    help=f"File that holds the keystore's password; else {PASSWORD_VARIABLE}, else a prompt.",
)
_light = click.option(
    "--light", is_flag=True, help="Cheap scrypt parameters, quick to open and to attack: for development networks."
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group()
def keys() -> None:
    """Create, import and show the keystores of operators and aggregators."""


@keys.command()
@_type
@_output
@_password_file
@_light
@_as_json
def create(key_type: str, output: Path, password_file: Path | None, light: bool, as_json: bool) -> None:
    """Create a key and write it to a new keystore."""
    password = _password_for_new(output, password_file)
    key = create_ecdsa_key() if key_type == "ecdsa" else SecretKey.generate()
    _save(output, key, password, light=light)
    _print(output, key, as_json=as_json)


@keys.command("import")
@_type
@_output
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="File that holds the private key, - for standard input; else a prompt on a terminal, else standard input.",
)
@_password_file
@_light
@_as_json
def import_(
    key_type: str, output: Path, key_file: Path | None, password_file: Path | None, light: bool, as_json: bool
) -> None:
    """Write an existing private key to a new keystore.

    The key is text: 64 hex digits with or without 0x, or a decimal number as EigenLayer's tools print BLS keys.
    """
    source = None if key_file == Path("-") else key_file
    private_key = read_private_key(file=source, prompt="Private key" if key_file is None else None)
    key = ecdsa_key_from_bytes(private_key) if key_type == "ecdsa" else bls_key_from_bytes(private_key)
    _save(output, key, _password_for_new(output, password_file), light=light)
    _print(output, key, as_json=as_json)


@keys.command()
@_type
@click.argument("keystore", type=click.Path(path_type=Path))
@_password_file
@_as_json
def show(key_type: str, keystore: Path, password_file: Path | None, as_json: bool) -> None:
    """Open KEYSTORE, check that its parts match, and show the public ones."""
    password = resolve_password(file=password_file, env=PASSWORD_VARIABLE, prompt=f"Password of {keystore}")
    key = load_ecdsa_keystore(keystore, password) if key_type == "ecdsa" else load_bls_keystore(keystore, password)
    _print(keystore, key, as_json=as_json)


def _password_for_new(output: Path, password_file: Path | None) -> str:
    # Before anyone types a password twice; the write itself refuses too.
    refuse_existing(output)
    return resolve_password(file=password_file, env=PASSWORD_VARIABLE, prompt=f"Password for {output}", confirm=True)


def _save(output: Path, key: LocalAccount | SecretKey, password: str, *, light: bool) -> None:
    cost = ScryptCost.LIGHT if light else ScryptCost.STANDARD
    if isinstance(key, SecretKey):
        save_bls_keystore(output, key, password, cost=cost)
    else:
        save_ecdsa_keystore(output, key, password, cost=cost)


def _print(keystore: Path, key: LocalAccount | SecretKey, *, as_json: bool) -> None:
    if isinstance(key, SecretKey):
        public = {
            "type": "bls",
            "keystore": str(keystore),
            "operator_id": f"0x{key.public_key_g1.operator_id.hex()}",
            "public_key_g1": f"0x{key.public_key_g1.to_bytes().hex()}",
            "public_key_g2": f"0x{key.public_key_g2.to_bytes().hex()}",
        }
    else:
        public = {"type": "ecdsa", "keystore": str(keystore), "address": key.address}
    if as_json:
        click.echo(json.dumps(public))
        return
    width = max(len(name) for name in public)
    for name, value in public.items():
        click.echo(f"{name.replace('_', ' '):{width}}  {value}")
