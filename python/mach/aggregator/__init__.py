"""The aggregator: collects operators' signatures over an alert and confirms the alert on L1."""
