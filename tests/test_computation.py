"""What the instruments look at: a graph as values and operations, its kernels opened, and the sweep in slow motion."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import minigrad as mg
from minigrad import nn, optim
from minigrad.backend import namespace_of
from minigrad.inspect.computation import Computation, Value, read
from minigrad.inspect.folding import Repeat, folded
from minigrad.inspect.slow import slow_backward
from minigrad.nn.utils import rnn
from minigrad.testing import strategies as mst

from .helpers import host
from .test_equations import parts_of

FEW = settings(max_examples=max(5, settings.default.max_examples // 3))


def array(value: Value) -> np.ndarray[Any, Any]:
    assert value.array is not None
    return namespace_of(value.array).to_host(value.array)


def names(computation: Computation) -> list[str]:
    return [operation.primitive.name for operation in computation.operations]


def of_name(computation: Computation, name: str) -> Value:
    (found,) = [value for value in computation.values if value.name == name]
    return found


def assert_swept_as_by_backward(loss: mg.Tensor, parameters: dict[str, mg.Tensor], close: float = 1e-6) -> None:
    computation = read(loss, names=parameters)
    gradients = slow_backward(computation).gradients
    assert all(p.grad is None for p in parameters.values())
    loss.backward()
    for name, parameter in parameters.items():
        if parameter.grad is None:  # a learned first state, where another one was given
            assert all(value.name != name for value in computation.values)
            continue
        found = host(mg.Tensor(gradients[of_name(computation, name)]))
        np.testing.assert_allclose(found, host(parameter.grad), rtol=close, atol=close)


# What is read -------------------------------------------------------------------------------------------


def test_values_are_told_apart(device):
    x, w = mg.tensor([[1.0, 2.0]]), nn.Parameter(mg.tensor([[0.5], [-0.25]]))
    b = mg.tensor([0.25], requires_grad=True)
    computation = read(((x @ w + b).tanh() * 2.0).sum(), names={"x": x, "b": b})
    assert names(computation) == ["matmul", "add", "tanh", "multiply", "sum"]
    roles = [(value.role, value.name, value.saved) for value in computation.values]
    assert roles == [
        ("data", "x", True),
        ("parameter", "", False),
        ("computed", "", False),
        ("input", "b", False),
        ("computed", "", False),
        ("computed", "", True),
        ("number", "", False),
        ("computed", "", False),
        ("computed", "", False),
    ]
    product, total = computation.operations[0].outputs[0], computation.operations[1].outputs[0]
    np.testing.assert_allclose(array(product), [[0.0]])  # what nobody kept was computed again
    np.testing.assert_allclose(array(total), [[0.25]])
    assert computation.values[6].scalar == 2.0
    np.testing.assert_allclose(array(computation.result), 2 * np.tanh(0.25))
    assert total.users == [(computation.operations[2], 0)]


def test_what_nobody_kept_is_not_made_up(device):
    c, x = mg.tensor([3.0]), mg.tensor([1.0], requires_grad=True)
    computation = read((x + c).exp().sum())
    assert [value.array is None for value in computation.values] == [False, True, True, False, False]
    np.testing.assert_allclose(array(computation.result), np.exp(4.0), rtol=1e-6)


@pytest.mark.parametrize("fusing", [True, False])
def test_the_modules_in_which_operations_ran(fusing):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
            self.rnn = nn.GRU(4, 5)
            self.head = nn.Linear(5, 2)

        def forward(self, x: mg.Tensor) -> mg.Tensor:
            y, _ = self.rnn(self.body(2.0 * x))
            return self.head(y)

    model, x = Model(), mg.ones((3, 1, 3), requires_grad=True)
    with mg.fusing(fusing):
        computation = read(model(x).sum())
    found = {(operation.primitive.name, operation.modules) for operation in computation.operations}
    assert ("multiply", ("model",)) in found
    assert ("linear", ("model", "model.body", "model.body.0")) in found
    assert ("tanh", ("model", "model.body", "model.body.1")) in found
    assert ("linear", ("model", "model.rnn")) in found
    assert ("linear", ("model", "model.head")) in found
    assert ("sum", ()) in found
    named = {value.name for value in computation.values if value.role == "parameter"}
    assert named == {f"model.{name}" for name, _ in model.named_parameters()}
    assert {v.name for v in read(model(x).sum(), names=model).values if v.role == "parameter"} == {
        name for name, _ in model.named_parameters()
    }


def test_a_graph_keeps_no_module_alive():
    x = mg.ones((1, 2), requires_grad=True)
    gone = nn.Linear(2, 3)
    y = gone(x).sum()
    reference = weakref.ref(gone)
    del gone
    gc.collect()
    assert reference() is None
    assert read(y).operations[0].modules == ("Linear",)


def test_modules_of_one_class_are_numbered():
    x, first, second = mg.ones((1, 2)), nn.Linear(2, 2), nn.Linear(2, 2)
    computation = read(second(first(x)).sum())
    assert [value.name for value in computation.values if value.role == "parameter"] == [
        "linear.weight",
        "linear.bias",
        "linear_2.weight",
        "linear_2.bias",
    ]


def test_names_as_they_come():
    x = mg.ones((2,), requires_grad=True)
    state = (x * 2, x * 3)
    unrelated, number = {"a": 1}, 5
    y = state[0] + state[1]
    computation = read(y.sum(), names=locals())
    assert [value.name for value in computation.values if value.name] == ["x", "state[0]", "state[1]", "y"]


def test_names_are_strings_that_can_be_printed():
    x = mg.ones((2,), requires_grad=True)
    computation = read((x * x).sum(), names={"a\nb\x1b": x, 3: "no tensor"})
    assert computation.values[0].name == "a b\N{REPLACEMENT CHARACTER}"
    with pytest.raises(TypeError, match=r"read: expected names to be strings, got 3 \(int\)"):
        read((x * x).sum(), names={3: x})


def test_what_a_module_gives_besides_tensors_is_left_alone():
    class Touchy:
        @property
        def data(self):
            raise RuntimeError("not now")

    class Gives(nn.Module):
        def forward(self, x):
            return Touchy()

    assert type(Gives()(mg.ones(2))) is Touchy


# What is opened -----------------------------------------------------------------------------------------


def test_a_time_loop_in_one_kernel_is_opened(device):
    lstm, x = nn.LSTM(2, 3), mg.randn((4, 1, 2))
    loss = (lstm(x)[0] ** 2).sum()
    computation = read(loss, names=lstm)
    with mg.fusing(False):
        y, _ = lstm(x)
        plain = read((y**2).sum(), names=lstm)
    assert names(computation).count("tanh") == names(plain).count("tanh") == 8
    assert "scan" not in names(computation)
    (stacked,) = [operation for operation in computation.operations if operation.primitive.name == "stack"]
    np.testing.assert_allclose(array(stacked.outputs[0]), host(y), atol=1e-6)
    assert_swept_as_by_backward(loss, dict(lstm.named_parameters()))


def test_fused_functions_and_checkpoints_are_opened(device):
    @mg.fuse
    def swish(x: mg.Tensor, slope: float) -> mg.Tensor:
        return x * mg.sigmoid(slope * x)

    x = mg.tensor([0.5, -1.0, 2.0], requires_grad=True)
    computation = read(mg.checkpoint(lambda x: swish(x, 1.5).exp(), x).sum(), names={"x": x})
    assert names(computation) == ["multiply", "sigmoid", "multiply", "exp", "sum"]
    assert {operation.inside for operation in computation.operations[:-1]} == {"checkpoint"}
    values = host(x)
    expected = np.exp(values / (1 + np.exp(-1.5 * values)))
    np.testing.assert_allclose(array(computation.operations[3].outputs[0]), expected, rtol=1e-6)
    assert_swept_as_by_backward(mg.checkpoint(lambda x: swish(x, 1.5).exp(), x).sum(), {"x": x})


def test_backward_hooks_leave_no_trace_and_do_not_run():
    linear, seen = nn.Linear(2, 2), []
    linear.register_full_backward_hook(lambda *_: seen.append(1))
    x = mg.ones((1, 2), requires_grad=True)
    computation = read(linear(x).sum(), names=linear)
    assert names(computation) == ["linear", "sum"]
    sweep = slow_backward(computation)
    assert not seen
    np.testing.assert_allclose(sweep.gradients[of_name(computation, "bias")], [1.0, 1.0])


@FEW
@given(layer=mst.modules(), sequences=mst.sequences())
def test_every_recurrent_layer_is_opened_and_swept_as_by_backward(device, layer, sequences):
    x, state = sequences.of(layer)
    output, last = layer(x, state)
    data = output.data if isinstance(output, rnn.PackedSequence) else output
    loss = (data**2).sum() + sum((part * data.sum()).sum() for part in parts_of(last))
    parameters = {name: p for name, p in layer.named_parameters() if p.requires_grad}
    assert_swept_as_by_backward(loss, parameters, close=1e-9)


# The sweep ------------------------------------------------------------------------------------------------


def test_contributions_are_kept_one_by_one(device):
    x = mg.tensor([3.0], requires_grad=True)
    computation = read((x * x + x).sum(), names={"x": x})
    sweep = slow_backward(computation)
    told = [(p.operation.primitive.name, [float(host(mg.Tensor(g))[0]) for g in p.sent]) for p in sweep.passages[1:]]
    assert told == [("add", [1.0, 1.0]), ("multiply", [3.0, 3.0])]
    assert host(mg.Tensor(sweep.gradients[of_name(computation, "x")])).tolist() == [7.0]


def test_rows_that_were_looked_up_in_a_product(device):
    embedding, linear = nn.Embedding(3, 4), nn.Linear(4, 2)
    ids = mg.tensor([0, 2, 2, 1, 0, 0, 1, 2, 2, 2, 2])
    model = nn.ModuleDict({"embedding": embedding, "linear": linear})
    assert_swept_as_by_backward((linear(embedding(ids)) ** 2).sum(), dict(model.named_parameters()))


def test_a_gradient_to_begin_from(device):
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    computation = read(x * x, names={"x": x})
    found = slow_backward(computation, mg.tensor([1.0, 10.0])).gradients[of_name(computation, "x")]
    assert host(mg.Tensor(found)).tolist() == [2.0, 40.0]
    with pytest.raises(RuntimeError, match=r"explain: expected a scalar .* got shape \(2,\)"):
        slow_backward(computation, caller="explain")
    with pytest.raises(ValueError, match=r"expected a gradient of shape \(2,\), like the tensor, got \(3,\)"):
        slow_backward(computation, mg.ones(3))


# Loops ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
@pytest.mark.parametrize("fusing", [True, False])
def test_a_loop_over_a_cell_is_found(cell, fusing):
    step, head, x = cell(2, 3), nn.Linear(3, 2), mg.randn((20, 1, 2))
    with mg.fusing(fusing):
        state, loss = None, 0.0
        for t in range(20):
            state = step(x[t], state)
            h = state[0] if isinstance(state, tuple) else state
            loss = loss + (head(h) ** 2).sum()
    parts = folded(read(loss).operations)
    (loop,) = [part for part in parts if isinstance(part, Repeat)]
    assert loop.times == 20
    assert len(parts) <= 4
    assert all(len(values) == 20 for values in loop.carried)
    # the state of the last step belongs to no step that follows; the loss is carried too
    assert len(loop.carried) == (3 if cell is nn.LSTMCell else 2)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("fusing", [True, False])
def test_the_loops_of_a_layer_are_found_one_for_each_layer_and_direction(kind, fusing):
    layer = kind(2, 3, num_layers=2, bidirectional=True)
    with mg.fusing(fusing):
        computation = read(layer(mg.randn((7, 1, 2)))[0].sum())
    loops = [part for part in folded(computation.operations) if isinstance(part, Repeat)]
    assert [loop.times for loop in loops] == [7] * 4
    for loop in loops:
        assert len(loop.carried) == (2 if kind is nn.LSTM else 1)
        assert {value.shape for values in loop.carried for value in values} == {(1, 3)}


def test_every_operation_is_in_one_part():
    x, w = mg.randn((1, 3)), mg.randn((3, 3), requires_grad=True)
    for _ in range(5):
        x = (x @ w).tanh()
    y = x * x
    for _ in range(4):
        y = (y @ w).exp() + 1.0
    computation = read(y.sum())
    parts = folded(computation.operations)
    flat = [op for part in parts for ops in (part.rounds if isinstance(part, Repeat) else [[part]]) for op in ops]
    assert flat == computation.operations
    assert [part.times for part in parts if isinstance(part, Repeat)] == [5, 4]


def test_what_only_looks_alike_is_no_loop():
    x, w = mg.randn((1, 3)), [nn.Parameter(mg.randn((3, 3))) for _ in range(4)]
    for matrix in w:  # another matrix each time
        x = (x @ matrix).tanh()
    assert not any(isinstance(part, Repeat) for part in folded(read(x.sum()).operations))


# What goes wrong ------------------------------------------------------------------------------------------


def test_what_cannot_be_read():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(TypeError, match="draw: expected a Tensor that was computed, such as a loss, got list"):
        read([x], caller="draw")
    with pytest.raises(RuntimeError, match=r"explain: .*is a leaf: it was made, not computed.* Give the result"):
        read(x, caller="explain")
    with pytest.raises(RuntimeError, match=r"is not recorded.*outside of no_grad, and not detached"):
        read((x * x).detach())
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match=r"freed by a backward pass.* before backward\(\).*retain_graph=True"):
        read(y)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    assert names(read(y)) == ["multiply", "sum"]
    optim.SGD([x], lr=0.1).step()
    with pytest.raises(RuntimeError, match=r"an input of multiply, has been written to since"):
        read(y)
    with pytest.raises(TypeError, match="expected names to be a module, or a mapping"):
        read((x * x).sum(), names=3)
