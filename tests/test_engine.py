"""The tape and the sweep: what is recorded, in which order it is undone, and what is left behind."""

import gc
import threading
import tracemalloc

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.graph import Node
from minigrad.ops import registry

from .cases import CASES, differentiable_inputs
from .helpers import leaf, listed, prepared


def live_nodes():
    return sum(type(thing) is Node for thing in gc.get_objects())


# What a sweep computes ----------------------------------------------------------------------------


def test_a_value_used_twice_gets_both_contributions(device):
    x = leaf(2.0, 3.0)
    (x * x + x).sum().backward()
    assert x.grad.tolist() == [5.0, 7.0]


def test_a_diamond(device):
    x = leaf(0.5)
    a = x * 3
    b, c = a * a, a + 1
    (b * c).sum().backward()  # d/da (a³ + a²) = 3a² + 2a, times 3
    assert x.grad.tolist() == [3 * (3 * 1.5**2 + 2 * 1.5)]


def test_many_uses_add_up(device):
    x = leaf(1.0, 2.0)
    total = x * 0
    for k in range(10):
        total = total + k * x
    total.sum().backward()
    assert x.grad.tolist() == [45.0, 45.0]


def test_gradients_accumulate_over_sweeps(device):
    x = leaf(1.0)
    (2 * x).sum().backward()
    first = x.grad
    (3 * x).sum().backward()
    assert x.grad.tolist() == [5.0]
    assert first.tolist() == [2.0]  # what was handed out before stays what it was


def test_an_unused_output_contributes_zeros(device):
    x = leaf(1.0, 2.0, 3.0, 4.0)
    _, second = x.split(2)
    (second * second).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 6.0, 8.0]


def test_higher_orders(device):
    x = leaf(0.7)
    y, expected = mg.exp(2 * x).sum(), np.exp(1.4)
    for order in range(1, 5):
        (g,) = mg.grad(y, x, create_graph=True)
        expected *= 2
        assert g.item() == pytest.approx(expected, rel=1e-12), order
        y = g.sum()


def test_a_gradient_penalty(device):
    """A loss that contains the norm of a gradient, trained through."""
    x, w = leaf(1.0, -2.0), leaf(0.3, 0.4)
    (g,) = mg.grad((mg.tanh(x * w)).sum(), x, create_graph=True)
    penalty = ((g * g).sum() ** 0.5 - 1) ** 2
    (dw,) = mg.grad(penalty, w)

    def numeric(v):
        d = v * (1 - np.tanh(np.array([1.0, -2.0]) * v) ** 2)
        return (np.sqrt((d * d).sum()) - 1) ** 2

    for i in range(2):
        e = np.eye(2)[i] * 1e-6
        centre = np.array([0.3, 0.4])
        assert dw.tolist()[i] == pytest.approx((numeric(centre + e) - numeric(centre - e)) / 2e-6, rel=1e-6)


def test_backward_with_create_graph_leaves_differentiable_gradients(device):
    x = leaf(2.0)
    (x**3).sum().backward(create_graph=True)
    g, x.grad = x.grad, None
    g.sum().backward()
    assert g.tolist() == [12.0]
    assert x.grad.tolist() == [12.0]


def test_recorded_gradients_of_one_sweep_are_tensors_of_their_own(device):
    x, w = leaf(1.0), leaf(2.0)
    mg.tanh(x + w).sum().backward(create_graph=True)  # x and w receive the same gradient
    found, missing = mg.grad(3 * x.grad, [x.grad, w.grad], allow_unused=True)
    assert found.tolist() == [3.0]
    assert missing is None


def test_a_recorded_gradient_stays_recorded_as_it_grows(device):
    x = leaf(2.0)
    y = (x**3).sum()
    y.backward(create_graph=True)
    with mg.no_grad():
        y.backward(create_graph=True)
        y.backward(retain_graph=True)
    assert x.grad.tolist() == [36.0]
    assert mg.grad(x.grad, x)[0].tolist() == [24.0]  # the last one was a number alone


def test_a_leaf_switched_off_since_it_was_used_gets_no_gradient(device):
    x, w = leaf(1.0), leaf(2.0)
    y = (x * w).sum()
    x.requires_grad_(False)
    y.backward()
    assert x.grad is None
    assert w.grad.tolist() == [1.0]


