"""Shell. Where workloads' certificates come from: the embedded CA, a `meshtrio ca` elsewhere, SPIRE."""
