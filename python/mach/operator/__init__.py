"""The operator signer: takes alerts from its verifier, signs them, and sees them through to the aggregator."""