def test_grad_of_intermediate_results_and_several_outputs(device):
    x = leaf(1.0, 2.0)
    h = x * x
    a, b = h.sum(), (3 * h).sum()
    gh, gx = mg.grad([a, b], [h, x])
    assert gh.tolist() == [4.0, 4.0]
    assert gx.tolist() == [8.0, 16.0]
    assert x.grad is None


def test_grad_of_one_output_of_several(device):
    x = leaf(1.0, 2.0)
    parts = (x * 2).split(2)
    (g,) = mg.grad((parts[1] * 5).sum(), parts[1])
    assert g.tolist() == [5.0]


def test_grad_skips_what_leads_nowhere(device):
    """Only the nodes between outputs and inputs are gone through; the rest of the graph stays usable."""
    x, w = leaf(1.0), leaf(2.0)
    other = mg.exp(w)
    y = (x * other).sum()
    mg.grad(y, x)
    other.sum().backward()  # would raise if its part of the graph had been freed
    assert w.grad.item() == pytest.approx(np.exp(2.0))


def test_grad_of_nothing(device):
    assert mg.grad(leaf(1.0).sum(), []) == ()


def test_grad_stops_at_its_inputs(device):
    """What lies behind an intermediate result is not looked at, even if it was freed."""
    x = leaf(3.0)
    h = x * 2
    h.sum().backward()
    assert mg.grad((h * h).sum(), h)[0].tolist() == [12.0]
    with pytest.raises(RuntimeError, match=r"freed by an earlier backward.*detach too"):
        mg.grad((h * h).sum(), x)


@pytest.mark.parametrize("name", [name for name, p in registry.items() if differentiable_inputs(p)])
def test_a_freed_primitive_says_so(device, name):
    f, xs, _ = prepared(name, CASES[name].draws[0], device)
    y = listed(f(*xs))[0]
    y.sum().backward()
    with pytest.raises(RuntimeError, match=f"^{name}: this part of the graph was freed"):
        y.sum().backward()


def test_an_unrolled_recurrence_of_gradients(device):
    """Each step asks for the gradient of the newest value only: linear, because the past is left alone."""
    h = leaf(1.0)
    for _ in range(300):
        previous, h = h, h * 1.01
        (g,) = mg.grad(h, previous, create_graph=True)
        h = h + 0 * g
    assert g.tolist() == [1.01]


def test_grad_of_an_output_with_respect_to_itself(device):
    y = (leaf(1.0, 2.0) * 2).sum()
    assert mg.grad(y, y)[0].item() == 1.0


def test_unused_inputs(device):
    x, z = leaf(1.0), leaf(1.0)
    with pytest.raises(RuntimeError, match=r"do not depend on inputs\[1\].*allow_unused=True"):
        mg.grad((x * 2).sum(), [x, z])
    found, missing = mg.grad((x * 2).sum(), [x, z], allow_unused=True)
    assert found.tolist() == [2.0]
    assert missing is None


def test_gradients_keep_their_tensors_dtype(device):
    x = mg.ones(3, requires_grad=True)
    w = mg.ones(3, dtype=mg.float64, requires_grad=True)
    (x * w).sum().backward()
    assert (x.grad.dtype, w.grad.dtype) == (mg.float32, mg.float64)


# Recording or not ---------------------------------------------------------------------------------


def test_no_grad_records_nothing_and_is_per_thread(device):
    x = leaf(1.0)
    seen = []
    with mg.no_grad():
        assert not (x * 2).requires_grad
        thread = threading.Thread(target=lambda: seen.append(mg.is_grad_enabled()))
        thread.start()
        thread.join()
        with mg.no_grad():
            pass
        assert not mg.is_grad_enabled()
    assert seen == [True]
    assert (x * 2).requires_grad

    off = mg.no_grad()
    for _ in range(2):  # the same block twice, and inside itself
        with off, off:
            assert not (x * 2).requires_grad
        assert mg.is_grad_enabled()

    @mg.no_grad()
    def decorated():
        return x * 2

    assert not decorated().requires_grad


