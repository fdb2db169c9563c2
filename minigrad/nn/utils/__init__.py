"""What is done to parameters and gradients between backward and step; and `rnn`, sequences of unequal lengths."""

from ..clip import clip_grad_norm_, clip_grad_value_
from . import rnn

__all__ = ["clip_grad_norm_", "clip_grad_value_", "rnn"]
