"""The account that confirms alerts: loaded from its one source, and checked against the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mach.errors import ConfigurationError, EnvironmentFaultError
from mach.keys import ecdsa_key_from_bytes, load_ecdsa_keystore, parse_private_key, resolve_password

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from mach.chain.service_manager import ServiceManager
    from mach.config.aggregator import AggregatorConfig


def load_account(config: AggregatorConfig) -> LocalAccount:
    """The account that confirms alerts, from whichever one source the settings name."""
    sources = {
        "ecdsa_private_key": config.ecdsa_private_key,
        "ecdsa_private_key_file": config.ecdsa_private_key_file,
        "ecdsa_keystore_path": config.ecdsa_keystore_path,
    }
    given = [name for name, value in sources.items() if value is not None]
    if len(given) != 1:
        told = f"{' and '.join(f'`{name}`' for name in given)} are given" if given else "none is given"
        raise ConfigurationError(
            f"the confirmer's key must come from one of `ecdsa_keystore_path`, `ecdsa_private_key_file` or "
            f"`ecdsa_private_key`: {told}"
        )
    if config.ecdsa_keystore_path is not None:
        if config.ecdsa_keystore_password_file is None and config.ecdsa_keystore_password is not None:
            password = config.ecdsa_keystore_password.get_secret_value()
        else:
            password = resolve_password(
                file=config.ecdsa_keystore_password_file, env="ECDSA_KEYSTORE_PASSWORD", prompt="Keystore password"
            )
        return load_ecdsa_keystore(config.ecdsa_keystore_path, password)
    if config.ecdsa_private_key_file is not None:
        try:
            text = config.ecdsa_private_key_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"`ecdsa_private_key_file` {config.ecdsa_private_key_file} cannot be read: "
                f"{getattr(error, 'strerror', None) or 'it is not text'}; name a file that holds the key in hex"
            ) from None
        return ecdsa_key_from_bytes(parse_private_key(text))
    text = config.ecdsa_private_key.get_secret_value() if config.ecdsa_private_key is not None else ""
    return ecdsa_key_from_bytes(parse_private_key(text))


async def check_contract(service_manager: ServiceManager, account: LocalAccount, config: AggregatorConfig) -> int:
    """The contract's threshold in percent, after checking that it will take alerts of this rollup from this account."""
    await service_manager.check()
    if not await service_manager.serves_rollup(config.layer2_chain_id):
        raise EnvironmentFaultError(
            f"MachServiceManager {service_manager.address} takes no alerts of rollup {config.layer2_chain_id}; "
            f"correct `layer2_chain_id`, or have its owner call setRollupChainID"
        )
    confirmer = await service_manager.alert_confirmer()
    if confirmer != account.address:
        raise EnvironmentFaultError(
            f"MachServiceManager {service_manager.address} takes alerts from {confirmer} only, the given key is of "
            f"{account.address}; use the confirmer's key, or have the owner call setConfirmer"
        )
    return await service_manager.quorum_threshold_percentage()
