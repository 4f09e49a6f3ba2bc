"""The rollup's side: its node's RPC and where witnesses come from."""
