"""Instruments that prove gradients, for users as much as for minigrad itself.

`minigrad.testing.strategies`, which draws what to try, needs hypothesis and is imported when it is first asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

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

if not TYPE_CHECKING:  # a type checker follows the import by name

    def __getattr__(name: str) -> Any:
        if name == "strategies":
            return importlib.import_module(".strategies", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
