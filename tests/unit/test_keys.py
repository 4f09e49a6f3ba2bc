"""Keystores and passwords: what is written can be read by others, and what is wrong is named without the secret."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from Crypto.Cipher import AES
from eth_account import Account
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from mach.bls import SecretKey
from mach.errors import MachError
from mach.keys import (
    KeyMismatchError,
    KeystoreError,
    KeystoreExistsError,
    KeystoreFormatError,
    KeystoreNotFoundError,
    PasswordError,
    PrivateKeyFormatError,
    PrivateKeySourceError,
    ScryptCost,
    WrongPasswordError,
    bls_key_from_bytes,
    create_ecdsa_key,
    ecdsa_key_from_bytes,
    load_bls_keystore,
    load_ecdsa_keystore,
    parse_private_key,
    read_private_key,
    resolve_password,
    save_bls_keystore,
    save_ecdsa_keystore,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from eth_account.signers.local import LocalAccount

REPOSITORY = Path(__file__).parents[2]
SHARED_KEYSTORES = Path(os.environ.get("MACH_TESTDATA") or REPOSITORY.parent / "shared/testdata") / "keystores"
needs_shared_keystores = pytest.mark.skipif(
    not SHARED_KEYSTORES.exists(), reason=f"no {SHARED_KEYSTORES} (set MACH_TESTDATA)"
)
SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
PASSWORD = "pässword with spaces "


def save_bls(path: Path, key: SecretKey, password: str = PASSWORD) -> None:
    save_bls_keystore(path, key, password, cost=ScryptCost.LIGHT)


def save_ecdsa(path: Path, account: LocalAccount, password: str = PASSWORD) -> None:
    save_ecdsa_keystore(path, account, password, cost=ScryptCost.LIGHT)


def save_new_bls(path: Path) -> None:
    save_bls(path, SecretKey.generate())


def save_new_ecdsa(path: Path) -> None:
    save_ecdsa(path, create_ecdsa_key())


both_kinds = pytest.mark.parametrize(
    ("save", "load"),
    [(save_new_ecdsa, load_ecdsa_keystore), (save_new_bls, load_bls_keystore)],
    ids=["ecdsa", "bls"],
)


def decrypt_by_hand(crypto: dict[str, Any], password: str) -> bytes:
    """The Web3 Secret Storage Definition on hashlib and AES, without the code under test."""
    parameters = crypto["kdfparams"]
    derived = hashlib.scrypt(
        password.encode(),
        salt=bytes.fromhex(parameters["salt"]),
        n=parameters["n"],
        r=parameters["r"],
        p=parameters["p"],
        dklen=parameters["dklen"],
        maxmem=2**29,
    )
    ciphertext = bytes.fromhex(crypto["ciphertext"])
    assert keccak(derived[16:32] + ciphertext).hex() == crypto["mac"]
    iv = bytes.fromhex(crypto["cipherparams"]["iv"])
    return AES.new(derived[:16], AES.MODE_CTR, nonce=b"", initial_value=iv).decrypt(ciphertext)


def alter(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@needs_shared_keystores
@pytest.mark.parametrize("name", ["test1", "test2"])
def test_the_originals_bls_keystores_open(name: str) -> None:
    path = SHARED_KEYSTORES / f"{name}.bls.key.json"
    public_key = load_bls_keystore(path, "").public_key_g1.to_bytes()
    x, y = int.from_bytes(public_key[:32], "big"), int.from_bytes(public_key[32:], "big")
    assert json.loads(path.read_text())["pubKey"] == f"E([{x},{y}])"


@needs_shared_keystores
def test_the_originals_ecdsa_keystore_opens() -> None:
    path = SHARED_KEYSTORES / "test1.ecdsa.key.json"
    address = load_ecdsa_keystore(path, "").address
    assert address.lower() == "0x" + json.loads(path.read_text())["address"]


def test_a_bls_keystore_survives_a_round_trip_and_opens_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "operator.bls.key.json"
    key = SecretKey.from_bytes(bytes(31) + b"\x07")
    save_bls(path, key)
    assert load_bls_keystore(path, PASSWORD) == key
    content = json.loads(path.read_text())
    assert set(content) == {"pubKey", "crypto"}
    assert decrypt_by_hand(content["crypto"], PASSWORD) == key.to_bytes()
    encoded = key.public_key_g1.to_bytes()
    x, y = int.from_bytes(encoded[:32], "big"), int.from_bytes(encoded[32:], "big")
    assert content["pubKey"] == f"E([{x},{y}])"


def test_an_ecdsa_keystore_survives_a_round_trip_and_opens_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "operator.ecdsa.key.json"
    account = create_ecdsa_key()
    save_ecdsa(path, account)
    assert load_ecdsa_keystore(path, PASSWORD).key == account.key
    content = json.loads(path.read_text())
    assert content["version"] == 3
    assert decrypt_by_hand(content["crypto"], PASSWORD) == bytes(account.key)


def test_keystores_cost_what_gets_cost_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    save_bls_keystore(path, SecretKey.generate(), PASSWORD)
    parameters = json.loads(path.read_text())["crypto"]["kdfparams"]
    assert (parameters["n"], parameters["r"], parameters["p"]) == (262_144, 8, 1)


def test_a_pbkdf2_keystore_opens(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    account = create_ecdsa_key()
    path.write_text(json.dumps(Account.encrypt(account.key, PASSWORD, kdf="pbkdf2", iterations=2)))
    assert load_ecdsa_keystore(path, PASSWORD).address == account.address


@both_kinds
def test_a_keystore_is_its_owners_alone_and_leaves_nothing_beside_it(
    tmp_path: Path, save: Callable[[Path], None], load: Callable[[Path, str], object]
) -> None:
    path = tmp_path / "new" / "folder" / "key.json"
    save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    assert load(path, PASSWORD)


@both_kinds
def test_a_keystore_is_never_overwritten(
    tmp_path: Path, save: Callable[[Path], None], load: Callable[[Path, str], object]
) -> None:
    path = tmp_path / "key.json"
    save(path)
    before = path.read_bytes()
    with pytest.raises(KeystoreExistsError, match=f"{path} exists"):
        save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert load(path, PASSWORD)


@both_kinds
def test_a_keystore_that_cannot_be_written_is_an_error_that_names_it(
    tmp_path: Path, save: Callable[[Path], None], load: Callable[[Path, str], object]
) -> None:
    del load
    occupied = tmp_path / "file"
    occupied.write_text("not a folder")
    with pytest.raises(KeystoreError, match=f"cannot write {occupied}/key.json"):
        save(occupied / "key.json")
    assert list(tmp_path.iterdir()) == [occupied]


@both_kinds
def test_a_wrong_password_names_the_file_and_not_the_password(
    tmp_path: Path, save: Callable[[Path], None], load: Callable[[Path, str], object]
) -> None:
    path = tmp_path / "key.json"
    save(path)
    for wrong in ("", PASSWORD.strip(), "hunter2"):
        with pytest.raises(WrongPasswordError, match=str(path)) as caught:
            load(path, wrong)
        assert "hunter2" not in str(caught.value)
        assert isinstance(caught.value, MachError)


@both_kinds
def test_a_missing_keystore_is_named(
    tmp_path: Path, save: Callable[[Path], None], load: Callable[[Path, str], object]
) -> None:
    del save
    with pytest.raises(KeystoreNotFoundError, match=r"nowhere\.json: No such file"):
        load(tmp_path / "nowhere.json", PASSWORD)
    with pytest.raises(KeystoreNotFoundError, match="Is a directory"):
        load(tmp_path, PASSWORD)


@both_kinds
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b"{}", b'{"version":3}', b"\xff\xfe", b"[" * 60_000, b"0" * 70_000],
    ids=["empty", "cut", "null", "list", "object", "no crypto", "not text", "deep", "huge"],
)
def test_what_is_no_keystore_is_named(
    tmp_path: Path, save: Callable[[Path], None], load: Callable[[Path, str], object], content: bytes
) -> None:
    del save
    path = tmp_path / "key.json"
    path.write_bytes(content)
    with pytest.raises(KeystoreFormatError, match=str(path)):
        load(path, PASSWORD)


@both_kinds
def test_a_bare_private_key_in_the_keystores_place_is_not_quoted(
    tmp_path: Path, save: Callable[[Path], None], load: Callable[[Path, str], object]
) -> None:
    del save
    path = tmp_path / "key.json"
    for content in ("11" * 32, json.dumps("0x" + "11" * 32), json.dumps({"crypto": "11" * 32})):
        path.write_text(content)
        with pytest.raises(KeystoreFormatError) as caught:
            load(path, PASSWORD)
        assert "1111" not in "".join(traceback.format_exception(caught.value))


@both_kinds
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("crypto.cipher", "aes-256-ctr"),
        ("crypto.ciphertext", "00" * 31),
        ("crypto.ciphertext", "zz" * 32),
        ("crypto.mac", 5),
        ("crypto.kdf", "argon2"),
        ("crypto.cipherparams.iv", ""),
        ("crypto.kdfparams.n", 1000),
        ("crypto.kdfparams.n", 2**40),
        ("crypto.kdfparams.r", -1),
        ("crypto.kdfparams.p", 2**30),
        ("crypto.kdfparams.dklen", 16),
        ("crypto.kdfparams.salt", "abc"),
    ],
)
def test_a_damaged_keystore_names_its_bad_part(
    tmp_path: Path, save: Callable[[Path], None], load: Callable[[Path, str], object], field: str, value: object
) -> None:
    path = tmp_path / "key.json"
    save(path)

    def change(content: dict[str, Any]) -> None:
        *folders, last = field.split(".")
        for folder in folders:
            content = content[folder]
        content[last] = value

    alter(path, change)
    with pytest.raises(KeystoreFormatError, match="crypto"):
        load(path, PASSWORD)


def test_a_bls_keystore_with_anothers_public_key_is_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "key.json", tmp_path / "other.json"
    save_new_bls(path)
    save_new_bls(other)
    named = json.loads(other.read_text())["pubKey"]
    alter(path, lambda content: content.update(pubKey=named))
    with pytest.raises(KeyMismatchError) as caught:
        load_bls_keystore(path, PASSWORD)
    assert named in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("public_key", ["", "E([1,2]", "E([1, 2])", "E([0x1,0x2])", "E([٣,1])", 7])
def test_a_malformed_public_key_is_refused(tmp_path: Path, public_key: object) -> None:
    path = tmp_path / "key.json"
    save_new_bls(path)
    alter(path, lambda content: content.update(pubKey=public_key))
    with pytest.raises(KeystoreFormatError, match="pubKey"):
        load_bls_keystore(path, PASSWORD)


def test_an_ecdsa_keystore_with_anothers_address_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    save_new_ecdsa(path)
    alter(path, lambda content: content.update(address="ab" * 20))
    with pytest.raises(KeyMismatchError, match="abab"):
        load_ecdsa_keystore(path, PASSWORD)


def test_an_ecdsa_keystore_may_leave_its_address_out(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    account = create_ecdsa_key()
    save_ecdsa(path, account)
    alter(path, lambda content: content.pop("address"))
    assert load_ecdsa_keystore(path, PASSWORD).address == account.address


def test_a_key_of_the_other_curve_is_refused(tmp_path: Path) -> None:
    ecdsa, bls = tmp_path / "ecdsa.json", tmp_path / "bls.json"
    save_ecdsa(ecdsa, ecdsa_key_from_bytes((SECP256K1_ORDER - 1).to_bytes(32, "big")))
    save_new_bls(bls)
    with pytest.raises(KeystoreFormatError, match="pubKey"):
        load_bls_keystore(ecdsa, PASSWORD)
    with pytest.raises(KeystoreFormatError, match="version"):
        load_ecdsa_keystore(bls, PASSWORD)
    public_key = json.loads(bls.read_text())["pubKey"]
    alter(ecdsa, lambda content: content.update(pubKey=public_key))
    with pytest.raises(KeystoreFormatError, match="not below the BN254 group order"):
        load_bls_keystore(ecdsa, PASSWORD)


@pytest.mark.parametrize("scalar", [0, SECP256K1_ORDER, 2**256 - 1])
def test_private_keys_out_of_range_are_refused_and_not_quoted(scalar: int) -> None:
    private_key = scalar.to_bytes(32, "big")
    for read in (ecdsa_key_from_bytes, bls_key_from_bytes):
        with pytest.raises(PrivateKeyFormatError) as caught:
            read(private_key)
        assert private_key.hex() not in str(caught.value)


@given(st.binary(min_size=32, max_size=32))
def test_a_private_key_is_hex_or_decimal_text(private_key: bytes) -> None:
    assert parse_private_key(private_key.hex()) == private_key
    assert parse_private_key(f" 0x{private_key.hex().upper()}\n") == private_key
    decimal = str(int.from_bytes(private_key, "big"))
    if len(decimal) != 64:
        assert parse_private_key(decimal) == private_key


@pytest.mark.parametrize(
    "text", ["", "0x", "0x" + "1" * 63, "g" * 64, str(2**256), "-1", "1.5", "1_000", "٣" * 64, "1" * 1000]
)
def test_other_text_is_no_private_key_and_is_not_quoted(text: str) -> None:
    with pytest.raises(PrivateKeyFormatError) as caught:
        parse_private_key(text)
    if len(text) > 4:
        assert text not in str(caught.value)


def test_a_private_key_file_is_read_or_named(tmp_path: Path) -> None:
    file = tmp_path / "key.txt"
    file.write_text("0x" + "11" * 32 + "\n")
    assert read_private_key(file=file) == b"\x11" * 32
    file.write_bytes(b"\xff" * 32)
    with pytest.raises(PrivateKeySourceError, match=f"{file} is not text"):
        read_private_key(file=file)
    file.write_bytes(b"1" * 5000)
    with pytest.raises(PrivateKeySourceError, match="larger than 1024 bytes"):
        read_private_key(file=file)
    with pytest.raises(PrivateKeySourceError, match="No such file"):
        read_private_key(file=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"", ""),
        (b"\n", ""),
        (b"word", "word"),
        (b"word\n", "word"),
        (b"word\r\n", "word"),
        (b" word \n\n", " word \n"),
        ("pässword\n".encode(), "pässword"),
    ],
)
def test_a_password_files_last_line_break_is_not_part_of_it(tmp_path: Path, content: bytes, password: str) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    assert resolve_password(file=file) == password


def test_a_password_comes_from_the_file_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    file.write_text("from the file")
    monkeypatch.setenv("MACH_TEST_PASSWORD", "from the environment")
    assert resolve_password(file=file, env="MACH_TEST_PASSWORD") == "from the file"
    assert resolve_password(env="MACH_TEST_PASSWORD") == "from the environment"
    monkeypatch.setenv("MACH_TEST_PASSWORD", "")
    assert resolve_password(env="MACH_TEST_PASSWORD") == ""


def test_a_missing_password_names_where_it_may_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MACH_TEST_PASSWORD", raising=False)
    with pytest.raises(PasswordError, match=r"a password file or the environment variable MACH_TEST_PASSWORD$"):
        resolve_password(env="MACH_TEST_PASSWORD")


def test_an_unreadable_password_is_named_and_not_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    with pytest.raises(PasswordError, match=f"{file}: No such file"):
        resolve_password(file=file)
    file.write_bytes(b"\xffsecret")
    with pytest.raises(PasswordError, match="not UTF-8") as caught:
        resolve_password(file=file)
    assert caught.value.__cause__ is None
    file.write_bytes(b"x" * 5000)
    with pytest.raises(PasswordError, match="larger than 4096 bytes"):
        resolve_password(file=file)
    monkeypatch.setitem(os.environb, b"MACH_TEST_PASSWORD", b"\xffsecret")
    with pytest.raises(PasswordError, match="MACH_TEST_PASSWORD is not UTF-8"):
        resolve_password(env="MACH_TEST_PASSWORD")
