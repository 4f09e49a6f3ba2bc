"""`mach-aggregator` put together: key, chain, database, intake, submitter, read API."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import structlog

from mach.aggregator.account import check_contract, load_account
from mach.aggregator.intake_settings import intake_settings
from mach.aggregator.l1_feed import L1Feed
from mach.aggregator.metrics import AggregatorMetrics
from mach.aggregator.read_api import read_api
from mach.aggregator.readiness import AggregatorReadiness
from mach.aggregator.recorder import BatchRecorder
from mach.aggregator.replica_sync import ReplicaSync
from mach.aggregator.submitter import AlertSubmitter, SubmitterSettings
from mach.chain.connection import connection
from mach.chain.deploy_output import DeployOutput
from mach.chain.sender import GWEI
from mach.chain.service_manager import ServiceManager
from mach.chain.settlement import Settlement, SettlementSettings
from mach.chain.transaction_tracker import TrackerSettings
from mach.storage.alert_tasks import AlertTaskStore
from mach.storage.announcement_board import AnnouncementBoard
from mach.storage.database import open_database
from mach.storage.task_queries import TaskQueries
from mach.transport.intake import Intake
from mach.transport.listening import start_site

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from mach.chain.connection import L1Client
    from mach.config.aggregator import AggregatorConfig

log = structlog.get_logger()


async def run_aggregator(config: AggregatorConfig) -> None:
    """Aggregates until cancelled. Raises a `MachError` when key, chain or contracts are not as configured."""
    account = await asyncio.to_thread(load_account, config)
    deployment = DeployOutput.read(config.avs_deployment).with_overrides(
        registry_coordinator=config.avs_registry_coordinator_address,
        operator_state_retriever=config.operator_state_retriever_address,
    )
    metrics = AggregatorMetrics()
    async with AsyncExitStack() as stack:
        w3 = await stack.enter_async_context(connection(config.eth_rpc_url, config.layer1_chain_id))
        threshold = await check_contract(ServiceManager(w3, deployment), account, config)
        thresholds = bytes([threshold] * len(config.quorum_nums))
        database = await open_database(config.database_url, "aggregator")
        stack.push_async_callback(database.close)
        shared = database.dialect == "postgresql"
        store = AlertTaskStore(database, shared=shared)
        settlement = build_settlement(config, deployment, account, w3)
        await settlement.start()
        intake = Intake(intake_settings(config, deployment, thresholds, shared=shared))
        stack.callback(intake.stop)
        metrics.follow(intake, settlement)
        feed = L1Feed(settlement, intake)
        feed.follow()
        sync = ReplicaSync(database, store, feed, intake)
        live = await sync.restore()
        submitter = AlertSubmitter(
            database,
            store,
            settlement,
            metrics,
            SubmitterSettings(
                holder=f"{socket.gethostname()}:{os.getpid()}",
                rollup_chain_id=config.layer2_chain_id,
                late_signature_window_s=config.late_signature_window_s,
                task_expiry_s=config.task_expiry_s,
                task_expiry_blocks=config.task_expiry_blocks,
            ),
        )
        recorder = BatchRecorder(
            intake,
            store,
            AnnouncementBoard(database, config.max_open_tasks) if shared else None,
            feed,
            sync,
            bytes(config.quorum_nums),
            thresholds,
            submitter.notice_quorum,
            submitter.notice_signatures,
        )
        await recorder.reserve_indices()
        ports = await asyncio.to_thread(intake.start)
        if config.metrics_ip_port_address is not None:
            address = config.metrics_ip_port_address
            api = read_api(TaskQueries(database), metrics.registry, AggregatorReadiness(database, settlement))
            runner, _ = await start_site(api, address.host, address.port)
            stack.push_async_callback(runner.cleanup)
        log.info(
            "aggregator.started",
            address=account.address,
            service_manager=deployment.mach_service_manager,
            port=ports.jsonrpc,
            grpc_port=ports.grpc,
            net_rpc_port=ports.net_rpc,
            threshold_percentage=threshold,
            live_tasks=live,
            shared=shared,
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(settlement.run())
            group.create_task(recorder.run())
            group.create_task(sync.run())
            group.create_task(submitter.run())
            group.create_task(metrics.count_forever(store))


def build_settlement(
    config: AggregatorConfig, deployment: DeployOutput, account: LocalAccount, w3: L1Client
) -> Settlement:
    """The L1 as the settings describe it; nothing is asked yet."""
    return Settlement.build(
        w3,
        deployment,
        account,
        SettlementSettings(
            quorum_numbers=bytes(config.quorum_nums),
            rollup_chain_id=config.layer2_chain_id,
            layer1_chain_id=config.layer1_chain_id,
            poll_interval_s=config.l1_poll_interval_s,
            fee_cap_wei=int(config.max_fee_gwei * GWEI),
            tracking=TrackerSettings(confirmations=config.confirmations, resend_after_s=config.resend_after_s),
        ),
    )
