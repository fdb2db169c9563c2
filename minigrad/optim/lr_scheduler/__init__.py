"""Learning rates that change as training goes on. Rules and names follow `torch.optim.lr_scheduler`.

    for epoch in range(epochs):
        ...; optimizer.step()
        schedule.step()

To go on from a file: make the optimizer and the schedule as at first, then give each its `load_state_dict`.
"""

from .cycle import CosineAnnealingWarmRestarts, OneCycleLR
from .decay import ExponentialLR, LambdaLR, MultiStepLR, StepLR
from .plateau import ReduceLROnPlateau
from .ramp import ConstantLR, CosineAnnealingLR, LinearLR, PolynomialLR
from .schedule import LRScheduler
from .sequential import SequentialLR

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
