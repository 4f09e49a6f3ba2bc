"""Traffic on the devnet's L2: a bit of everything that a block can hold, the same for the same seed.

Transfers to old and new accounts, contract creations (one of which destroys itself on the way), calls that write and
delete storage so that branches of the trie grow and collapse, logs, precompiles, ancestors' hashes, calls that revert
or run out of gas, every precompile, delegations (EIP-7702); legacy, access-list and dynamic-fee transactions. On the OP
Stack withdrawals; on Ethereum blobs, and requests to the consensus layer.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog
from eth_account import Account

from mach.devnet.accounts import blob_account, traffic_accounts, traffic_target
from mach.devnet.blobs import BLOB_TYPE, ZERO_BLOB_HASH, with_zero_blobs
from mach.devnet.contracts import TargetCall, target_calldata, traffic_target_init_code, vanishing_init_code
from mach.devnet.ethereum_genesis import CONSOLIDATION_REQUESTS, WITHDRAWAL_REQUESTS
from mach.devnet.l2_genesis import L2_CHAIN_ID
from mach.devnet.l2_stacks import L2Kind
from mach.devnet.precompile_inputs import precompile_call
from mach.errors import ConfigurationError
from mach.protocol.hashing import keccak256
from mach.transport.backoff import Backoff
from mach.transport.jsonrpc_client import JsonRpcClient, PeerRefusedError, PeerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from eth_account.signers.local import LocalAccount

log = structlog.get_logger()

MESSAGE_PASSER: Final = "0x4200000000000000000000000000000000000016"

_GWEI: Final = 10**9
_MAX_FEE_WEI: Final = 10 * _GWEI
_LEGACY_PRICE_WEI: Final = 3 * _GWEI
_DEPLOYMENT_TIP_WEI: Final = 5 * _GWEI
"""More than any other's, so that the target is there first."""
_CALL_GAS: Final = 400_000
_CREATION_GAS: Final = 600_000
_STARVED_GAS: Final = 45_000
_SLOTS: Final = 48
"""Few enough that deletions meet what was written and the storage trie keeps growing and collapsing."""
_RECIPIENTS: Final = 16
_MAX_PAIRS: Final = 6


@dataclass(frozen=True)
class TrafficSettings:
    """What to send, and where. The same seed gives the same transactions in the same order."""

    rpc_url: str
    chain_id: int = L2_CHAIN_ID
    seed: int = 1
    pool_depth: int = 6
    """How many transactions `run` keeps waiting for the next block: at most 64."""
    poll_s: float = 0.1
    kind: L2Kind = L2Kind.OP_STACK

    def __post_init__(self) -> None:
        if not 1 <= self.pool_depth <= 64:
            raise ConfigurationError(f"pool_depth is {self.pool_depth}: set it between 1 and 64")
        if not 0.001 <= self.poll_s <= 60:
            raise ConfigurationError(f"poll_s is {self.poll_s}: set it between 0.001 and 60 seconds")


@dataclass(frozen=True)
class PlannedTransaction:
    """A transaction without nonce, sender and signature; `to` is none for a contract creation."""

    kind: str
    to: str | None
    data: bytes = b""
    value_wei: int = 0
    gas_limit: int = _CALL_GAS
    tip_wei: int = 1
    envelope: int = 2
    """EIP-2718 type: 0 legacy, 1 access list, 2 dynamic fee, 3 blobs, 4 set code."""
    slots: tuple[int, ...] = ()
    """Slots of `to` for the access list."""
    authority: LocalAccount | None = None
    """Who delegates to the traffic target (EIP-7702): an account without history."""
    blobs: int = 0


