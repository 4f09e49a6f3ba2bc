"""The compiled contracts have exactly the ABI that `tests/vectors/mach-abi.txt` lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mach

ARTIFACT = Path(mach.__file__).parent / "chain" / "artifacts" / "mach_contracts.json"
VECTOR = Path(__file__).parents[1] / "vectors" / "mach-abi.txt"


def expected_entries() -> dict[str, set[str]]:
    """The vector's lines by contract."""
    entries: dict[str, set[str]] = {}
    contract = ""
    for line in VECTOR.read_text().splitlines():
        if line.startswith("## "):
            contract = line.removeprefix("## ")
            entries[contract] = set()
        elif line and not line.startswith("# "):
            entries[contract].add(line)
    return entries


def type_name(parameter: dict[str, Any]) -> str:
    """A parameter's type; a struct is its fields in parentheses, with their names."""
    kind = str(parameter["type"])
    if not kind.startswith("tuple"):
        return kind
    suffix = kind.removeprefix("tuple")
    return f"({parameters(parameter['components'])}){suffix}"


def parameters(items: list[dict[str, Any]]) -> str:
    """Parameters as Solidity writes them."""
    return ", ".join(
        " ".join(filter(None, (type_name(item), "indexed" if item.get("indexed") else "", item["name"])))
        for item in items
    )


def entry(item: dict[str, Any]) -> str:
    """One entry of a JSON ABI as a line of the vector."""
    kind = item["type"]
    if kind == "constructor":
        return f"constructor({parameters(item['inputs'])})"
    line = f"{kind} {item['name']}({parameters(item['inputs'])})"
    if kind != "function":
        return line
    if item["stateMutability"] != "nonpayable":
        line += f" {item['stateMutability']}"
    if item["outputs"]:
        line += f" returns ({parameters(item['outputs'])})"
    return line


@pytest.mark.parametrize("contract", ["MachServiceManager", "MachServiceManagerRegistry"])
def test_abi_is_the_vectors(contract: str) -> None:
    assert ARTIFACT.exists(), f"{ARTIFACT.name} is missing: run `make contracts`"
    abi = json.loads(ARTIFACT.read_text())[contract]["abi"]
    entries = [entry(item) for item in abi]
    assert len(set(entries)) == len(entries)
    assert set(entries) == expected_entries()[contract]


def test_the_double_of_the_output_oracle_has_the_entries_that_the_vector_lists() -> None:
    abi = json.loads(ARTIFACT.read_text())["L2OutputOracle"]["abi"]
    assert expected_entries()["IMachOptimismL2OutputOracle"] <= {entry(item) for item in abi}


def test_every_artifact_can_be_deployed() -> None:
    assert ARTIFACT.exists(), f"{ARTIFACT.name} is missing: run `make contracts`"
    artifacts = json.loads(ARTIFACT.read_text())
    doubles = {"DisputeGame", "DisputeGameFactory", "EarlyAlerts", "L2OutputOracle"}
    assert set(artifacts) == {"MachProxy", "MachServiceManager", "MachServiceManagerRegistry"} | doubles
    for artifact in artifacts.values():
        creation_code = bytes.fromhex(artifact["bytecode"].removeprefix("0x"))
        assert 0 < len(creation_code) <= 2 * 24_576  # EIP-3860
