"""Anomaly mode names the first operation that made a NaN or an infinity, its line and its time step."""

from __future__ import annotations

import re
import threading

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.anomaly import AnomalyError

from .helpers import leaf, on


def told(function, *args):
    """The message of the anomaly that a function runs into."""
    with pytest.raises(AnomalyError) as caught, mg.detect_anomaly():
        function(*args)
    return str(caught.value)


def test_forward(device):
    def program():
        x = mg.tensor([[1.0, 0.0]])
        y = x * 2
        return mg.log(y)  # the culprit

    message = told(program)
    assert message.startswith("log: -inf at index (0, 1), from x (1, 2) float32 from 0 to 2.")
    assert re.search(r'File ".*test_anomaly.py", line \d+, in program\n\s+return mg.log\(y\)  # the culprit', message)


def test_nan_out_of_infinities_is_an_anomaly_but_an_infinity_may_pass(device):
    x = mg.tensor([float("inf")])
    with mg.detect_anomaly():
        y = mg.where(mg.tensor([True, False]), mg.zeros(2), -float("inf"))  # a mask
        nn.functional.softmax(y)
        x + 1
        mg.pad(x, 1, constant_values=-float("inf"))
    assert "subtract: nan at index (0,)" in told(lambda: x - x)
    assert "add: inf at index" in told(lambda: mg.full(2, 3e38) + mg.full(2, 3e38))


def test_backward(device):
    def program():
        x = mg.tensor([4.0, 0.0], requires_grad=True)
        y = mg.sqrt(x)  # differentiable nowhere at 0
        y.sum().backward()

    message = told(program)
    assert message.startswith("backward of sqrt: inf in the gradient of x at index (1,), from incoming gradients (2,)")
    assert "the output (2,) float32 from 0 to 2" in message
    assert "y = mg.sqrt(x)  # differentiable nowhere at 0" in message


def test_backward_with_the_forward_pass_outside(device):
    y = mg.sqrt(mg.zeros(1, requires_grad=True)).sum()
    message = told(y.backward)
    assert "backward of sqrt: inf" in message
    assert "recorded outside of detect_anomaly" in message


def test_recorded_backward(device):
    x = mg.zeros(1, requires_grad=True)
    assert "divide: inf" in told(lambda: mg.grad(mg.sqrt(x).sum(), x, create_graph=True))


def test_the_sum_of_gradients(device):
    x = mg.tensor([1.0], requires_grad=True)

    def program():
        y = x * 1.0
        seeds = [mg.full(1, 3e38)] * 2
        mg.grad([y + 0, y - 0], x, seeds)

    message = told(program)
    assert "in the sum of the gradients that the output of multiply received, (1,) float32 from 3e+38" in message


def test_the_time_step_of_a_loop(device):
    def program():
        h = mg.tensor([1.0], requires_grad=True)
        for _ in range(10):
            h = mg.exp(h) + mg.exp(h)  # two calls on one line are told apart
        return h

    message = told(program)
    assert message.startswith("exp: inf")
    assert "time step 2, if it loops over time" in message


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_nan_that_came_in_is_told_where_it_is_first_used(kind, device):
    x = np.ones((6, 1, 2), dtype=np.float32)
    x[4, 0, 1] = np.nan
    message = told(getattr(nn, kind)(2, 3, num_layers=2), on(device, x))
    assert message.startswith("linear: nan at index (4, 0, 0)")
    assert "which came in" in message


@pytest.mark.parametrize(("kind", "weight"), [("RNN", 10.0), ("LSTM", 10.0), ("GRU", -10.0)])
def test_the_time_step_of_a_layer(kind, weight, device):
    """After the first step h is near 1 or -1, which the recurrent product, of three such, takes beyond float32."""
    layer = getattr(nn, kind)(2, 3, num_layers=2)
    layer.weight_ih_l0.data[...] = weight
    layer.weight_hh_l0.data[...] = 3e38
    message = told(layer, mg.ones((6, 1, 2)))
    assert message.startswith("linear: ")
    assert f"Forward, at time step 1 of {kind}, layer 0:" in message


def test_the_time_step_inside_a_layer():
    layer = nn.RNN(1, 1, nonlinearity="relu", bias=False, num_layers=2)
    for p in layer.parameters():
        p.data[...] = 1e10
    x = mg.ones((8, 1, 1))
    message = told(layer, x)
    assert re.search(r"Forward, at time step 3 of RNN, layer 0:\n", message), message
    assert "return relu(linear(dropped(h, hh), hh.weight, x))" in message


def test_an_error_of_the_backward_pass_shows_the_forward_line(device):
    x = leaf(1.0, 2.0)
    with mg.detect_anomaly():
        y = (x * x).sum()  # saved here
        with mg.no_grad():
            x[0] = 5.0
        with pytest.raises(RuntimeError, match="written to since") as caught:
            y.backward()
    assert "y = (x * x).sum()  # saved here" in "\n".join(caught.value.__notes__)


def test_indices_that_a_gpu_would_wrap_raise(device):
    x = mg.zeros((3, 2), requires_grad=True)
    far = mg.tensor([0, 3])
    for act in (
        lambda: mg.take(x, far, axis=0),
        lambda: x[far],
        lambda: x[1:, far],
        lambda: nn.functional.embedding(far, x),
        lambda: nn.functional.cross_entropy(x, mg.tensor([0, 2, 1])),
        lambda: nn.functional.one_hot(far, 3),
    ):
        with pytest.raises(IndexError), mg.detect_anomaly():
            act()
    with mg.detect_anomaly():
        assert x[mg.tensor([0, -1])].shape == (2, 2)
        assert nn.functional.cross_entropy(x, mg.tensor([0, -100, 1])).item() > 0  # which does not count


def test_it_is_off_afterwards_and_one_per_thread(device):
    with mg.detect_anomaly(), mg.detect_anomaly():
        pass
    with np.errstate(all="ignore"):
        mg.log(mg.zeros(1))
    failures = []

    def other():
        try:
            with np.errstate(all="ignore"):
                mg.log(mg.zeros(1, device="cpu"))
        except AnomalyError as error:
            failures.append(error)

    with mg.detect_anomaly():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert "log: -inf" in told(mg.log, mg.zeros(1))
    assert not failures


@mg.detect_anomaly()
def decorated(x):
    return mg.log(x)


def test_as_a_decorator():
    assert decorated(mg.ones(1)).item() == 0.0
    with pytest.raises(AnomalyError, match="log: -inf"):
        decorated(mg.zeros(1))


def test_numbers_do_not_change(device):
    layer = nn.LSTM(2, 3)
    x = mg.ones((4, 1, 2))
    with mg.fusing(False):  # a watched layer runs operation by operation
        plain = mg.grad(layer(x)[0].sum(), list(layer.parameters()))
    with mg.detect_anomaly():
        watched = mg.grad(layer(x)[0].sum(), list(layer.parameters()))
    for a, b in zip(plain, watched, strict=True):
        assert a.tolist() == b.tolist()


def test_an_operand_without_axes_is_shown_by_its_value(device):
    with mg.detect_anomaly(), pytest.raises(AnomalyError, match=r"log: nan at index \(\), from x -1.0"):
        mg.log(mg.tensor(-1.0))
