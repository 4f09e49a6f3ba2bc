"""`mach._core.verify_block` through Python: real blocks from files, what bad input gets, and what the GIL does."""

from __future__ import annotations

import gzip
import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rlp

from mach._core import BlockVerification, FieldMismatch, keccak256, verify_block
from mach.rollup.witness_files import (
    BlockInputs,
    WitnessFileError,
    chain_config_of_rollup,
    header_rlp,
    read_block_file,
    seal,
    write_block_file,
)

REPOSITORY = Path(__file__).resolve().parents[2]
TESTDATA = Path(os.environ.get("MACH_TESTDATA", REPOSITORY.parent / "shared" / "testdata"))
OP_BLOCK = TESTDATA / "op-blocks" / "op-sepolia-26207960.json.gz"
RECORDED = REPOSITORY / "tests" / "vectors" / "l2-blocks"


def verify(inputs: BlockInputs, **more: Any) -> BlockVerification:
    return verify_block(
        inputs.chain_config, inputs.parent_header, inputs.block, inputs.preimages, inputs.ancestors, **more
    )


@pytest.fixture(scope="module")
def unsealed() -> BlockInputs:
    if not OP_BLOCK.exists():
        pytest.skip(f"no real block at {OP_BLOCK}; set MACH_TESTDATA")
    return read_block_file(OP_BLOCK)


@pytest.fixture(scope="module")
def real(unsealed: BlockInputs) -> BlockInputs:
    header = verify(unsealed).computed_header
    assert header is not None
    return seal(unsealed, header)


@pytest.fixture
def recorded() -> BlockInputs:
    return read_block_file(RECORDED / "creations.json.gz")


def test_payload_attributes_give_the_block_that_the_chain_has(unsealed: BlockInputs) -> None:
    assert not unsealed.sealed
    verification = verify(unsealed)
    assert verification.verdict == "INVALID"
    assert verification.computed_block_hash == unsealed.block_hash
    assert verification.computed_header is not None
    assert keccak256(verification.computed_header) == unsealed.block_hash


def test_a_real_block_is_valid(real: BlockInputs) -> None:
    verification = verify(real, block_hash=real.block_hash)
    assert verification.verdict == "VALID"
    assert (verification.mismatches, verification.reason, verification.missing) == ([], None, None)
    assert verification.number == 26207960
    assert verification.gas_used == 953_624
    assert verification.transaction_count == 10
    assert verification.block_hash == verification.computed_block_hash == real.block_hash
    assert verification.parent_hash == keccak256(real.parent_header)
    assert set(verification.timings) == {"decode", "witness", "senders", "execute", "state_root", "commitments"}
    assert all(seconds > 0 for seconds in verification.timings.values())
    assert repr(verification).startswith("BlockVerification(verdict='VALID', number=26207960, block_hash=0xdb32d9dd")


def test_a_lie_names_the_field_and_the_true_header(real: BlockInputs) -> None:
    header, *body = rlp.decode(real.block)
    header[3] = bytes(32)
    lie = replace(real, block=rlp.encode([header, *body]))
    verification = verify(lie)
    assert verification.verdict == "INVALID"
    assert [mismatch.field for mismatch in verification.mismatches] == ["state_root"]
    mismatch = verification.mismatches[0]
    assert mismatch.served == "0x" + "00" * 32
    assert mismatch.computed == "0x" + rlp.decode(real.block)[0][3].hex()
    assert mismatch == verify(lie).mismatches[0]
    assert isinstance(mismatch, FieldMismatch)
    assert verification.computed_block_hash == real.block_hash
    assert verification.block_hash == keccak256(rlp.encode(header))
    assert verification.reason == "not what the block's inputs produce: state_root"


def test_a_block_under_anothers_hash_is_invalid(real: BlockInputs) -> None:
    verification = verify(real, block_hash=bytes(32))
    assert [mismatch.field for mismatch in verification.mismatches] == ["block_hash"]


def test_a_missing_preimage_is_inconclusive_and_named(real: BlockInputs) -> None:
    state_root = rlp.decode(real.parent_header)[3]
    without = tuple(preimage for preimage in real.preimages if keccak256(preimage) != state_root)
    verification = verify(replace(real, preimages=without))
    assert verification.verdict == "INCONCLUSIVE"
    assert verification.missing == state_root
    assert verification.computed_header is None
    assert verification.mismatches == []
    assert verification.reason is not None
    assert state_root.hex() in verification.reason


@pytest.mark.parametrize("garbage", [b"", b"\x00", b"\xc0", b"\xff" * 64, bytes(1000)])
def test_garbage_is_inconclusive_and_never_an_exception(recorded: BlockInputs, garbage: bytes) -> None:
    for change in ({"parent_header": garbage}, {"block": garbage}, {"ancestors": (garbage,)}):
        verification = verify(replace(recorded, **change))
        assert verification.verdict == "INCONCLUSIVE"
        assert verification.reason is not None
        assert "\n" not in verification.reason
    assert verify(replace(recorded, preimages=(garbage,))).missing is not None
    assert verify(recorded, served_receipts=[garbage]).verdict == "VALID"


def test_a_malformed_chain_config_is_a_value_error(recorded: BlockInputs) -> None:
    with pytest.raises(ValueError, match="chain config is not a JSON object"):
        verify(replace(recorded, chain_config="no JSON"))
    with pytest.raises(ValueError, match="chain config lacks `chainId`"):
        verify(replace(recorded, chain_config="{}"))


