"""How users' requests look: what their libraries send, how often, and how long one of them stays.

A probe is one of these requests. Whoever wants to lie to users and not to Mach must not be able to tell them apart.
"""

from __future__ import annotations

import json
import secrets
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args

import yaml

from mach.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")
IdStyle = Literal["counter", "from-zero", "random", "uuid"]
PROBED: Final = (
    "eth_blockNumber",
    "eth_chainId",
    "eth_gasPrice",
    "eth_getBlockByNumber",
    "eth_getBalance",
    "eth_getTransactionCount",
    "eth_call",
    "eth_getLogs",
    "eth_getTransactionReceipt",
)
"""Methods that a probe can use. Some are sent only because users send them, and are not checked."""
USUAL_KEYS: Final = ("jsonrpc", "id", "method", "params")
REQUESTS_PER_USER: Final = 12.0
_CHROME: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
)
_MAX_PROFILE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ClientShape:
    """One kind of client: its headers in order, and how it writes a JSON-RPC request.

    `keys` is the order of the request's keys; `spaced` writes a blank after colons and commas, as Python's json does.
    """

    name: str
    headers: tuple[tuple[str, str], ...]
    keys: tuple[str, ...] = USUAL_KEYS
    ids: IdStyle = "counter"
    spaced: bool = False
    weight: float = 1.0


BUILT_IN: Final = (
    ClientShape(
        "ethers-6-node",
        (
            ("accept-encoding", "gzip"),
            ("content-type", "application/json"),
            ("user-agent", "ethers/6.13.4"),
            ("accept", "*/*"),
        ),
        ("method", "params", "id", "jsonrpc"),
    ),
    ClientShape(
        "viem-node",
        (
            ("content-type", "application/json"),
            ("accept", "*/*"),
            ("accept-language", "*"),
            ("sec-fetch-mode", "cors"),
            ("user-agent", "node"),
            ("accept-encoding", "gzip, deflate"),
        ),
    ),
    ClientShape(
        "web3-py-7",
        (
            ("User-Agent", "web3.py/7.6.0/web3.providers.rpc.rpc.HTTPProvider"),
            ("Accept-Encoding", "gzip, deflate"),
            ("Accept", "*/*"),
            ("Connection", "keep-alive"),
            ("Content-Type", "application/json"),
        ),
        ("jsonrpc", "method", "params", "id"),
        "from-zero",
        spaced=True,
    ),
    ClientShape(
        "wallet-in-browser",
        (
            ("Content-Type", "application/json"),
            ("sec-ch-ua-platform", '"Windows"'),
            ("User-Agent", _CHROME),
            ("sec-ch-ua-mobile", "?0"),
            ("Accept", "*/*"),
            ("Origin", "https://app.uniswap.org"),
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Mode", "cors"),
            ("Sec-Fetch-Dest", "empty"),
            ("Accept-Encoding", "gzip, deflate"),
            ("Accept-Language", "en-US,en;q=0.9"),
        ),
        ("method", "params", "id", "jsonrpc"),
        "random",
        weight=3.0,
    ),
)
DEFAULT_MIX: Final[Mapping[str, float]] = {
    "eth_blockNumber": 20.0,
    "eth_chainId": 8.0,
    "eth_gasPrice": 5.0,
    "eth_getBlockByNumber": 17.0,
    "eth_getBalance": 14.0,
    "eth_getTransactionCount": 6.0,
    "eth_call": 15.0,
    "eth_getLogs": 7.0,
    "eth_getTransactionReceipt": 8.0,
}


@dataclass(frozen=True, slots=True)
class CanaryProfile:
    """Kinds of client, the mix of methods, and how many requests one user makes on average before another comes."""

    clients: tuple[ClientShape, ...] = BUILT_IN
    mix: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_MIX))
    requests_per_user: float = REQUESTS_PER_USER

    def any_client(self) -> ClientShape:
        """A client at random, by weight."""
        return _chosen(self.clients, [client.weight for client in self.clients])

    def any_method(self) -> str:
        """A method at random, by the mix."""
        return _chosen(tuple(self.mix), list(self.mix.values()))


