"""What can be wrong with a keystore file or its password. No message ever holds a key or a password."""

from __future__ import annotations

from mach.errors import MachError


class KeystoreError(MachError):
    """A keystore file cannot be read or written."""


class KeystoreNotFoundError(KeystoreError):
    """There is no readable file at the path."""


class KeystoreFormatError(KeystoreError):
    """The file is not a keystore of the expected kind, or is damaged."""


class KeystoreExistsError(KeystoreError):
    """A file stands where a new keystore should go; keys are never overwritten."""


class WrongPasswordError(KeystoreError):
    """The password does not decrypt the keystore."""


class KeyMismatchError(KeystoreError):
    """The decrypted key is not the one whose public part the file names."""


class PasswordError(MachError):
    """No password was given, or its source cannot be read."""


class PrivateKeySourceError(MachError):
    """A private key cannot be read from where it should come from."""


class PrivateKeyFormatError(MachError):
    """What was given as a private key is not one."""
