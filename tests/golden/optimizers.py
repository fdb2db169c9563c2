"""Optimizers and clipping: where PyTorch's take a parameter, or a gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arrays import Arrays

Optimizer = tuple[str, dict[str, Any]]
STEPS_TAKEN = 200
LOOK_EVERY = 10  # steps between two places that are kept; the last one is

OPTIMIZERS = {
    "sgd": ("SGD", {"lr": 0.1}),
    "sgd-weight-decay": ("SGD", {"lr": 0.1, "weight_decay": 0.05}),
    "sgd-momentum": ("SGD", {"lr": 0.05, "momentum": 0.9}),
    "sgd-dampening": ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3}),
    "sgd-nesterov": ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    "sgd-maximize": ("SGD", {"lr": 0.05, "weight_decay": 0.1, "maximize": True}),
    "sgd-all": ("SGD", {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.1, "dampening": 0.5, "maximize": True}),
    "adagrad": ("Adagrad", {}),
    "adagrad-lr-decay": ("Adagrad", {"lr": 0.1, "lr_decay": 0.05}),
    "adagrad-start": ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3}),
    "adagrad-maximize": ("Adagrad", {"lr": 0.1, "maximize": True}),
    "adagrad-all": ("Adagrad", {"lr": 0.1, "lr_decay": 0.01, "weight_decay": 0.1, "initial_accumulator_value": 0.1}),
    "rmsprop": ("RMSprop", {}),
    "rmsprop-alpha": ("RMSprop", {"lr": 2e-3, "alpha": 0.95, "eps": 1e-4}),
    "rmsprop-momentum": ("RMSprop", {"lr": 2e-3, "momentum": 0.9}),
    "rmsprop-centered": ("RMSprop", {"lr": 2e-3, "centered": True}),
    "rmsprop-maximize": ("RMSprop", {"lr": 2e-3, "maximize": True}),
    "rmsprop-all": ("RMSprop", {"lr": 2e-3, "momentum": 0.5, "weight_decay": 0.1, "centered": True}),
    "adam": ("Adam", {}),
    "adam-betas": ("Adam", {"lr": 0.02, "betas": (0.5, 0.9), "eps": 1e-4}),
    "adam-weight-decay": ("Adam", {"lr": 0.02, "weight_decay": 0.1}),
    "adam-amsgrad": ("Adam", {"lr": 0.02, "betas": (0.9, 0.8), "amsgrad": True}),
    "adam-maximize": ("Adam", {"lr": 0.02, "maximize": True}),
    "adam-decoupled": ("Adam", {"lr": 0.02, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    "adamw": ("AdamW", {}),
    "adamw-all": ("AdamW", {"lr": 0.02, "betas": (0.8, 0.9), "weight_decay": 0.1, "amsgrad": True, "maximize": True}),
}


def run_optimizer(case: Optimizer, seed: int) -> Arrays:
    """Where a small parameter is after every tenth step, on a sequence of gradients that depends on nothing."""
    import torch

    kind, options = case
    rng = np.random.default_rng(seed)
    arrays = {"start": rng.normal(size=3), "gradients": rng.normal(size=(STEPS_TAKEN, 3))}
    p = torch.tensor(arrays["start"], requires_grad=True)
    optimizer = getattr(torch.optim, kind)([p], **options)
    places = []
    for gradient in arrays["gradients"]:
        p.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        places.append(p.detach().numpy().copy())
    return arrays | {"places": np.stack(places[LOOK_EVERY - 1 :: LOOK_EVERY])}


Clipping = tuple[str, dict[str, float]]

CLIPPINGS = {
    "below": ("clip_grad_norm_", {"max_norm": 100.0}),
    "above": ("clip_grad_norm_", {"max_norm": 0.5}),
    "far-above": ("clip_grad_norm_", {"max_norm": 1e-3}),
    "largest": ("clip_grad_norm_", {"max_norm": 0.5, "norm_type": float("inf")}),
    "sum-of-sizes": ("clip_grad_norm_", {"max_norm": 0.5, "norm_type": 1.0}),
    "order-3": ("clip_grad_norm_", {"max_norm": 0.5, "norm_type": 3.0}),
    "value": ("clip_grad_value_", {"clip_value": 0.7}),
}


def run_clipping(case: Clipping, seed: int) -> Arrays:
    """The gradients of two parameters before and after, and their norm."""
    import torch

    function, options = case
    rng = np.random.default_rng(seed)
    gradients = [rng.normal(size=(3, 2)), rng.normal(size=4)]
    parameters = [torch.zeros(g.shape, dtype=torch.float64, requires_grad=True) for g in gradients]
    for p, g in zip(parameters, gradients, strict=True):
        p.grad = torch.from_numpy(g.copy())
    norm = getattr(torch.nn.utils, function)(parameters, **options)
    before = {f"before.{k}": g for k, g in enumerate(gradients)}
    after = {f"after.{k}": p.grad.numpy() for k, p in enumerate(parameters)}
    return before | after | ({} if norm is None else {"norm": norm.numpy()})