class User:
    """One user at a time: a client with its own run of ids."""

    def __init__(self, client: ClientShape) -> None:
        self.client = client
        self._next = 0 if client.ids == "from-zero" else 1

    def body(self, method: str, params: Sequence[Any]) -> tuple[bytes, Any]:
        """A request as this client writes it, and its id."""
        identifier = self._identifier()
        values = {"jsonrpc": "2.0", "id": identifier, "method": method, "params": list(params)}
        separators = (", ", ": ") if self.client.spaced else (",", ":")
        text = json.dumps({key: values[key] for key in self.client.keys}, separators=separators)
        return text.encode(), identifier

    def _identifier(self) -> Any:
        match self.client.ids:
            case "uuid":
                return str(uuid.uuid4())
            case "random":
                return secrets.randbelow(10**10)
            case _:
                self._next += 1
                return self._next - 1


def read_profile(path: Path | None) -> CanaryProfile:
    """A profile from YAML or JSON; the built-in one without a path. Raises `ConfigurationError`."""
    if path is None:
        return CanaryProfile()
    try:
        if path.stat().st_size > _MAX_PROFILE_BYTES:
            raise ConfigurationError(f"canary_profile {path} has more than {_MAX_PROFILE_BYTES} bytes")
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"canary_profile {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"canary_profile {path} is not YAML: {' '.join(str(error).split())}") from None
    try:
        return _profile(document)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"canary_profile {path}: {error}; it holds `clients` (name, headers, keys, ids, spaced, weight), `mix` "
            f"(method: weight) and `requests_per_user`"
        ) from None


def _profile(document: dict[str, Any]) -> CanaryProfile:
    unknown = set(document) - {"clients", "mix", "requests_per_user"}
    if unknown:
        raise ValueError(f"{sorted(unknown)[0]!r} is not a known key")
    mix = {str(method): float(weight) for method, weight in document.get("mix", DEFAULT_MIX).items()}
    for method, weight in mix.items():
        if method not in PROBED or weight < 0:
            raise ValueError(f"mix: {method!r} with weight {weight:g} is not one of {', '.join(PROBED)}, 0 or more")
    clients = tuple(_client(entry) for entry in document["clients"]) if "clients" in document else BUILT_IN
    requests_per_user = float(document.get("requests_per_user", REQUESTS_PER_USER))
    if not clients or sum(mix.values()) <= 0 or requests_per_user < 1:
        raise ValueError("there must be a client, a method with weight, and at least 1 request per user")
    return CanaryProfile(clients, mix, requests_per_user)


def _client(entry: dict[str, Any]) -> ClientShape:
    shape = ClientShape(
        name=str(entry["name"]),
        headers=tuple((str(name), str(value)) for name, value in entry["headers"].items()),
        keys=tuple(entry.get("keys", USUAL_KEYS)),
        ids=entry.get("ids", "counter"),
        spaced=bool(entry.get("spaced", False)),
        weight=float(entry.get("weight", 1.0)),
    )
    if sorted(shape.keys) != ["id", "jsonrpc", "method", "params"]:
        raise ValueError(f"client {shape.name}: keys must be jsonrpc, id, method and params in some order")
    if shape.ids not in get_args(IdStyle) or shape.weight <= 0:
        raise ValueError(f"client {shape.name}: ids must be one of {', '.join(get_args(IdStyle))}, weight above 0")
    if any("\n" in text or "\r" in text for header in shape.headers for text in header):
        raise ValueError(f"client {shape.name}: a header has a line break")
    return shape


def _chosen(values: Sequence[T], weights: Sequence[float]) -> T:
    return secrets.SystemRandom().choices(values, weights)[0]