def test_output_roots_are_those_of_the_specification(recorded: BlockInputs) -> None:
    verification = verify(recorded)
    header = rlp.decode(recorded.block)[0]
    # From Isthmus on the header's withdrawals root is the message passer's storage root.
    payload = bytes(32) + header[3] + header[16] + verification.block_hash
    assert verification.output_root == verification.computed_output_root == keccak256(payload)


def test_other_threads_run_meanwhile(real: BlockInputs) -> None:
    """The GIL is free while a block is verified: another thread makes headway within one call."""
    counted = 0
    stop = threading.Event()

    def count() -> None:
        nonlocal counted
        while not stop.is_set():
            counted += 1

    # As many inputs as make the native part long against the switching of threads.
    many = real.preimages * 200
    thread = threading.Thread(target=count)
    thread.start()
    try:
        before = counted
        assert verify_block(real.chain_config, real.parent_header, real.block, many).verdict == "VALID"
        assert counted > before
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("spoil", ["nothing", "a commitment", "the witness"])
def test_two_threads_find_what_one_finds(recorded: BlockInputs, spoil: str) -> None:
    if spoil == "a commitment":
        header, *body = rlp.decode(recorded.block)
        recorded = replace(recorded, block=rlp.encode([[*header[:3], bytes(32), *header[4:]], *body]))
    elif spoil == "the witness":
        recorded = replace(recorded, preimages=recorded.preimages[: len(recorded.preimages) // 2])
    one, two = verify(recorded), verify(recorded, threads=2)
    expected = {"nothing": "VALID", "a commitment": "INVALID", "the witness": "INCONCLUSIVE"}[spoil]
    assert one.verdict == two.verdict == expected
    for name in ("mismatches", "missing", "reason", "computed_header", "gas_used", "output_root"):
        assert getattr(one, name) == getattr(two, name), name


def test_threads_are_one_or_two(recorded: BlockInputs) -> None:
    with pytest.raises(ValueError, match="threads is 3"):
        verify(recorded, threads=3)


def test_block_files_are_written_and_read_back(tmp_path: Path, recorded: BlockInputs) -> None:
    inputs = replace(recorded, block_hash=verify(recorded).block_hash)
    for name in ("block.json", "block.json.gz"):
        write_block_file(tmp_path / name, inputs)
        read = read_block_file(tmp_path / name)
        assert json.loads(read.chain_config) == json.loads(inputs.chain_config)
        assert replace(read, chain_config=inputs.chain_config) == inputs
    assert sorted(path.name for path in tmp_path.iterdir()) == ["block.json", "block.json.gz"]


@pytest.mark.parametrize(
    "content",
    [b"", b"\x1f\x8b", b"[]", b"{}", b'"text"', b"\xff", b'{"chain_config": {}, "parent_header": "12"}'],
)
def test_a_file_that_holds_no_block_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "block.json"
    path.write_bytes(content)
    with pytest.raises(WitnessFileError, match=r"block\.json holds no block with its witness"):
        read_block_file(path)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(WitnessFileError, match=r"cannot read .*absent\.json: No such file or directory"):
        read_block_file(tmp_path / "absent.json")


def test_headers_of_json_rpc_become_rlp(recorded: BlockInputs) -> None:
    names = "parentHash sha3Uncles miner stateRoot transactionsRoot receiptsRoot logsBloom difficulty number gasLimit"
    names += " gasUsed timestamp extraData mixHash nonce baseFeePerGas withdrawalsRoot blobGasUsed excessBlobGas"
    names += " parentBeaconBlockRoot requestsHash"
    quantities = {"difficulty", "number", "gasLimit", "gasUsed", "timestamp", "baseFeePerGas"}
    quantities |= {"blobGasUsed", "excessBlobGas"}
    items = dict(zip(names.split(), rlp.decode(recorded.parent_header), strict=True))
    header = {
        name: hex(int.from_bytes(item, "big")) if name in quantities else "0x" + item.hex()
        for name, item in items.items()
    }
    assert header_rlp(header) == recorded.parent_header
    with pytest.raises(KeyError, match="stateRoot"):
        header_rlp({name: value for name, value in header.items() if name != "stateRoot"})
    with pytest.raises(ValueError, match="mixHash is 31 bytes long, expected 32"):
        header_rlp({**header, "mixHash": "0x" + "00" * 31})


def test_a_rollup_config_becomes_a_chain_config() -> None:
    optimism = {"eip1559Elasticity": 6, "eip1559Denominator": 50, "eip1559DenominatorCanyon": 250}
    rollup = {"l2_chain_id": 901, "canyon_time": 1, "ecotone_time": 2, "karst_time": 9, "chain_op_config": optimism}
    assert chain_config_of_rollup(rollup) == {
        "chainId": 901,
        "londonBlock": 0,
        "bedrockBlock": 0,
        "regolithTime": 0,
        "canyonTime": 1,
        "shanghaiTime": 1,
        "ecotoneTime": 2,
        "cancunTime": 2,
        "karstTime": 9,
        "optimism": optimism,
    }


def test_gzipped_files_of_one_block_are_the_same(tmp_path: Path, recorded: BlockInputs) -> None:
    for name in ("a.json.gz", "b.json.gz"):
        write_block_file(tmp_path / name, recorded)
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()
    assert json.loads(gzip.decompress((tmp_path / "a.json.gz").read_bytes()))["block"] == "0x" + recorded.block.hex()
