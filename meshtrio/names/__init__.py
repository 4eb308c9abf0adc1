"""Core. What a DNS question means to the mesh, and the answer."""
