"""Where a devnet keeps what: one folder, one set of ports."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

LOOPBACK: Final = "127.0.0.1"
OPERATORS: Final = 3
L1_CHAIN_ID: Final = 31337


@dataclass(frozen=True, slots=True)
class Ports:
    """Every port a devnet listens on, all on loopback."""

    l1: int = 8545
    l2: int = 9545
    l2_auth: int = 9551
    lying_node: int = 9546
    aggregator: int = 8290
    operators: tuple[int, ...] = (8091, 8092, 8093)

    @classmethod
    def free(cls) -> Ports:
        """Ports that nothing listens on now. They are held together while they are chosen, so that all differ."""
        with ExitStack() as held:
            chosen = []
            for _ in range(5 + OPERATORS):
                probe = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
                probe.bind((LOOPBACK, 0))
                chosen.append(int(probe.getsockname()[1]))
        l1, l2, l2_auth, lying_node, aggregator, *operators = chosen
        return cls(l1, l2, l2_auth, lying_node, aggregator, tuple(operators))


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one devnet folder."""

    folder: Path

    @property
    def deployment(self) -> Path:
        return self.folder / "machavs_deploy_output.json"

    @property
    def chain_config(self) -> Path:
        """The L2's chain configuration, which verifiers read."""
        return self.folder / "l2-chain-config.json"

    @property
    def output_contracts(self) -> Path:
        """Where the contracts stand on L1 that output roots are proposed to."""
        return self.folder / "output-contracts.json"

    @property
    def state(self) -> Path:
        """What `mach devnet status` and `down` read; locked by the devnet while it is up."""
        return self.folder / "devnet.json"

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def config(self, name: str) -> Path:
        """The settings file written for one service."""
        return self.folder / "config" / f"{name}.yaml"

    def database_url(self, name: str) -> str:
        return f"sqlite+aiosqlite:///{self.folder / 'db' / f'{name}.sqlite'}"

    def ecdsa_key(self, name: str) -> Path:
        return self.folder / "keys" / f"{name}.ecdsa.key.json"

    def bls_key(self, name: str) -> Path:
        return self.folder / "keys" / f"{name}.bls.key.json"

    def password(self, name: str) -> Path:
        """The password of all keystores of `name`."""
        return self.folder / "keys" / f"{name}.password"
