"""Instruments that prove gradients, for users as much as for minigrad itself."""

from .gradcheck import GradcheckError, gradcheck, gradgradcheck
from .recurrent import Sequences, seeded

__all__ = ["GradcheckError", "Sequences", "gradcheck", "gradgradcheck", "seeded"]
