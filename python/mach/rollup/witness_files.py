"""Blocks in files, with all that their verification needs: for tests, for evidence, and for `mach verify`.

Two forms are read, plain or gzipped JSON, every byte string as `0x` hexadecimal:

- the *recorded* form, which `write_block_file` writes: `{"chain_config", "parent_header", "block", "preimages",
  "ancestors"?, "receipts"?, "block_hash"?}`, with `chain_config` the `config` object of a geth genesis and headers and
  block in RLP;
- the *payload* form of the OP Stack's proof fixtures: `{"rollup_config", "parent_header", "executing_payload",
  "expected_block_hash", "preimages"}`, with the parent as JSON and payload attributes in place of a block. It holds no
  commitments: `BlockInputs.sealed` is false and the header's commitments are zero. Verification then names them all as
  mismatches, and the computed header is the one that must hash to `block_hash`; `seal` puts it in place.
"""

from __future__ import annotations

import gzip
import io
import json
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import rlp

from mach.errors import MachError
from mach.protocol.hashing import keccak256

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAX_DOCUMENT_BYTES: Final = 1024 * 1024 * 1024
"""What a gzipped file may hold; the witness of a full block is tens of megabytes."""

_EMPTY_LIST_HASH = keccak256(rlp.encode([]))
_EMPTY_ROOT = keccak256(rlp.encode(b""))
# SHA-256 of nothing: the requests hash of EIP-7685 for a block without requests.
_EMPTY_REQUESTS_HASH = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
_ZERO_HASH = bytes(32)
_EMPTY_BLOOM = bytes(256)

# Names of a rollup's forks: in op-node's rollup config, and in op-geth's chain config with Ethereum's name beside it.
_FORKS = {
    "regolith_time": ("regolithTime",),
    "canyon_time": ("canyonTime", "shanghaiTime"),
    "ecotone_time": ("ecotoneTime", "cancunTime"),
    "fjord_time": ("fjordTime",),
    "granite_time": ("graniteTime",),
    "holocene_time": ("holoceneTime",),
    "isthmus_time": ("isthmusTime", "pragueTime"),
    "jovian_time": ("jovianTime",),
}
_HEADER_FIELDS = (
    ("parentHash", 32),
    ("sha3Uncles", 32),
    ("miner", 20),
    ("stateRoot", 32),
    ("transactionsRoot", 32),
    ("receiptsRoot", 32),
    ("logsBloom", 256),
    ("difficulty", None),
    ("number", None),
    ("gasLimit", None),
    ("gasUsed", None),
    ("timestamp", None),
    ("extraData", 0),
    ("mixHash", 32),
    ("nonce", 8),
    ("baseFeePerGas", None),
    ("withdrawalsRoot", 32),
    ("blobGasUsed", None),
    ("excessBlobGas", None),
    ("parentBeaconBlockRoot", 32),
    ("requestsHash", 32),
)


class WitnessFileError(MachError):
    """A file does not hold a block and its witness in a form that is known here."""


@dataclass(frozen=True)
class BlockInputs:
    """Everything that `mach._core.verify_block` takes.

    `chain_config` is JSON text, `parent_header` and `ancestors` are header RLP, `block` is
    `[header, transactions, ommers, withdrawals?]` in RLP, `preimages` are trie nodes and codes. `block_hash` (32 bytes)
    is the hash that the block is known under, if it is. `sealed` is false if the header's commitments are not known.
    `receipts`, EIP-2718 encoded and in order, only help to name a difference.
    """

    chain_config: str
    parent_header: bytes
    block: bytes
    preimages: tuple[bytes, ...]
    ancestors: tuple[bytes, ...] = ()
    block_hash: bytes | None = None
    sealed: bool = True
    receipts: tuple[bytes, ...] | None = None


def read_block_file(path: Path) -> BlockInputs:
    """Read a file of either form. Raises WitnessFileError, which names the file and what is wrong with it."""
    try:
        data = path.read_bytes()
        document = json.loads(_decompressed(data) if data[:2] == b"\x1f\x8b" else data)
        if "executing_payload" in document:
            return _from_payload(document)
        return _from_recorded(document)
    except OSError as error:
        raise WitnessFileError(f"cannot read {path}: {error.strerror or error}; give a readable file") from error
    except (EOFError, KeyError, TypeError, ValueError) as error:
        raise WitnessFileError(
            f"{path} holds no block with its witness ({type(error).__name__}: {error}); record it anew"
        ) from error


def write_block_file(path: Path, inputs: BlockInputs) -> None:
    """Write the recorded form, gzipped if the name ends in `.gz`, in one step: a reader sees all of it or nothing."""
    document: dict[str, Any] = {
        "chain_config": json.loads(inputs.chain_config),
        "parent_header": _to_hex(inputs.parent_header),
        "block": _to_hex(inputs.block),
        "preimages": [_to_hex(preimage) for preimage in inputs.preimages],
        "ancestors": [_to_hex(header) for header in inputs.ancestors],
    }
    if inputs.receipts is not None:
        document["receipts"] = [_to_hex(receipt) for receipt in inputs.receipts]
    if inputs.block_hash is not None:
        document["block_hash"] = _to_hex(inputs.block_hash)
    data = json.dumps(document, indent=1).encode()
    # Without a timestamp in it the archive of a block is always the same.
    data = gzip.compress(data, mtime=0) if path.name.endswith(".gz") else data
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def seal(inputs: BlockInputs, header: bytes) -> BlockInputs:
    """The same block with this header (RLP), such as the one that a verification computed."""
    _, *body = rlp.decode(inputs.block)
    return replace(inputs, block=rlp.encode([rlp.decode(header), *body]), sealed=True)


