"""The devnet's Ethereum L2: its rules, and blobs that need no KZG library, held against one that has it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import ckzg
import pytest
import rlp
from eth_account import Account
from eth_account.typed_transactions import blob_transactions
from hypothesis import given
from hypothesis import strategies as st

from mach import _core
from mach.devnet.blobs import (
    BLOB_BYTES,
    CELLS_PER_BLOB,
    POINT_AT_INFINITY,
    ZERO_BLOB_HASH,
    blob_hashes,
    with_zero_blobs,
)
from mach.devnet.engine import EthereumAttributes
from mach.devnet.ethereum_genesis import chain_config
from mach.devnet.faults import ProposerFault
from mach.devnet.l2_stacks import STACKS, L2Kind
from mach.devnet.precompile_inputs import precompile_call
from mach.devnet.supervisor import DevnetOptions
from mach.devnet.traffic import TrafficPlan
from mach.errors import ConfigurationError
from mach.protocol.hashing import keccak256

ACCOUNT = Account.from_key(b"\x01" * 32)
TRUSTED_SETUP = Path(blob_transactions.__file__).with_name("kzg_trusted_setup.txt")


def signed(count: int) -> bytes:
    """A transaction that names `count` zero blobs."""
    fields = {
        "type": 3,
        "chainId": 901,
        "nonce": 7,
        "gas": 100_000,
        "to": b"\x11" * 20,
        "value": 0,
        "data": b"",
        "maxFeePerGas": 10,
        "maxPriorityFeePerGas": 1,
        "maxFeePerBlobGas": 10,
        "blobVersionedHashes": [ZERO_BLOB_HASH] * count,
    }
    return bytes(ACCOUNT.sign_transaction(fields).raw_transaction)


def test_commitment_and_cell_proofs_of_a_zero_blob_are_infinity() -> None:
    setup = ckzg.load_trusted_setup(str(TRUSTED_SETUP), 0)
    blob = bytes(BLOB_BYTES)
    assert ckzg.blob_to_kzg_commitment(blob, setup) == POINT_AT_INFINITY
    _, proofs = ckzg.compute_cells_and_kzg_proofs(blob, setup)
    assert [bytes(proof) for proof in proofs] == [POINT_AT_INFINITY] * CELLS_PER_BLOB


@pytest.mark.parametrize("count", [1, 3])
def test_the_network_form_holds_the_transaction_and_a_sidecar_for_each_blob(count: int) -> None:
    transaction = signed(count)
    assert blob_hashes(transaction) == [ZERO_BLOB_HASH] * count
    sent = with_zero_blobs(transaction, count)
    assert sent[0] == 3
    body, version, blobs, commitments, proofs = rlp.decode(sent[1:])
    assert b"\x03" + rlp.encode(body) == transaction
    assert version == b"\x01"
    assert (len(blobs), len(commitments), len(proofs)) == (count, count, count * 128)
    assert {len(blob) for blob in blobs} == {BLOB_BYTES}


def test_other_transactions_have_no_blobs() -> None:
    assert blob_hashes(b"\x02" + rlp.encode([b""] * 12)) == []
    assert blob_hashes(rlp.encode([b""] * 9)) == []
    assert blob_hashes(b"") == []


def test_all_its_forks_are_known_to_the_verifier() -> None:
    config = chain_config(4242)
    assert {value for key, value in config.items() if key.endswith(("Block", "Time"))} == {0}
    assert {"pragueTime", "osakaTime"} <= config.keys()
    assert not {"amsterdamTime", "bogotaTime"} & config.keys()
    found = _core.verify_block(json.dumps(config), b"", b"", [], [], None)
    assert found.verdict == "INCONCLUSIVE"  # of the block; a configuration that is not understood is an exception


@given(number=st.integers(1, 10**6), attempt=st.integers(0, 3), parent=st.integers(0, 2**40))
def test_attributes_make_a_valid_row_of_blocks(number: int, attempt: int, parent: int) -> None:
    attributes = STACKS[L2Kind.ETHEREUM].attributes(number, parent, attempt)
    assert isinstance(attributes, EthereumAttributes)
    assert attributes.timestamp > parent
    following = STACKS[L2Kind.ETHEREUM].attributes(number + 1, parent, attempt)
    assert isinstance(following, EthereumAttributes)
    indices = [each.index for each in (*attributes.withdrawals, *following.withdrawals)]
    assert indices == sorted(set(indices))
    other = STACKS[L2Kind.ETHEREUM].attributes(number, parent, attempt + 1)
    assert other.prev_randao != attributes.prev_randao


def test_traffic_on_ethereum_has_blobs_and_requests_and_no_withdrawals_of_the_op_stack() -> None:
    kinds = {}
    for kind in L2Kind:
        plan = TrafficPlan("0x" + "11" * 20, random.Random(3), kind)
        kinds[kind] = {plan.next().kind for _ in range(2_000)}
    assert kinds[L2Kind.ETHEREUM] - kinds[L2Kind.OP_STACK] == {"blobs", "request"}
    assert kinds[L2Kind.OP_STACK] - kinds[L2Kind.ETHEREUM] == {"withdraw"}


def test_every_precompile_is_called_and_inputs_are_reproducible() -> None:
    calls = [precompile_call(random.Random(seed)) for seed in range(600)]
    assert calls == [precompile_call(random.Random(seed)) for seed in range(600)]
    assert {address for address, _ in calls} == {*range(2, 0x12), 0x100}
    assert len({keccak256(data) for _, data in calls}) > 300


def test_a_lie_about_an_output_root_needs_a_chain_that_has_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="output-root@20 needs an OP Stack L2.*ethereum"):
        DevnetOptions(tmp_path, l2_kind=L2Kind.ETHEREUM, fault=ProposerFault(20))
