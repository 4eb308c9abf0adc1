"""Shell. Metrics and logs: what the operator sees."""
