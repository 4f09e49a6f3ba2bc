"""`mach verify --rpc` and `mach witness record` against a real op-geth, honest and with a liar in front of it."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from mach.devnet.faults import Fault, FaultKind
from mach.devnet.layout import Ports
from mach.devnet.lying_node import LyingNode
from mach.devnet.sequencer import Sequencer, SequencerSettings
from mach.devnet.traffic import Traffic, TrafficSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.asyncio(loop_scope="module")

BLOCKS = 8
DEADLINE_S = 60.0
MACH = Path(sys.executable).with_name("mach")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def l2(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sequencer]:
    ports = Ports.free()
    settings = SequencerSettings(tmp_path_factory.mktemp("l2"), http_port=ports.l2, auth_port=ports.l2_auth)
    async with Sequencer(settings) as sequencer, Traffic(TrafficSettings(sequencer.http_url)) as traffic:
        for _ in range(BLOCKS):
            await traffic.submit(6)
            await sequencer.produce_block()
        yield sequencer


async def mach(*arguments: str | Path) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        MACH, *map(str, arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def verify(l2: Sequencer, url: str, *blocks: str) -> tuple[int, list[dict[str, Any]]]:
    code, out, err = await mach("verify", "--rpc", url, "--chain-config", l2.chain_config_file, "--json", *blocks)
    assert not err, err
    found: list[dict[str, Any]] = json.loads(out)["blocks"]
    return code, found


async def test_a_range_a_number_and_the_head(l2: Sequencer) -> None:
    code, found = await verify(l2, l2.http_url, f"1..{BLOCKS - 1}", "3", "latest")
    assert code == 0
    assert [block["number"] for block in found] == [*range(1, BLOCKS), 3, BLOCKS]
    assert {block["verdict"] for block in found} == {"VALID"}
    assert found[-1]["hash"] == "0x" + l2.head.hash.hex()
    assert all(block["milliseconds"]["fetch"] > 0 for block in found)


async def test_a_lie_is_named(l2: Sequencer) -> None:
    async with LyingNode(l2.http_url, port=0) as liar:
        liar.set_fault(Fault(FaultKind.TX_RESULT, 4))
        code, found = await verify(l2, liar.url, "3..4")
    assert code == 1
    assert [block["verdict"] for block in found] == ["VALID", "INVALID"]
    fields = {mismatch["field"] for mismatch in found[1]["fields"]}
    assert "receipts_root" in fields
    assert any(field.startswith("receipts[") for field in fields)


async def test_a_block_that_is_not_there_is_inconclusive(l2: Sequencer) -> None:
    code, [found] = await verify(l2, l2.http_url, str(BLOCKS + 1000))
    assert (code, found["verdict"]) == (3, "INCONCLUSIVE")


async def test_a_record_stands_on_its_own(l2: Sequencer, tmp_path: Path) -> None:
    path = tmp_path / "block.json.gz"
    options = ("--rpc", l2.http_url, "--chain-config", l2.chain_config_file)
    code, out, err = await mach("witness", "record", "5", "-o", path, *options)
    assert (code, err) == (0, "")
    assert out.startswith(f"wrote block 5 (VALID) to {path}")
    code, out, _ = await mach("verify", path)
    assert code == 0
    assert "VALID" in out
    code, _, err = await mach("witness", "record", "1..2", "-o", path, *options)
    assert code == 2
    assert "a file holds one" in err
    absent = tmp_path / "absent.json"
    code, _, err = await mach("witness", "record", str(BLOCKS + 1000), "-o", absent, *options)
    assert code == 3
    assert "was not written" in err
    assert not absent.exists()


async def test_bad_usage_is_one_line_and_exit_code_2(l2: Sequencer, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**json.loads(l2.chain_config_file.read_text()), "chainId": 5}))
    unreachable = "http://127.0.0.1:1"
    for url, config, block, expected in (
        (l2.http_url, other, "1", "make them agree"),
        (l2.http_url, l2.chain_config_file, "one", "is no block"),
        (l2.http_url, l2.chain_config_file, "0", "after the genesis"),
        (l2.http_url, l2.chain_config_file, "5..2", "after the genesis"),
        (unreachable, l2.chain_config_file, "1", "cannot be reached"),
    ):
        code, out, err = await mach("verify", "--rpc", url, "--chain-config", config, block)
        assert (code, out) == (2, ""), err
        assert expected in err
