"""Options and parameters of layers, losses, first values, padding and files that are not what they should be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F
from minigrad.nn import init
from minigrad.nn.utils import rnn

from .helpers import host


def ones(*shape: int, **options: Any) -> mg.Tensor:
    return mg.ones(shape, **options)


def ids(*values: Any) -> mg.Tensor:
    return mg.tensor(list(values))


def without_weight(layer: Any) -> Any:
    layer.weight = None
    return layer


LAYERS = {
    "a bias that would broadcast": (
        lambda: F.linear(ones(7, 3), ones(2, 3), ones(7, 2)),
        ValueError,
        r"linear: expected a bias \(2,\), got \(7, 2\)",
    ),
    "a bias of another size": (
        lambda: F.linear(ones(7, 3), ones(2, 3), ones(5)),
        ValueError,
        r"linear: expected a bias \(2,\), got \(5,\)",
    ),
    "a bias of another dtype": (
        lambda: F.linear(ones(7, 3), ones(2, 3), ones(2, dtype=mg.float64)),
        TypeError,
        r"linear: expected bias of the dtype of x, float32, got float64",
    ),
    "a list of biases": (lambda: F.linear(ones(3), ones(2, 3), [1.0, 2.0]), TypeError, r"linear, bias: .* got list"),
    "a weight of one axis": (lambda: F.linear(ones(3), ones(3)), ValueError, r"linear: expected a weight \(out, in\)"),
    "a Linear without weight": (
        lambda: without_weight(nn.Linear(3, 2))(ones(3)),
        TypeError,
        r"linear, weight: expected a Tensor or an array, got NoneType",
    ),
    "an Embedding without weight": (
        lambda: without_weight(nn.Embedding(3, 2))(ids(1)),
        TypeError,
        r"embedding, weight: .* NoneType",
    ),
    "a table of one axis": (lambda: F.embedding(ids(1), ones(3)), ValueError, r"embedding: expected a weight \(V, D\)"),
    "a word for a bias": (lambda: nn.Linear(3, 2, "no"), TypeError, r"Linear: expected bias to be True or False"),
    "a word for LayerNorm's bias": (
        lambda: nn.LayerNorm(3, bias="no"),
        TypeError,
        r"LayerNorm: expected bias to be True or False, got 'no'",
    ),
    "a shape that is no integer": (
        lambda: nn.LayerNorm(3.0),
        ValueError,
        r"LayerNorm: expected normalized_shape of positive integers, got 3.0",
    ),
    "a word for eps": (lambda: nn.LayerNorm(3, "small"), TypeError, r"LayerNorm: expected eps to be a number"),
    "a word for training": (
        lambda: F.dropout(ones(2), 0.5, "eval"),
        TypeError,
        r"dropout: expected training to be True or False, got 'eval'",
    ),
    "classes by halves": (
        lambda: F.one_hot(ids(1), 3.5),
        TypeError,
        r"one_hot: expected num_classes to be an integer, got 3.5",
    ),
    "no classes": (lambda: F.one_hot(ids(1), 0), ValueError, r"one_hot: expected num_classes to be a positive integer"),
    "a Softplus that divides by zero": (lambda: nn.Softplus(0), ValueError, r"Softplus: expected beta other than 0"),
    "a word for a slope": (lambda: nn.LeakyReLU("0.1"), TypeError, r"LeakyReLU: expected negative_slope to be a numb"),
    "a slope of a function": (lambda: F.elu(ones(1), None), TypeError, r"elu: expected alpha to be a number, got None"),
    "a dim that is a word": (lambda: nn.Softmax("last"), TypeError, r"Softmax: expected dim to be an integer"),
    "modules without names": (
        lambda: nn.ModuleDict([nn.Tanh()]),
        TypeError,
        r"ModuleDict: expected modules by name, as a mapping or as pairs \(name, module\), got Tanh among them",
    ),
    "a word for a Parameter": (lambda: nn.Parameter("a"), TypeError, r"Parameter: expected real numbers or booleans"),
    "a Tensor for a Parameter": (
        lambda: nn.Module().register_parameter("w", ones(2)),
        TypeError,
        r"register_parameter: expected a Parameter or None as 'w', got Tensor; write nn.Parameter",
    ),
    "a parameter where something is": (
        lambda: nn.Linear(1, 1).register_parameter("forward", nn.Parameter(ones(2))),
        KeyError,
        r"Linear has an attribute 'forward' of its own",
    ),
    "a parameter that is not there": (
        lambda: nn.Sequential(nn.Linear(1, 1)).get_parameter("0.wieght"),
        AttributeError,
        r"Linear has no parameter 'wieght'; it has 'weight', 'bias'",
    ),
    "a buffer that is not there": (
        lambda: nn.Linear(1, 1).get_buffer("weight"),
        AttributeError,
        r"Linear has no buffer 'weight'; it has none",
    ),
}
LOSSES = {
    "data for a loss that is not made": (
        lambda: nn.MSELoss(ones(2), ones(2)),
        TypeError,
        r"MSELoss: expected options by name.*got 2 without; .* write nn.MSELoss\(\)\(predictions, targets\)",
    ),
    "data for a loss with an option": (
        lambda: nn.HuberLoss(ones(2), ones(2)),
        TypeError,
        r"write nn.HuberLoss\(\)\(predictions, targets\)",
    ),
    "data for a loss with a weight": (
        lambda: nn.CrossEntropyLoss(ones(2, 3), ids(0, 1)),
        TypeError,
        r"write nn.CrossEntropyLoss\(\)\(predictions, targets\)",
    ),
    "nothing to ignore": (
        lambda: F.cross_entropy(ones(2, 3), ids(0, 1), ignore_index=None),
        TypeError,
        r"cross_entropy: expected ignore_index to be an integer, got None",
    ),
    "a word to ignore": (
        lambda: F.nll_loss(ones(2, 3), ids(0, 1), ignore_index="a"),
        TypeError,
        r"nll_loss: expected ignore_index to be an integer, got 'a'",
    ),
    "half a class to ignore, among probabilities": (
        lambda: F.cross_entropy(ones(2, 3), ones(2, 3), ignore_index=1.5),
        TypeError,
        r"cross_entropy: expected ignore_index to be an integer, got 1.5",
    ),
    "half a class to ignore, when the loss is made": (
        lambda: nn.NLLLoss(ignore_index=1.5),
        TypeError,
        r"NLLLoss: expected ignore_index to be an integer, got 1.5",
    ),
    "a word for delta": (lambda: nn.HuberLoss(delta="a"), TypeError, r"HuberLoss: expected delta to be a number"),
    "a word for beta": (
        lambda: F.smooth_l1_loss(ones(2), ones(2), beta="a"),
        TypeError,
        r"smooth_l1_loss: expected beta to be a number, got 'a'",
    ),
}
FIRST_VALUES = {
    "a list to fill": (lambda: init.uniform_([1]), TypeError, r"uniform_: expected a Tensor to fill, got list"),
    "integers to fill": (
        lambda: init.ones_(ids(1)),
        TypeError,
        r"ones_: expected a floating-point tensor to fill, got",
    ),
    "bounds the wrong way round": (
        lambda: init.uniform_(ones(2), 2, 1),
        ValueError,
        r"uniform_: expected a <= b, got 2 and 1",
    ),
    "a negative deviation": (lambda: init.normal_(ones(2), std=-1), ValueError, r"normal_: expected std of at least 0"),
    "fans of a vector": (
        lambda: init.xavier_normal_(ones(2)),
        ValueError,
        r"xavier_normal_: expected a weight of at least 2 axes",
    ),
    "a mode that is none": (
        lambda: init.kaiming_uniform_(ones(2, 2), mode="fan"),
        ValueError,
        r'kaiming_uniform_: expected mode "fan_in" or "fan_out", got \'fan\'',
    ),
    "None to make orthogonal": (lambda: init.orthogonal_(None), TypeError, r"orthogonal_: expected a Tensor .* NoneTy"),
}
PADDING = {
    "half an integer": (
        lambda: rnn.pad_sequence([ids(1), ids(1, 2)], padding_value=1.5),
        ValueError,
        r"pad_sequence: expected a padding_value that int64 can hold, as the sequences are, got 1.5",
    ),
    "NaN for integers": (
        lambda: rnn.pad_packed_sequence(rnn.pack_sequence([ids(1, 2), ids(1)]), padding_value=float("nan")),
        ValueError,
        r"pad_packed_sequence: expected a padding_value that int64 can hold, .* got nan",
    ),
    "a negative boolean": (
        lambda: rnn.pad_sequence([ids(True)], padding_value=-1),
        ValueError,
        r"expected a padding_value that bool can hold",
    ),
    "too much for a byte": (
        lambda: rnn.pad_sequence([ones(1, dtype=np.uint8)], padding_value=256),
        ValueError,
        r"expected a padding_value that uint8 can hold",
    ),
    "too much for half precision": (
        lambda: rnn.pad_sequence([ones(1, dtype=mg.float16)], padding_value=1e6),
        ValueError,
        r"expected a padding_value that float16 can hold",
    ),
    "a word": (
        lambda: rnn.pad_sequence([ids(1)], padding_value="x"),
        TypeError,
        r"pad_sequence: expected padding_value to be a number, got 'x'",
    ),
    "a word for batch_first": (
        lambda: rnn.pack_padded_sequence(ones(2, 3), [2, 1, 1], "False"),
        TypeError,
        r"pack_padded_sequence: expected batch_first to be True or False",
    ),
    "a padded batch to unpack": (
        lambda: rnn.unpack_sequence(ones(2, 3)),
        TypeError,
        r"unpack_sequence: expected a PackedSequence, got Tensor; pack_padded_sequence and pack_sequence make one",
    ),
}
MISTAKES = LAYERS | LOSSES | FIRST_VALUES | PADDING


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message(mistake: str, device: str) -> None:
    act, error, message = MISTAKES[mistake]
    with pytest.raises(error, match=message):
        act()


def test_no_message_is_lost() -> None:
    assert len(MISTAKES) == len(LAYERS) + len(LOSSES) + len(FIRST_VALUES) + len(PADDING)


def test_the_first_index_outside_is_named() -> None:
    with pytest.raises(IndexError, match=r"targets from -7 to 5; the first outside is 5, number 1 of 4"):
        F.cross_entropy(ones(4, 3, device="cpu"), mg.tensor([0, 5, -7, 1], device="cpu"))
    with pytest.raises(IndexError, match=r"cross_entropy: expected at least one class, got targets"):
        F.cross_entropy(ones(4, 0, device="cpu"), mg.tensor([0, 0, 0, 0], device="cpu"))


@pytest.mark.parametrize(
    ("value", "sequence"), [(True, [False]), (1, [False]), (3.0, [1]), (-1, [1]), (float("inf"), [1.0]), (0.1, [1.0])]
)
def test_padding_that_fits(value: Any, sequence: list[Any], device: str) -> None:
    found = rnn.pad_sequence([mg.tensor(sequence), mg.tensor(sequence * 2)], padding_value=value)
    assert host(found)[1, 0] == found.dtype.type(value)


@pytest.mark.parametrize(
    "make", [lambda: nn.Linear(3, 4), lambda: nn.Embedding(5, 3, padding_idx=1), lambda: nn.LayerNorm(3)]
)
def test_first_values_are_drawn_again(make: Any, device: str) -> None:
    mg.manual_seed(3)
    layer = make()
    first = {name: x.tolist() for name, x in layer.state_dict().items()}
    for x in layer.parameters():
        init.constant_(x, 7.0)
    mg.manual_seed(3)
    layer.reset_parameters()
    assert {name: x.tolist() for name, x in layer.state_dict().items()} == first


def test_a_module_of_another_dtype() -> None:
    layer = nn.Linear(2, 3)
    for convert, dtype in ((layer.double, mg.float64), (layer.half, mg.float16), (layer.float, mg.float32)):
        assert convert() is layer and layer.weight.dtype == dtype
    assert nn.Linear(2, 3, device="strict").cpu().weight.device == "cpu"


def test_names_that_are_computed() -> None:
    module = nn.Module()
    module.register_parameter("weight", nn.Parameter(ones(2)))
    module.register_parameter("bias", None)
    module.register_buffer("steps", ids(3))
    assert module.bias is None and list(module.state_dict()) == ["weight", "steps"]
    assert module.get_parameter("weight") is module.weight
    assert nn.ModuleDict({"inner": module}).get_buffer("inner.steps") is module.steps


# Files --------------------------------------------------------------------------------------------


def test_paths_that_are_none(tmp_path: Any) -> None:
    with pytest.raises(TypeError, match=r"save: expected a path first .*; write save\(path, state_dict\)"):
        mg.io.save({"x": ones(2)}, tmp_path / "x")
    with pytest.raises(IsADirectoryError, match=r"load: .* is a folder; name a file in it"):
        mg.io.load(tmp_path)
    with pytest.raises(TypeError, match=r"load: expected the path of a file, as a string or a Path, got NoneType"):
        mg.io.load(None)
    mg.io.save(tmp_path / "x", {"x": ones(2)})
    with (
        (tmp_path / "x").open("rb") as file,
        pytest.raises(TypeError, match=r"load_metadata: .*; write its name"),
    ):
        mg.io.load_metadata(file)


def test_every_forward_says_what_it_does() -> None:
    modules = [value for value in vars(nn).values() if isinstance(value, type) and issubclass(value, nn.Module)]
    assert len(modules) > 30
    assert not [module.__name__ for module in modules if not module.forward.__doc__]