@dataclass
class TrafficPlan:
    """The endless, reproducible row of transactions, all around one target contract at `target` (hex)."""

    target: str
    random: random.Random
    kind: L2Kind = L2Kind.OP_STACK
    written: list[int] = field(default_factory=list)

    def next(self) -> PlannedTransaction:
        """The next transaction."""
        kinds: list[tuple[int, Callable[[], PlannedTransaction]]] = [
            (14, self._transfer),
            (10, self._transfer_to_new_account),
            (24, self._store),
            (22, self._delete),
            (7, self._store_and_revert),
            (5, self._ephemeral),
            (6, self._observe),
            (6, self._compute),
            (4, self._create),
            (3, self._create_vanishing),
            (4, self._run_out_of_gas),
            (6, self._call_precompile),
            (3, self._delegate),
        ]
        if self.kind is L2Kind.OP_STACK:
            kinds.append((4, self._withdraw))
        else:
            kinds += [(4, self._carry_blobs), (3, self._request)]
        (chosen,) = self.random.choices([kind for _, kind in kinds], [weight for weight, _ in kinds])
        return chosen()

    def _transfer(self) -> PlannedTransaction:
        recipient = keccak256(b"mach devnet recipient" + bytes([self.random.randrange(_RECIPIENTS)]))[:20]
        # Also of nothing: an account that is touched but stays empty must leave no trace in the trie.
        value = self.random.choice([0, 1, 10**9, 10**15])
        return PlannedTransaction(
            "transfer", "0x" + recipient.hex(), value_wei=value, gas_limit=21_000, envelope=self.random.choice([0, 2])
        )

    def _transfer_to_new_account(self) -> PlannedTransaction:
        recipient = self.random.randbytes(20)
        value = self.random.randrange(1, 10**15)
        return PlannedTransaction("transfer-new", "0x" + recipient.hex(), value_wei=value, gas_limit=21_000, envelope=0)

    def _store(self) -> PlannedTransaction:
        keys = self.random.sample(range(_SLOTS), self.random.randint(1, _MAX_PAIRS))
        self.written.extend(key for key in keys if key not in self.written)
        words = [word for key in keys for word in (key, self.random.getrandbits(self.random.choice([8, 64, 256])) or 1)]
        return self._call("store", TargetCall.STORE, words, envelope=self.random.choice([0, 1, 2, 2]), slots=keys)

    def _delete(self) -> PlannedTransaction:
        if not self.written:
            return self._store()
        count = min(len(self.written), self.random.choice([1, 1, 2, 4, _SLOTS]))
        keys = self.random.sample(self.written, count)
        self.written = [key for key in self.written if key not in keys]
        return self._call("delete", TargetCall.STORE, [word for key in keys for word in (key, 0)])

    def _store_and_revert(self) -> PlannedTransaction:
        return self._call("revert", TargetCall.STORE_AND_REVERT, [self.random.randrange(_SLOTS), 7])

    def _ephemeral(self) -> PlannedTransaction:
        return self._call("ephemeral", TargetCall.EPHEMERAL, value_wei=self.random.choice([0, 5]))

    def _observe(self) -> PlannedTransaction:
        # Beyond 256 blocks BLOCKHASH is zero; the address may be one that does not exist.
        distance = self.random.choice([1, 2, 3, 9, 300])
        address = self.random.choice([int(self.target, 16), int(MESSAGE_PASSER, 16), self.random.getrandbits(160)])
        return self._call("observe", TargetCall.OBSERVE, [distance, address])

    def _compute(self) -> PlannedTransaction:
        return self._call("compute", TargetCall.COMPUTE, [self.random.getrandbits(256) for _ in range(3)])

    def _call_precompile(self) -> PlannedTransaction:
        address, data = precompile_call(self.random)
        calldata = target_calldata(TargetCall.PRECOMPILE, [address]) + data
        return PlannedTransaction("precompile", self.target, calldata, gas_limit=_CALL_GAS)

    def _carry_blobs(self) -> PlannedTransaction:
        count = self.random.choice([1, 1, 2, 3])
        data = target_calldata(TargetCall.BLOBS, [self.random.randrange(count + 1)])
        return PlannedTransaction("blobs", self.target, data, envelope=BLOB_TYPE, blobs=count)

    def _request(self) -> PlannedTransaction:
        # A withdrawal (EIP-7002: key and amount) or a consolidation (EIP-7251: two keys); the fee begins at one wei.
        address, length = self.random.choice([(WITHDRAWAL_REQUESTS, 56), (CONSOLIDATION_REQUESTS, 96)])
        return PlannedTransaction(
            "request", "0x" + address, self.random.randbytes(length), value_wei=self.random.choice([0, 100])
        )

    def _create(self) -> PlannedTransaction:
        return PlannedTransaction("create", None, traffic_target_init_code(), gas_limit=_CREATION_GAS)

    def _create_vanishing(self) -> PlannedTransaction:
        return PlannedTransaction("create-vanishing", None, vanishing_init_code(), value_wei=3, gas_limit=_CREATION_GAS)

    def _run_out_of_gas(self) -> PlannedTransaction:
        words = [word for key in range(_SLOTS, _SLOTS + _MAX_PAIRS) for word in (key, 1)]
        return self._call("out-of-gas", TargetCall.STORE, words, gas_limit=_STARVED_GAS)

    def _withdraw(self) -> PlannedTransaction:
        # A plain payment to the message passer starts a withdrawal to the sender's own address.
        return PlannedTransaction("withdraw", MESSAGE_PASSER, value_wei=self.random.randrange(1, 10**12))

    def _delegate(self) -> PlannedTransaction:
        authority = Account.from_key(self.random.randbytes(32))
        data = target_calldata(TargetCall.STORE, [self.random.randrange(_SLOTS), 1])
        return PlannedTransaction("delegate", authority.address, data, envelope=4, authority=authority)

    def _call(
        self,
        kind: str,
        call: TargetCall,
        words: list[int] | None = None,
        *,
        value_wei: int = 0,
        gas_limit: int = _CALL_GAS,
        envelope: int = 2,
        slots: list[int] | None = None,
    ) -> PlannedTransaction:
        return PlannedTransaction(
            kind,
            self.target,
            target_calldata(call, words or []),
            value_wei=value_wei,
            gas_limit=gas_limit,
            tip_wei=self.random.randrange(1, 1_000),
            envelope=envelope,
            slots=tuple(slots or []) if envelope == 1 else (),
        )


