"""Shell. Stage 5: dial, and carry the bytes."""
