"""Instruments that prove gradients, for users as much as for minigrad itself."""

from .contract import ContractError, check_primitive
from .gradcheck import gradcheck, gradgradcheck, jvpcheck
from .numeric import GradcheckError

__all__ = ["ContractError", "GradcheckError", "check_primitive", "gradcheck", "gradgradcheck", "jvpcheck"]
