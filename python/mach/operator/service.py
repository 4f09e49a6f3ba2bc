"""`mach-operator-signer` put together: keys, checks against L1, outbox, servers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import structlog

from mach.chain.connection import connection
from mach.chain.deploy_output import DeployOutput
from mach.chain.operators import RegistrationStatus, operator_status
from mach.errors import ConfigurationError, EnvironmentFaultError
from mach.keys import load_bls_keystore, load_ecdsa_keystore, resolve_password
from mach.operator.aggregators import connect_to_aggregators
from mach.operator.confirmations import Confirmations
from mach.operator.metrics import OperatorMetrics
from mach.operator.node_api import node_api
from mach.operator.rpc import OperatorMethods
from mach.operator.signer import AlertSigner
from mach.operator.verdict_sources import verdict_source
from mach.storage.database import open_database
from mach.storage.outbox import Outbox
from mach.transport.backoff import Backoff
from mach.transport.jsonrpc import OPERATOR_DIALECT, JsonRpcServer
from mach.transport.jsonrpc_client import PeerRefusedError, PeerUnavailableError
from mach.transport.listening import start_site
from mach.transport.metrics_page import metrics_page
from mach.transport.urls import without_credentials

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import web
    from eth_account.signers.local import LocalAccount
    from pydantic import SecretStr

    from mach.bls import SecretKey
    from mach.config.operator import OperatorConfig
    from mach.config.values import ListenAddress
    from mach.operator.aggregators import AggregatorReplicas

log = structlog.get_logger()

CALL_MARGIN_S = 5.0
"""How much longer a call may take than it waits for the aggregator."""


async def run_operator(config: OperatorConfig) -> None:
    """Signs until cancelled. Raises a `MachError` when keys, chain or registration are not as configured."""
    account, secret_key = await asyncio.to_thread(load_keys, config)
    source = verdict_source(config)
    deployment = deployment_of(config)
    await check_registration(config, deployment, account.address, secret_key)
    metrics = OperatorMetrics(config.avs_name)
    async with AsyncExitStack() as stack:
        database = await open_database(config.database_url, "operator")
        stack.push_async_callback(database.close)
        aggregator = await stack.enter_async_context(connect_to_aggregators(config))
        if source is not None:
            await stack.enter_async_context(source)
        outbox = Outbox(database)
        confirmations = Confirmations(
            outbox,
            source,
            metrics,
            sign_agreement=config.sign_agreement,
            recheck_s=config.verdict_recheck_s,
            expiry_s=config.unconfirmed_expiry_s,
            max_unconfirmed=config.max_unconfirmed_alerts,
            max_pending=config.max_pending_alerts,
        )
        signer = AlertSigner(
            outbox,
            confirmations,
            secret_key,
            aggregator,
            metrics,
            rollup_chain_id=config.layer2_chain_id if config.signature_scheme == "mach-v2" else None,
            max_pending=config.max_pending_alerts,
        )
        methods = OperatorMethods(
            signer,
            avs_name=config.avs_name,
            submit_deadline_s=config.submit_deadline_s,
            public_settings={
                "avs_name": config.avs_name,
                "layer1_chain_id": config.layer1_chain_id,
                "layer2_chain_id": config.layer2_chain_id,
                "operator_address": account.address,
                "operator_id": "0x" + secret_key.public_key_g1.operator_id.hex(),
                "service_manager": deployment.mach_service_manager,
                "registry_coordinator": deployment.registry_coordinator,
                "signature_scheme": config.signature_scheme,
                "trust_alerts": config.trust_alerts,
                "sign_agreement": config.sign_agreement,
            },
        )
        server = JsonRpcServer(
            methods.table(),
            OPERATOR_DIALECT,
            deadline_s=config.submit_deadline_s + CALL_MARGIN_S,
            paths=("/", f"/{config.avs_name}"),
            observer=metrics.request,
        )
        await server.start(config.operator_server_ip_port_addr.host, config.operator_server_ip_port_addr.port)
        stack.push_async_callback(server.stop)
        if config.enable_node_api:
            await _serve(stack, node_api(config.avs_name, signer, confirmations), config.node_api_ip_port_address)
        if config.enable_metrics:
            await _serve(stack, metrics_page(metrics.registry), config.eigen_metrics_ip_port_address)
        log.info(
            "operator.started",
            address=account.address,
            operator_id="0x" + secret_key.public_key_g1.operator_id.hex(),
            port=server.port,
            aggregator=[without_credentials(url) for url in config.aggregator_jsonrpc_server_ip_port_address],
            verdicts=None if source is None else source.name,
        )
        metrics.trusts_alerts.set(source is None)
        if source is None:
            log.warning(
                "operator.trusts_alerts",
                danger="trust_alerts is on: whoever reaches the alert port has this operator sign any alert",
                remedy="set trust_alerts to false and name the operator's own verifier",
            )
        async with asyncio.TaskGroup() as group:
            group.create_task(signer.run())
            group.create_task(confirmations.run(signer.wake))
            group.create_task(introduce(signer, aggregator, config, deployment, account.address, secret_key))


async def _serve(stack: AsyncExitStack, app: web.Application, address: ListenAddress) -> None:
    runner, _ = await start_site(app, address.host, address.port)
    stack.push_async_callback(runner.cleanup)


def load_keys(config: OperatorConfig) -> tuple[LocalAccount, SecretKey]:
    """The operator's ECDSA account and BLS key from their keystores."""
    account = load_ecdsa_keystore(
        config.ecdsa_private_key_store_path,
        password_of(
            config.operator_ecdsa_key_password, config.operator_ecdsa_key_password_file, "OPERATOR_ECDSA_KEY_PASSWORD"
        ),
    )
    wanted = config.operator_ecdsa_address
    if wanted is not None and account.address.lower() != wanted:
        raise ConfigurationError(
            f"`operator_ecdsa_address` is {wanted}, the keystore {config.ecdsa_private_key_store_path} holds "
            f"{account.address}; correct one of them"
        )
    secret_key = load_bls_keystore(
        config.bls_private_key_store_path,
        password_of(
            config.operator_bls_key_password, config.operator_bls_key_password_file, "OPERATOR_BLS_KEY_PASSWORD"
        ),
    )
    return account, secret_key


