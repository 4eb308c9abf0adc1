"""Shell. Stage 1: the kernel brings us a connection."""
