"""`mach verify` over files: verdicts, exit codes, and the picture."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pytest
from click.testing import CliRunner

from mach._core import keccak256
from mach.cli.verify import verify
from mach.errors import ConfigurationError
from mach.rollup import witness_files
from mach.rollup.block_profile import MAX_BARS, profile_svg
from mach.rollup.chain_config import read_chain_config
from mach.rollup.single_block import BlockReport
from mach.rollup.witness_files import WitnessFileError, chain_config_of_rollup, read_block_file, write_block_file

REPOSITORY = Path(__file__).resolve().parents[2]
TESTDATA = Path(os.environ.get("MACH_TESTDATA", REPOSITORY.parent / "shared" / "testdata"))
REAL = sorted((TESTDATA / "op-blocks").glob("*.json.gz"))
RECORDED = REPOSITORY / "tests" / "vectors" / "l2-blocks"
TRUE = RECORDED / "creations.json.gz"
FALSE = RECORDED / "fault-tx-result.json.gz"

needs_real_blocks = pytest.mark.skipif(not REAL, reason=f"no real blocks under {TESTDATA}; set MACH_TESTDATA")


def run(*arguments: str | Path) -> tuple[int, str]:
    outcome = CliRunner().invoke(verify, [str(argument) for argument in arguments], standalone_mode=False)
    if outcome.exception is not None:
        raise outcome.exception
    code: int = outcome.return_value
    return code, outcome.output


def blocks(*paths: Path) -> tuple[int, list[dict[str, Any]]]:
    code, output = run("--json", *paths)
    found: list[dict[str, Any]] = json.loads(output)["blocks"]
    return code, found


@needs_real_blocks
def test_real_blocks_are_exact() -> None:
    code, found = blocks(*REAL)
    assert code == 0
    assert [block["verdict"] for block in found] == ["VALID"] * len(REAL)
    expected = {path: json.loads(gzip.decompress(path.read_bytes()))["expected_block_hash"] for path in REAL}
    assert [block["hash"] for block in found] == [expected[path] for path in REAL]
    assert {"fetch", "witness", "execute", "state_root"} <= found[0]["milliseconds"].keys()


@needs_real_blocks
@pytest.mark.parametrize(
    ("key", "value", "fields"),
    [
        ("expected_block_hash", "0x" + "11" * 32, {"block_hash"}),
        ("gasLimit", "0x1234567", {"block_hash"}),
        ("timestamp", "0x1", {"timestamp"}),
    ],
)
def test_a_payload_told_falsely(key: str, value: str, fields: set[str], tmp_path: Path) -> None:
    document = json.loads(gzip.decompress(REAL[0].read_bytes()))
    (document if key in document else document["executing_payload"])[key] = value
    path = tmp_path / "false.json"
    path.write_text(json.dumps(document))
    code, [found] = blocks(path)
    assert (code, found["verdict"]) == (1, "INVALID")
    assert fields <= {mismatch["field"] for mismatch in found["fields"]}
    assert not {"state_root", "gas_used"} & {mismatch["field"] for mismatch in found["fields"]}


@needs_real_blocks
def test_a_payload_with_a_broken_transaction(tmp_path: Path) -> None:
    document = json.loads(gzip.decompress(REAL[0].read_bytes()))
    document["executing_payload"]["transactions"][3] = "0x02c0"
    path = tmp_path / "false.json"
    path.write_text(json.dumps(document))
    code, [found] = blocks(path)
    assert (code, [mismatch["field"] for mismatch in found["fields"]]) == (1, ["transactions[3]"])


@needs_real_blocks
def test_a_payload_without_a_preimage(tmp_path: Path) -> None:
    document = json.loads(gzip.decompress(REAL[0].read_bytes()))
    root = document["parent_header"]["stateRoot"]
    document["preimages"] = [
        preimage for preimage in document["preimages"] if "0x" + keccak256(bytes.fromhex(preimage[2:])).hex() != root
    ]
    path = tmp_path / "short.json"
    path.write_text(json.dumps(document))
    code, [found] = blocks(path)
    assert (code, found["verdict"], found["missing"], found["fields"]) == (3, "INCONCLUSIVE", root, [])


def test_a_table_for_people_and_the_worst_verdict_as_exit_code(tmp_path: Path) -> None:
    inputs = read_block_file(TRUE)
    short = tmp_path / "short.json"
    write_block_file(short, replace(inputs, preimages=inputs.preimages[1:]))
    assert run(TRUE)[0] == 0
    code, output = run(TRUE, short)
    assert code == 3
    assert "INCONCLUSIVE" in output
    assert f"{short}: the witness lacks" in output
    code, output = run(TRUE, short, FALSE)
    assert code == 1
    assert "receipts[4].status: served 0, should be 1" in output


def test_a_file_of_zeros_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness_files, "MAX_DOCUMENT_BYTES", 1_000_000)
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(bytes(2_000_000)))
    with pytest.raises(WitnessFileError, match="longer than 1000000 bytes"):
        run(path)


def test_what_is_recorded_is_read_back(tmp_path: Path) -> None:
    inputs = read_block_file(FALSE)
    assert inputs.receipts is not None
    write_block_file(tmp_path / "again.json.gz", inputs)
    assert read_block_file(tmp_path / "again.json.gz") == inputs


@pytest.mark.parametrize("name", ["profile.svg", "profile.html"])
def test_the_picture_has_a_bar_for_each_block(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    run("--profile", path, TRUE, FALSE)
    text = path.read_text()
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")  # it needs nothing from elsewhere
    svg = ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])
    words = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {"mean of 2", "hash witness", "execute", "state root", "INVALID"} <= set(words)
    numbers = {f"block {block['number']}" for block in blocks(TRUE, FALSE)[1]}
    assert numbers <= set(words)


@pytest.mark.parametrize("seconds", [{}, {"execute": 0.0}, {"execute": 1e-7}, {"fetch": 3600.0, "execute": 5.0}])
def test_a_picture_of_any_time(seconds: dict[str, float]) -> None:
    report = BlockReport("<&>", 1, bytes(32), 0, 0, "VALID", (), None, None, seconds)
    many = profile_svg([replace(report, number=number) for number in range(3 * MAX_BARS)])
    for text in (profile_svg([report]), many):
        ElementTree.fromstring(text)
    assert sum(line.count(">block ") for line in many.splitlines() if line.startswith("<text")) == MAX_BARS


class TestUsage:
    def test_a_file_that_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(WitnessFileError):
            run(tmp_path / "absent.json")

    def test_rpc_without_rules(self) -> None:
        with pytest.raises(click.UsageError, match="never taken from the node"):
            run("--rpc", "http://127.0.0.1:1", "1")

    def test_rules_without_rpc(self) -> None:
        with pytest.raises(click.UsageError, match="goes with --rpc"):
            run("--chain-config", "x.json", TRUE)

    def test_a_picture_of_another_kind(self, tmp_path: Path) -> None:
        with pytest.raises(click.UsageError, match=r"ends in \.svg or \.html"):
            run("--profile", tmp_path / "profile.png", TRUE)

    def test_a_picture_nowhere(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="cannot write"):
            run("--profile", tmp_path / "absent" / "profile.svg", TRUE)


class TestChainConfig:
    CONFIG = json.loads(gzip.decompress(TRUE.read_bytes()))["chain_config"]

    def test_alone_or_in_a_genesis(self, tmp_path: Path) -> None:
        for document in (self.CONFIG, {"config": self.CONFIG, "alloc": {}}):
            path = tmp_path / "config.json"
            path.write_text(json.dumps(document))
            assert json.loads(read_chain_config(path, "--chain-config")) == self.CONFIG

    @needs_real_blocks
    def test_of_op_node(self, tmp_path: Path) -> None:
        rollup = json.loads(gzip.decompress(REAL[0].read_bytes()))["rollup_config"]
        path = tmp_path / "rollup.json"
        path.write_text(json.dumps(rollup))
        assert json.loads(read_chain_config(path, "--chain-config")) == chain_config_of_rollup(rollup)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"chainId": "1"}', '{"l2_chain_id": 1}'])
    def test_anything_else(self, text: str, tmp_path: Path) -> None:
        path = tmp_path / "config.json"
        path.write_text(text)
        with pytest.raises(ConfigurationError, match=r"config\.json"):
            read_chain_config(path, "--chain-config")
