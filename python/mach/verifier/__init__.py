"""The verifier: re-executes every block of a rollup and raises an alert for the one its inputs do not produce."""
