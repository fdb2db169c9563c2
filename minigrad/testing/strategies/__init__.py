"""Hypothesis strategies: what to try an implementation with. They need hypothesis (`pip install minigrad[test]`)."""

from .modules import Sequences, modules, seeded, sequences

__all__ = ["Sequences", "modules", "seeded", "sequences"]