class Traffic:
    """Sends the plan's transactions. An async context manager; then `submit` a number of them, or `run` in a task."""

    def __init__(self, settings: TrafficSettings) -> None:
        self.settings = settings
        self.accepted = 0
        """How many transactions the node took into its pool so far."""
        self._accounts = (*traffic_accounts(), blob_account())
        source = random.Random(settings.seed)  # noqa: S311 - reproducible on purpose, nothing secret
        self._plan = TrafficPlan(traffic_target(), source, settings.kind)
        self._client = JsonRpcClient(settings.rpc_url, timeout_s=10.0)
        self._stopping = asyncio.Event()

    @property
    def target(self) -> str:
        """Address of the contract that most transactions call: the first that the first account creates."""
        return self._plan.target

    async def __aenter__(self) -> Traffic:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        await self._client.__aexit__(None, None, None)

    def stop(self) -> None:
        """Has `run` return soon."""
        self._stopping.set()

    async def run(self) -> None:
        """Keeps `pool_depth` transactions waiting for the next block until `stop`; goes on when the node comes back."""
        backoff = Backoff(first_s=self.settings.poll_s, most_s=2.0)
        while not self._stopping.is_set():
            delay = self.settings.poll_s
            try:
                await self.fill()
                backoff.reset()
            except (PeerUnavailableError, PeerRefusedError) as error:
                delay = backoff.next_delay_s()
                log.debug("the L2 takes no traffic", error=str(error), retry_in_s=round(delay, 2))
            try:
                await asyncio.wait_for(self._stopping.wait(), delay)
            except TimeoutError:
                continue

    async def fill(self) -> int:
        """Sends as many transactions as are missing to `pool_depth` that wait; returns how many the node took.

        Raises:
            PeerUnavailableError, PeerRefusedError: the node does not answer, or not this.
        """
        # Not `txpool_status`: for a moment after a block it still counts what the block holds.
        waiting = sum(await self._nonces("pending")) - sum(await self._nonces("latest"))
        return await self.submit(max(0, self.settings.pool_depth - waiting))

    async def submit(self, count: int) -> int:
        """Sends the next `count` transactions; returns how many of them the node took.

        One that the node refuses is skipped: it leaves no gap, for nonces are read from the node's pool each time.

        Raises:
            PeerUnavailableError: the node does not answer.
        """
        nonces = await self._nonces("pending")
        accepted = 0
        for _ in range(count):
            if nonces[0] == 0:  # a new chain: the target contract comes before all else
                sender = 0
                planned = PlannedTransaction(
                    "create", None, traffic_target_init_code(), gas_limit=_CREATION_GAS, tip_wei=_DEPLOYMENT_TIP_WEI
                )
            else:
                planned = self._plan.next()
                # The last account sends blobs, and nothing else.
                others = len(self._accounts) - 1
                sender = others if planned.blobs else self._plan.random.randrange(others)
            raw = self._sign(planned, self._accounts[sender], nonces[sender])
            try:
                await self._client.call("eth_sendRawTransaction", raw)
            except PeerRefusedError as error:
                log.debug("a transaction was refused", kind=planned.kind, error=str(error))
                continue
            nonces[sender] += 1
            accepted += 1
        self.accepted += accepted
        return accepted

    async def _nonces(self, block_tag: str) -> list[int]:
        """The next nonce of each account: after the chain (`latest`) or after what the pool holds (`pending`)."""
        return [
            int(await self._client.call("eth_getTransactionCount", account.address, block_tag), 16)
            for account in self._accounts
        ]

    def _sign(self, planned: PlannedTransaction, account: LocalAccount, nonce: int) -> str:
        fields: dict[str, Any] = {
            "chainId": self.settings.chain_id,
            "nonce": nonce,
            "gas": planned.gas_limit,
            "value": planned.value_wei,
            "data": planned.data,
        }
        if planned.to is not None:
            fields["to"] = bytes.fromhex(planned.to[2:])
        if planned.envelope in (0, 1):
            fields["gasPrice"] = _LEGACY_PRICE_WEI
        else:
            fields |= {"maxFeePerGas": _MAX_FEE_WEI, "maxPriorityFeePerGas": planned.tip_wei}
        if planned.envelope != 0:
            fields["type"] = planned.envelope
            slots = [f"0x{slot:064x}" for slot in planned.slots]
            fields["accessList"] = [{"address": planned.to, "storageKeys": slots}] if slots else []
        if planned.authority is not None:
            authorization = planned.authority.sign_authorization(
                {"chainId": self.settings.chain_id, "address": bytes.fromhex(self.target[2:]), "nonce": 0}
            )
            fields["authorizationList"] = [authorization]
        if planned.blobs:
            fields |= {"maxFeePerBlobGas": _MAX_FEE_WEI, "blobVersionedHashes": [ZERO_BLOB_HASH] * planned.blobs}
        raw = bytes(account.sign_transaction(fields).raw_transaction)
        return "0x" + (with_zero_blobs(raw, planned.blobs) if planned.blobs else raw).hex()
