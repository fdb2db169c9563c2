"""What users do wrong, and the message each gets: the operation, what was expected, what came, what to do."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F


def generator():
    yield 1


def ones(*shape, **options):
    return mg.ones(shape, **options)


def with_gradient():
    x = ones(2, requires_grad=True)
    x.sum().backward()
    return x


MISTAKES = {
    # shapes, one for every kind of primitive
    "elementwise": (
        lambda: ones(2, 3) + ones(4),
        ValueError,
        r"add: expected shapes that broadcast .* axis -1 has 3 against 4.*x \(2, 3\) float32.*y \(4,\)",
    ),
    "reduction": (lambda: ones(2, 3).sum(axis=2), ValueError, r"sum: expected an axis from -2 to 1 .* got 2"),
    "an axis by name": (
        lambda: ones(2).sum(axis="a"),
        ValueError,
        r"sum: expected an axis that is an integer, got 'a'",
    ),
    "minus of booleans": (lambda: -mg.tensor([True]), TypeError, r"negative: .*Came: x \(1,\) bool"),
    "a matrix of less than nothing": (lambda: mg.eye(-1), ValueError, r"eye: expected sizes .* 0 or more, got -1"),
    "reduction of nothing": (lambda: ones(0).max(), ValueError, r"max: expected at least one entry"),
    "broadcast_to": (lambda: mg.broadcast_to(ones(2), shape=(3,)), ValueError, r"broadcast_to: expected .* \(3,\)"),
    "shape": (lambda: ones(2, 3).reshape(4), ValueError, r"reshape: expected a shape of 6 entries.*got \(4,\)"),
    "transpose": (lambda: ones(2, 3).transpose(0, 0), ValueError, r"transpose: expected axes that name each"),
    "squeeze": (lambda: ones(2).squeeze(0), ValueError, r"squeeze: expected axes of size 1"),
    "concatenate": (
        lambda: mg.concatenate([ones(2, 3), ones(2, 2)]),
        ValueError,
        r"concatenate: expected an axis, and arrays that agree on all others; got axis 0 and",
    ),
    "concatenate without an axis": (
        lambda: mg.concatenate([ones(2), ones(2)], axis=None),
        ValueError,
        r"concatenate: expected an axis.* got axis None",
    ),
    "numbers in a list of tensors": (
        lambda: mg.stack([ones(), 1.0]),
        TypeError,
        r"stack, in the list: expected a Tensor or an array, got float",
    ),
    "stack of nothing": (lambda: mg.stack([]), ValueError, r"stack: expected at least one array to stack, got none"),
    "stack": (lambda: mg.stack([ones(2), ones(3)]), ValueError, r"stack: expected arrays of one shape"),
    "split": (lambda: ones(2, 3).split(2, axis=1), ValueError, r"split: expected a number of equal sections"),
    "index": (lambda: ones(2, 3)[5], IndexError, r"getitem: expected at most 2 indices, in range .* got 5"),
    "too many indices": (lambda: ones(2)[0, 0], IndexError, r"getitem: expected at most 1 indices"),
    "contraction": (
        lambda: ones(2, 3) @ ones(2, 3),
        ValueError,
        r"matmul: expected .* K is 3 in x and 2 in y; y.T fits",
    ),
    "a product with the left one turned": (
        lambda: ones(2, 3) @ ones(2, 4),
        ValueError,
        r"matmul: expected .* K is 3 in x and 2 in y; x.T fits",
    ),
    "a product that fits in no way": (
        lambda: ones(2, 3) @ ones(4, 5),
        ValueError,
        r"matmul: expected .* K is 3 in x and 4 in y\. Came",
    ),
    "a number in a product": (lambda: 2 @ ones(2), ValueError, r"matmul: .*use \* for scalars"),
    "scalars in a product": (lambda: ones() @ ones(2), ValueError, r"matmul: .*use \* for scalars"),
    # operands
    "a list where a tensor belongs": (
        lambda: mg.tanh([1.0]),
        TypeError,
        r"tanh: expected Tensors.* got list;.*tensor\(",
    ),
    "a list in arithmetic": (lambda: ones(2) + [1, 2], TypeError, r"add: expected .* got list"),
    "a string": (lambda: mg.tensor("abc"), TypeError, r"expected real numbers or booleans, got dtype"),
    "ragged lists": (lambda: mg.tensor([[1], [1, 2]]), TypeError, r"lists of equal lengths"),
    "the class for the function": (lambda: mg.Tensor([1.0]), TypeError, r"write minigrad.tensor\("),
    "a missing input": (lambda: mg.where(ones(2) > 0, ones(2)), TypeError, r"where\(.*\) needs y"),
    "too many arguments": (lambda: mg.sum(ones(2), 0, True, 1), TypeError, r"sum\(.*4 positional arguments"),
    "indices that are no integers": (lambda: mg.take(ones(3), [0.5]), TypeError, r"take: expected integer indices"),
    # gradients
    "an integer tensor with requires_grad": (
        lambda: mg.tensor([1, 2], requires_grad=True),
        TypeError,
        r"only floating-point tensors have gradients, got int64; convert",
    ),
    "requires_grad set on integers": (
        lambda: setattr(mg.tensor([1]), "requires_grad", True),
        TypeError,
        r"only floating-point tensors have gradients",
    ),
    "backward of no scalar": (
        lambda: (ones(2, requires_grad=True) * 2).backward(),
        RuntimeError,
        r"backward: expected a scalar, got shape \(2,\). Make it one with .sum\(\)",
    ),
    "backward without a graph": (lambda: ones().backward(), RuntimeError, r"does not need a gradient. Either nothing"),
    "a gradient of another shape": (
        lambda: (ones(2, requires_grad=True) * 2).backward(ones(3)),
        ValueError,
        r"backward: expected a gradient like its tensor, \(2,\) float32 on .*, got \(3,\)",
    ),
    "a gradient that is an array": (
        lambda: setattr(ones(2), "grad", np.ones(2)),
        TypeError,
        r".grad is a Tensor or None, got ndarray; use minigrad.tensor\(",
    ),
    "a gradient that does not fit": (
        lambda: setattr(ones(2), "grad", ones(3)),
        ValueError,
        r".grad: expected a gradient like its tensor, \(2,\) float32 on .*, got \(3,\) float32",
    ),
    "grad of a constant": (
        lambda: mg.grad((ones(requires_grad=True) * 2), ones()),
        RuntimeError,
        r"grad: expected inputs that need a gradient, but inputs\[0\]",
    ),
    "writing to a tensor that needs a gradient": (
        lambda: ones(2, requires_grad=True).__setitem__(0, 1.0),
        RuntimeError,
        r"never changed in place. Write x = minigrad.where\(mask, value, x\)",
    ),
    "writing what needs a gradient": (
        lambda: ones(2).__setitem__(0, ones(requires_grad=True)),
        RuntimeError,
        r"the gradient would be lost. Build x with minigrad.where, stack",
    ),
    "a parameter that needs a gradient": (
        lambda: ones(2).clip(ones(requires_grad=True)),
        TypeError,
        r"clip: min is a parameter.*maximum and minimum for clip.*or detach it",
    ),
    "an update in place that would be lost": (
        mg.no_grad()(lambda: ones(2, requires_grad=True).__isub__(1.0)),
        RuntimeError,
        r"makes a new tensor and leaves x as it was.*write x\[...\] = x - y",
    ),
    "a generator without gradients": (
        lambda: mg.no_grad()(generator),
        TypeError,
        r"no_grad cannot decorate a generator.*inside it",
    ),
    "integers as data of what needs a gradient": (
        lambda: setattr(ones(2, requires_grad=True), "data", mg.tensor([1, 2]).data),
        TypeError,
        r"only floating-point tensors have gradients, got int64",
    ),
    "numpy of a tensor that needs a gradient": (
        lambda: ones(2, requires_grad=True).numpy(),
        TypeError,
        r"use x.detach\(\).numpy\(\)",
    ),
    "astype of no dtype": (lambda: ones(2).to(None), TypeError, r"astype: expected a dtype such as"),
    "iterating over a 0-d tensor": (lambda: list(ones()), TypeError, r"a 0-d tensor has nothing to iterate over"),
    "item of many": (lambda: ones(2).item(), ValueError, r"item: expected a tensor of one entry, got shape \(2,\)"),
    # devices
    "an unknown device": (
        lambda: ones(2).to("gpu:0"),
        mg.DeviceError,
        r"unknown device 'gpu:0'; expected one of 'cpu'",
    ),
    "a device that is no name": (lambda: mg.ones(2, device=0.5), TypeError, r"a device is a name"),
    "a negative seed": (lambda: mg.manual_seed(-1), ValueError, r"a seed is a non-negative integer, got -1"),
    # what other libraries have
    "another library's name": (
        lambda: ones(2, 3).unsqueeze(0),
        AttributeError,
        r"a Tensor has no attribute 'unsqueeze'; write x.expand_dims\(axis\)",
    ),
    "a name that nobody has": (lambda: ones(2).foo, AttributeError, r"a Tensor has no attribute 'foo'$"),
    "bits of integers": (
        lambda: mg.tensor([1, 2]) & 1,
        TypeError,
        r"&: expected booleans, got \(2,\) int64 .*; make them by a comparison",
    ),
    "not an integer": (lambda: ~mg.tensor([1, 2]), TypeError, r"~: expected booleans, got \(2,\) int64"),
    # making
    "a negative size": (lambda: mg.zeros(-1), ValueError, r"zeros: expected a shape of integers of 0 or more.*got -1"),
    "a fractional size": (lambda: mg.randn((2.0, 3)), ValueError, r"randn: expected a shape of integers"),
    "complex numbers": (
        lambda: mg.zeros(2, dtype=complex),
        TypeError,
        r"expected a dtype of real numbers or booleans, got complex128",
    ),
    "complex numbers later": (lambda: ones(2).astype(complex), TypeError, r"real numbers or booleans, got complex128"),
    "no dtype": (lambda: ones(2, dtype="real"), TypeError, r"expected a dtype such as minigrad.float32, got 'real'"),
    "filled with a word": (lambda: mg.full(2, "a"), TypeError, r"full: expected a number, got str"),
    "filled with a Tensor": (lambda: mg.full(2, ones()), TypeError, r"full: expected a number, .*broadcast_to"),
    "random integers": (lambda: mg.randn(2, dtype=mg.int64), TypeError, r"float32 or float64 to draw .* got int64"),
    "like a number": (lambda: mg.zeros_like(3), TypeError, r"expected a Tensor to make another like it, got int"),
    "no step": (lambda: mg.arange(0, 3, 0), ValueError, r"arange: expected a step other than 0"),
    "a range of words": (lambda: mg.arange("a"), TypeError, r"arange: expected stop to be a number, got str"),
    "a number as a device": (lambda: mg.zeros(2, device=0), TypeError, r"a device is a name"),
    "no device": (lambda: mg.zeros(2, device=""), mg.DeviceError, r"unknown device ''"),
    "a copy of what needs a gradient": (
        lambda: mg.tensor([ones(requires_grad=True), ones()]),
        RuntimeError,
        r"tensor: expected data without a gradient.*Join Tensors with minigrad.stack",
    ),
    "a mask that would be lost": (
        lambda: mg.tensor(np.ma.array([1.0, 2.0], mask=[True, False])),
        TypeError,
        r"an array without a mask.*array.filled\(value\)",
    ),
    # writing
    "writing outside": (
        lambda: ones(2).__setitem__(5, 1.0),
        IndexError,
        r"x\[...\] = value: expected an index of x, \(2,\)",
    ),
    "writing what does not fit": (
        lambda: ones(3).__setitem__(slice(None), np.ones(2, dtype=np.float32)),
        (ValueError, TypeError),
        r"x\[...\] = value: expected .* a number or an array that fits there",
    ),
    "data of another shape than the gradient": (
        lambda: setattr(with_gradient(), "data", ones(3).data),
        ValueError,
        r".data: expected the shape \(2,\), as there is a gradient of it, got \(3,\); forget",
    ),
    "gradients of a number": (
        lambda: mg.grad(3, ones(2)),
        TypeError,
        r"grad: expected outputs to be a Tensor or",
    ),
    "a number among outputs": (
        lambda: mg.grad([3], ones(requires_grad=True)),
        TypeError,
        r"grad: expected a Tensor to differentiate, got int",
    ),
    "more gradients than outputs": (
        lambda: mg.grad(ones(requires_grad=True) * 2, [], [ones(), ones()]),
        ValueError,
        r"grad: expected one of grad_outputs per output, got 2 for 1",
    ),
    "gradients of nothing": (
        lambda: mg.grad(ones(requires_grad=True), None),
        TypeError,
        r"grad: expected inputs to be a Tensor or a list of them, got NoneType",
    ),
    "a word as a gradient": (
        lambda: ones(requires_grad=True).backward("a"),
        TypeError,
        r"backward: expected a Tensor as the gradient to start from, got str",
    ),
    "a bound that is a word": (lambda: ones(2).clip("a"), TypeError, r"clip: .*Came: x \(2,\)"),
    "a list to swap axes of": (lambda: mg.swapaxes([1.0], 0, 0), TypeError, r"swapaxes: expected a Tensor or an array"),
    # layers
    "Linear with the wrong width": (
        lambda: nn.Linear(3, 2)(ones(5, 4)),
        ValueError,
        r"linear: expected x \(\.\.\., 3\)",
    ),
    "Linear with another dtype": (
        lambda: nn.Linear(3, 2)(ones(5, 3, dtype=mg.float64)),
        TypeError,
        r"linear: expected x of the dtype of the weight, float32, got float64; convert it",
    ),
    "Embedding of floats": (lambda: nn.Embedding(3, 2)(ones(2)), TypeError, r"embedding: expected integer ids"),
    "a list of ids": (
        lambda: nn.Embedding(3, 2)([0, 1]),
        TypeError,
        r"embedding: expected a Tensor or an array, got list",
    ),
    "a recurrent layer with the wrong width": (
        lambda: nn.LSTM(3, 2)(ones(5, 1, 4)),
        ValueError,
        r"LSTM: expected an input \(T, N, D\) or \(T, D\) with D = 3, got \(5, 1, 4\)",
    ),
    "a sequence without steps": (
        lambda: nn.GRU(3, 2)(ones(0, 1, 3)),
        ValueError,
        r"GRU: expected at least one time step",
    ),
    "a state of another batch": (
        lambda: nn.GRU(3, 2)(ones(5, 4, 3), ones(1, 5, 2)),
        ValueError,
        r"GRU: expected one Tensor h \(1, 4, 2\) as the state, got one of shape \(1, 5, 2\)",
    ),
    "an unknown nonlinearity": (
        lambda: nn.RNN(3, 2, nonlinearity="gelu"),
        ValueError,
        r'"tanh" or "relu", got \'gelu\'',
    ),
    "a cell without units": (lambda: nn.GRUCell(3, 0), ValueError, r"GRUCell: expected hidden_size to be a positive"),
    "a negative width": (
        lambda: nn.Linear(-1, 2),
        ValueError,
        r"Linear: expected in_features to be a positive integer",
    ),
    "no layers": (lambda: nn.RNN(3, 2, num_layers=0), ValueError, r"num_layers to be a positive integer, got 0"),
    "a dropout above 1": (lambda: nn.Dropout(1.5), ValueError, r"a probability from 0 to 1, got 1.5"),
    "targets of another length": (
        lambda: F.cross_entropy(ones(4, 3), mg.tensor([0, 1])),
        ValueError,
        r"cross_entropy: expected logits \(N, V\) and targets \(N,\).*reshape\(-1, V\)",
    ),
    "an unknown reduction": (
        lambda: F.cross_entropy(ones(1, 3), mg.tensor([0]), reduction="avg"),
        ValueError,
        r'"mean", "sum" or "none", got \'avg\'',
    ),
    "a state dict of another model": (
        lambda: nn.Linear(3, 2).load_state_dict(nn.LSTM(3, 2).state_dict()),
        KeyError,
        r"not of a Linear with these layers; missing: bias, weight; unknown: bias_hh_l0",
    ),
    "a state dict of another size": (
        lambda: nn.Linear(3, 2).load_state_dict(nn.Linear(4, 2).state_dict()),
        ValueError,
        r"do not fit Linear: weight is \(2, 4\), expected \(2, 3\)",
    ),
    "a module to an integer dtype": (
        lambda: nn.Linear(3, 2).to(mg.int64),
        TypeError,
        r"Linear.to: expected a floating-point dtype, as parameters have, got int64",
    ),
    "detaching something else": (lambda: mg.detach(3), TypeError, r"detach: expected Tensors in tuples"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message(device, mistake):
    act, error, message = MISTAKES[mistake]
    with pytest.raises(error, match=message):
        act()


# What only the CPU can notice without waiting for a device


@pytest.mark.parametrize("ids", [[3], [-1]])
def test_ids_out_of_range(ids):
    with pytest.raises(IndexError, match=r"embedding: expected ids from 0 to 2, got ids from"):
        nn.Embedding(3, 2)(mg.tensor(ids))
    with pytest.raises(IndexError, match=r"take: expected int64 indices from -3 to 2 .*got one outside"):
        mg.take(ones(3), [3])


# Two devices


MIXED = {
    "add": lambda x, y: x + y,
    "matmul": lambda x, y: x @ y,
    "concatenate": lambda x, y: mg.concatenate([x, y]),
    "where": lambda x, y: mg.where(x > 0, x, y),
}


@pytest.mark.parametrize("operation", MIXED)
def test_mixed_devices(operation):
    x, y = ones(2, 2), ones(2, 2, device="strict")
    with pytest.raises(
        RuntimeError, match=rf"{operation}: expected tensors of one device.* on cpu.* on strict.*\.to\("
    ):
        MIXED[operation](x, y)


def test_mixed_devices_elsewhere():
    x, far = ones(2, 2), ones(2, 2, device="strict")
    with pytest.raises(RuntimeError, match=r"expected an index on the device of x.*on cpu.*on strict"):
        x[mg.tensor([0], device="strict")]
    with pytest.raises(RuntimeError, match="expected one device"):
        x[0] = far[0]
    with pytest.raises(RuntimeError, match=r"linear: expected one device, got the weight .*cpu and x .*strict"):
        nn.Linear(2, 2)(far)
    with pytest.raises(TypeError, match=r'numpy: expected a tensor on the CPU, got one on strict; use x.to\("cpu"\)'):
        far.numpy()
    with pytest.raises(RuntimeError, match="expected tensors of one device"):
        far + np.ones((2, 2), dtype=np.float32)
    with pytest.raises(ValueError, match=r"expected a gradient like its tensor.*on strict, got .*on cpu"):
        ones(2, device="strict", requires_grad=True).backward(ones(2))
