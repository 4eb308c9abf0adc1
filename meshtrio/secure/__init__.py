"""Shell. Stage 6: TLS both ways, between workloads that prove who they are."""
