"""Records the vectors in `l2-blocks/`: blocks of the devnet's own L2 (op-geth, Jovian) and all that re-execution takes.

    python tests/vectors/record_l2_blocks.py

Each `NAME.json.gz` is an object with bytes as 0x hex:

    chain_config   the genesis's `config` object
    parent_header  RLP
    block          RLP, as `debug_getRawBlock` gives it; in `fault-*` falsified by the lying node
    preimages      trie nodes and codes: `debug_executionWitness`, completed by `debug_dbGet` (op-geth leaves out the
                   proofs of accounts that are read and do not exist)
    ancestors      RLP headers below the parent, for BLOCKHASH
    receipts       EIP-2718, as `debug_getRawReceipts` gives them
    expect         {"verdict": "VALID" | "INVALID", "fields": [...], "true_hash": ...}: what op-geth holds for right,
                   and the header fields that the fault changed
    source         where the block comes from

What is expected comes from op-geth, which built and executed the blocks, and from the fault; the verifier under test
only says which preimages are missing.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mach import _core
from mach.devnet.contracts import TargetCall
from mach.devnet.faults import Fault, FaultKind
from mach.devnet.layout import Ports
from mach.devnet.lying_node import LyingNode
from mach.devnet.op_geth import OP_GETH
from mach.devnet.sequencer import Sequencer, SequencerSettings
from mach.devnet.traffic import MESSAGE_PASSER, Traffic, TrafficSettings
from mach.transport.jsonrpc_client import JsonRpcClient

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).parent / "l2-blocks"
SEED = 7
TRANSACTIONS = 4
MAX_BLOCKS = 300
MAX_MISSING = 64


@dataclass(frozen=True)
class Seen:
    """A block as JSON-RPC shows it, with its receipts."""

    block: dict[str, Any]
    receipts: list[dict[str, Any]]

    @property
    def number(self) -> int:
        return int(self.block["number"], 16)

    def calls(self, call: TargetCall, target: str) -> list[bytes]:
        """The arguments of the calls of this kind to the traffic target."""
        inputs = [bytes.fromhex(item["input"][2:]) for item in self.block["transactions"] if item["to"] == target]
        return [data[32:] for data in inputs if int.from_bytes(data[:32], "big") == call]

    def deletes(self, target: str) -> bool:
        """Whether more than one slot is set to zero in one call."""
        return any(data[32:64] == data[96:128] == bytes(32) for data in self.calls(TargetCall.STORE, target))

    def looks_back(self, target: str) -> bool:
        """Whether the hash of a block below the parent is read."""
        return any(2 <= int.from_bytes(data[:32], "big") < 10 for data in self.calls(TargetCall.OBSERVE, target))

    def withdraws(self) -> bool:
        """Whether a withdrawal starts."""
        return any(item["to"] == MESSAGE_PASSER for item in self.block["transactions"])

    def creates(self) -> bool:
        """Whether a transaction of the pool creates a contract."""
        return any(item["to"] is None and item["type"] != "0x7e" for item in self.block["transactions"])

    def delegates(self) -> bool:
        """Whether an account delegates to a contract."""
        return any(item["type"] == "0x4" for item in self.block["transactions"])

    def fails(self) -> bool:
        """Whether a transaction of the pool fails."""
        return any(receipt["status"] == "0x0" and receipt["type"] != "0x7e" for receipt in self.receipts)


WANTED: dict[str, Callable[[Seen, str], bool]] = {
    "deposits-alone": lambda seen, _: len(seen.receipts) == 2 and {item["type"] for item in seen.receipts} == {"0x7e"},
    "creations": lambda seen, _: seen.creates() and seen.delegates(),
    "deletions": lambda seen, target: seen.deletes(target) and seen.fails(),
    "ancestors": lambda seen, target: seen.looks_back(target) and seen.withdraws(),
    "fault": lambda seen, target: seen.deletes(target) and bool(seen.receipts[-1]["logs"]),
}
"""What the recorded blocks hold. The one named `fault` is told in four ways."""


def unhex(text: str) -> bytes:
    return bytes.fromhex(text[2:])


async def record(name: str, number: int, node: JsonRpcClient, chain_config: str, expect: dict[str, Any]) -> None:
    """Writes one vector from what `node` serves about block `number`."""
    witness = await node.call("debug_executionWitness", hex(number))
    block = await node.call("debug_getRawBlock", hex(number))
    parent_header = await node.call("debug_getRawHeader", hex(number - 1))
    receipts = await node.call("debug_getRawReceipts", hex(number))
    heights = sorted({int(header["number"], 16) for header in witness["headers"]} - {number - 1})
    ancestors = [await node.call("debug_getRawHeader", hex(height)) for height in heights]
    preimages = [*witness["state"], *witness["codes"]]
    for _ in range(MAX_MISSING):
        missing = _core.verify_block(
            chain_config,
            unhex(parent_header),
            unhex(block),
            [unhex(item) for item in preimages],
            [unhex(item) for item in ancestors],
        ).missing
        if missing is None:
            break
        preimages.append(await node.call("debug_dbGet", "0x" + missing.hex()))
    vector = {
        "chain_config": json.loads(chain_config),
        "parent_header": parent_header,
        "block": block,
        "preimages": sorted(preimages),
        "ancestors": ancestors,
        "receipts": receipts,
        "expect": expect,
        "source": f"op-geth {OP_GETH.version}, devnet traffic with seed {SEED}, block {number}; record_l2_blocks.py",
    }
    path = FOLDER / f"{name}.json.gz"
    path.write_bytes(gzip.compress(json.dumps(vector, indent=1).encode(), mtime=0))
    sys.stdout.write(f"{path.name}: block {number}, {len(receipts)} transactions, {path.stat().st_size} bytes\n")


async def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    ports = Ports.free()
    with tempfile.TemporaryDirectory() as folder:
        settings = SequencerSettings(Path(folder), http_port=ports.l2, auth_port=ports.l2_auth)
        async with (
            Sequencer(settings) as sequencer,
            Traffic(TrafficSettings(sequencer.http_url, seed=SEED)) as traffic,
            LyingNode(sequencer.http_url, port=0) as liar,
            JsonRpcClient(sequencer.http_url) as honest,
            JsonRpcClient(liar.url) as told,
        ):
            chain_config = await asyncio.to_thread(sequencer.chain_config_file.read_text)
            wanted = dict(WANTED)
            for _ in range(MAX_BLOCKS):
                if not wanted:
                    return
                # Every fourth block holds a user's deposit; one of those gets nothing else.
                if sequencer.head.number != 7:
                    await traffic.submit(TRANSACTIONS)
                number = hex(await sequencer.produce_block())
                seen = Seen(
                    await honest.call("eth_getBlockByNumber", number, True),
                    await honest.call("eth_getBlockReceipts", number),
                )
                found = [name for name, fits in wanted.items() if fits(seen, traffic.target)]
                for name in found:
                    del wanted[name]
                    if name != "fault":
                        expect = {"verdict": "VALID", "fields": [], "true_hash": seen.block["hash"]}
                        await record(name, seen.number, honest, chain_config, expect)
                        continue
                    for kind in FaultKind:
                        liar.set_fault(Fault(kind, seen.number))
                        expect = {
                            "verdict": "INVALID",
                            "fields": [kind.expected_field],
                            "true_hash": seen.block["hash"],
                        }
                        await record(f"fault-{kind}", seen.number, told, chain_config, expect)
                    liar.clear()
    sys.exit(f"no block in {MAX_BLOCKS} held what is wanted for {sorted(wanted)}")


if __name__ == "__main__":
    asyncio.run(main())
