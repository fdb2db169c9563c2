"""Instruments that prove gradients, for users as much as for minigrad itself.

`minigrad.testing.strategies`, which draws what to try, needs hypothesis and is imported by name.
"""

from .application import Application, laid_out
from .contract import ContractError, check_primitive
from .gradcheck import gradcheck, gradgradcheck, jvpcheck
from .numeric import GradcheckError
from .recurrent import Sequences, seeded

__all__ = [
    "Application",
    "ContractError",
    "GradcheckError",
    "Sequences",
    "check_primitive",
    "gradcheck",
    "gradgradcheck",
    "jvpcheck",
    "laid_out",
    "seeded",
]
