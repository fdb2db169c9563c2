"""Random loops, swept with sums put off and with everything computed at once: the gradients are the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import cotangent, sweep
from minigrad.backend import namespace
from minigrad.ops import registry
from minigrad.readings import readings_of

from .helpers import host, on

linear = registry["linear"]

STEPS, ROWS = 3, 4  # of a loop; of a table

# What a step adds up. Each is of the shape (N, H) of the state h, or broadcasts to it; x is (T, N, H), xs its slices.
TERMS = [
    "h @ W",
    "h @ W",
    "h @ W.T",
    "h @ W.T.T",
    "linear(h, W, b)",
    "h @ WT",
    "h @ WT",
    "mg.sum(WT * WT, axis=0)",
    "WT[t % H]",
    "xs[t]",
    "xs[t]",
    "xs[T - 1 - t] @ W",
    "linear(xs[t], W, b)",
    "x[t] @ V",
    "linear(xs[t], V, b)",
    "xs[T - 1 - t] @ V",
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
    "bs[-1] + h",
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


class Program(NamedTuple):
    """A loop."""

    seed: int
    rows: int  # N
    width: int  # H
    single: str  # the leaves in float32; the others are in float64
    body: list[str]  # its lines: what each adds to the state
    end: str  # what is summed up at last
    hooked: bool  # whether the sweep stops at each state to run a hook

    def leaves(self, device: str) -> dict[str, mg.Tensor]:
        n, h = self.rows, self.width
        shapes = {"W": (h, h), "V": (h, h), "b": (h,), "s": (), "E": (ROWS, h), "x": (STEPS, n, h), "h": (n, h)}
        random = np.random.default_rng(self.seed)
        arrays = {name: np.asarray(0.5 * random.standard_normal(shape)) for name, shape in shapes.items()}
        return {name: on(device, a.astype("f4" if name in self.single else "f8"), True) for name, a in arrays.items()}

    def gradients(self, device: str) -> list[list[mg.Tensor | None]]:
        """Those of the leaves, of a slice and of a state, by two sweeps over one graph."""
        leaves = self.leaves(device)
        ids = on(device, np.random.default_rng(self.seed).integers(-STEPS, STEPS, (STEPS, 3)))
        names: dict[str, Any] = {**leaves, "mg": mg, "linear": linear, "ids": ids, "T": STEPS, "H": self.width}
        names |= {"xs": mg.unstack(leaves["x"]), "bs": mg.unstack(leaves["b"]), "WT": leaves["W"].T, "seen": []}
        for names["t"] in range(STEPS):
            names["seen"].append(names["h"])
            for line in self.body:
                names["h"] = mg.tanh(names["h"] + eval(line, names))
            if self.hooked:
                names["h"].register_hook(lambda g: 1.5 * g)
        y = eval(self.end, names) * leaves["s"]
        weights = np.cos(np.arange(float(y.size))).reshape(y.shape)
        loss = (y * on(device, weights)).sum()
        wanted = [*leaves.values(), names["xs"][1], names["seen"][1]]
        return [mg.grad(loss, wanted, allow_unused=True, retain_graph=True) for _ in range(2)]


@st.composite
def programs(draw: st.DrawFn) -> Program:
    n, h = draw(st.sampled_from([(2, 3), (2, 2), (3, 3), (1, 2), (1, 1), (0, 2)]))
    terms = st.sampled_from([*TERMS, *SQUARE * (n == h)])
    sums = st.lists(terms, min_size=1, max_size=3).map(" + ".join)
    return Program(
        seed=draw(st.integers(0, 999)),
        rows=n,
        width=h,
        single=draw(st.sampled_from(["", "", "", "W", "bx", "WVE", "sh"])),
        body=draw(st.lists(sums, min_size=1, max_size=2)),
        end=draw(st.lists(st.sampled_from(ENDS), min_size=1, max_size=3).map(" + ".join)),
        hooked=draw(st.sampled_from([False, False, True])),
    )


@contextlib.contextmanager
def nothing_put_off(device: str) -> Iterator[None]:
    """Every sum is computed where it arises, no slice has a buffer, and each product is of what it was given."""
    readings = readings_of(namespace(device))
    with (
        patch.object(readings, "defer", readings.compute),
        patch.object(sweep, "_pass_on", lambda node, edges, inbox, arrivals: edges),
        patch.object(cotangent.Inbox, "add_slice", lambda inbox, *args: inbox.add(*args) or args[1]),
        patch.object(registry["matmul"], "shortcut", None),
        patch.object(registry["linear"], "shortcut", None),
    ):
        yield


def check(device: str, program: Program, broken: Any = contextlib.nullcontext) -> None:
    with broken():
        first, again = program.gradients(device)
    with nothing_put_off(device):
        expected, _ = program.gradients(device)
    allowed = 1e-4 if program.single else 1e-11
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
    check(device, program)


# What is broken is found --------------------------------------------------------------------------


def remember_the_first_pair_alone() -> Any:
    absorb = cotangent.Deferred.absorb

    def broken(total: Any, contribution: Any) -> None:
        absorb(total, contribution)
        del total.pairs[1:]

    return patch.object(cotangent.Deferred, "absorb", broken)


def ignore_the_order_of_slices() -> Any:
    right = cotangent._slices_of_one
    return patch.object(cotangent, "_slices_of_one", lambda xp, arrays: (right(xp, arrays)[0], False))


def ignore_how_slices_lie() -> Any:
    right = cotangent._slices_of_one

    def broken(xp: Any, arrays: list[Any]) -> Any:
        base = arrays[0].base
        if base is not None and base.shape == (len(arrays), *arrays[0].shape):
            return base.reshape(-1, base.shape[-1]), False
        return right(xp, arrays)

    return patch.object(cotangent, "_slices_of_one", broken)


def transpose_without_exchanging() -> Any:
    return patch.object(cotangent.Deferred, "transposed", lambda total: total.copy())


def forget_what_is_dense_in_a_transpose() -> Any:
    right = cotangent.Deferred.transposed

    def broken(total: Any) -> Any:
        found = right(total)
        if type(found) is cotangent.Deferred and found.pairs:
            found.dense = None
        return found

    return patch.object(cotangent.Deferred, "transposed", broken)


def add_into_a_slice_that_was_handed_on() -> Any:
    right = cotangent.Inbox.add_slice

    def broken(inbox: Any, slot: int, contribution: Any, xp: Any) -> Any:
        held = inbox.values[slot]
        if held is None or type(held) is cotangent.Deferred or type(contribution) is cotangent.Deferred:
            return right(inbox, slot, contribution, xp)
        held += contribution
        return held

    return patch.object(cotangent.Inbox, "add_slice", broken)


def believe_that_all_is_in_the_buffer() -> Any:
    right = cotangent.Inbox.is_slice
    return patch.object(cotangent.Inbox, "is_slice", lambda inbox, slot: right(inbox, slot) or True)


def leave_what_nobody_used_unwritten() -> Any:
    def broken(inbox: Any, slot: int) -> bool:
        value = inbox.values[slot]
        if value is None:
            inbox.buffer[slot][...] = 3.0
        return value is None or getattr(value, "base", None) is inbox.buffer

    return patch.object(cotangent.Inbox, "is_slice", broken)


def pass_on_what_does_not_fit() -> Any:
    def broken(node: Any, edges: Any, inbox: Any, arrivals: Any) -> Any:
        for place in node.primitive.passes_on:
            if type(edges[place]) is tuple and edges[place][0].primitive is registry["unstack"]:
                inbox.values[0], inbox.owned = arrivals.send(edges[place], inbox.take(0), node.xp), 0
                return [None if k == place else other for k, other in enumerate(edges)]
        return edges

    return patch.object(sweep, "_pass_on", broken)


def drop_the_part_that_comes_second() -> Any:
    right = cotangent.Deferred._add_part

    def broken(total: Any, index: Any, x: Any) -> None:
        if total.dense is None:
            right(total, index, x)

    return patch.object(cotangent.Deferred, "_add_part", broken)


BREAKS: list[Callable[[], Any]] = [
    remember_the_first_pair_alone,
    ignore_the_order_of_slices,
    ignore_how_slices_lie,
    transpose_without_exchanging,
    forget_what_is_dense_in_a_transpose,
    add_into_a_slice_that_was_handed_on,
    believe_that_all_is_in_the_buffer,
    leave_what_nobody_used_unwritten,
    pass_on_what_does_not_fit,
    drop_the_part_that_comes_second,
]


@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.__name__)
def test_what_is_broken_is_found(broken):
    @settings(max_examples=20 * settings.default.max_examples, phases=[Phase.generate], print_blob=False)
    @given(program=programs())
    def run(program: Program) -> None:
        check("cpu", program, broken)

    with pytest.raises((AssertionError, ValueError)):  # a wrong gradient, or shapes that no longer fit
        run()
