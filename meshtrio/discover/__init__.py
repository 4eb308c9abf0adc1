"""Shell. Where services become known."""
