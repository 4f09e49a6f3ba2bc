"""`machavs_deploy_output.json`: the addresses of one Mach deployment, in the original's form.

The original's deployment script writes one flat JSON object of addresses with the text `"machAVS deployment output"`
under the key `object`, and its tools read the keys they know. Ours stand beside them under further keys.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, Self

from mach.chain.addresses import checksum_address
from mach.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

_OBJECT: Final = "machAVS deployment output"

_ADDRESS_KEYS: Final = {
    "mach_service_manager": "machServiceManager",
    "mach_avs_proxy_admin": "machAVSProxyAdmin",
    "registry_coordinator": "registryCoordinator",
    "stake_registry": "stakeRegistry",
    "apk_registry": "apkRegistry",
    "index_registry": "indexRegistry",
    "operator_state_retriever": "operatorStateRetriever",
    "pauser_registry": "pauserRegistry",
}
_OPTIONAL_ADDRESS_KEYS: Final = {
    "mach_service_manager_registry": "machServiceManagerRegistry",
    "mach_service_manager_proxy_admin": "machServiceManagerProxyAdmin",
    "delegation_manager": "delegationManager",
    "strategy_manager": "strategyManager",
    "avs_directory": "avsDirectory",
    "strategy": "strategy",
    "token": "token",
}
_OPTIONAL_NUMBER_KEYS: Final = {
    "deployment_block": "deploymentBlock",
    "settlement_chain_id": "settlementChainId",
}


class DeployOutputError(ConfigurationError):
    """The deployment file is missing, malformed, or lacks a value that is needed."""


@dataclass(frozen=True, slots=True)
class DeployOutput:
    """Where the contracts of one deployment stand; addresses in checksum form.

    The optional fields are ours: None when the file comes from the original's script. `deployment_block` is the L1
    block before the first contract (event scans start there), `strategy` and `token` the first restakeable strategy
    and what it takes.
    """

    mach_service_manager: str
    mach_avs_proxy_admin: str
    registry_coordinator: str
    stake_registry: str
    apk_registry: str
    index_registry: str
    operator_state_retriever: str
    pauser_registry: str
    mach_service_manager_registry: str | None = None
    mach_service_manager_proxy_admin: str | None = None
    delegation_manager: str | None = None
    strategy_manager: str | None = None
    avs_directory: str | None = None
    strategy: str | None = None
    token: str | None = None
    deployment_block: int | None = None
    settlement_chain_id: int | None = None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a deployment file of ours or of the original. Raises `DeployOutputError` that names the key."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DeployOutputError(
                f"deployment file {path} is not there: run `mach deploy --output {path}` or give the right path"
            ) from error
        except (OSError, ValueError) as error:
            raise DeployOutputError(f"deployment file {path} cannot be read: {error}") from error
        if not isinstance(content, dict):
            raise DeployOutputError(f"deployment file {path} must hold one JSON object of addresses")
        values: dict[str, Any] = {
            field: _address(path, content, key, required=True) for field, key in _ADDRESS_KEYS.items()
        }
        values |= {field: _address(path, content, key) for field, key in _OPTIONAL_ADDRESS_KEYS.items()}
        values |= {field: _number(path, content, key) for field, key in _OPTIONAL_NUMBER_KEYS.items()}
        return cls(**values)

    def with_overrides(self, **addresses: str | None) -> Self:
        """The same deployment with those of the given addresses that are not None."""
        given: dict[str, Any] = {
            field: checksum_address(address) for field, address in addresses.items() if address is not None
        }
        return replace(self, **given)

    def to_json(self) -> dict[str, Any]:
        """The file's content; absent optional values are left out."""
        keys = _ADDRESS_KEYS | _OPTIONAL_ADDRESS_KEYS | _OPTIONAL_NUMBER_KEYS
        values = {keys[field.name]: getattr(self, field.name) for field in fields(self)}
        return {"object": _OBJECT} | {key: value for key, value in values.items() if value is not None}

    def write(self, path: Path) -> None:
        """Writes the file atomically; folders on the way are made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(self.to_json(), indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)

    def require(self, field: str) -> str:
        """The optional address `field`, or `DeployOutputError` that names its key."""
        value = getattr(self, field)
        if value is None:
            raise DeployOutputError(
                f"the deployment file has no {_OPTIONAL_ADDRESS_KEYS[field]}: add the address to it, "
                f"or deploy with `mach deploy`"
            )
        return str(value)


def _address(path: Path, content: dict[str, Any], key: str, *, required: bool = False) -> str | None:
    value = content.get(key)
    if value is None and not required:
        return None
    if value is None:
        raise DeployOutputError(f"deployment file {path} lacks {key}: deploy anew or add the address")
    try:
        return checksum_address(value)
    except ValueError as error:
        raise DeployOutputError(f"{key} in deployment file {path} is {value!r}: {error}") from error


def _number(path: Path, content: dict[str, Any], key: str) -> int | None:
    value = content.get(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise DeployOutputError(f"{key} in deployment file {path} is {value!r}, not a number of 0 or more")
