"""A service-mesh data plane: eBPF catches the connections, a trio program decides."""

__version__ = "0.1.0"
