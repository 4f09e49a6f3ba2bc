"""The `crypto` object of web3's V3 keystores, which ECDSA and EigenLayer BLS keystores share.

Format: the Web3 Secret Storage Definition. A key derived from the password by scrypt or PBKDF2 encrypts the 32 bytes of
the private key with AES-128-CTR and authenticates them with Keccak-256.
"""

from __future__ import annotations

import json
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from eth_account import Account
from pydantic import BaseModel, Field, StringConstraints, ValidationError, model_validator

from mach.keys.errors import KeystoreFormatError, KeystoreNotFoundError, WrongPasswordError
from mach.keys.files import FileTooLargeError, read_small_file

if TYPE_CHECKING:
    from pathlib import Path

Keystore = TypeVar("Keystore", bound=BaseModel)

_KEYSTORE_LIMIT_BYTES = 64 * 1024
# geth's standard parameters take 256 MiB; a damaged file should not be able to ask for more than four times that.
_SCRYPT_MEMORY_LIMIT_BYTES = 1024**3


class ScryptCost(IntEnum):
    """scrypt's N, with r = 8 and p = 1; each attempt at a password takes about 128·N·r bytes of memory."""

    STANDARD = 262_144
    """What geth uses for keys of value; about a second."""
    LIGHT = 4_096
    """geth's light N, for development networks and tests; about 15 ms."""


def _hex(length: int) -> StringConstraints:
    return StringConstraints(pattern=rf"^(0x)?[0-9a-fA-F]{{{2 * length}}}$")


Hex16 = Annotated[str, _hex(16)]
Hex32 = Annotated[str, _hex(32)]
Salt = Annotated[str, StringConstraints(pattern=r"^(0x)?([0-9a-fA-F]{2}){0,64}$")]


class _CipherParameters(BaseModel):
    iv: Hex16


class _ScryptParameters(BaseModel):
    n: Annotated[int, Field(ge=2)]
    r: Annotated[int, Field(ge=1)]
    p: Annotated[int, Field(ge=1, le=16)]
    dklen: Annotated[int, Field(ge=32, le=64)]
    salt: Salt

    @model_validator(mode="after")
    def _cost_is_bearable(self) -> _ScryptParameters:
        if self.n & (self.n - 1):
            raise ValueError(f"n must be a power of two, got {self.n}")
        if 128 * self.n * self.r > _SCRYPT_MEMORY_LIMIT_BYTES:
            raise ValueError(f"n = {self.n} and r = {self.r} would take more than {_SCRYPT_MEMORY_LIMIT_BYTES} bytes")
        return self


class _Pbkdf2Parameters(BaseModel):
    c: Annotated[int, Field(ge=1, le=100_000_000)]
    dklen: Annotated[int, Field(ge=32, le=64)]
    prf: Literal["hmac-sha256"]
    salt: Salt


class _Crypto(BaseModel):
    cipher: Literal["aes-128-ctr"]
    cipherparams: _CipherParameters
    ciphertext: Hex32
    mac: Hex32


class ScryptCrypto(_Crypto):
    """A private key under a scrypt-derived key."""

    kdf: Literal["scrypt"]
    kdfparams: _ScryptParameters


class Pbkdf2Crypto(_Crypto):
    """A private key under a PBKDF2-derived key."""

    kdf: Literal["pbkdf2"]
    kdfparams: _Pbkdf2Parameters


Crypto = Annotated[ScryptCrypto | Pbkdf2Crypto, Field(discriminator="kdf")]


def read_keystore(path: Path, model: type[Keystore], kind: str) -> Keystore:
    """The file's JSON as `model`; `kind` names it in errors. Raises KeystoreNotFoundError or KeystoreFormatError."""
    try:
        content = read_small_file(path, _KEYSTORE_LIMIT_BYTES)
    except OSError as error:
        raise KeystoreNotFoundError(
            f"cannot read the {kind} keystore {path}: {error.strerror}; check its path"
        ) from error
    except FileTooLargeError as error:
        raise KeystoreFormatError(f"{path} is {error}: it is not a keystore") from error
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"]) or "content"
        # The cause quotes the file, which may hold a bare private key.
        raise KeystoreFormatError(f"{path} is not an {kind} keystore: {place}: {fault['msg']}") from None


def encrypt(private_key: bytes, password: str, cost: ScryptCost) -> dict[str, Any]:
    """A whole V3 keystore object around the 32-byte `private_key`, whose `address` reads it as a secp256k1 key."""
    return Account.encrypt(private_key, password, kdf="scrypt", iterations=cost)


def decrypt(crypto: ScryptCrypto | Pbkdf2Crypto, password: str, path: Path) -> bytes:
    """The 32 bytes of the private key; `path` names the file in errors. Raises WrongPasswordError."""
    keystore = {"version": 3, "crypto": crypto.model_dump()}
    try:
        return bytes(Account.decrypt(keystore, password))
    except ValueError as error:
        # The model has checked everything else.
        raise WrongPasswordError(
            f"wrong password for the keystore {path}, or the file is damaged: give the password it was created with"
        ) from error


def to_json(keystore: dict[str, Any]) -> bytes:
    """The keystore as the bytes of its file."""
    return json.dumps(keystore, separators=(",", ":")).encode() + b"\n"
