"""Deploys contracts and proxies in waves: calls that do not depend on each other are simulated and mined together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mach.chain.addresses import checksum_of
from mach.chain.contracts import encode_call, encode_creation
from mach.chain.errors import RequestRefusedError
from mach.chain.json_rpc import RpcCall, call, hex_bytes
from mach.chain.transaction import Call

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mach.chain.sender import TransactionSender
    from mach.chain.transaction import Receipt


_ADMIN_SLOT = 0xB53127684A568B3173AE13B9F8A6016E243E63B6E8EE1178D6A717850B5D6103
"""Where a proxy keeps its admin: `keccak256("eip1967.proxy.admin") - 1` (ERC-1967)."""


class ContractDeployer:
    """Creates, upgrades and calls contracts by name from the sender's account; every receipt is checked.

    All methods raise the sender's errors; a revert names the contract, the step and the decoded reason.
    """

    def __init__(self, sender: TransactionSender) -> None:
        self._sender = sender

    def encode(self, name: str, function: str, *arguments: Any) -> bytes:
        """Calldata for `function` of contract `name`."""
        return encode_call(self._sender.w3, name, function, *arguments)

    async def create_all(self, *creations: tuple[Any, ...]) -> list[str]:
        """Creates contracts that do not depend on each other, each given as (name, constructor arguments…).

        Returns their addresses in the same order.
        """
        receipts = await self._sender.send_all(
            [
                Call(None, encode_creation(self._sender.w3, name, *arguments), f"deploy {name}")
                for name, *arguments in creations
            ]
        )
        return [_created(receipt) for receipt in receipts]

    async def proxy_admin_of(self, proxy: str) -> str:
        """The admin of a proxy, out of its ERC-1967 admin slot."""
        asked: RpcCall[bytes] = RpcCall(
            "eth_getStorageAt", (proxy, hex(_ADMIN_SLOT), "latest"), lambda value: hex_bytes(value, 32)
        )
        return checksum_of((await call(self._sender.w3, asked, f"read the admin of proxy {proxy}"))[-20:])

    async def upgrade_all(self, proxy_admin: str, *upgrades: tuple[str, str, bytes]) -> None:
        """Points proxies at implementations, each given as (proxy, implementation, initializer calldata or b"")."""
        calls = []
        for proxy, implementation, initializer in upgrades:
            if initializer:
                data = self.encode("ProxyAdmin", "upgradeAndCall", proxy, implementation, initializer)
            else:
                data = self.encode("ProxyAdmin", "upgrade", proxy, implementation)
            calls.append(Call(proxy_admin, data, f"upgrade proxy {proxy}"))
        await self._sender.send_all(calls)

    async def call(self, name: str, address: str, function: str, *arguments: Any) -> Receipt:
        """Sends one call of `function` to the contract `name` at `address`."""
        return await self._sender.send(
            Call(address, self.encode(name, function, *arguments), f"call {name}.{function}")
        )

    async def call_all(self, calls: Iterable[tuple[Any, ...]]) -> list[Receipt]:
        """Sends calls that do not depend on each other, each given as (name, address, function, arguments…)."""
        return await self._sender.send_all(
            [
                Call(address, self.encode(name, function, *arguments), f"call {name}.{function}")
                for name, address, function, *arguments in calls
            ]
        )


def _created(receipt: Receipt) -> str:
    if receipt.contract_address is None:
        raise RequestRefusedError(
            f"the receipt of 0x{receipt.transaction_hash.hex()} names no contract address: use another L1 node"
        )
    return receipt.contract_address
