"""The accounts that hold ether on the devnet's L2. Their keys are public knowledge: never use them anywhere else."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from eth_account import Account

from mach.protocol.hashing import keccak256

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

TRAFFIC_ACCOUNTS: Final = 4

DEVELOPER_ADDRESSES: Final = (
    "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
)
"""The first accounts of the mnemonic that every Ethereum development tool knows ("test test … junk")."""


@cache
def traffic_accounts() -> tuple[LocalAccount, ...]:
    """The accounts that the devnet's own traffic is sent from."""
    return tuple(
        Account.from_key(keccak256(b"mach devnet traffic account" + bytes([index])))
        for index in range(TRAFFIC_ACCOUNTS)
    )


FUNDED_ADDRESSES: Final[tuple[str, ...]] = (
    *DEVELOPER_ADDRESSES,
    *(account.address for account in traffic_accounts()),
)
"""Who holds ether at genesis."""
