"""Random loops, swept with sums put off and with everything computed at once: the gradients are the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import cotangent, sweep
from minigrad.backend import namespace
from minigrad.nn.functional import linear
from minigrad.ops import registry
from minigrad.readings import readings_of

from .helpers import host, on

STEPS, ROWS = 3, 4  # of a loop; of a table

# What a step adds up. Each is of the shape (N, H) of the state h, or broadcasts to it; x is (T, N, H), xs its slices.
TERMS = [
    "h @ W",
    "h @ W",
    "h @ W.T",
    "h @ W.T.T",
    "linear(h, W, b)",
    "linear(h, V)",
    "xs[t]",
    "xs[t]",
    "xs[T - 1 - t] @ W",
    "linear(xs[t], W, b)",
    "x[t] @ W",
    "x[t, :, ::-1] @ W",
    "x[t, ::-1] @ W",
    "x[t : t + 1][0]",
    "x[ids[t]][0] * h",
    "x[:, :1][t] + b",
    "b",
    "b[::-1] * s",
    "s * h",
    "s[()] + s[...]",
    "bs[0] * h",
    "bs[-1] + b[t % H]",
    "mg.take(E, ids[t], axis=0)[:1]",
    "mg.take(E, ids[t], axis=0).sum(axis=0) @ V",
    "E[ids[t]].sum(axis=0)",
    "E[-1] @ W",
    "mg.concatenate(mg.split(h, [1], axis=1), axis=1)",
    "mg.stack(mg.unstack(h, axis=1), axis=1) @ W",
    "mg.unstack(mg.stack([h, h * h]))[1]",
    "mg.einsum('nh,kh->nk', h, W)",
    "h.T.copy().T",
    "mg.sum(W, axis=0) * W[t % H]",
    "seen[t // 2]",
    "seen[t // 2] @ W",
    "xs[0] * seen[0]",
]
SQUARE = ["x[t].T @ W", "linear(xs[t].T, W, b)", "W.T @ x[t]", "(W @ h.T).T"]  # where N = H
ENDS = ["h * xs[-1]", "seen[1] * 0.5", "xs[0][:1] * 2.0", "xs[1] @ W", "h", "x[-1] + s", "W[:1] + h", "xs[2] + xs[2]"]

Arrays = dict[str, np.ndarray[Any, Any]]


@st.composite
def programs(draw: st.DrawFn) -> tuple[Arrays, list[str], str]:
    """The leaves of a loop, the lines of its body, and what is summed up at its end."""
    n, h = draw(st.sampled_from([(2, 3), (2, 2), (3, 3), (1, 2), (1, 1), (0, 2)]))
    shapes = {"W": (h, h), "V": (h, h), "b": (h,), "s": (), "E": (ROWS, h), "x": (STEPS, n, h), "h": (n, h)}
    random = np.random.default_rng(draw(st.integers(0, 999)))
    kinds = draw(st.sampled_from([["f8"], ["f8"], ["f8"], ["f8", "f4"]]))
    arrays = {name: 0.5 * random.standard_normal(shape) for name, shape in shapes.items()}
    arrays = {name: array.astype(draw(st.sampled_from(kinds))) for name, array in arrays.items()}
    arrays["ids"] = random.integers(-ROWS + 1, STEPS, (STEPS, 3))
    terms = st.sampled_from([*TERMS, *SQUARE * (n == h)])
    body = [" + ".join(draw(st.lists(terms, min_size=1, max_size=3))) for _ in range(draw(st.integers(1, 2)))]
    return arrays, body, " + ".join(draw(st.lists(st.sampled_from(ENDS), min_size=1, max_size=3)))


def gradients(arrays: Arrays, body: list[str], end: str, device: str) -> list[list[mg.Tensor | None]]:
    """Those of the leaves, of a slice and of a state, by two sweeps over one graph."""
    ids = on(device, arrays["ids"])
    leaves = {name: on(device, array, True) for name, array in arrays.items() if name != "ids"}
    names = {**leaves, "mg": mg, "linear": linear, "ids": ids, "T": STEPS, "H": arrays["b"].size}
    names["xs"], names["bs"], names["seen"] = mg.unstack(leaves["x"]), mg.unstack(leaves["b"]), []
    for names["t"] in range(STEPS):
        names["seen"].append(names["h"])
        for line in body:
            names["h"] = mg.tanh(names["h"] + eval(line, names))
    y = eval(end, names) * leaves["s"]
    weights = np.cos(np.arange(float(y.size))).reshape(y.shape)
    loss = (y * on(device, weights)).sum()
    wanted = [*leaves.values(), names["xs"][1], names["seen"][1]]
    return [mg.grad(loss, wanted, allow_unused=True, retain_graph=True) for _ in range(2)]


@contextlib.contextmanager
def nothing_put_off(device: str) -> Iterator[None]:
    """Every sum is computed where it arises, no slice has a buffer, and each product is of what it was given."""
    readings = readings_of(namespace(device))
    with (
        patch.object(readings, "defer", readings.compute),
        patch.object(sweep, "_pass_on", lambda node, edges, inbox, send: edges),
        patch.object(cotangent.Inbox, "add_slice", lambda inbox, *args: inbox.add(*args) or args[1]),
        patch.object(registry["matmul"], "shortcut", None),
        patch.object(registry["linear"], "shortcut", None),
    ):
        yield


def check(device: str, arrays: Arrays, body: list[str], end: str, broken: Any = contextlib.nullcontext) -> None:
    with broken():
        first, again = gradients(arrays, body, end, device)
    with nothing_put_off(device):
        expected, _ = gradients(arrays, body, end, device)
    allowed = 1e-4 if any(a.dtype == np.float32 for a in arrays.values()) else 1e-11
    for found, other, right in zip(first, again, expected, strict=True):
        if right is None:
            assert found is None
            continue
        assert (found.shape, found.dtype) == (right.shape, right.dtype)
        np.testing.assert_allclose(host(found), host(right), rtol=allowed, atol=allowed)
        np.testing.assert_array_equal(host(found), host(other))
    held = [(g, host(g)) for g in first if g is not None]
    for g, was in held:  # each can be written to, and shares its memory with none
        np.testing.assert_array_equal(host(g), was)
        g.data[...] = 99.0


@settings(max_examples=3 * settings.default.max_examples)
@given(program=programs())
def test_gradients_are_those_of_sums_computed_at_once(device, program):
    check(device, *program)
