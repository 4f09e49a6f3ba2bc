"""op-geth, the node of the devnet's OP Stack L2; `python -m mach.devnet.op_geth` builds it and prints its path."""

from __future__ import annotations

from mach.devnet.node_builds import NodeBuild

OP_GETH = NodeBuild("op-geth", "v1.101702.3", "op_geth_module", "MACH_OP_GETH")
"""The release that `op_geth_module/go.mod` pins: the one whose witnesses were checked block by block."""

if __name__ == "__main__":
    raise SystemExit(OP_GETH.main())