def test_a_sweep_leaves_recording_as_it_was(device):
    x = leaf(1.0)
    y, z = (x * 2).sum(), mg.exp(x).sum()
    z.backward()
    with mg.no_grad():
        (g,) = mg.grad(y, x, create_graph=True)
        assert not mg.is_grad_enabled()
        with pytest.raises(RuntimeError, match="freed"):
            z.backward()
        assert not mg.is_grad_enabled()
    assert g.tolist() == [2.0]


def test_a_sweep_is_recorded_as_asked_from_its_seeds_to_its_leaves(device):
    x, v = leaf(3.0), leaf(1.0)
    with mg.no_grad():
        (g,) = mg.grad([x, x], x, [v, v], create_graph=True)  # v + v
    assert mg.grad(g, v)[0].tolist() == [2.0]

    x.register_hook(lambda g: g * x)
    y = (x * x).sum()
    with mg.no_grad():
        (g,) = mg.grad(y, x, create_graph=True)  # 2x·x
    assert mg.grad(g, x, mg.ones(1, dtype=mg.float64))[0].tolist() == [36.0]  # 4x, through the hook


def test_only_floating_results_are_recorded(device):
    y = leaf(1.5, 2.5).to(mg.int64)
    assert not y.requires_grad
    assert (leaf(1.0, 2.0) * y).tolist() == [1.0, 4.0]


def test_detach_shares_memory_and_cuts_the_graph(device):
    x = leaf(1.0, 2.0)
    cut = (x * 2).detach()
    assert not cut.requires_grad
    assert x.detach().data is x.data
    h, (c, none), named = mg.detach((x * 1, [x * 2, None], {"a": x * 3}))
    assert not (h.requires_grad or c.requires_grad or named["a"].requires_grad)
    assert none is None


# Depth and memory ---------------------------------------------------------------------------------


def test_a_chain_of_100_000_operations(device):
    x = leaf(1.0)
    y = x
    for _ in range(50_000):
        y = y * 1.0 + 0.0
    y.sum().backward()
    assert x.grad.tolist() == [1.0]
    (g,) = mg.grad((x * 1.0).sum(), x)
    assert g.tolist() == [1.0]


def test_a_deep_graph_that_is_never_swept_is_freed(device):
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    del y  # a recursive destructor would overflow the stack here
    assert x.grad is None


def test_an_unrolled_rnn_over_2_000_steps():
    rnn = nn.RNN(2, 3)
    out, _ = rnn(mg.randn((2000, 1, 2)))
    out.sum().backward()
    assert all(np.isfinite(p.grad.numpy()).all() for p in rnn.parameters())


def test_the_graph_is_freed_by_reference_counting_alone():
    gc.collect()
    gc.disable()
    try:
        before = live_nodes()
        x = leaf(1.0)
        y = mg.tanh(x * 2) + x
        assert live_nodes() == before + 3
        del y
        assert live_nodes() == before
        y = mg.tanh(x * 2).sum()
        y.backward()
        assert live_nodes() == before + 1  # the loss holds its own node, which holds nothing
    finally:
        gc.enable()


@pytest.mark.parametrize("cell", [nn.RNN, nn.LSTM, nn.GRU])
def test_300_chunks_of_truncated_bptt_leave_nodes_and_memory_flat(cell):
    model = cell(4, 64)
    optimizer = optim.Adam(model.parameters())
    chunk = mg.randn((8, 16, 4))  # the graph of one chunk holds more than 100 KB
    state = None

    def train(chunks):
        nonlocal state
        for _ in range(chunks):
            state = mg.detach(state)
            out, state = model(chunk, state)
            loss = (out * out).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    gc.collect()
    gc.disable()
    try:
        train(5)
        nodes = live_nodes()
        tracemalloc.start()
        train(20)
        early = tracemalloc.get_traced_memory()[0]
        train(280)
        late = tracemalloc.get_traced_memory()[0]
        assert live_nodes() == nodes
        assert late < early + 500_000, f"{late - early} bytes more after 280 chunks"
    finally:
        tracemalloc.stop()
        gc.enable()


def test_a_number_as_the_gradient_to_start_from_fills_it(device):
    x = leaf(1.0, 2.0)
    (x * x).backward(0.5)
    assert x.grad.tolist() == [1.0, 2.0]
    assert mg.grad(x * x, x, 2)[0].tolist() == [4.0, 8.0]
