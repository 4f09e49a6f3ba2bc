"""The genesis of the devnet's OP Stack L2: a chain with every fork through Jovian active from block 0.

The predeploys come out of op-geth itself (its registry holds the genesis of Unichain Sepolia), so no contract code is
kept in this repository but the two that the template lacks: the EIP-2935 history contract, without which op-geth's
witnesses leave out that account's path, and an L1Block that knows Jovian's setter.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mach.devnet.contracts import l1_block_code
from mach.devnet.node_builds import NodeUnavailableError, cache_directory
from mach.devnet.op_geth import OP_GETH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from mach.devnet.node_builds import NodeBuild

L2_CHAIN_ID: Final = 901
GENESIS_FILE: Final = "genesis.json"
CHAIN_CONFIG_FILE: Final = "l2-chain-config.json"

GAS_LIMIT: Final = 60_000_000
EIP1559_DENOMINATOR: Final = 250
EIP1559_ELASTICITY: Final = 6
FUNDED_BALANCE_WEI: Final = 10_000 * 10**18

_TEMPLATE_NETWORK: Final = "unichain-sepolia"
_DUMP_DEADLINE_S: Final = 60.0

# Of the 2,048 proxies in the predeploy namespace only the first few have, or may get, an implementation. The rest would
# make every genesis 9 MB and three times slower to load.
_PROXY_NAMESPACE: Final = "420000000000000000000000000000000000"
_PROXIES_KEPT: Final = 0x100

_L1_BLOCK: Final = "4200000000000000000000000000000000000015"
# keccak256("eip1967.proxy.implementation") - 1
_IMPLEMENTATION_SLOT: Final = "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"
_JOVIAN_L1_BLOCK: Final = "c0d3c0d3c0d3c0d3c0d3c0d3c0d3c0d3c0d3ff15"

# EIP-2935: the address and the runtime code of the history contract.
_HISTORY_ADDRESS: Final = "0000f90827f1c53a10cb7a02335b175320002935"
_HISTORY_CODE: Final = (
    "0x3373fffffffffffffffffffffffffffffffffffffffe14604657602036036042575f35600143038111604257611fff8143031160425761"
    "1fff9006545f5260205ff35b5f5ffd5b5f35611fff60014303065500"
)

Genesis = dict[str, Any]
"""A genesis file as geth reads it."""


@dataclass(frozen=True)
class GenesisFiles:
    """Where the genesis and its `config` object, which a verifier reads, were written."""

    genesis: Path
    chain_config: Path


def chain_config(chain_id: int = L2_CHAIN_ID) -> dict[str, Any]:
    """The `config` object: all forks from block or time 0 through Jovian (the Ethereum side: Prague)."""
    blocks = (
        "homestead",
        "eip150",
        "eip155",
        "eip158",
        "byzantium",
        "constantinople",
        "petersburg",
        "istanbul",
        "muirGlacier",
        "berlin",
        "london",
        "arrowGlacier",
        "grayGlacier",
        "mergeNetsplit",
        "bedrock",
    )
    times = (
        "shanghai",
        "cancun",
        "prague",
        "regolith",
        "canyon",
        "ecotone",
        "fjord",
        "granite",
        "holocene",
        "isthmus",
        "jovian",
    )
    return {
        "chainId": chain_id,
        **{f"{name}Block": 0 for name in blocks},
        **{f"{name}Time": 0 for name in times},
        "terminalTotalDifficulty": 0,
        "optimism": {
            "eip1559Elasticity": EIP1559_ELASTICITY,
            "eip1559Denominator": 50,
            "eip1559DenominatorCanyon": EIP1559_DENOMINATOR,
        },
    }


def build_genesis(op_geth: Path, funded: Iterable[str], *, timestamp: int, chain_id: int = L2_CHAIN_ID) -> Genesis:
    """The devnet's genesis, with `FUNDED_BALANCE_WEI` for each address in `funded` (hex, with or without 0x).

    Blocks for a fraction of a second, the first time with a new cache for longer.

    Raises:
        NodeUnavailableError: op-geth does not give its template genesis.
    """
    allocation = _template_allocation(op_geth)
    allocation[_HISTORY_ADDRESS] = {"balance": "0x0", "nonce": "0x1", "code": _HISTORY_CODE}
    allocation[_JOVIAN_L1_BLOCK] = {"balance": "0x0", "nonce": "0x1", "code": "0x" + l1_block_code().hex()}
    allocation[_L1_BLOCK]["storage"][_IMPLEMENTATION_SLOT] = "0x" + _JOVIAN_L1_BLOCK.rjust(64, "0")
    for address in funded:
        key = address.removeprefix("0x").lower()
        allocation[key] = {**allocation.get(key, {}), "balance": hex(FUNDED_BALANCE_WEI)}
    return {
        "config": chain_config(chain_id),
        "nonce": "0x0",
        "timestamp": hex(timestamp),
        # Jovian: version 1, denominator and elasticity of EIP-1559 (4 bytes each), minimum base fee (8 bytes).
        "extraData": f"0x01{EIP1559_DENOMINATOR:08x}{EIP1559_ELASTICITY:08x}{0:016x}",
        "gasLimit": hex(GAS_LIMIT),
        "difficulty": "0x0",
        "mixHash": "0x" + "00" * 32,
        "coinbase": "0x4200000000000000000000000000000000000011",
        "baseFeePerGas": hex(10**9),
        "excessBlobGas": "0x0",
        "blobGasUsed": "0x0",
        "alloc": allocation,
    }


def write_genesis(genesis: Genesis, genesis_folder: Path, config_folder: Path) -> GenesisFiles:
    """Writes `genesis.json` into one folder and `l2-chain-config.json` into the other, each in one step."""
    files = GenesisFiles(genesis_folder / GENESIS_FILE, write_chain_config(genesis["config"], config_folder))
    _write_json(files.genesis, genesis)
    return files


def write_chain_config(config: dict[str, Any], folder: Path) -> Path:
    """Writes a genesis's `config` object to `l2-chain-config.json` in `folder`, in one step; returns its path."""
    path = folder / CHAIN_CONFIG_FILE
    _write_json(path, config)
    return path


