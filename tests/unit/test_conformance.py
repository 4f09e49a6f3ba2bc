"""`mach conformance` over the tests of ethereum/tests, and over what only pretends to be such an archive."""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import json
import os
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from mach._core import run_blockchain_tests, skipped_blockchain_tests
from mach.cli.conformance import conformance
from mach.rollup import conformance as archives
from mach.rollup.conformance import TestSourceError, run_paths

TESTDATA = Path(os.environ.get("MACH_TESTDATA", Path(__file__).resolve().parents[3] / "shared" / "testdata"))
ARCHIVE = TESTDATA / "ethereum-blockchain-tests.tar.xz"
CASES = 2115
MEMBER = "BlockchainTests/InvalidBlocks/bcEIP1559/badBlocks.json"
FOREIGN = json.dumps({"a state test": {"env": {}, "post": {}}})

pytestmark = pytest.mark.skipif(not ARCHIVE.exists(), reason=f"no archive at {ARCHIVE}; set MACH_TESTDATA")


def run(*arguments: str | Path) -> tuple[int, list[str]]:
    outcome = CliRunner().invoke(conformance, [str(argument) for argument in arguments], standalone_mode=False)
    if outcome.exception is not None:
        raise outcome.exception
    code: int = outcome.return_value
    return code, outcome.output.splitlines()


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """A test of nine blocks, six of them invalid for two reasons."""
    with tarfile.open(ARCHIVE) as archive:
        file = archive.extractfile(MEMBER)
        assert file is not None
        found: dict[str, Any] = json.load(file)
    assert len(found) == 1
    return found


@pytest.fixture
def altered(document: dict[str, Any], tmp_path: Path) -> Any:
    """Runs the test after a change to it; its one line about the failure."""

    def alter(change: Any) -> str:
        changed = copy.deepcopy(document)
        change(next(iter(changed.values())))
        path = tmp_path / "altered.json"
        path.write_text(json.dumps(changed))
        code, lines = run(path)
        assert (code, lines[-1], len(lines)) == (1, "0 passed, 1 failed", 2)
        return lines[0]

    return alter


def test_the_whole_archive() -> None:
    cases = list(run_paths([ARCHIVE]))
    assert [case for case in cases if case.outcome == "failed"] == []
    # Nothing is left out but what is on the list.
    listed = {(file, network) for file, network, _ in skipped_blockchain_tests()}
    skipped = {case.document.rsplit("/")[-1].removesuffix(".json") for case in cases if case.outcome == "skipped"}
    assert skipped == {"tx_selfdestruct_balance_bug"} <= {file for file, _ in listed}
    assert Counter(case.outcome for case in cases) == {"passed": CASES - 1, "skipped": 1}
    assert sum(case.blocks for case in cases) > CASES
    assert sum(case.gas_used for case in cases) > 1e9


def test_the_last_line_and_the_exit_code_say_it_all(document: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "good.json"
    path.write_text(json.dumps(document))
    assert run(path) == (0, ["1 passed, 0 failed"])
    (tmp_path / "tx_selfdestruct_balance_bug.json").write_text(
        json.dumps({"x": {**next(iter(document.values())), "network": "Constantinople"}})
    )
    code, lines = run(tmp_path)
    assert (code, lines[-1]) == (0, "1 passed, 0 failed, 1 skipped")
    assert "EIP-1283" in lines[0]
    code, [line] = run("--json", path)
    summary = json.loads(line)
    assert (code, summary["passed"], summary["failed"], summary["failed_cases"]) == (0, 1, 0, [])
    assert summary["blocks"] == 9


class TestWhatATestSaysIsHeldAgainstWhatIsFound:
    def test_the_wrong_reason(self, altered: Any) -> None:
        line = altered(lambda test: test["blocks"][0].update(expectException="BlockException.INVALID_GASLIMIT"))
        assert "block 0: INVALID, which is INVALID_BASEFEE_PER_GAS" in line
        assert line.endswith("expected BlockException.INVALID_GASLIMIT")

    def test_an_invalid_block_said_to_be_valid(self, altered: Any) -> None:
        line = altered(lambda test: test["blocks"][0].pop("expectException"))
        assert "block 0: valid, but found INVALID: base_fee_per_gas" in line

    def test_a_valid_block_said_to_be_invalid(self, altered: Any) -> None:
        line = altered(lambda test: test["blocks"][2].update(expectException="BlockException.INVALID_STATE_ROOT"))
        assert "block 2: accepted, but invalid for BlockException.INVALID_STATE_ROOT" in line

    def test_another_end(self, altered: Any) -> None:
        assert "the chain ends with block" in altered(lambda test: test.update(lastblockhash="0x" + "11" * 32))

    def test_another_state_at_the_end(self, altered: Any) -> None:
        def richer(test: dict[str, Any]) -> None:
            next(iter(test["postState"].values()))["balance"] = "0x1234567"

        assert "the state at the end has root" in altered(richer)

    def test_another_state_at_the_beginning(self, altered: Any) -> None:
        def richer(test: dict[str, Any]) -> None:
            next(iter(test["pre"].values()))["balance"] = "0x1234567"

        assert "the state before has root" in altered(richer)

    def test_another_block_under_the_hash(self, altered: Any) -> None:
        line = altered(lambda test: test["blocks"][2]["blockHeader"].update(hash="0x" + "11" * 32))
        assert "block 2: valid, but found INVALID: block_hash" in line

    def test_a_network_nobody_knows(self, altered: Any) -> None:
        assert "network Utopia is not known" in altered(lambda test: test.update(network="Utopia"))

    def test_a_part_that_is_missing(self, altered: Any) -> None:
        assert "lastblockhash` is absent" in altered(lambda test: test.pop("lastblockhash"))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_garbled_document_fails_and_does_no_more(document: dict[str, Any], data: st.DataObject) -> None:
    """Whatever stands in it: a ValueError or results, and never a panic."""
    text = bytearray(json.dumps(document).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0x20, 0x7E))
    with contextlib.suppress(ValueError):
        assert all(case.outcome in ("passed", "failed") for case in run_blockchain_tests("x.json", bytes(text)))


