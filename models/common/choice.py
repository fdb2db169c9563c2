"""Which symbol comes next, of those that a model expects: temperature, top-k, top-p.

V: vocabulary   N: samples, drawn side by side
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import minigrad as mg

from .errors import UserError


@dataclass(frozen=True)
class Choice:
    """How a symbol is chosen from the logits x of a model.

    1. pᵢ ∝ exp(xᵢ / temperature); temperature 0 takes the likeliest symbol, whatever the rest says.
    2. top-k keeps the k likeliest (Fan et al. 2018, arXiv 1805.04833).
    3. top-p keeps, of these, the smallest set of the likeliest that has at least the share p of their sum (nucleus
       sampling, Holtzman et al. 2019, arXiv 1904.09751). At least one symbol is kept.

    Among equally likely symbols the one with the smaller number comes first, so that never more than k are kept.
    """

    temperature: float = 1.0
    top_k: int = 0  # 0 keeps all
    top_p: float = 1.0  # 1 keeps all

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise UserError(f"the temperature must be 0 or more, got {self.temperature}")
        if self.top_k < 0:
            raise UserError(f"top-k must be 1 or more, or 0 for all symbols, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top-p must be above 0 and at most 1, got {self.top_p}")


ALL = Choice()  # as the model expects


def choose(logits: mg.Tensor, choice: Choice, u: Any) -> mg.Tensor:
    """The numbers (N,) of symbols, drawn by u in [0, 1), a float or (N, 1): the first i with p_0 + ... + p_i > u.

    A number is V where the logits (N, V) are no numbers. Nothing is read.
    """
    below = logits - logits.max(axis=-1, keepdims=True)
    if choice.temperature == 0:
        p, u = below == 0, 0.0
    else:
        p = mg.exp(below.astype(mg.float64) / choice.temperature)  # times what makes their sum 1
        if 0 < choice.top_k < logits.shape[-1] or choice.top_p < 1:
            p = _truncated(below, p, choice)
    reached = mg.cumsum(p, axis=-1)
    return logits.shape[-1] - (reached > u * reached[:, -1:]).sum(axis=-1)


def _truncated(x: mg.Tensor, p: mg.Tensor, choice: Choice) -> mg.Tensor:
    """p (N, V), with zeros for what is not drawn from. Those before a symbol: the likelier, and the equals with
    smaller numbers. Kept is what has fewer than k before it, and these less than the share top_p.
    """
    top_k = choice.top_k or x.shape[-1]
    if x.device == "cpu":  # the host sorts
        order = np.argsort(-x.numpy(), axis=-1, kind="stable")[:, :top_k]
        reached = np.cumsum(np.take_along_axis(p.numpy(), order, axis=-1), axis=-1)
        within = np.ones(order.shape, bool)
        if choice.top_p < 1:
            within[:, 1:] = reached[:, :-1] < choice.top_p * reached[:, -1:]
        kept = np.zeros(x.shape, bool)
        np.put_along_axis(kept, order, within, axis=-1)
        return p * mg.tensor(kept)
    # A device compares each with each, (N, V, V): how long that takes depends on no value.
    places = mg.arange(x.shape[-1], device=x.device)
    mine, others = x[:, :, None], x[:, None, :]
    before = (others > mine) | ((others == mine) & (places[None, :] < places[:, None]))
    p = p * (before.sum(axis=-1) < top_k)
    if choice.top_p < 1:
        p = p * ((before * p[:, None, :]).sum(axis=-1) < choice.top_p * p.sum(axis=-1, keepdims=True))
    return p
