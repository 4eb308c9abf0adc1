"""Shell. HTTP for those who ask an agent or a CA something."""
