"""The accounts that hold ether on the devnet's L2. Their keys are public knowledge: never use them anywhere else."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

import rlp
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


@cache
def blob_account() -> LocalAccount:
    """The account that sends blobs: a node holds one account's transactions in one pool, and blobs have their own."""
    account: LocalAccount = Account.from_key(keccak256(b"mach devnet blob account"))
    return account


@cache
def traffic_target() -> str:
    """Address (hex) of the contract that most traffic calls: the first that the first traffic account creates."""
    creator = bytes.fromhex(traffic_accounts()[0].address[2:])
    encoded: bytes = rlp.encode([creator, b""])
    return "0x" + keccak256(encoded)[12:].hex()


FUNDED_ADDRESSES: Final[tuple[str, ...]] = (
    *DEVELOPER_ADDRESSES,
    *(account.address for account in (*traffic_accounts(), blob_account())),
)
"""Who holds ether at genesis."""
