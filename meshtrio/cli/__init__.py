"""Shell. The commands."""
