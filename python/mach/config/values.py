"""The kinds of value that the services' settings share."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where a server listens: a host and a TCP port (0 asks the system for a free one)."""

    host: str
    port: int

    @classmethod
    def parse(cls, value: Any) -> ListenAddress:
        """From `host:port`, `:port` (loopback) or `[v6]:port`."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise ValueError("must be text of the form host:port")  # noqa: TRY004 - pydantic wants ValueError
        host, separator, port = value.rpartition(":")
        if not separator or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError("must be of the form host:port with a port of 0 to 65535")
        return cls(host.strip("[]") or "127.0.0.1", int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL that starts with http:// or https://")
    return value.rstrip("/")


def _web_socket_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError("must be a URL that starts with ws:// or wss://")
    return value.rstrip("/")


def _server_url(value: Any) -> Any:
    """A server that is named `host:port`, as the original's files do, is reached over plain HTTP."""
    return f"http://{value}" if isinstance(value, str) and "://" not in value else value


def _address(value: str) -> str:
    body = value.removeprefix("0x")
    try:
        raw = bytes.fromhex(body)
    except ValueError:
        raw = b""
    if len(raw) != 20:
        raise ValueError("must be a 20-byte address in hex")
    return "0x" + raw.hex()


def _split(value: Any) -> Any:
    """A list given as text, as environment variables give it: separated by commas."""
    return [entry.strip() for entry in value.split(",") if entry.strip()] if isinstance(value, str) else value


CommaSeparated = BeforeValidator(_split)


def _hash(value: str) -> str:
    try:
        raw = bytes.fromhex(value.removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise ValueError("must be a 32-byte hash in hex")
    return "0x" + raw.hex()


def _loopback(value: ListenAddress) -> ListenAddress:
    if not value.is_loopback:
        raise ValueError("listens on loopback only; reach it from elsewhere through a tunnel")
    return value


HexHash = Annotated[str, AfterValidator(_hash)]
Listen = Annotated[
    ListenAddress, BeforeValidator(ListenAddress.parse), PlainSerializer(str), WithJsonSchema({"type": "string"})
]
LoopbackListen = Annotated[
    ListenAddress,
    BeforeValidator(ListenAddress.parse),
    AfterValidator(_loopback),
    PlainSerializer(str),
    WithJsonSchema({"type": "string"}),
]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
WebSocketUrl = Annotated[str, AfterValidator(_web_socket_url)]
ServerUrl = Annotated[str, BeforeValidator(_server_url), AfterValidator(_http_url)]
HexAddress = Annotated[str, AfterValidator(_address)]
ChainId = Annotated[int, Field(ge=0, lt=2**64)]
FilePath = Annotated[Path, AfterValidator(lambda path: path.expanduser())]
Seconds = Annotated[float, Field(gt=0)]
