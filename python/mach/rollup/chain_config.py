"""A rollup's chain configuration from a file: what verification takes for the chain's rules."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mach.errors import ConfigurationError
from mach.rollup.witness_files import chain_config_of_rollup

if TYPE_CHECKING:
    from pathlib import Path


def read_chain_config(path: Path, setting: str, chain_id: int | None = None) -> str:
    """JSON text of a chain's `config` object, from a file that holds it, a whole genesis, or op-node's rollup config.

    `setting` names for people where the path comes from. Raises `ConfigurationError`, also for a chain id that is not
    `chain_id`.
    """
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(document, dict) and "l2_chain_id" in document:
            document = chain_config_of_rollup(document)
        elif isinstance(document, dict) and isinstance(document.get("config"), dict):
            document = document["config"]
    except FileNotFoundError:
        raise ConfigurationError(f"{setting} {path} does not exist; name the rollup's chain configuration") from None
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(f"{setting} {path} is not a readable chain configuration in JSON: {error}") from None
    found = document.get("chainId") if isinstance(document, dict) else None
    if not isinstance(found, int):
        raise ConfigurationError(
            f"{setting} {path} has no chainId; "
            "give the `config` object of the chain's genesis, or op-node's rollup config"
        )
    if chain_id is not None and found != chain_id:
        raise ConfigurationError(
            f"{setting} {path} is for chain id {found}, layer2_chain_id is {chain_id}; make them agree"
        )
    return json.dumps(document)
