"""Compiled contracts (ABI and creation code) by name, out of the generated JSON files in `artifacts/`."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mach.errors import EnvironmentFaultError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FOLDER = Path(__file__).parent / "artifacts"
_EIGENLAYER = "eigenlayer_m2.json"
_MACH = "mach_contracts.json"
_EIGENLAYER_ABI = "eigenlayer_abi.json"
_MAKE_TARGETS = {_MACH: "make contracts", _EIGENLAYER: "make eigenlayer", _EIGENLAYER_ABI: "make eigenlayer"}


class ArtifactError(EnvironmentFaultError):
    """A generated contract file is missing or malformed, or holds no such contract."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A compiled contract: its JSON ABI and its creation code without constructor arguments."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: bytes


@functools.cache
def load(name: str) -> Artifact:
    """The contract `name`, one of ours or of EigenLayer M2 (ours first).

    Raises `ArtifactError` when the generated file is not there (it names the make target) or has no such contract.
    """
    problems = []
    for file_name in _files():
        try:
            contracts = _read(file_name)
        except ArtifactError as error:
            problems.append(str(error))
            continue
        if name in contracts:
            return _parse(file_name, name, contracts[name])
    if problems:
        raise ArtifactError(f"cannot load contract {name}: {'; '.join(problems)}")
    raise ArtifactError(f"no contract named {name} in {' or '.join(_files())}")


def loaded_error_abis() -> list[dict[str, Any]]:
    """The ABI entries of all custom errors of the contracts at hand; a file that was not generated counts as empty."""
    entries = []
    for file_name in _files():
        try:
            contracts = _read(file_name)
        except ArtifactError:
            continue
        for contract in contracts.values():
            entries += [entry for entry in contract.get("abi", []) if entry.get("type") == "error"]
    return entries


def _files() -> tuple[str, str]:
    """The files at hand: an installed wheel has EigenLayer's ABIs only."""
    whole = (_FOLDER / _EIGENLAYER).exists() or not (_FOLDER / _EIGENLAYER_ABI).exists()
    return _MACH, _EIGENLAYER if whole else _EIGENLAYER_ABI


@functools.cache
def _read(file_name: str) -> Mapping[str, Any]:
    path, target = _FOLDER / file_name, _MAKE_TARGETS[file_name]
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is not there: run `{target}` in the source checkout") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}): delete it and run `{target}`") from error
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} is not a JSON object of contracts: delete it and run `{target}`")
    return content


def _parse(file_name: str, name: str, entry: Any) -> Artifact:
    try:
        abi, bytecode = entry["abi"], bytes.fromhex(entry["bytecode"].removeprefix("0x"))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"contract {name} in {_FOLDER / file_name} is malformed: delete it and run `{_MAKE_TARGETS[file_name]}`"
        ) from error
    return Artifact(name, abi, bytecode)