def _template_allocation(op_geth: Path) -> dict[str, Any]:
    """The template's accounts without the unused proxies, out of the cache if they are there."""
    cached = cache_directory() / "genesis" / f"{_TEMPLATE_NETWORK}-{OP_GETH.name}-{OP_GETH.version}.json"
    try:
        allocation: dict[str, Any] = json.loads(cached.read_bytes())
    except (OSError, ValueError):
        allocation = {
            address: account
            for address, account in _dump_template(op_geth)["alloc"].items()
            if not (address.startswith(_PROXY_NAMESPACE) and int(address[-4:], 16) >= _PROXIES_KEPT)
        }
        _write_json(cached, allocation)
    return allocation


def _dump_template(op_geth: Path) -> Genesis:
    # A template without it is no template.
    return dump_genesis(
        OP_GETH, op_geth, f"--op-network={_TEMPLATE_NETWORK}", lambda genesis: genesis["alloc"][_L1_BLOCK]["storage"]
    )


def dump_genesis(node: NodeBuild, binary: Path, flag: str, needed: Callable[[Genesis], object]) -> Genesis:
    """The genesis that a node's `dumpgenesis` prints under a flag; `needed` reads what it must hold.

    Raises:
        NodeUnavailableError: it prints none, or one that lacks that.
    """
    command = [str(binary), flag, "dumpgenesis"]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command line, no shell
            command, capture_output=True, timeout=_DUMP_DEADLINE_S, check=True
        )
        genesis: Genesis = json.loads(done.stdout)
        needed(genesis)
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        raise NodeUnavailableError(
            f"`{' '.join(command)}` gives no genesis ({error!r}): is {binary} {node.name} {node.version}?"
        ) from error
    return genesis


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(value))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
