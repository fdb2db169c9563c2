"""Instruments that prove gradients, for users as much as for minigrad itself.

`minigrad.testing.strategies`, which draws what to try, needs hypothesis and is imported by name.
"""

from .application import Application, laid_out
from .gradcheck import GradcheckError, gradcheck, gradgradcheck

__all__ = ["Application", "GradcheckError", "gradcheck", "gradgradcheck", "laid_out"]