def password_of(value: SecretStr | None, file: Path | None, env: str) -> str:
    """A keystore's password: from the settings' file or value (environment included), else from a terminal."""
    if file is None and value is not None:
        return value.get_secret_value()
    return resolve_password(file=file, env=env, prompt=f"Password ({env})")


def deployment_of(config: OperatorConfig) -> DeployOutput:
    """The deployment file, with the addresses that the settings override."""
    return DeployOutput.read(config.avs_deployment).with_overrides(
        registry_coordinator=config.avs_registry_coordinator_address,
        operator_state_retriever=config.operator_state_retriever_address,
    )


async def check_registration(
    config: OperatorConfig, deployment: DeployOutput, address: str, secret_key: SecretKey
) -> None:
    """Raises unless L1 is the configured chain and knows this operator by this BLS key."""
    async with connection(config.eth_rpc_url, config.layer1_chain_id) as w3:
        status = await operator_status(w3, deployment, address)
    if status.avs_status is not RegistrationStatus.REGISTERED:
        raise EnvironmentFaultError(
            f"operator {address} is not registered with the AVS at {deployment.registry_coordinator} "
            f"({status.avs_status.name.lower()}); run `mach operator register-with-avs --config …`"
        )
    operator_id = secret_key.public_key_g1.operator_id
    if status.operator_id != operator_id:
        raise EnvironmentFaultError(
            f"operator {address} is registered with another BLS key (id 0x{(status.operator_id or b'').hex()}) than "
            f"{config.bls_private_key_store_path} holds (id 0x{operator_id.hex()}); use the registered key"
        )


async def introduce(
    signer: AlertSigner,
    aggregator: AggregatorReplicas,
    config: OperatorConfig,
    deployment: DeployOutput,
    address: str,
    secret_key: SecretKey,
) -> None:
    """Compares settings with the aggregator once it can be reached: a mismatch would make every signature useless."""
    backoff = Backoff(first_s=1.0)
    while True:
        try:
            answer = await aggregator.call(
                "aggregator_initOperator",
                config.layer1_chain_id,
                config.layer2_chain_id,
                "0x" + secret_key.public_key_g1.operator_id.hex(),
                address,
                deployment.operator_state_retriever,
                deployment.registry_coordinator,
            )
        except PeerUnavailableError as error:
            log.warning("aggregator.away", problem=str(error))
            await asyncio.sleep(backoff.next_delay_s())
            continue
        except PeerRefusedError as error:
            log.error("aggregator.refuses_operator", problem=str(error))
            return
        signer.note_reachable()
        if isinstance(answer, dict) and answer.get("ok") is True:
            log.info("aggregator.agrees")
        else:
            reason = answer.get("reason") if isinstance(answer, dict) else answer
            log.error("aggregator.disagrees", reason=str(reason)[:300])
        return
