"""`mach-verifier` put together: database, endpoints, follower, and what works beside it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import structlog

from mach.rollup.chain_config import read_chain_config
from mach.rollup.head_watch import HeadWatch, web_socket_form
from mach.storage.canary_findings import CanaryLog
from mach.storage.chain_record import ChainRecord
from mach.storage.database import open_database
from mach.storage.raised_alerts import claim_database
from mach.storage.verdict_log import VerdictLog
from mach.transport.listening import start_site
from mach.transport.status_page import status_page
from mach.transport.urls import without_credentials
from mach.verifier.canary import Canary, CanaryMetrics
from mach.verifier.canary_checks import AnswerChecks
from mach.verifier.canary_profile import read_profile
from mach.verifier.comparison import EndpointComparison
from mach.verifier.conclusion import VerdictDesk
from mach.verifier.connecting import check_endpoints, connect_endpoints
from mach.verifier.dispatcher import AlertDispatcher
from mach.verifier.examination import BlockExaminer
from mach.verifier.follower import ChainFollower, FollowerSettings
from mach.verifier.labelled_heads import LabelledHeads
from mach.verifier.lag import LagWatch
from mach.verifier.metrics import VerifierMetrics
from mach.verifier.output_duty import OutputDuty
from mach.verifier.progress import Progress
from mach.verifier.readiness import VerifierReadiness
from mach.verifier.verdict_api import start_verdict_api
from mach.verifier.verdict_feed import VerdictFeed

if TYPE_CHECKING:
    from mach.config.verifier import VerifierConfig

log = structlog.get_logger()


async def run_verifier(config: VerifierConfig) -> None:
    """Verifies until cancelled. Raises a `MachError` when the configuration does not fit the nodes."""
    chain_config = read_chain_config(config.l2_chain_config, "l2_chain_config", config.layer2_chain_id)
    canary_profile = read_profile(config.canary_profile)
    metrics = VerifierMetrics()
    async with AsyncExitStack() as stack:
        endpoints = await connect_endpoints(config, stack, metrics)
        await check_endpoints(endpoints, config.layer2_chain_id)
        database = await open_database(config.database_url, "verifier")
        stack.push_async_callback(database.close)
        await claim_database(database, config.layer2_chain_id)
        verdicts, chain = VerdictLog(database), ChainRecord(database)
        dispatcher = AlertDispatcher(verdicts, config.operators, timeout_s=config.operator_timeout_s)
        desk = VerdictDesk(verdicts, dispatcher, metrics, VerdictFeed())
        examiner = BlockExaminer(chain_config, metrics)
        progress = Progress()
        follower = ChainFollower(
            endpoints,
            examiner,
            desk,
            chain,
            progress,
            metrics,
            FollowerSettings(
                config.start_block, config.start_parent_hash, config.poll_interval_s, config.max_blocks_in_flight
            ),
        )
        heads = HeadWatch(
            endpoints,
            config.l2_ws_url or [web_socket_form(url) for url in config.l2_rpc_url],
            chain_id=config.layer2_chain_id,
            poll_interval_s=config.poll_interval_s,
        )
        labels = LabelledHeads(
            endpoints, verdicts, chain, follower, metrics, poll_interval_s=config.label_poll_interval_s
        )
        lag = LagWatch(endpoints, progress, metrics, max_lag_s=config.max_lag_s)
        if config.metrics_ip_port_address is not None:
            address = config.metrics_ip_port_address
            page = status_page(metrics.registry, VerifierReadiness(database, endpoints, lag))
            runner, _ = await start_site(page, address.host, address.port)
            stack.push_async_callback(runner.cleanup)
        outputs = OutputDuty(config, database, dispatcher, endpoints, metrics)
        await outputs.check()
        canary = Canary(
            config.canary_targets,
            canary_profile,
            AnswerChecks(
                endpoints,
                verdicts,
                chain,
                progress,
                chain_id=config.layer2_chain_id,
                settle_s=config.canary_settle_s,
            ),
            verdicts,
            CanaryLog(database),
            dispatcher,
            progress,
            CanaryMetrics(metrics.registry),
            interval_s=config.canary_interval_s,
        )
        await start_verdict_api(stack, config, database, verdicts)
        log.info(
            "verifier.started",
            l2=[without_credentials(url) for url in config.l2_rpc_url],
            chain_id=config.layer2_chain_id,
            operators=[without_credentials(url) for url in config.operators],
        )
        async with asyncio.TaskGroup() as group:
            for part in (dispatcher, heads, follower, labels, lag, outputs, canary):
                group.create_task(part.run())
            if len(endpoints.endpoints) > 1:
                for endpoint in endpoints.endpoints:
                    comparison = EndpointComparison(
                        endpoint,
                        endpoints,
                        examiner,
                        desk,
                        chain,
                        progress,
                        metrics,
                        poll_interval_s=config.poll_interval_s,
                    )
                    group.create_task(comparison.run())
