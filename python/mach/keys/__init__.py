"""Keystores of operators and aggregators, and the passwords that open them."""

from __future__ import annotations

from mach.keys.bls_keystore import bls_key_from_bytes, load_bls_keystore, save_bls_keystore
from mach.keys.ecdsa import create_ecdsa_key, ecdsa_key_from_bytes, load_ecdsa_keystore, save_ecdsa_keystore
from mach.keys.errors import (
    KeyMismatchError,
    KeystoreError,
    KeystoreExistsError,
    KeystoreFormatError,
    KeystoreNotFoundError,
    PasswordError,
    PrivateKeyFormatError,
    PrivateKeySourceError,
    WrongPasswordError,
)
from mach.keys.files import refuse_existing
from mach.keys.passwords import resolve_password
from mach.keys.private_key_text import parse_private_key, read_private_key
from mach.keys.v3 import ScryptCost

__all__ = [
    "KeyMismatchError",
    "KeystoreError",
    "KeystoreExistsError",
    "KeystoreFormatError",
    "KeystoreNotFoundError",
    "PasswordError",
    "PrivateKeyFormatError",
    "PrivateKeySourceError",
    "ScryptCost",
    "WrongPasswordError",
    "bls_key_from_bytes",
    "create_ecdsa_key",
    "ecdsa_key_from_bytes",
    "load_bls_keystore",
    "load_ecdsa_keystore",
    "parse_private_key",
    "read_private_key",
    "refuse_existing",
    "resolve_password",
    "save_bls_keystore",
    "save_ecdsa_keystore",
]
