"""JSON-RPC to the L1 without web3 in between: several calls in one HTTP request, every answer checked for its form.

web3 sends one call a request and takes a node's word for types. What runs for each block or each transaction goes
through here: a node that answers garbage is an `L1UnavailableError`, whatever the garbage looks like.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar

from mach.chain.connection import DEFAULT_DEADLINE_S, L1Client, request
from mach.chain.errors import L1UnavailableError, MalformedAnswerError, RequestRefusedError, RevertedError
from mach.chain.http_provider import parse_answer
from mach.chain.revert import decode_revert

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mach.chain.http_provider import HttpProvider

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

CALLS_IN_ONE_REQUEST: Final = 100
"""Hosted nodes bound batches, the strictest of the well-known ones at a hundred calls."""

_LIMIT_EXCEEDED: Final = -32005
"""EIP-1474: the provider's rate limit."""
_REVERTED: Final = 3
"""geth's and anvil's code of a reverted call; its data is the revert data."""
_LARGEST_QUANTITY_DIGITS: Final = 64

_ids = itertools.count(1)


@dataclass(frozen=True, slots=True)
class RpcCall(Generic[T_co]):
    """One call. `read` makes a value of the answer's `result` and raises ValueError for one of another form."""

    method: str
    params: tuple[Any, ...]
    read: Callable[[Any], T_co]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A node's error object in place of a result."""

    code: int
    message: str
    data: bytes

    @property
    def reverted(self) -> bool:
        """Whether a contract reverted, rather than the node refused."""
        return self.code == _REVERTED or "execution reverted" in self.message.lower()

    def throw(self, action: str) -> NoReturn:
        """Raises `RevertedError`, `L1UnavailableError` for a rate limit, else `RequestRefusedError`."""
        if self.reverted:
            text = self.message.removeprefix("execution reverted").removeprefix(":").strip()
            reason = decode_revert(self.data) if self.data or not text else text
            raise RevertedError(f"cannot {action}: the contract reverted with {reason}", reason)
        if self.code == _LIMIT_EXCEEDED:
            raise L1UnavailableError(
                f"cannot {action}: the L1 node limits its rate ({self.message}): retry later or use another node"
            )
        raise RequestRefusedError(f"cannot {action}: the L1 node refused: {self.message}")


async def call(w3: L1Client, one: RpcCall[T], action: str, deadline_s: float = DEFAULT_DEADLINE_S) -> T:
    """The value of one call. `action` completes "cannot …" in messages.

    Raises `L1UnavailableError` (worth retrying), `RevertedError` and `RequestRefusedError`.
    """
    answer = await request(w3, _exchange_one(w3.provider, one), action, deadline_s)
    return value_of(answer, action)


async def call_all(
    w3: L1Client, calls: Sequence[RpcCall[Any]], action: str, deadline_s: float = DEFAULT_DEADLINE_S
) -> list[Any]:
    """The values of several calls in their order, each a `Refusal` where the node refused that call alone.

    All travel in one HTTP request (one for every `CALLS_IN_ONE_REQUEST`). Raises `L1UnavailableError` when any answer
    is missing or malformed, and `RequestRefusedError` when the node refused the whole request.
    """
    parts = [calls[start : start + CALLS_IN_ONE_REQUEST] for start in range(0, len(calls), CALLS_IN_ONE_REQUEST)]
    if len(parts) == 1:
        answers = [await request(w3, _exchange(w3.provider, parts[0], action), action, deadline_s)]
    else:
        answers = await asyncio.gather(
            *(request(w3, _exchange(w3.provider, part, action), action, deadline_s) for part in parts)
        )
    return [answer for part in answers for answer in part]


def value_of(answer: T | Refusal, action: str) -> T:
    """The answer itself; a refusal is thrown."""
    if isinstance(answer, Refusal):
        answer.throw(action)
    return answer


# ---- reading JSON values ----


