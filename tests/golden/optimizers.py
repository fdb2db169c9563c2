"""Optimizers, clipping and schedules: where PyTorch's take a parameter, a gradient or a learning rate."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arrays import Arrays

Optimizer = tuple[str, dict[str, Any]]
STEPS_TAKEN = 50

OPTIMIZERS = {
    "sgd": ("SGD", {"lr": 0.1}),
    "sgd-weight-decay": ("SGD", {"lr": 0.1, "weight_decay": 0.05}),
    "sgd-momentum": ("SGD", {"lr": 0.05, "momentum": 0.9}),
    "sgd-dampening": ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3}),
    "sgd-nesterov": ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    "sgd-all": ("SGD", {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.1, "dampening": 0.5}),
    "rmsprop": ("RMSprop", {}),
    "rmsprop-alpha": ("RMSprop", {"lr": 2e-3, "alpha": 0.95, "eps": 1e-4}),
    "rmsprop-momentum": ("RMSprop", {"lr": 2e-3, "momentum": 0.9}),
    "rmsprop-all": ("RMSprop", {"lr": 2e-3, "momentum": 0.5, "weight_decay": 0.1}),
    "adam": ("Adam", {}),
    "adam-betas": ("Adam", {"lr": 0.02, "betas": (0.5, 0.9), "eps": 1e-4}),
    "adam-weight-decay": ("Adam", {"lr": 0.02, "weight_decay": 0.1}),
}


def run_optimizer(case: Optimizer, seed: int) -> Arrays:
    """Where a small parameter is after each step, on a sequence of gradients that depends on nothing."""
    import torch

    kind, options = case
    rng = np.random.default_rng(seed)
    arrays = {"start": rng.normal(size=(2, 3)), "gradients": rng.normal(size=(STEPS_TAKEN, 2, 3))}
    p = torch.tensor(arrays["start"], requires_grad=True)
    optimizer = getattr(torch.optim, kind)([p], **options)
    places = []
    for gradient in arrays["gradients"]:
        p.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        places.append(p.detach().numpy().copy())
    return arrays | {"places": np.stack(places)}


MAX_NORMS = {"below": 100.0, "above": 0.5, "far-above": 1e-3}


def run_clipping(max_norm: float, seed: int) -> Arrays:
    """The gradients of two parameters before and after, and their norm."""
    import torch

    rng = np.random.default_rng(seed)
    gradients = [rng.normal(size=(3, 2)), rng.normal(size=4)]
    parameters = [torch.zeros(g.shape, dtype=torch.float64, requires_grad=True) for g in gradients]
    for p, g in zip(parameters, gradients, strict=True):
        p.grad = torch.from_numpy(g.copy())
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    before = {f"before.{k}": g for k, g in enumerate(gradients)}
    return before | {f"after.{k}": p.grad.numpy() for k, p in enumerate(parameters)} | {"norm": norm.numpy()}


SCHEDULES = {"cosine": {"T_max": 20}, "cosine-eta-min": {"T_max": 20, "eta_min": 0.01}}


def run_schedule(options: dict[str, Any], seed: int = 0) -> Arrays:
    """The learning rate at first, 0.1, and after each of 30 steps."""
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, **options)
    rates = [schedule.get_last_lr()]
    for _ in range(30):
        optimizer.step()
        schedule.step()
        rates.append(schedule.get_last_lr())
    return {"rates": np.array(rates, dtype=np.float64)}
