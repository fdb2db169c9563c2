"""Hypothesis strategies: what to try an implementation with. They need hypothesis (`pip install minigrad[test]`)."""

from .modules import modules, sequences

__all__ = ["modules", "sequences"]
