"""web3 contract objects of our compiled contracts, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eth_utils.abi import event_abi_to_log_topic
from eth_utils.address import to_checksum_address
from hexbytes import HexBytes

from mach.chain.artifacts import ArtifactError, load

if TYPE_CHECKING:
    from web3.contract import AsyncContract

    from mach.chain.connection import L1Client


def contract_at(w3: L1Client, name: str, address: str) -> AsyncContract:
    """The contract `name` at `address`; nothing is sent. Raises `ArtifactError` when it was not compiled."""
    return w3.eth.contract(address=to_checksum_address(address), abi=load(name).abi)


def encode_call(w3: L1Client, name: str, function: str, *arguments: Any) -> bytes:
    """Calldata of `function` of contract `name`: selector and ABI-encoded arguments."""
    return bytes(HexBytes(w3.eth.contract(abi=load(name).abi).encode_abi(function, args=list(arguments))))


def event_topic(name: str, event: str) -> bytes:
    """First topic (32 bytes) of the logs of `event` of contract `name`. Raises `ArtifactError`."""
    for entry in load(name).abi:
        if entry["type"] == "event" and entry["name"] == event:
            return bytes(event_abi_to_log_topic(entry))  # type: ignore[arg-type]
    raise ArtifactError(f"contract {name} has no event {event}: compile the contracts anew")


def encode_creation(w3: L1Client, name: str, *arguments: Any) -> bytes:
    """Creation code of contract `name` with its ABI-encoded constructor arguments. Raises `ArtifactError`."""
    artifact = load(name)
    if not artifact.bytecode:
        raise ArtifactError(
            f"the creation code of EigenLayer's {name} is not part of the wheel (its licence forbids it): deploy "
            f"from a source checkout, after `make eigenlayer`"
        )
    factory = w3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
    return bytes(HexBytes(factory.constructor(*arguments).data_in_transaction))
