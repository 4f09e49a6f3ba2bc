"""The contracts on the devnet's L1 that output roots are proposed to: doubles of our own, which guard nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from eth_account import Account

from mach.chain.connection import connection
from mach.chain.contract_deployer import ContractDeployer
from mach.chain.sender import TransactionSender
from mach.devnet.layout import L1_CHAIN_ID

if TYPE_CHECKING:
    from pathlib import Path

PROPOSER: Final = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"
"""The second account of the mnemonic that every development chain funds: who proposes. Worthless anywhere else."""


@dataclass(frozen=True, slots=True)
class OutputContracts:
    """Where the doubles stand, in checksum form."""

    l2_output_oracle: str
    dispute_game_factory: str
    early_alerts: str

    def write(self, path: Path) -> None:
        """Writes the addresses as JSON, for those who run services by hand."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


async def deploy_output_contracts(rpc_url: str, proposal_interval: int) -> OutputContracts:
    """Deploys an `L2OutputOracle` with a proposal every so many blocks, a `DisputeGameFactory`, and `EarlyAlerts`.

    On a new devnet they get the same addresses each time: they are the first that the proposer's account creates.
    """
    async with connection(rpc_url, L1_CHAIN_ID) as w3:
        account = Account.from_key(PROPOSER)
        deployer = ContractDeployer(TransactionSender(w3, account, L1_CHAIN_ID))
        oracle, factory = await deployer.create_all(
            ("L2OutputOracle", proposal_interval, account.address), ("DisputeGameFactory",)
        )
        (early_alerts,) = await deployer.create_all(("EarlyAlerts", oracle))
    return OutputContracts(oracle, factory, early_alerts)
