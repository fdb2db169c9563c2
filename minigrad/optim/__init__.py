"""Optimizers, in order of increasing complexity, and learning-rate schedules. Rules and names follow `torch.optim`."""

from . import lr_scheduler
from .adam import Adam
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .sgd import SGD

__all__ = ["SGD", "Adam", "Optimizer", "RMSprop", "lr_scheduler"]
