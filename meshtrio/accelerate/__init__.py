"""Shell. What the kernel could carry alone between two processes of a node, and whether it does so right."""
