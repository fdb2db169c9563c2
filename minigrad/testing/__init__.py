"""Instruments that prove gradients, for users as much as for minigrad itself."""

from .gradcheck import gradcheck, gradgradcheck, jvpcheck
from .numeric import GradcheckError

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck", "jvpcheck"]
