"""Schedules: the learning rates, and the momentum, that PyTorch's set in 200 steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .arrays import Arrays
from .optimizers import STEPS_TAKEN

Spec = tuple[str, dict[str, Any]]  # the name of a schedule and its options; in SequentialLR's, schedules are specs


@dataclass(frozen=True)
class Drive:
    """One optimizer of two groups, with rates 0.1 and 0.3, and the schedules that drive it, each stepped in turn."""

    schedules: list[Spec]
    optimizer: str = "SGD"
    by_hand: int | None = None  # the step before which somebody halves the first group's rate


# Falls, then wavers, then rises a little: a measure for ReduceLROnPlateau.
MEASURES = [max(1.0 - 0.02 * t, 0.2) + 0.03 * math.sin(t) + 1e-3 * max(t - 120, 0) for t in range(STEPS_TAKEN)]


def halved(t: int) -> float:
    return 0.5 ** (t // 30)


def warm(t: int) -> float:
    return min(1.0, (t + 1) / 10)


WARMUP = ("LinearLR", {"start_factor": 0.1, "total_iters": 20})
COSINE = ("CosineAnnealingLR", {"T_max": 60})

SCHEDULES = {
    "lambda": Drive([("LambdaLR", {"lr_lambda": [halved, warm]})]),
    "step": Drive([("StepLR", {"step_size": 30})]),
    "multi-step": Drive([("MultiStepLR", {"milestones": [120, 40, 80, 40], "gamma": 0.5})]),
    "multi-step-at-once": Drive([("MultiStepLR", {"milestones": [0, 7], "gamma": 0.3})]),
    "constant": Drive([("ConstantLR", {})]),
    "linear": Drive([("LinearLR", {})]),
    "linear-down": Drive([("LinearLR", {"start_factor": 0.9, "end_factor": 0.0, "total_iters": 150})]),
    "exponential": Drive([("ExponentialLR", {"gamma": 0.97})]),
    "polynomial": Drive([("PolynomialLR", {"total_iters": 120, "power": 2.0})]),
    "cosine": Drive([("CosineAnnealingLR", {"T_max": 20})]),
    "cosine-eta-min": Drive([("CosineAnnealingLR", {"T_max": 130, "eta_min": 0.01})]),
    "restarts": Drive([("CosineAnnealingWarmRestarts", {"T_0": 25})]),
    "restarts-longer": Drive([("CosineAnnealingWarmRestarts", {"T_0": 10, "T_mult": 2, "eta_min": 0.01})]),
    "one-cycle": Drive([("OneCycleLR", {"max_lr": 0.5, "total_steps": 200})]),
    "one-cycle-adam": Drive(
        [("OneCycleLR", {"max_lr": [0.5, 0.2], "epochs": 20, "steps_per_epoch": 10, "anneal_strategy": "linear"})],
        optimizer="Adam",
    ),
    "one-cycle-three-phase": Drive(
        [("OneCycleLR", {"max_lr": 0.5, "total_steps": 200, "three_phase": True, "pct_start": 0.4, "div_factor": 5.0})],
        optimizer="AdamW",
    ),
    "one-cycle-no-momentum": Drive(
        [("OneCycleLR", {"max_lr": 0.5, "total_steps": 210, "cycle_momentum": False})], optimizer="Adagrad"
    ),
    "plateau": Drive([("ReduceLROnPlateau", {"patience": 5, "factor": 0.5})]),
    "plateau-max": Drive(
        [("ReduceLROnPlateau", {"mode": "max", "patience": 3, "cooldown": 4, "factor": 0.8, "min_lr": [0.01, 0.1]})]
    ),
    "plateau-abs": Drive([("ReduceLROnPlateau", {"threshold_mode": "abs", "threshold": 0.05, "patience": 8})]),
    "plateau-max-abs": Drive([("ReduceLROnPlateau", {"mode": "max", "threshold_mode": "abs", "threshold": 0.2})]),
    "sequential": Drive([("SequentialLR", {"schedulers": [WARMUP, COSINE], "milestones": [20]})]),
    "sequential-three": Drive(
        [
            (
                "SequentialLR",
                {
                    "schedulers": [WARMUP, ("ExponentialLR", {"gamma": 0.95}), ("LambdaLR", {"lr_lambda": halved})],
                    "milestones": [30, 90],
                },
            )
        ]
    ),
    "two": Drive([WARMUP, COSINE]),
    "three": Drive([("StepLR", {"step_size": 50}), ("ExponentialLR", {"gamma": 0.99}), ("ConstantLR", {})]),
    "by-hand": Drive([COSINE], by_hand=77),
    "two-by-hand": Drive([WARMUP, ("ExponentialLR", {"gamma": 0.99})], by_hand=10),
}


def make(library: Any, optimizer: Any, spec: Spec) -> Any:
    """A schedule of a library (torch.optim or minigrad.optim)."""
    kind, options = spec
    if kind == "SequentialLR":
        options = options | {"schedulers": [make(library, optimizer, inner) for inner in options["schedulers"]]}
    return getattr(library.lr_scheduler, kind)(optimizer, **options)


def advance(schedule: Any, t: int) -> None:
    schedule.step(*([MEASURES[t]] if type(schedule).__name__ == "ReduceLROnPlateau" else []))


def momentum(group: dict[str, Any]) -> float:
    """The momentum of a group, or Adam's β₁; without either 0."""
    return float(group["betas"][0] if "betas" in group else group.get("momentum", 0.0))


def drive(library: Any, case: Drive, parameters: list[Any]) -> Arrays:
    """The rates and the first momentum, at first and after each step."""
    groups = [{"params": [p], "lr": lr} for p, lr in zip(parameters, (0.1, 0.3), strict=True)]
    optimizer = getattr(library, case.optimizer)(groups)
    schedules = [make(library, optimizer, spec) for spec in case.schedules]
    rates, momenta = [], []
    for t in range(STEPS_TAKEN + 1):
        rates.append([group["lr"] for group in optimizer.param_groups])
        momenta.append(momentum(optimizer.param_groups[0]))
        if t == STEPS_TAKEN:
            break
        if t == case.by_hand:
            optimizer.param_groups[0]["lr"] *= 0.5
        optimizer.step()
        for schedule in schedules:
            advance(schedule, t)
    last = [schedule.get_last_lr() for schedule in schedules]
    return {name: np.array(x, dtype=np.float64) for name, x in (("rates", rates), ("momenta", momenta), ("last", last))}


def run_schedule(case: Drive, seed: int = 0) -> Arrays:
    import torch

    return drive(torch.optim, case, [torch.zeros(1, requires_grad=True) for _ in range(2)])
