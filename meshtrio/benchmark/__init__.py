"""Shell. What `meshtrio bench` measures, and how. Needs no compiler and no checkout: all of it is Python."""
