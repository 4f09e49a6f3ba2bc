"""`make bench`: from a block's inputs to its verdict, for recorded blocks and for real ones where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mach._core import verify_block
from mach.rollup.witness_files import read_block_file, seal

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

REPOSITORY = Path(__file__).resolve().parents[2]
TESTDATA = Path(os.environ.get("MACH_TESTDATA", REPOSITORY.parent / "shared" / "testdata"))
BLOCKS = sorted((REPOSITORY / "tests" / "vectors" / "l2-blocks").glob("*.json.gz")) + sorted(
    (TESTDATA / "op-blocks").glob("*.json.gz")
)


@pytest.mark.parametrize("path", BLOCKS, ids=lambda path: path.name.removesuffix(".json.gz"))
def test_verify_block(benchmark: BenchmarkFixture, path: Path) -> None:
    inputs = read_block_file(path)
    arguments = (inputs.chain_config, inputs.parent_header, inputs.block, inputs.preimages, inputs.ancestors)
    found = verify_block(*arguments)
    if not inputs.sealed:
        assert found.computed_header is not None
        inputs = seal(inputs, found.computed_header)
        arguments = (inputs.chain_config, inputs.parent_header, inputs.block, inputs.preimages, inputs.ancestors)
    benchmark.extra_info["gas_used"] = found.gas_used
    assert benchmark(verify_block, *arguments).verdict in ("VALID", "INVALID")
