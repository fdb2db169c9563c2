"""Hooks on tensors, retained gradients, and the switch `requires_grad_`."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import minigrad as mg

from .helpers import close, host, leaf


def test_requires_grad_switches_in_place(device):
    x = mg.ones(2)
    assert x.requires_grad_() is x
    assert x.requires_grad
    assert not x.requires_grad_(False).requires_grad
    with pytest.raises(TypeError, match="only floating-point tensors have gradients"):
        mg.tensor([1]).requires_grad_()


# Retained gradients -----------------------------------------------------------------------------------


def test_a_computed_tensor_retains_its_gradient(device):
    x = leaf(1.0, 2.0)
    y = x * x
    z = y * 3
    y.retain_grad()
    z.sum().backward()
    assert y.grad.tolist() == [3.0, 3.0]
    assert z.grad is None
    assert x.grad.tolist() == [6.0, 12.0]


def test_retained_gradients_add_up_and_are_owned(device):
    x = leaf(1.0, 2.0)
    y = x * x
    y.retain_grad()
    y.retain_grad()  # twice is once
    z = y + 0
    z.backward(mg.ones(2, dtype=mg.float64), retain_graph=True)
    y.grad.data[...] = 5.0
    z.backward(mg.ones(2, dtype=mg.float64))
    assert y.grad.tolist() == [6.0, 6.0]
    assert x.grad.tolist() == [4.0, 8.0]


def test_one_of_several_outputs_retains(device):
    a, b = leaf(1.0, 2.0).unstack()
    b.retain_grad()
    (a * 2 + b * b).backward()
    assert b.grad.item() == 4.0
    assert a.grad is None


def test_grad_writes_nothing_also_where_a_gradient_is_retained(device):
    x = leaf(1.0)
    y = x * x
    y.retain_grad()
    mg.grad((y * 2).sum(), x)
    assert y.grad is None


def test_retaining_on_a_leaf_changes_nothing_and_without_gradient_raises(device):
    x = leaf(1.0)
    x.retain_grad()
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2.0]
    with pytest.raises(RuntimeError, match=r"retain_grad: this tensor .* does not require a gradient.*requires_grad_"):
        mg.ones(1).retain_grad()


def test_retaining_makes_no_cycle():
    gc.disable()
    try:
        y = leaf(1.0) * 2
        y.retain_grad()
        node = y._source[0]
        alive = weakref.ref(y)
        assert node.notes is not None
        del y
        assert alive() is None
    finally:
        gc.enable()


# Hooks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_hook_sees_the_whole_gradient_once(create_graph, device):
    x = leaf(1.0, 2.0)
    y = x * 2
    seen = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    (y * y + y).sum().backward(create_graph=create_graph)
    assert seen == [[5.0, 9.0]]
    assert x.grad.tolist() == [10.0, 18.0]


@pytest.mark.parametrize("create_graph", [False, True])
def test_what_a_hook_returns_goes_on(create_graph, device):
    x = leaf(1.0, 2.0)
    y = x * x
    y.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: g + 1)
    (g,) = mg.grad(y.sum(), x, create_graph=create_graph)
    assert g.tolist() == [22.0, 44.0]


def test_an_output_that_leads_to_no_input_runs_no_hooks(device):
    x, z = leaf(1.0), leaf(1.0)
    y, seen = x * x, []
    x.register_hook(seen.append)
    y.register_hook(seen.append)
    assert mg.grad([x, y], z, allow_unused=True) == (None,)
    assert seen == []


def test_a_hook_on_a_leaf_changes_what_lands_in_grad_and_what_grad_gives(device):
    x = leaf(1.0, 2.0)
    x.register_hook(lambda g: -g)
    (x * x).sum().backward()
    assert x.grad.tolist() == [-2.0, -4.0]
    (g,) = mg.grad((x * x).sum(), x)
    assert g.tolist() == [-2.0, -4.0]


def test_a_hook_runs_before_a_gradient_is_retained_and_wanted(device):
    x = leaf(1.0)
    y = x * 3
    y.retain_grad()
    y.register_hook(lambda g: g * 2)
    z = (y * y).sum()
    (g,) = mg.grad(z, y, retain_graph=True)
    assert g.tolist() == [12.0]
    z.backward()
    assert y.grad.tolist() == [12.0]


def test_a_hook_is_differentiated_with_create_graph(device):
    x = leaf(2.0)
    y = x * x
    y.register_hook(lambda g: g * x)  # dy/dx · x = 2x²
    (g,) = mg.grad(y, x, mg.ones(1, dtype=mg.float64), create_graph=True)
    (gg,) = mg.grad(g, x, mg.ones(1, dtype=mg.float64))
    assert (g.item(), gg.item()) == (8.0, 8.0)


def test_a_removed_hook_is_silent(device):
    x = leaf(1.0)
    seen = []
    handle = x.register_hook(lambda g: seen.append(1))
    with x.register_hook(lambda g: seen.append(2)):
        (x * 2).sum().backward()
    handle.remove()
    handle.remove()
    (x * 2).sum().backward()
    assert seen == [1, 2]


def test_what_a_hook_keeps_or_writes_to_is_its_own(device):
    """Neither `.grad`, nor another receiver, nor the caller's gradient shares its memory."""
    x = leaf(1.0, 2.0)
    kept = []
    x.register_hook(kept.append)
    seed = mg.ones(2, dtype=mg.float64)
    y = x + 0
    y.register_hook(lambda g: kept.append(g))
    y.backward(seed)
    for g in kept:
        g.data[...] = 7.0
    assert seed.tolist() == [1.0, 1.0]
    assert x.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "answer",
    [lambda g: 3.0, lambda g: g.sum(), lambda g: g.astype("float32"), lambda g: g.numpy],
    ids=["a number", "another shape", "another dtype", "a method"],
)
def test_a_hook_that_gives_something_else(answer):
    x = leaf(1.0, 2.0)
    x.register_hook(answer)
    with pytest.raises(TypeError, match=r"a hook gives None or a gradient like the one it got, \(2,\) float64 on cpu"):
        (x * 2).sum().backward()


def test_hooks_that_cannot_be():
    with pytest.raises(RuntimeError, match="register_hook: this tensor .* does not require a gradient"):
        mg.ones(1).register_hook(print)
    with pytest.raises(TypeError, match="register_hook: expected a function of the gradient, got int"):
        leaf(1.0).register_hook(1)


def test_hooks_on_the_states_of_an_unrolled_network_see_every_step(device):
    """dL/dh_t at every distance, without touching the network: h' = a h, so dL/dh_t = a^(T - t)."""
    a, h, norms = 0.5, leaf(1.0), {}
    first = h
    for t in range(1, 6):
        h = a * h
        h.register_hook(lambda g, t=t: norms.__setitem__(t, g.item()))
    h.sum().backward()
    assert norms == {t: a ** (5 - t) for t in range(1, 6)}
    close(first.grad, np.array([a**5]))
    assert host(first.grad).dtype == np.float64


def test_a_hook_on_an_output_that_nobody_used_is_not_called(device):
    calls = []
    x = leaf(1.0, 2.0)
    used, unused = mg.split(x * 3, 2)
    for part in (used, unused):
        part.register_hook(lambda g: calls.append(g.tolist()))
    used.sum().backward()
    assert calls == [[1.0]]
    close(x.grad, [3.0, 0.0])