class TestWhereTestsLie:
    @pytest.fixture
    def text(self, document: dict[str, Any]) -> bytes:
        return json.dumps(document).encode()

    def test_every_form_of_file(self, text: bytes, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_bytes(text)
        (tmp_path / "b.json.gz").write_bytes(gzip.compress(text))
        with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("folder/test.json", text)
            archive.writestr("folder/other.json", FOREIGN)
        for suffix in ("gz", "xz"):
            with tarfile.open(tmp_path / f"d.tar.{suffix}", f"w:{suffix}") as archive:  # type: ignore[call-overload]
                self.add(archive, "folder/test.json", text)
                self.add(archive, "folder/README.md", b"no test")
        for path in sorted(tmp_path.iterdir()):
            assert run(path) == (0, ["1 passed, 0 failed"]), path
        assert run(tmp_path) == (0, ["5 passed, 0 failed"])

    def test_links_and_paths_that_lead_elsewhere(self, text: bytes, tmp_path: Path) -> None:
        """Nothing is written, no link is followed, and a name cannot speak to the terminal."""
        inside = tmp_path / "inside"
        inside.mkdir()
        path = inside / "evil.tar"
        with tarfile.open(path, "w") as archive:
            link = tarfile.TarInfo("link.json")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
            self.add(archive, "../../\x1b[31mred.json", text.replace(b'"Cancun"', b'"Utopia"'))
        code, lines = run(path)
        assert (code, lines[-1]) == (1, "0 passed, 1 failed")
        assert "\x1b" not in lines[0]
        assert [found.name for found in tmp_path.rglob("*")] == ["inside", "evil.tar"]

    def test_more_than_a_document_may_hold(self, text: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        bomb = tmp_path / "bomb.json.gz"
        bomb.write_bytes(gzip.compress(bytes(10_000_000)))
        monkeypatch.setattr(archives, "MAX_DOCUMENT_BYTES", 1_000_000)
        with pytest.raises(TestSourceError, match="longer than 1000000 bytes"):
            run(bomb)
        with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bomb.json", bytes(10_000_000))
        with pytest.raises(TestSourceError, match="longer than 1000000 bytes"):
            run(tmp_path / "bomb.zip")

    def test_more_than_an_archive_may_hold(self, text: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "long.tar.xz"
        with tarfile.open(path, "w:xz") as archive:
            self.add(archive, "padding.bin", bytes(10_000_000))
            self.add(archive, "test.json", text)
        monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 1_000_000)
        with pytest.raises(TestSourceError, match="more than"):
            run(path)

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("foreign.json", FOREIGN.encode()),
            ("cut.tar.xz", b"\xfd7zXZ\x00 and no more"),
            ("no.zip", b"PK"),
            ("cut.json.gz", gzip.compress(b"{}")[:-6]),
            ("what.bin", b""),
        ],
    )
    def test_what_holds_no_tests(self, name: str, content: bytes, tmp_path: Path) -> None:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(TestSourceError, match=name):
            run(path)

    def test_a_document_that_is_no_json_fails_by_name(self, tmp_path: Path) -> None:
        (tmp_path / "broken.json").write_bytes(b"{")
        code, lines = run(tmp_path)
        assert (code, lines[-1]) == (1, "0 passed, 1 failed")
        assert "broken.json" in lines[0]

    @staticmethod
    def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