def header_rlp(header: dict[str, Any]) -> bytes:
    """Encode a header given as JSON-RPC gives it. Raises KeyError or ValueError if a field is missing or malformed."""
    encoded: bytes = rlp.encode(_header_items(header))
    return encoded


def chain_config_of_rollup(rollup_config: dict[str, Any]) -> dict[str, Any]:
    """op-geth's chain config that belongs to op-node's rollup config: ids, forks after Bedrock, EIP-1559 parameters.

    A rollup config may leave out Regolith, which is then taken to hold from the genesis, as Bedrock is.
    """
    config: dict[str, Any] = {"chainId": rollup_config["l2_chain_id"], "londonBlock": 0, "bedrockBlock": 0}
    for name, keys in _FORKS.items():
        time = rollup_config.get(name, 0 if name == "regolith_time" else None)
        if time is not None:
            config.update(dict.fromkeys(keys, time))
    # Forks that are not known here pass through, so that the verification can refuse the blocks in which they hold.
    for name in ("karst_time", "lagoon_time", "interop_time"):
        if rollup_config.get(name) is not None:
            config[name.removesuffix("_time") + "Time"] = rollup_config[name]
    config["optimism"] = rollup_config["chain_op_config"]
    return config


def _decompressed(data: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        text = file.read(MAX_DOCUMENT_BYTES + 1)
    if len(text) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"longer than {MAX_DOCUMENT_BYTES} bytes")
    return text


def _from_recorded(document: dict[str, Any]) -> BlockInputs:
    return BlockInputs(
        chain_config=json.dumps(document["chain_config"]),
        parent_header=_to_bytes(document["parent_header"]),
        block=_to_bytes(document["block"]),
        preimages=tuple(map(_to_bytes, document["preimages"])),
        ancestors=tuple(map(_to_bytes, document.get("ancestors", ()))),
        block_hash=_to_bytes(document["block_hash"]) if "block_hash" in document else None,
        receipts=tuple(map(_to_bytes, document["receipts"])) if "receipts" in document else None,
    )


def _from_payload(document: dict[str, Any]) -> BlockInputs:
    config = chain_config_of_rollup(document["rollup_config"])
    parent, payload = document["parent_header"], document["executing_payload"]
    parent_header = header_rlp(parent)
    timestamp = int(payload["timestamp"], 16)

    def active(fork: str) -> bool:
        return fork in config and timestamp >= int(config[fork])

    header: list[bytes | int] = [
        keccak256(parent_header),
        _EMPTY_LIST_HASH,
        _to_bytes(payload["suggestedFeeRecipient"]),
        _ZERO_HASH,
        _ZERO_HASH,
        _ZERO_HASH,
        _EMPTY_BLOOM,
        0,
        int(parent["number"], 16) + 1,
        int(payload["gasLimit"], 16),
        0,
        timestamp,
        _extra_data(config, payload, active),
        _to_bytes(payload["prevRandao"]),
        bytes(8),
        0,
    ]
    if active("canyonTime"):
        header.append(_ZERO_HASH if active("isthmusTime") else _EMPTY_ROOT)
    if active("ecotoneTime"):
        header += [0, 0, _to_bytes(payload["parentBeaconBlockRoot"])]
    if active("isthmusTime"):
        header.append(_EMPTY_REQUESTS_HASH)
    transactions = [_transaction_item(_to_bytes(transaction)) for transaction in payload["transactions"]]
    body: list[Any] = [header, transactions, []]
    if active("canyonTime"):
        body.append([])
    return BlockInputs(
        chain_config=json.dumps(config),
        parent_header=parent_header,
        block=rlp.encode(body),
        preimages=tuple(map(_to_bytes, document["preimages"])),
        block_hash=_to_bytes(document["expected_block_hash"]),
        sealed=False,
    )


def _extra_data(config: dict[str, Any], payload: dict[str, Any], active: Callable[[str], bool]) -> bytes:
    """The extra data that payload attributes ask for: Holocene's 9 bytes, Jovian's 17, empty before."""
    if not active("holoceneTime"):
        return b""
    parameters = _to_bytes(payload["eip1559Params"])
    if not any(parameters):
        # Zeros in the attributes stand for the chain's own parameters.
        optimism = config["optimism"]
        denominator, elasticity = optimism["eip1559DenominatorCanyon"], optimism["eip1559Elasticity"]
        parameters = int(denominator).to_bytes(4, "big") + int(elasticity).to_bytes(4, "big")
    if not active("jovianTime"):
        return b"\0" + parameters
    return b"\1" + parameters + int(payload["minBaseFee"]).to_bytes(8, "big")


def _header_items(header: dict[str, Any]) -> list[bytes | int]:
    items: list[bytes | int] = []
    for name, size in _HEADER_FIELDS:
        if header.get(name) is None:
            if len(items) < 15:
                raise KeyError(name)
            continue
        if size is None:
            items.append(int(header[name], 16))
            continue
        value = _to_bytes(header[name])
        if size and len(value) != size:
            raise ValueError(f"{name} is {len(value)} bytes long, expected {size}")
        items.append(value)
    return items


def _transaction_item(encoded: bytes) -> Any:
    """An EIP-2718 encoded transaction as a block's RLP holds it: a legacy one as a list, any other as a string."""
    return rlp.decode(encoded) if encoded[:1] >= b"\xc0" else encoded


def _to_bytes(text: str) -> bytes:
    if not text.startswith("0x"):
        raise ValueError(f"{text[:20]!r} is not 0x hexadecimal")
    return bytes.fromhex(text[2:])


def _to_hex(data: bytes) -> str:
    return "0x" + data.hex()
