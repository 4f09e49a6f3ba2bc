"""`mach deploy` and `mach operator` as a user runs them: exit codes, one line for a failure, the original's names."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import yaml
from tests.contracts.deployed_chain import (
    CHAIN_ID,
    DEPLOYER,
    ROLLUP_CHAIN_ID,
    STAKE_WEI,
    Anvil,
    Operator,
    make_operators,
)

from mach.chain import operators
from mach.chain.connection import connection
from mach.chain.deployment import DeployOutput
from mach.chain.sender import TransactionSender
from mach.cli.main import main
from mach.keys import ScryptCost, save_bls_keystore, save_ecdsa_keystore

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "correct horse"
NEWCOMER = make_operators(1, first=80)[0]


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    exit_code: int
    stdout: str
    stderr: str


def mach(*arguments: str) -> Finished:
    """Runs `mach` through its entry point, as a process would."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        patch.setattr(sys, "argv", ["mach", *arguments])
        patch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            main()
    return Finished(int(ended.value.code or 0), stdout.getvalue(), stderr.getvalue())


def assert_refused(result: Finished, *words: str) -> None:
    """One line on stderr that holds `words`, exit code 2, no traceback, nothing on stdout."""
    assert result.exit_code == 2, result.stderr
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    for word in words:
        assert word in line


@dataclass(frozen=True)
class Workplace:
    """A folder with a deployer's key and, after `deploy`, a deployment file."""

    folder: Path
    anvil: Anvil

    @property
    def key_file(self) -> Path:
        return self.folder / "deployer.key"

    @property
    def output(self) -> Path:
        return self.folder / "machavs_deploy_output.json"

    def deploy(self, *flags: str) -> Finished:
        return mach(
            "deploy",
            "--rpc-url",
            self.anvil.url,
            "--key-file",
            str(self.key_file),
            "--rollup-chain-id",
            str(ROLLUP_CHAIN_ID),
            "--output",
            str(self.output),
            *flags,
        )

    def operator_config(self, operator: Operator, **changes: object) -> Path:
        """Keystores, their password file and operator.yaml for one operator."""
        ecdsa, bls, password = (self.folder / name for name in ("ecdsa.json", "bls.json", "password"))
        save_ecdsa_keystore(ecdsa, operator.account, PASSWORD, cost=ScryptCost.LIGHT)
        save_bls_keystore(bls, operator.bls_key, PASSWORD, cost=ScryptCost.LIGHT)
        password.write_text(PASSWORD)
        settings = {
            "eth_rpc_url": self.anvil.url,
            "layer1_chain_id": CHAIN_ID,
            "layer2_chain_id": ROLLUP_CHAIN_ID,
            "ecdsa_private_key_store_path": str(ecdsa),
            "bls_private_key_store_path": str(bls),
            "operator_ecdsa_key_password_file": str(password),
            "operator_bls_key_password_file": str(password),
            "avs_deployment": str(self.output),
        }
        path = self.folder / "operator.yaml"
        path.write_text(yaml.safe_dump(settings | changes))
        return path


@pytest.fixture
def workplace(tmp_path: Path, anvil: Anvil) -> Workplace:
    place = Workplace(tmp_path, anvil)
    place.key_file.write_text(DEPLOYER.key.hex() + "\n")
    return place


