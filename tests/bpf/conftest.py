"""Shell. What the tests of the programs share."""

from tests.bpf.fixtures import cache, kernel, library, pod

__all__ = ["cache", "kernel", "library", "pod"]