def quantity(value: Any) -> int:
    """A number of at most 256 bits in hex with 0x (Ethereum's QUANTITY; leading zeros pass)."""
    if not isinstance(value, str) or not value.startswith("0x") or not 3 <= len(value) <= _LARGEST_QUANTITY_DIGITS + 2:
        raise MalformedAnswerError(f"not a quantity: {_shortened(value)}")
    # int() alone would take signs, blanks and underscores too.
    if not value[2:].isalnum() or not value.isascii():
        raise MalformedAnswerError(f"not a quantity: {_shortened(value)}")
    return int(value[2:], 16)


def small_quantity(value: Any) -> int:
    """A quantity of at most 64 bits: block numbers, nonces (EIP-2681), gas and times have no more."""
    number = quantity(value)
    if number >> 64:
        raise MalformedAnswerError(f"too large a number: {_shortened(value)}")
    return number


def hex_bytes(value: Any, length: int | None = None) -> bytes:
    """Bytes in hex with 0x (Ethereum's DATA), `length` of them where that is given."""
    if not isinstance(value, str) or not value.startswith("0x"):
        raise MalformedAnswerError(f"not bytes in hex: {_shortened(value)}")
    data = bytes.fromhex(value[2:])
    if length is not None and len(data) != length:
        raise MalformedAnswerError(f"{len(data)} bytes where {length} are due: {_shortened(value)}")
    return data


def json_object(value: Any) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise MalformedAnswerError(f"not a JSON object: {_shortened(value)}")
    return value


def json_array(value: Any) -> list[Any]:
    """A JSON array."""
    if not isinstance(value, list):
        raise MalformedAnswerError(f"not a JSON array: {_shortened(value)}")
    return value


def _shortened(value: Any) -> str:
    text = repr(value) if isinstance(value, str | int | float | None) else type(value).__name__
    return text if len(text) <= 80 else text[:77] + "…"


# ---- one HTTP request ----


async def _exchange_one(provider: HttpProvider, one: RpcCall[T]) -> T | Refusal:
    number = next(_ids)
    answer = json_object(parse_answer(await provider.post(_encoded(_body(number, one)))))
    # Some nodes answer an error with the id null.
    if answer.get("id") != number and "error" not in answer:
        raise MalformedAnswerError(f"the answer has id {_shortened(answer.get('id'))}, the request {number}")
    return _read(answer, one)


async def _exchange(provider: HttpProvider, calls: Sequence[RpcCall[Any]], action: str) -> list[Any]:
    numbered = {next(_ids): one for one in calls}
    parsed = parse_answer(await provider.post(_encoded([_body(number, one) for number, one in numbered.items()])))
    if isinstance(parsed, dict) and "error" in parsed:
        _refusal(parsed["error"]).throw(action)
    answers: dict[int, Any] = {}
    for entry in json_array(parsed):
        answer = json_object(entry)
        number = answer.get("id")
        if not isinstance(number, int) or number not in numbered or number in answers:
            raise MalformedAnswerError(f"an answer has id {_shortened(number)}, which was not asked")
        answers[number] = _read(answer, numbered[number])
    if len(answers) != len(numbered):
        raise MalformedAnswerError(f"{len(answers)} answers to {len(numbered)} calls")
    return [answers[number] for number in numbered]


def _body(number: int, one: RpcCall[Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": one.method, "params": one.params}


def _encoded(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _read(answer: dict[str, Any], one: RpcCall[T]) -> T | Refusal:
    if answer.get("error") is not None:
        return _refusal(answer["error"])
    if "result" not in answer:
        raise MalformedAnswerError("the answer has neither result nor error")
    return one.read(answer["result"])


def _refusal(error: Any) -> Refusal:
    details = json_object(error)
    code, data = details.get("code"), details.get("data")
    if isinstance(data, dict):
        # Some nodes wrap the revert data once more: {"data": "0x…"}.
        data = data.get("data")
    try:
        revert_data = hex_bytes(data)
    except ValueError:
        revert_data = b""
    return Refusal(
        code if isinstance(code, int) else 0,
        str(details.get("message", "no message"))[:500],
        revert_data,
    )