def test_from_deployment_to_a_registered_operator(workplace: Workplace) -> None:
    address = NEWCOMER.account.address
    deployed = workplace.deploy("--allow-operator", address, "--json")
    assert deployed.exit_code == 0, deployed.stderr
    written = DeployOutput.read(workplace.output)
    assert json.loads(deployed.stdout) == json.loads(workplace.output.read_text()) == written.to_json()
    assert_refused(workplace.deploy(), str(workplace.output), "--overwrite")

    async def fund() -> None:
        async with connection(workplace.anvil.url) as w3:
            funder = TransactionSender(w3, DEPLOYER, CHAIN_ID)
            await operators.fund_operators(funder, written, [address], ether_wei=10**18, tokens_wei=2 * STAKE_WEI)

    asyncio.run(fund())
    config = str(workplace.operator_config(NEWCOMER))

    before = mach("operator", "register-with-avs", "--config", config)
    assert_refused(before, address, "mach operator register-with-eigenlayer")

    first = mach("operator", "register-with-eigenlayer", "--config", config, "--json")
    assert first.exit_code == 0, first.stderr
    assert json.loads(first.stdout)["changed"] is True
    # The original's names, with its global --config.
    again = mach("operator", "--config", config, "rel")
    assert (again.exit_code, again.stdout) == (0, "was registered with EigenLayer already\n")
    deposit = mach(
        "operator", "--config", config, "d", "--strategy-addr", written.require("strategy"), "--amount", str(STAKE_WEI)
    )
    assert deposit.exit_code == 0, deposit.stderr
    registered = mach("operator", "--config", config, "r")
    assert registered.exit_code == 0, registered.stderr
    assert registered.stdout.startswith("registered with the AVS, transaction 0x")

    status = mach("operator", "status", "--config", config, "--json")
    shown = json.loads(status.stdout)
    assert shown["avs_status"] == "registered"
    assert shown["operator_id"] == f"0x{NEWCOMER.operator_id.hex()}"
    assert shown["quorums"][0]["current_stake_wei"] == STAKE_WEI
    table = mach("operator", "--config", config, "s")
    assert table.exit_code == 0
    assert address in table.stdout
    assert "member" in table.stdout

    left = mach("operator", "deregister-from-avs", "--config", config)
    assert left.stdout.startswith("deregistered from the AVS, transaction 0x")
    left_again = mach("operator", "--config", config, "deregister-operator-with-avs")
    assert (left_again.exit_code, left_again.stdout) == (0, "was not registered with the AVS\n")


def test_what_a_deployment_is_refused_for(workplace: Workplace) -> None:
    assert_refused(workplace.deploy("--chain-id", "1"), "serves chain id 31337, expected 1")
    assert_refused(workplace.deploy("--keystore", "x.json"), "exactly one of --key-file and --keystore")
    assert_refused(workplace.deploy("--avs-directory", "0x" + "11" * 20), "--delegation-manager", "--strategy")
    stranger = "0x" + "22" * 20
    assert_refused(workplace.deploy("--whitelister", stranger, "--allow-operator", stranger), stranger)
    workplace.key_file.write_text("not a key")
    refused = workplace.deploy()
    assert_refused(refused, "private key")
    assert "not a key" not in refused.stderr
    assert not workplace.output.exists()
    assert workplace.anvil.block_number() == 0


def test_a_node_that_is_not_there_is_named_without_credentials(workplace: Workplace) -> None:
    port = workplace.anvil.url.rpartition(":")[2]
    workplace.anvil.stop()
    refused = workplace.deploy("--rpc-url", f"http://user:hunter2@127.0.0.1:{port}/v3/hunter2")
    assert_refused(refused, f"http://127.0.0.1:{port}/… is unreachable")
    assert "hunter2" not in refused.stderr


def test_what_an_operator_is_refused_for(workplace: Workplace) -> None:
    config = str(workplace.operator_config(NEWCOMER))
    assert_refused(mach("operator", "status", "--config", config), str(workplace.output), "mach deploy")
    assert workplace.deploy().exit_code == 0
    (workplace.folder / "password").write_text("wrong")
    assert_refused(mach("operator", "rel", "--config", config), "ecdsa.json", "password")
    assert_refused(mach("operator", "status"), "--config operator.yaml")

    content = json.loads(workplace.output.read_text())
    workplace.output.write_text(json.dumps(content | {"registryCoordinator": "0x" + "99" * 20}))
    settings = yaml.safe_load((workplace.folder / "operator.yaml").read_text())
    settings["operator_ecdsa_address"] = NEWCOMER.account.address
    (workplace.folder / "operator.yaml").write_text(yaml.safe_dump(settings))
    assert_refused(mach("operator", "status", "--config", config), "0x" + "99" * 20, "no code")
    settings["layer1_chain_id"] = 1
    (workplace.folder / "operator.yaml").write_text(yaml.safe_dump(settings))
    assert_refused(mach("operator", "status", "--config", config), "serves chain id 31337, expected 1")
