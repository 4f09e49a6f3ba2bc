"""What of a verifier watches output roots on L1, put together from its settings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from mach.chain.connection import connection, request, require_code
from mach.chain.errors import L1UnavailableError
from mach.chain.output_oracles import OutputOracles
from mach.chain.sender import TransactionSender
from mach.keys import load_ecdsa_keystore, resolve_password
from mach.storage.output_proposals import ProposalLog
from mach.storage.verdict_log import VerdictLog
from mach.transport.backoff import Backoff
from mach.transport.jsonrpc_client import PeerRefusedError, PeerUnavailableError
from mach.verifier.early_alert import EarlyAlertSender
from mach.verifier.output_roots import OutputRootWatch

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from mach.chain.connection import L1Client
    from mach.config.verifier import VerifierConfig
    from mach.rollup.endpoints import EndpointSet
    from mach.storage.database import Database
    from mach.verifier.dispatcher import AlertDispatcher
    from mach.verifier.metrics import VerifierMetrics

log = structlog.get_logger()


class OutputDuty:
    """Watches the oracles that the settings name, and raises early alerts where those ask for it."""

    def __init__(
        self,
        config: VerifierConfig,
        database: Database,
        dispatcher: AlertDispatcher,
        endpoints: EndpointSet,
        metrics: VerifierMetrics,
    ) -> None:
        self._config = config
        self._proposals = ProposalLog(database)
        self._verdicts = VerdictLog(database)
        self._dispatcher = dispatcher
        self._endpoints = endpoints
        self._metrics = metrics
        self._account: LocalAccount | None = None

    @property
    def wanted(self) -> bool:
        """Whether the settings name an oracle at all."""
        return self._config.l2_output_oracle is not None or self._config.dispute_game_factory is not None

    async def check(self) -> None:
        """Raises a keystore's errors, `WrongChainIdError` or `ContractNotFoundError` if the settings do not fit the L1.

        An L1 that is away is no reason not to verify blocks: it is waited for later.
        """
        if not self.wanted or self._config.eth_rpc_url is None:
            return
        if self._config.early_alert_ecdsa_keystore_path is not None:
            password = resolve_password(
                file=self._config.early_alert_ecdsa_keystore_password_file, env="EARLY_ALERT_ECDSA_KEYSTORE_PASSWORD"
            )
            path = self._config.early_alert_ecdsa_keystore_path
            self._account = await asyncio.to_thread(load_ecdsa_keystore, path, password)
        try:
            async with connection(self._config.eth_rpc_url, self._config.layer1_chain_id) as w3:
                await self._oracles(w3).check()
                if self._config.early_alert_contract is not None:
                    await require_code(w3, self._config.early_alert_contract, "early_alert_contract")
        except L1UnavailableError as error:
            log.warning("oracle.away", problem=str(error))

    async def run(self) -> None:
        """Watches until cancelled."""
        if not self.wanted or self._config.eth_rpc_url is None:
            return
        backoff = Backoff(first_s=self._config.oracle_poll_interval_s, most_s=30.0)
        while True:
            try:
                async with connection(self._config.eth_rpc_url, self._config.layer1_chain_id) as w3:
                    await self._watch(w3)
            except L1UnavailableError as error:
                log.warning("oracle.away", problem=str(error))
                await asyncio.sleep(backoff.next_delay_s())

    def _oracles(self, w3: L1Client) -> OutputOracles:
        return OutputOracles(
            w3,
            l2_output_oracle=self._config.l2_output_oracle,
            dispute_game_factory=self._config.dispute_game_factory,
        )

    async def _settled_header(self, number: int) -> bytes | None:
        """The header at a height; None above the node's safe head, if it knows one.

        Raises `PeerUnavailableError`, `PeerRefusedError`.
        """
        endpoint = self._endpoints.answering()
        if endpoint is None:
            raise PeerUnavailableError("no endpoint of the rollup answers")
        try:
            safe = await endpoint.node.labelled_header("safe")
        except PeerRefusedError:
            safe = None  # geth and op-geth say so when they know none
        if safe is not None and number > safe.number:
            return None
        return await endpoint.node.raw_header(number)

    async def _watch(self, w3: L1Client) -> None:
        early_alerts: EarlyAlertSender | None = None
        if self._account is not None and self._config.early_alert_contract is not None:
            chain_id = int(await request(w3, w3.eth.chain_id, "read the chain id"))
            sender = TransactionSender(w3, self._account, chain_id)
            early_alerts = EarlyAlertSender(sender, self._config.early_alert_contract, self._proposals)
        watch = OutputRootWatch(
            w3,
            self._oracles(w3),
            self._proposals,
            self._verdicts,
            self._dispatcher,
            self._settled_header,
            confirmations=self._config.oracle_confirmations,
            lookback_blocks=self._config.oracle_lookback_blocks,
            poll_interval_s=self._config.oracle_poll_interval_s,
            on_counts=self._metrics.output_proposals,
            on_early_alert=None if early_alerts is None else early_alerts.wake,
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(watch.run())
            if early_alerts is not None:
                group.create_task(early_alerts.run())
