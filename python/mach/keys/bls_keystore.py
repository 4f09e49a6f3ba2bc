"""BLS (BN254) keys in EigenLayer's keystore JSON: `{"pubKey": "E([x,y])", "crypto": …}`.

`pubKey` is the G1 public key in decimal, `crypto` a V3 crypto object over the 32-byte big-endian scalar.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, StringConstraints

from mach.bls import BlsError, PublicKeyG1, SecretKey
from mach.keys import v3
from mach.keys.errors import KeyMismatchError, KeystoreFormatError, PrivateKeyFormatError
from mach.keys.files import write_new_private_file

if TYPE_CHECKING:
    from pathlib import Path

_PUBLIC_KEY = re.compile(r"^E\(\[(\d{1,78}),(\d{1,78})\]\)$", re.ASCII)


class BlsKeystore(BaseModel):
    """The JSON of an EigenLayer BLS keystore."""

    pubKey: Annotated[str, StringConstraints(pattern=_PUBLIC_KEY)]  # noqa: N815  the format's own spelling
    crypto: v3.Crypto


def bls_key_from_bytes(private_key: bytes) -> SecretKey:
    """The key of a 32-byte big-endian scalar. Raises PrivateKeyFormatError."""
    try:
        return SecretKey.from_bytes(private_key)
    except BlsError as error:
        raise PrivateKeyFormatError(f"the BLS private key is not one: {error}") from error


def load_bls_keystore(path: Path, password: str) -> SecretKey:
    """The key of an EigenLayer BLS keystore; takes about a second with standard scrypt parameters.

    Raises KeystoreNotFoundError, KeystoreFormatError, WrongPasswordError, or KeyMismatchError where `pubKey` is not
    the public key of what the file holds.
    """
    keystore = v3.read_keystore(path, BlsKeystore, "EigenLayer BLS")
    private_key = v3.decrypt(keystore.crypto, password, path)
    try:
        secret_key = SecretKey.from_bytes(private_key)
    except BlsError as error:
        raise KeystoreFormatError(f"{path} is not an EigenLayer BLS keystore: {error}") from error
    actual = format_public_key(secret_key.public_key_g1)
    if keystore.pubKey != actual:
        raise KeyMismatchError(
            f"{path} names pubKey {keystore.pubKey}, but holds the key of {actual}: "
            "the file was altered, restore it from a backup"
        )
    return secret_key


def save_bls_keystore(
    path: Path, secret_key: SecretKey, password: str, *, cost: v3.ScryptCost = v3.ScryptCost.STANDARD
) -> None:
    """Write a new EigenLayer BLS keystore, mode 0600, whole or not at all.

    Raises KeystoreExistsError or KeystoreError.
    """
    # Every BN254 scalar is a valid secp256k1 key, so V3 machinery carries it; its address would mean nothing.
    crypto = v3.encrypt(secret_key.to_bytes(), password, cost)["crypto"]
    keystore = {"pubKey": format_public_key(secret_key.public_key_g1), "crypto": crypto}
    write_new_private_file(path, v3.to_json(keystore))


def format_public_key(public_key: PublicKeyG1) -> str:
    """The G1 key as EigenLayer's tools print it: `E([x,y])` in decimal."""
    encoded = public_key.to_bytes()
    x, y = (int.from_bytes(encoded[start : start + 32], "big") for start in (0, 32))
    return f"E([{x},{y}])"
