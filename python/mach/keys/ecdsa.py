"""ECDSA (secp256k1) keys in web3 V3 keystores, as geth, web3 and EigenLayer's tools write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from eth_account import Account
from pydantic import AliasChoices, BaseModel, Field, StringConstraints

from mach.keys import v3
from mach.keys.errors import KeyMismatchError, KeystoreFormatError, PrivateKeyFormatError
from mach.keys.files import write_new_private_file

if TYPE_CHECKING:
    from pathlib import Path

    from eth_account.signers.local import LocalAccount


class EcdsaKeystore(BaseModel):
    """The JSON of a web3 V3 keystore."""

    version: Literal[3]
    address: Annotated[str, StringConstraints(pattern=r"^(0x)?[0-9a-fA-F]{40}$")] | None = None
    crypto: v3.Crypto = Field(validation_alias=AliasChoices("crypto", "Crypto"))


def create_ecdsa_key() -> LocalAccount:
    """A new account from the operating system's random source."""
    account: LocalAccount = Account.create()
    return account


def ecdsa_key_from_bytes(private_key: bytes) -> LocalAccount:
    """The account of a 32-byte big-endian private key. Raises PrivateKeyFormatError."""
    try:
        account: LocalAccount = Account.from_key(private_key)
    except ValueError:
        # The cause may quote the key.
        raise PrivateKeyFormatError(
            "the ECDSA private key must be 32 bytes, not zero and below the secp256k1 group order"
        ) from None
    return account


def load_ecdsa_keystore(path: Path, password: str) -> LocalAccount:
    """The account of a web3 V3 keystore; takes about a second with standard scrypt parameters.

    Raises KeystoreNotFoundError, KeystoreFormatError, WrongPasswordError, or KeyMismatchError where the file names
    another address than the key's.
    """
    keystore = v3.read_keystore(path, EcdsaKeystore, "ECDSA")
    private_key = v3.decrypt(keystore.crypto, password, path)
    try:
        account = ecdsa_key_from_bytes(private_key)
    except PrivateKeyFormatError as error:
        raise KeystoreFormatError(f"{path} is not an ECDSA keystore: {error}") from None
    named = keystore.address
    if named is not None and named.removeprefix("0x").lower() != account.address.removeprefix("0x").lower():
        raise KeyMismatchError(
            f"{path} names address {named}, but holds the key of {account.address}: "
            "the file was altered, restore it from a backup"
        )
    return account


def save_ecdsa_keystore(
    path: Path, account: LocalAccount, password: str, *, cost: v3.ScryptCost = v3.ScryptCost.STANDARD
) -> None:
    """Write a new web3 V3 keystore, mode 0600, whole or not at all. Raises KeystoreExistsError or KeystoreError."""
    write_new_private_file(path, v3.to_json(v3.encrypt(bytes(account.key), password, cost)))
