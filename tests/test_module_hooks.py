"""Hooks of modules: before and after the forward, and when the gradient has come back."""

import gc
import weakref

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.testing import gradcheck, gradgradcheck

from .helpers import host


def test_hooks_see_and_replace():
    layer, seen = nn.ReLU(), []
    before = layer.register_forward_pre_hook(lambda module, args: seen.append((module, args)))
    doubled = layer.register_forward_pre_hook(lambda module, args: args[0] * 2)
    after = layer.register_forward_hook(lambda module, args, y: y + args[0])
    x = mg.tensor([1.0, -1.0])
    assert layer(x).tolist() == [4.0, -2.0]
    assert seen == [(layer, (x,))]
    for handle in (doubled, before, after, after):
        handle.remove()
    assert layer(x).tolist() == [1.0, 0.0]
    assert not layer._hooks


def test_hooks_with_keyword_arguments():
    class Scale(nn.Module):
        def forward(self, x, by=1.0):
            return x * by

    scale, seen = Scale(), []
    with (
        scale.register_forward_pre_hook(lambda module, args, kwargs: (args, {"by": 3.0}), with_kwargs=True),
        scale.register_forward_hook(lambda module, args, kwargs, y: seen.append(kwargs), with_kwargs=True),
    ):
        assert scale(mg.ones(1), by=2.0).tolist() == [3.0]
    assert seen == [{"by": 3.0}]
    assert scale(mg.ones(1), by=2.0).tolist() == [2.0]


def test_a_hook_may_remove_itself():
    layer, calls = nn.Tanh(), []

    def once(module, args, y):
        calls.append(y)
        handle.remove()

    handle = layer.register_forward_hook(once)
    layer(mg.ones(1))
    layer(mg.ones(1))
    assert len(calls) == 1


def test_gradients_flow_through_hooks(device):
    layer = nn.Linear(2, 2, dtype=mg.float64)
    layer.register_forward_hook(lambda module, args, y: y.tanh())
    x = mg.randn((3, 2), dtype=mg.float64, requires_grad=True)
    assert gradcheck(lambda x, *_: layer(x), [x, *layer.parameters()])


# Backward hooks -----------------------------------------------------------------------------------


class Weighted(nn.Module):
    """Two inputs, and an output with a part in a part, as an LSTM has."""

    def forward(self, x, y, flag=True):
        return x * y, (x + y, None)


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_backward_hook_sees_all_gradients_at_once(create_graph, device):
    module, seen = Weighted(), []
    module.register_full_backward_hook(lambda m, gi, go: seen.append((m, gi, go)))
    x, y = mg.tensor([2.0], requires_grad=True), mg.tensor([3.0], requires_grad=True)
    product, (total, nothing) = module(x, y, flag=False)
    assert nothing is None
    gs = mg.grad((product * 10 + total).sum() + x.sum(), [x, y], create_graph=create_graph)
    assert [g.tolist() for g in gs] == [[32.0], [21.0]]
    ((who, grad_input, grad_output),) = seen
    assert who is module
    assert [g.tolist() for g in grad_input] == [[31.0], [21.0]]
    assert [g.tolist() for g in grad_output] == [[10.0], [1.0]]


def test_a_backward_hook_changes_what_goes_on_and_owns_what_it_gets(device):
    layer, x = nn.Linear(2, 2), mg.ones((1, 2), requires_grad=True)
    kept = []
    layer.register_full_backward_hook(lambda m, gi, go: kept.extend([*gi, *go]))
    layer.register_full_backward_hook(lambda m, gi, go: gi[0] * 0)
    layer(x).sum().backward()
    for g in kept:
        g[...] = 9.0
    assert x.grad.tolist() == [[0.0, 0.0]]
    assert layer.bias.grad.tolist() == [1.0, 1.0]
    assert layer.weight.grad.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_a_backward_hook_where_no_input_needs_a_gradient(device):
    layer, seen = nn.Linear(2, 2), []
    layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi, [g.shape for g in go])))
    layer(mg.ones((1, 2))).sum().backward()
    assert seen == [((None,), [(1, 2)])]
    with mg.no_grad():
        layer(mg.ones((1, 2)))
    assert len(seen) == 1


def test_messages_do_not_name_the_node_of_a_backward_hook(device):
    """But the hook: an output says what it came from, and a freed graph where."""
    layer = nn.Linear(2, 2)
    layer.register_full_backward_hook(lambda m, gi, go: None)
    y = layer(mg.ones((1, 2)))
    assert repr(y).endswith("op=full_backward_hook)")
    y.sum().backward()
    with pytest.raises(RuntimeError, match="full_backward_hook: this part of the graph was freed"):
        (y * 2).sum().backward()


def test_a_backward_hook_sees_a_repeated_argument_and_a_second_derivative(device):
    module, count = Weighted(), []
    module.register_full_backward_hook(lambda m, gi, go: count.append(len(gi)))
    x = mg.tensor([0.7], dtype=mg.float64, requires_grad=True)
    assert gradcheck(lambda x: module(x, x)[0], x)
    assert gradgradcheck(lambda x: module(x, x)[0], x)
    assert set(count) == {2}


def test_a_backward_hook_on_a_recurrent_layer(device):
    lstm, norms = nn.LSTM(2, 3), []
    x = mg.ones((4, 1, 2), requires_grad=True)
    with lstm.register_full_backward_hook(
        lambda m, gi, go: norms.append([g if g is None else g.shape for g in gi + go])
    ):
        output, (_, c) = lstm(x)
        (output.sum() + c.sum()).backward()
    assert norms == [[(4, 1, 2), (4, 1, 3), (1, 1, 3), (1, 1, 3)]]
    plain = mg.grad(sum(part.sum() for part in (lstm(x)[0], lstm(x)[1][1])), x)[0]
    np.testing.assert_allclose(host(x.grad), host(plain), rtol=1e-6)


def test_a_backward_hook_that_gives_something_else():
    layer = nn.Tanh()
    layer.register_full_backward_hook(lambda m, gi, go: (mg.ones(3),))
    with pytest.raises(
        TypeError, match=r"Tanh: expected a backward hook .* like \(\(2,\) float32 on cpu\), got \(\(3,\)"
    ):
        layer(mg.ones(2, requires_grad=True)).sum().backward()


def test_a_backward_hook_makes_no_cycle():
    """A graph that nobody goes backward through is freed at once, without the garbage collector."""
    layer = nn.Linear(2, 2)
    layer.register_full_backward_hook(lambda m, gi, go: None)
    gc.disable()
    try:
        y = layer(mg.ones((1, 2), requires_grad=True))
        alive = weakref.ref(y)
        passage = weakref.ref(y._source[0].parameters["seen"].__self__)
        del y
        assert alive() is None
        assert passage() is None
    finally:
        gc.enable()
