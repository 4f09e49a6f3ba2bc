"""The genesis of the devnet's Ethereum L2: every fork through Osaka active from block 0, as proof of stake.

The system contracts come out of geth itself: its developer genesis holds them. That genesis cannot be taken as it is,
for it sets forks that are not on any network yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mach.devnet.geth import GETH
from mach.devnet.l2_genesis import FUNDED_BALANCE_WEI, GAS_LIMIT, L2_CHAIN_ID, Genesis, dump_genesis

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

WITHDRAWAL_REQUESTS: Final = "00000961ef480eb55e80d19ad83579a64c007002"
"""EIP-7002's contract."""
CONSOLIDATION_REQUESTS: Final = "0000bbddc7ce488642fb579f8b00f3a590007251"
"""EIP-7251's contract."""

_KEPT: Final = (
    WITHDRAWAL_REQUESTS,
    CONSOLIDATION_REQUESTS,
    "0000f90827f1c53a10cb7a02335b175320002935",  # EIP-2935, ancestors' hashes
    "000f3df6d732807ef1319fb7b8bb8522d0beac02",  # EIP-4788, beacon roots
)
_BLOB_SCHEDULE: Final = {
    "cancun": {"target": 3, "max": 6, "baseFeeUpdateFraction": 3_338_477},
    "prague": {"target": 6, "max": 9, "baseFeeUpdateFraction": 5_007_716},
    "osaka": {"target": 6, "max": 9, "baseFeeUpdateFraction": 5_007_716},
}
"""EIP-7840's values on the main network."""


def chain_config(chain_id: int = L2_CHAIN_ID) -> dict[str, Any]:
    """The `config` object: all forks from block or time 0 through Osaka."""
    blocks = (
        *("homestead", "eip150", "eip155", "eip158", "byzantium", "constantinople", "petersburg", "istanbul"),
        *("muirGlacier", "berlin", "london", "arrowGlacier", "grayGlacier", "mergeNetsplit"),
    )
    return {
        "chainId": chain_id,
        **{f"{name}Block": 0 for name in blocks},
        **{f"{name}Time": 0 for name in ("shanghai", "cancun", "prague", "osaka")},
        "terminalTotalDifficulty": 0,
        "blobSchedule": _BLOB_SCHEDULE,
    }


def build_genesis(geth: Path, funded: Iterable[str], *, timestamp: int, chain_id: int = L2_CHAIN_ID) -> Genesis:
    """The devnet's genesis, with `FUNDED_BALANCE_WEI` for each address in `funded` (hex, with or without 0x).

    Raises:
        NodeUnavailableError: geth does not give its developer genesis.
    """
    template = dump_genesis(GETH, geth, "--dev", lambda genesis: [genesis["alloc"][address] for address in _KEPT])
    allocation = {address: template["alloc"][address] for address in _KEPT}
    for address in funded:
        allocation[address.removeprefix("0x").lower()] = {"balance": hex(FUNDED_BALANCE_WEI)}
    return {
        "config": chain_config(chain_id),
        "nonce": "0x0",
        "timestamp": hex(timestamp),
        "extraData": "0x",
        "gasLimit": hex(GAS_LIMIT),
        "difficulty": "0x0",
        "mixHash": "0x" + "00" * 32,
        "coinbase": "0x" + "00" * 20,
        "baseFeePerGas": hex(10**9),
        "excessBlobGas": "0x0",
        "blobGasUsed": "0x0",
        "alloc": allocation,
    }
