"""Mach: fast finality for Ethereum rollups and a circuit breaker for RPC nodes, as an EigenLayer AVS."""
