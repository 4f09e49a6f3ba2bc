"""The devnet's L1 made ready: contracts deployed, accounts funded, three operators registered with equal stake."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from eth_account import Account

from mach.bls import SecretKey
from mach.chain.connection import connection
from mach.chain.deployment import DeployOutput, MachParameters, allow_operators, deploy
from mach.chain.operators import (
    deposit_into_strategy,
    fund_operators,
    register_with_avs,
    register_with_eigenlayer,
)
from mach.chain.sender import TransactionSender
from mach.devnet.layout import L1_CHAIN_ID, OPERATORS, Layout
from mach.devnet.services import EARLY_ALERTER
from mach.keys import ScryptCost, create_ecdsa_key, save_bls_keystore, save_ecdsa_keystore
from mach.keys.files import write_new_private_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eth_account.signers.local import LocalAccount

    from mach.chain.connection import L1Client

DEPLOYER: Final = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
"""The first account of the mnemonic that every development chain funds; worthless anywhere else."""
STAKE_WEI: Final = 100 * 10**18
ETHER_WEI: Final = 100 * 10**18
DEVNET_PASSWORD: Final = b"devnet\n"


@dataclass(frozen=True, slots=True)
class DevnetOperator:
    """One operator's keys."""

    name: str
    account: LocalAccount
    secret_key: SecretKey


async def prepare_l1(rpc_url: str, layout: Layout, rollup_chain_id: int) -> tuple[DeployOutput, list[DevnetOperator]]:
    """Deploys EigenLayer and Mach, writes the deployment file and every keystore, registers the operators."""
    confirmer = create_ecdsa_key()
    operators = [
        DevnetOperator(f"operator{number}", create_ecdsa_key(), SecretKey.generate())
        for number in range(1, OPERATORS + 1)
    ]
    early_alerter = create_ecdsa_key()
    await asyncio.to_thread(write_keys, layout, {"aggregator": confirmer, EARLY_ALERTER: early_alerter}, operators)
    async with connection(rpc_url, L1_CHAIN_ID) as w3:
        sender = TransactionSender(w3, Account.from_key(DEPLOYER), L1_CHAIN_ID)
        deployment = await deploy(
            sender, MachParameters(rollup_chain_ids=(rollup_chain_id,), alert_confirmer=confirmer.address)
        )
        addresses = [str(operator.account.address) for operator in operators]
        await fund_operators(sender, deployment, addresses, ether_wei=ETHER_WEI, tokens_wei=STAKE_WEI)
        others = [str(confirmer.address), str(early_alerter.address)]
        await fund_operators(sender, deployment, others, ether_wei=ETHER_WEI, tokens_wei=0)
        await allow_operators(sender, deployment, addresses)
        await asyncio.gather(*(register(w3, deployment, operator) for operator in operators))
    deployment.write(layout.deployment)
    return deployment, operators


async def register(w3: L1Client, deployment: DeployOutput, operator: DevnetOperator) -> None:
    """One operator from nothing to registered with the AVS."""
    sender = TransactionSender(w3, operator.account, L1_CHAIN_ID)
    await register_with_eigenlayer(sender, deployment)
    await deposit_into_strategy(sender, deployment, STAKE_WEI)
    await register_with_avs(sender, deployment, operator.secret_key, socket=f"{operator.name}.devnet")


def write_keys(layout: Layout, others: Mapping[str, LocalAccount], operators: list[DevnetOperator]) -> None:
    """Every key as a keystore with its password beside it: a devnet's keys guard nothing."""
    for name, account in others.items():
        save_ecdsa_keystore(layout.ecdsa_key(name), account, _password(), cost=ScryptCost.LIGHT)
        write_new_private_file(layout.password(name), DEVNET_PASSWORD)
    for operator in operators:
        save_ecdsa_keystore(layout.ecdsa_key(operator.name), operator.account, _password(), cost=ScryptCost.LIGHT)
        save_bls_keystore(layout.bls_key(operator.name), operator.secret_key, _password(), cost=ScryptCost.LIGHT)
        write_new_private_file(layout.password(operator.name), DEVNET_PASSWORD)


def _password() -> str:
    return DEVNET_PASSWORD.decode().strip()
