"""`machavs_deploy_output.json`: the original's form, and what a bad file is told."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from mach.chain.deploy_output import DeployOutput, DeployOutputError

if TYPE_CHECKING:
    from pathlib import Path

ORIGINAL_KEYS = [
    "machServiceManager",
    "machAVSProxyAdmin",
    "registryCoordinator",
    "stakeRegistry",
    "apkRegistry",
    "indexRegistry",
    "operatorStateRetriever",
    "pauserRegistry",
]
"""The addresses in the file of the original's deployment script (docs: wire protocol)."""


def address(number: int) -> str:
    return "0x" + f"{number:02x}" * 20


def original_file(**changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = {"object": "machAVS deployment output"}
    content |= {key: address(number) for number, key in enumerate(ORIGINAL_KEYS, start=0x11)}
    content |= changes
    return {key: value for key, value in content.items() if value is not None}


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_the_originals_file_is_read(tmp_path: Path) -> None:
    deployment = DeployOutput.read(write(tmp_path / "out.json", original_file()))
    assert deployment.mach_service_manager == address(0x11)
    assert deployment.pauser_registry == address(0x18)
    assert deployment.avs_directory is None
    with pytest.raises(DeployOutputError, match="no avsDirectory"):
        deployment.require("avs_directory")


def test_our_file_is_the_originals_with_more_keys(tmp_path: Path) -> None:
    deployment = dataclasses.replace(
        DeployOutput.read(write(tmp_path / "in.json", original_file())),
        avs_directory=address(0x22),
        deployment_block=7,
        settlement_chain_id=31337,
    )
    path = tmp_path / "folder" / "out.json"
    deployment.write(path)
    written = json.loads(path.read_text())
    assert {key: written[key] for key in ["object", *ORIGINAL_KEYS]} == original_file()
    assert written["avsDirectory"] == address(0x22)
    assert "strategy" not in written
    assert DeployOutput.read(path) == deployment
    assert [entry.name for entry in path.parent.iterdir()] == ["out.json"]


def test_addresses_come_back_in_checksum_form(tmp_path: Path) -> None:
    lower = "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"
    deployment = DeployOutput.read(write(tmp_path / "out.json", original_file(registryCoordinator=lower)))
    # The example address of EIP-55.
    assert deployment.registry_coordinator == "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"


@pytest.mark.parametrize("key", ORIGINAL_KEYS)
def test_a_missing_address_is_named(tmp_path: Path, key: str) -> None:
    path = write(tmp_path / "out.json", original_file(**{key: None}))
    with pytest.raises(DeployOutputError, match=f"{path} lacks {key}"):
        DeployOutput.read(path)


@pytest.mark.parametrize(
    "value",
    ["", "0x12", "11" * 20, 7, ["0x" + "11" * 20], "0x" + "zz" * 20, "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"],
)
@pytest.mark.parametrize("key", ["stakeRegistry", "delegationManager"])
def test_what_is_not_an_address_is_named(tmp_path: Path, key: str, value: Any) -> None:
    path = write(tmp_path / "out.json", original_file(**{key: value}))
    with pytest.raises(DeployOutputError, match=f"{key} in deployment file"):
        DeployOutput.read(path)


@pytest.mark.parametrize("value", [-1, "7", True, 1.5])
def test_a_deployment_block_that_is_no_number_is_named(tmp_path: Path, value: Any) -> None:
    path = write(tmp_path / "out.json", original_file(deploymentBlock=value))
    with pytest.raises(DeployOutputError, match="deploymentBlock"):
        DeployOutput.read(path)


@pytest.mark.parametrize("content", ["", "{", "[]", '"x"', "\ufeff{}"])
def test_a_file_of_another_form_is_refused(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "out.json", content)
    with pytest.raises(DeployOutputError, match=str(path)):
        DeployOutput.read(path)


def test_a_missing_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DeployOutputError, match=r"absent\.json is not there: run `mach deploy"):
        DeployOutput.read(tmp_path / "absent.json")
    with pytest.raises(DeployOutputError, match="cannot be read"):
        DeployOutput.read(tmp_path)
