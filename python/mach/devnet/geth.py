"""geth, the node of the devnet's Ethereum L2; `python -m mach.devnet.geth` builds it and prints its path."""

from __future__ import annotations

from mach.devnet.node_builds import NodeBuild

GETH = NodeBuild("geth", "v1.17.5", "geth_module", "MACH_GETH")
"""The release that `geth_module/go.mod` pins: the newest whose blocks were checked one by one."""

if __name__ == "__main__":
    raise SystemExit(GETH.main())
