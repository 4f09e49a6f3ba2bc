"""`mach-verifier` in cross-check mode put together: database, endpoints, dispatcher."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import structlog

from mach.errors import EnvironmentFaultError
from mach.rollup.node import quantity
from mach.storage.chain_record import ChainRecord
from mach.storage.database import open_database
from mach.storage.disagreements import DisagreementLog
from mach.storage.raised_alerts import AGREEMENT, claim_database
from mach.storage.verdict_log import VerdictLog
from mach.transport.jsonrpc_client import JsonRpcClient, PeerRefusedError, PeerUnavailableError
from mach.transport.listening import start_site
from mach.transport.status_page import status_page
from mach.transport.urls import without_credentials
from mach.verifier.agreement import Endpoint, Rule
from mach.verifier.cross_check import CrossCheck
from mach.verifier.cross_check_metrics import CrossCheckMetrics
from mach.verifier.dispatcher import AlertDispatcher
from mach.verifier.readiness import database_problems
from mach.verifier.verdict_api import start_verdict_api

if TYPE_CHECKING:
    from mach.config.cross_check import CrossCheckConfig
    from mach.storage.database import Database

log = structlog.get_logger()


async def run_cross_check(config: CrossCheckConfig) -> None:
    """Compares endpoints until cancelled. Raises a `MachError` when one of them serves another chain."""
    metrics = CrossCheckMetrics()
    async with AsyncExitStack() as stack:
        endpoints: dict[Endpoint, JsonRpcClient] = {}
        for position, named in enumerate(config.cross_check_endpoints, 1):
            client = JsonRpcClient(
                named.url, timeout_s=config.rpc_timeout_s, max_connections=config.max_blocks_in_flight + 2
            )
            endpoint = Endpoint(f"{named.provider}/{position}", named.provider)
            endpoints[endpoint] = await stack.enter_async_context(client)
            await check_chain(endpoint, endpoints[endpoint], config.layer2_chain_id)
        database = await open_database(config.database_url, "verifier")
        stack.push_async_callback(database.close)
        await claim_database(database, config.layer2_chain_id)
        verdicts = VerdictLog(database)
        dispatcher = AlertDispatcher(verdicts, config.operators, timeout_s=config.operator_timeout_s)
        cross_check = CrossCheck(
            endpoints,
            Rule(config.cross_check_agreement, config.cross_check_providers),
            verdicts,
            ChainRecord(database),
            DisagreementLog(database),
            dispatcher,
            metrics,
            start_block=config.start_block,
            poll_interval_s=config.poll_interval_s,
            settle_s=config.disagreement_settle_s,
            blocks_in_flight=config.max_blocks_in_flight,
            alert_on_disagreement=config.alert_on_disagreement,
        )
        if config.metrics_ip_port_address is not None:
            address = config.metrics_ip_port_address
            page = status_page(metrics.registry, CrossCheckReadiness(database, cross_check))
            runner, _ = await start_site(page, address.host, address.port)
            stack.push_async_callback(runner.cleanup)
        await start_verdict_api(stack, config, database, verdicts)
        log.info(
            "verifier.started",
            mode=config.verifier_mode,
            basis=AGREEMENT,
            chain_id=config.layer2_chain_id,
            endpoints={endpoint.name: without_credentials(client.url) for endpoint, client in endpoints.items()},
            agreement=f"{config.cross_check_agreement} of {len(endpoints)}",
            providers=config.cross_check_providers,
            operators=[without_credentials(url) for url in config.operators],
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(dispatcher.run())
            group.create_task(cross_check.run())


class CrossCheckReadiness:
    """Whether endpoints agree and the database answers."""

    def __init__(self, database: Database, cross_check: CrossCheck) -> None:
        self._database = database
        self._cross_check = cross_check

    async def problems(self) -> list[str]:
        """In words for people; none when it is ready."""
        problem = self._cross_check.problem
        return ([] if problem is None else [problem]) + await database_problems(self._database)


async def check_chain(endpoint: Endpoint, client: JsonRpcClient, chain_id: int) -> None:
    """Raises `EnvironmentFaultError` if an endpoint serves another chain; one that is away is waited for later."""
    try:
        served = quantity(await client.call("eth_chainId"), "eth_chainId")
    except (PeerUnavailableError, PeerRefusedError) as error:
        log.warning("cross_check.endpoint_away", endpoint=endpoint.name, problem=str(error))
        return
    if served != chain_id:
        raise EnvironmentFaultError(
            f"endpoint {endpoint.name} ({without_credentials(client.url)}) serves chain id {served}, "
            f"layer2_chain_id is {chain_id}; name endpoints of one rollup"
        )
