"""Blocks of the devnet's own L2, recorded from op-geth with all that re-execution takes (record_l2_blocks.py)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from mach._core import BlockVerification, verify_block

FOLDER = Path(__file__).parent.parent / "vectors" / "l2-blocks"
VECTORS = sorted(path.name.removesuffix(".json.gz") for path in FOLDER.glob("*.json.gz"))


def load(name: str) -> dict[str, Any]:
    vector: dict[str, Any] = json.loads(gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes()))
    return vector


def unhex(items: list[str]) -> list[bytes]:
    return [bytes.fromhex(item[2:]) for item in items]


def verify(vector: dict[str, Any], **changes: Any) -> BlockVerification:
    (parent_header, block) = unhex([vector["parent_header"], vector["block"]])
    arguments = {
        "chain_config": json.dumps(vector["chain_config"]),
        "parent_header": parent_header,
        "block": block,
        "preimages": unhex(vector["preimages"]),
        "ancestors": unhex(vector["ancestors"]),
        "served_receipts": unhex(vector["receipts"]),
    }
    return verify_block(**{**arguments, **changes})


def test_the_vectors_are_there() -> None:
    assert {name for name in VECTORS if name.startswith("fault-")} == {
        "fault-gas-used",
        "fault-receipts-root",
        "fault-state-root",
        "fault-tx-result",
    }
    assert len(VECTORS) >= 8


@pytest.mark.parametrize("name", VECTORS)
def test_verdict_and_fields(name: str) -> None:
    vector = load(name)
    expect = vector["expect"]
    found = verify(vector)
    assert found.verdict == expect["verdict"]
    header_fields = {item.field for item in found.mismatches if not item.field.startswith("receipts[")}
    assert set(expect["fields"]) <= header_fields <= {*expect["fields"], "logs_bloom"}
    right = found.computed_block_hash if expect["verdict"] == "INVALID" else found.block_hash
    assert right is not None
    assert "0x" + right.hex() == expect["true_hash"]


@pytest.mark.parametrize("name", VECTORS)
def test_a_witness_that_lacks_something_is_never_an_alert(name: str) -> None:
    """Each preimage in turn is left out: the verdict stays, or there is none."""
    vector = load(name)
    preimages = unhex(vector["preimages"])
    verdicts = [verify(vector, preimages=preimages[:index] + preimages[index + 1 :]) for index in range(len(preimages))]
    assert {found.verdict for found in verdicts} <= {vector["expect"]["verdict"], "INCONCLUSIVE"}
    lacking = [found for found in verdicts if found.verdict == "INCONCLUSIVE"]
    assert len(lacking) > 5
    assert all(found.missing is not None and not found.mismatches for found in lacking)
