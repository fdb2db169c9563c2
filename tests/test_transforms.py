"""vjp, jvp, hvp, jacobian and hessian against numeric differences; checkpoint against the plain call."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn, sweep
from minigrad.testing import gradcheck, gradgradcheck

from .helpers import close, host, leaf, on

W = np.random.default_rng(0).normal(size=(3, 2))
EPS = 1e-6


def f(x):
    """(2, 3) -> (2, 2), curved, with a matrix product, a reduction and a view."""
    w = mg.tensor(W, device=x.device)
    return mg.tanh(x @ w) * x.sum(axis=1, keepdims=True) + x[:, ::2]


def g(x, y):
    """Two inputs, two outputs; the second output does not depend on y."""
    return x * mg.exp(y[0]) + y[1], mg.sin(x).sum()


def scalar(x, y):
    return (mg.tanh(x) * x * y[0] * y[1]).sum() + (y * y * y).sum()


def numeric_jvp(function, xs, vs):
    """(f(x + eps v) - f(x - eps v)) / 2 eps, for each output."""
    moved = [[x + s * EPS * v for x, v in zip(xs, vs, strict=True)] for s in (1, -1)]
    ahead, behind = (function(*(mg.tensor(x, device=mg.default_device()) for x in m)) for m in moved)
    pairs = zip(ahead, behind, strict=True) if isinstance(ahead, tuple) else [(ahead, behind)]
    return [(host(a) - host(b)) / (2 * EPS) for a, b in pairs]


def drawn(*shapes, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


# Products ---------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32 - 1))
def test_jvp_is_the_directional_derivative(seed, device):
    x, v = drawn((2, 3), (2, 3), seed=seed)
    y, dy = mg.jvp(f, on(device, x), on(device, v))
    close(y, host(f(on(device, x))))
    np.testing.assert_allclose(host(dy), numeric_jvp(f, [x], [v])[0], rtol=1e-6, atol=1e-7)
    assert not y.requires_grad
    assert not dy.requires_grad


def test_jvp_of_several_inputs_and_outputs(device):
    x, y, vx, vy = drawn((4,), (2,), (4,), (2,))
    outputs, products = mg.jvp(g, (on(device, x), on(device, y)), (on(device, vx), on(device, vy)))
    assert isinstance(outputs, tuple)
    for found, expected in zip(products, numeric_jvp(g, [x, y], [vx, vy]), strict=True):
        np.testing.assert_allclose(host(found), expected, rtol=1e-6, atol=1e-8)


def test_vjp_is_the_adjoint_of_numeric_differences(device):
    """⟨u, J v⟩ = ⟨Jᵀ u, v⟩, with J v from numeric differences."""
    x, y, vx, vy, u0, u1 = drawn((4,), (2,), (4,), (2,), (4,), ())
    _, (gx, gy) = mg.vjp(g, (on(device, x), on(device, y)), (on(device, u0), on(device, u1)))
    dy0, dy1 = numeric_jvp(g, [x, y], [vx, vy])
    left = (u0 * dy0).sum() + u1 * dy1
    assert (host(gx) * vx).sum() + (host(gy) * vy).sum() == pytest.approx(left, rel=1e-6)


def test_hvp_is_the_difference_of_gradients(device):
    x, y, vx, vy = drawn((4,), (2,), (4,), (2,))
    value, products = mg.hvp(scalar, (on(device, x), on(device, y)), (on(device, vx), on(device, vy)))
    assert value.shape == ()

    def slopes(s):
        moved = tuple(on(device, a + s * EPS * v) for a, v in ((x, vx), (y, vy)))
        return [host(part) for part in mg.vjp(scalar, moved)[1]]

    for found, ahead, behind in zip(products, slopes(1), slopes(-1), strict=True):
        np.testing.assert_allclose(host(found), (ahead - behind) / (2 * EPS), rtol=1e-6, atol=1e-7)


def test_results_can_be_differentiated(device):
    x, v = (on(device, a) for a in drawn((2, 3), (2, 3)))
    u = on(device, drawn((2, 2))[0])
    x.requires_grad_()
    for second in (
        lambda x: mg.jvp(f, x, v, create_graph=True)[1],
        lambda x: mg.vjp(f, x, u, create_graph=True)[1],
        lambda x: mg.hvp(lambda x: f(x).sum(), x, v, create_graph=True)[1],
        lambda x: mg.jacobian(f, x, create_graph=True),
    ):
        gradcheck(second, x)
    gradgradcheck(lambda x: mg.jvp(f, x, v, create_graph=True)[1], x)


def test_the_vector_is_differentiated_too(device):
    x, v = (on(device, a) for a in drawn((2, 3), (2, 3)))
    gradcheck(lambda v: mg.jvp(f, x, v, create_graph=True)[1], v.requires_grad_())


# Matrices ---------------------------------------------------------------------------------------------


def test_jacobian(device):
    (x,) = drawn((2, 3))
    j = mg.jacobian(f, on(device, x))
    assert j.shape == (2, 2, 2, 3)
    for index in np.ndindex(2, 3):
        one = np.zeros((2, 3))
        one[index] = 1
        column = host(j)[(..., *index)]
        np.testing.assert_allclose(column, numeric_jvp(f, [x], [one])[0], rtol=1e-6, atol=1e-7)


def test_jacobian_of_several(device):
    x, y = (on(device, a) for a in drawn((4,), (2,)))
    blocks = mg.jacobian(g, (x, y))
    assert [[b.shape for b in row] for row in blocks] == [[(4, 4), (4, 2)], [(4,), (2,)]]
    assert host(blocks[1][1]).tolist() == [0.0, 0.0]
    close(blocks[0][0], np.diag(np.full(4, np.exp(host(y)[0]))))
    (row,) = mg.jacobian(lambda x: (x * 2,), x)
    assert row.shape == (4, 4)


def test_hessian(device):
    x, y = drawn((2,), (2,))
    (xx, xy), (yx, yy) = mg.hessian(scalar, (on(device, x), on(device, y)))
    close(xy, host(yx).T)
    close(yy, np.array([[6 * y[0], 0], [0, 6 * y[1]]]) + (np.tanh(x) * x).sum() * np.array([[0, 1], [1, 0]]))
    slope = 2 * (1 - np.tanh(x) ** 2) - 2 * x * np.tanh(x) * (1 - np.tanh(x) ** 2)
    close(xx, np.diag(slope * y[0] * y[1]))
    assert mg.hessian(lambda x: (x * x).sum(), on(device, x)).tolist() == [[2.0, 0.0], [0.0, 2.0]]


def test_what_does_not_depend_gives_zeros(device):
    x = on(device, np.ones(3))
    constant = mg.ones(2, dtype=mg.float64)
    assert mg.vjp(lambda x: constant, x, constant)[1].tolist() == [0.0, 0.0, 0.0]
    assert mg.jvp(lambda x: constant, x, x)[1].tolist() == [0.0, 0.0]
    assert mg.hvp(lambda x: x.sum(), x, x)[1].tolist() == [0.0, 0.0, 0.0]  # linear
    assert mg.jacobian(lambda x: constant, x).tolist() == [[0.0] * 3] * 2
    assert mg.jacobian(lambda x: x[:0], x).shape == (0, 3)


def test_inputs_are_left_alone_and_no_grad_does_not_matter(device):
    x = leaf(1.0, 2.0)
    with mg.no_grad():
        assert mg.jacobian(lambda x: x * x, x).tolist() == [[2.0, 0.0], [0.0, 4.0]]
        assert mg.vjp(mg.sum, x)[1].tolist() == [1.0, 1.0]
    assert x.grad is None
    y = mg.tensor([1.0])
    mg.vjp(mg.sum, y)
    assert not y.requires_grad


def test_arrays_and_scalars_are_taken():
    assert mg.vjp(lambda x: x * x, np.array(3.0))[1].item() == 6.0
    assert mg.jvp(lambda x: x * x, mg.tensor(3.0))[1].item() == 6.0


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda: mg.vjp(f, [[1.0]]), TypeError, r"vjp, the inputs: expected a Tensor or an array, got list"),
        (
            lambda: mg.vjp(lambda x: 3.0, mg.ones(1)),
            TypeError,
            r"vjp, what the function gives: .* got float",
        ),
        (lambda: mg.vjp(mg.tanh, mg.tensor([1])), TypeError, r"only floating-point tensors have gradients, got int64"),
        (
            lambda: mg.vjp(mg.tanh, mg.ones(2)),
            ValueError,
            r"vjp: expected v, in the form of the outputs; only for one number",
        ),
        (lambda: mg.vjp(mg.tanh, mg.ones(2), mg.ones(3)), ValueError, r"shapes of the outputs, \(2,\) .* got \(3,\)"),
        (lambda: mg.jvp(mg.tanh, mg.ones(2), (mg.ones(2),)), ValueError, r"jvp: expected v in the form of the inputs"),
        (
            lambda: mg.hvp(mg.tanh, mg.ones(2), mg.ones(2)),
            ValueError,
            r"hvp: expected a function that gives one number",
        ),
        (lambda: mg.hessian(mg.tanh, mg.ones(2)), ValueError, r"hessian: .* got \(2,\) float32 on cpu; .*\.sum\(\)"),
    ],
)
def test_mistakes(act, error, message):
    with pytest.raises(error, match=message):
        act()


# Checkpoint -------------------------------------------------------------------------------------------


def a_layer(device):
    layer = nn.LSTM(2, 3, dtype=mg.float64, device=device)
    return layer, on(device, drawn((5, 2, 2))[0], True)


@pytest.mark.parametrize("create_graph", [False, True])
def test_checkpoint_gives_the_same_values_and_gradients(create_graph, device):
    layer, x = a_layer(device)
    found = []
    for call in (lambda *a: layer(*a), lambda *a: mg.checkpoint(layer, *a)):
        y, (h, c) = call(x * 2)
        loss = (y * y).sum() + h.sum() * c.sum()
        gs = mg.grad(loss, [x, *layer.parameters()], create_graph=create_graph)
        found.append([loss, *gs])
        if create_graph:
            found[-1] += mg.grad(sum((v * v).sum() for v in gs), [x, *layer.parameters()])
    for plain, again in zip(*found, strict=True):  # recorded sums of three or more may add up in another order
        close(plain, host(again), rtol=1e-13 if create_graph else 0)


def test_checkpoint_adds_into_grad_of_what_the_function_uses(device):
    layer, x = a_layer(device)
    mg.checkpoint(layer, x)[0].sum().backward()
    found = [p.grad for p in (x, *layer.parameters())]
    expected = mg.grad(layer(x)[0].sum(), [x, *layer.parameters()])
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(host(a), host(b))


def test_checkpoints_in_a_chain_and_in_each_other(device):
    x = leaf(0.5, -0.3)

    def block(h):
        return mg.checkpoint(lambda h: mg.tanh(h * 2) + x, mg.sin(h))

    def chain(block):
        h = x
        for _ in range(3):
            h = block(h)
        return h.sum()

    (g,) = mg.grad(chain(lambda h: mg.checkpoint(block, h)), x)
    (expected,) = mg.grad(chain(lambda h: mg.tanh(mg.sin(h) * 2) + x), x)
    close(g, host(expected), rtol=1e-15)
    gradcheck(lambda x: mg.checkpoint(lambda h: mg.exp(h * x), mg.sin(x)), x)
    gradgradcheck(lambda x: mg.checkpoint(lambda h: mg.exp(h * x), mg.sin(x)), x)


def test_checkpoint_keeps_no_graph_of_what_is_inside():
    inside = []

    def f(x):
        y = mg.tanh(x)
        inside.append(weakref.ref(y))
        return y * y

    x = leaf(0.5)
    y = mg.checkpoint(f, x)
    assert inside[0]() is None
    assert y._source[0].edges == [x]
    y.sum().backward()
    assert len(inside) == 2
    assert inside[1]() is None


def test_a_long_chain_of_checkpoints_costs_in_proportion(monkeypatch):
    """Each backward of a block goes through its own nodes alone, not all that came before."""
    visited, differentiate = [], sweep.differentiate

    def counted(node, *rest):
        visited.append(node.primitive.name)
        return differentiate(node, *rest)

    monkeypatch.setattr(sweep, "differentiate", counted)
    x = leaf(1.0)
    h = x
    for _ in range(50):
        h = mg.checkpoint(lambda h: mg.tanh(h) * x, h)  # x, a leaf from before all blocks, is wanted in each
    h.sum().backward()
    assert sorted(visited) == sorted(["sum"] + 50 * ["checkpoint", "multiply", "tanh"])


def test_checkpoint_draws_the_same_random_numbers(device):
    x = mg.ones((4, 50), dtype=mg.float64, requires_grad=True)
    mg.manual_seed(3)
    y = mg.checkpoint(lambda x: nn.functional.dropout(x, 0.5), x)
    after = mg.rand(3).tolist()
    y.sum().backward()
    np.testing.assert_array_equal(host(x.grad), host(y))
    mg.manual_seed(3)
    plain = nn.functional.dropout(x, 0.5)
    if device != "cuda:0":  # CuPy's generators cannot be copied: there the numbers are others, but the same twice
        np.testing.assert_array_equal(host(plain), host(y))
        assert after == mg.rand(3).tolist()


def test_going_backward_leaves_the_generator_where_it_is(device):
    x = mg.ones(3, requires_grad=True)
    y = mg.checkpoint(lambda x: nn.functional.dropout(x, 0.5), x)
    mg.manual_seed(5)
    expected = mg.rand(3).tolist()
    mg.manual_seed(5)
    y.sum().backward()
    assert mg.rand(3).tolist() == expected


def test_checkpoint_without_recording_is_the_plain_call(device):
    x = leaf(1.0)
    with mg.no_grad():
        assert mg.checkpoint(mg.tanh, x)._source is None
    assert mg.checkpoint(mg.tanh, x.detach())._source is None
    assert mg.checkpoint(lambda x: x, x) is x


def test_hooks_and_retained_gradients_outside_run_once(device):
    x = leaf(1.0)
    seen = []
    x.register_hook(lambda g: seen.append("leaf"))
    h = x * 2
    h.register_hook(lambda g: seen.append("before"))
    h.retain_grad()
    y = mg.checkpoint(lambda h: h * h * x, h)
    y.register_hook(lambda g: seen.append("after"))
    y.sum().backward()
    assert seen == ["after", "before", "leaf"]
    assert h.grad.tolist() == [4.0]
    assert x.grad.tolist() == [12.0]


@pytest.mark.parametrize("written", ["argument", "constant", "parameter"])
def test_writing_to_what_a_checkpoint_computes_from_again_is_noticed(written, device):
    argument, constant, parameter = leaf(1.0), mg.ones(1, dtype=mg.float64), leaf(2.0)
    y = mg.checkpoint(lambda a, cs: a * cs[0] * parameter, argument, (constant, None))
    with mg.no_grad():
        {"argument": argument, "constant": constant, "parameter": parameter}[written][0] = 5.0
    with pytest.raises(RuntimeError, match="checkpoint: .*has been written to since"):
        y.sum().backward()


def test_checkpoint_of_something_else():
    with pytest.raises(TypeError, match="checkpoint: expected Tensors in tuples, .*, got float"):
        mg.checkpoint(lambda x: 1.0, leaf(1.0))
    calls = []

    def fickle(x):
        calls.append(x)
        return (x * 2, x * 3) if len(calls) == 1 else (x * 2, x.detach())

    y, z = mg.checkpoint(fickle, leaf(1.0))
    with pytest.raises(RuntimeError, match="did something else when it was run again.*no state of its own"):
        (y + z).sum().backward()


def test_a_checkpoint_keeps_the_arguments_it_was_called_with(device):
    """A list that the caller goes on to change, as a loop over time may do with its state."""
    cell = nn.RNNCell(1, 2, dtype=mg.float64)
    x, found = mg.ones((4, 1, 1), dtype=mg.float64), []
    for call in (mg.checkpoint, lambda f, *args: f(*args)):
        state, loss = [{"h": mg.zeros((1, 2), dtype=mg.float64)}], 0.0
        for t in range(4):
            state[0]["h"] = call(lambda x, s: cell(x, s[0]["h"]), x[t], state)
            loss = loss + (state[0]["h"] * state[0]["h"]).sum()
        found.append(mg.grad(loss, list(cell.parameters())))
    for again, plain in zip(*found, strict=True):
        close(again, host(plain), rtol=1e-14)


class WithState(nn.Module):
    def __init__(self):
        self.cell, self.h = nn.RNNCell(1, 2), None

    def forward(self, x):
        self.h = self.cell(x, self.h)
        return self.h


def test_a_checkpoint_of_something_with_a_state_of_its_own(device):
    module, x = WithState(), mg.ones((1, 1))
    loss = sum(mg.checkpoint(module, x).sum() for _ in range(3))
    with pytest.raises(RuntimeError, match="did something else.*give it the state as an argument"):
        loss.backward()


def test_a_checkpoint_in_another_training_mode(device):
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    y = mg.checkpoint(net, mg.ones((3, 4)))
    net.eval()
    with pytest.raises(RuntimeError, match=r"did something else.*before calling train\(\) or eval\(\)"):
        y.sum().backward()


def test_a_checkpoint_of_a_result():
    with pytest.raises(TypeError, match=r"checkpoint: expected a function .* got Tensor; write checkpoint\(f, x\)"):
        mg.checkpoint(mg.tanh(mg.ones(1)))
