"""What users do wrong with modules, layers and losses, and the message each gets: it says what to do."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F


def ones(*shape, **options):
    return mg.ones(shape, **options)


def ids(*values):
    return mg.tensor(list(values))


def module(**attributes):
    made = nn.Module()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


class Misspelt(nn.Module):
    def foward(self, x):
        return x


CLASSES = {
    "targets first": (
        lambda: F.cross_entropy(ids(0, 1), ones(2, 3)),
        TypeError,
        r"cross_entropy: expected floating-point logits first, got \(2,\) int64.*swapped, write cross_entropy\(logits",
    ),
    "integer logits": (
        lambda: F.cross_entropy(mg.tensor([[1, 2]]), ids(0)),
        TypeError,
        r"cross_entropy: expected floating-point logits first, got \(1, 2\) int64.*astype\(minigrad.float32\)",
    ),
    "class numbers that are floats": (
        lambda: F.cross_entropy(ones(2, 3), ones(2)),
        TypeError,
        r'cross_entropy: expected targets to be class numbers.* got \(2,\) float32.*\.astype\("int64"\)',
    ),
    "class numbers that are booleans": (
        lambda: F.cross_entropy(ones(2, 3), ones(2) > 0),
        TypeError,
        r"cross_entropy: expected targets to be class numbers, which are integers, got \(2,\) bool",
    ),
    "a list of targets": (
        lambda: F.cross_entropy(ones(2, 3), [0, 1]),
        TypeError,
        r"cross_entropy: expected a Tensor or an array, got list; make one with minigrad.tensor",
    ),
    "targets with an axis too many": (
        lambda: F.cross_entropy(ones(2, 3), mg.tensor([[0], [1]])),
        ValueError,
        r"cross_entropy: expected logits \(N, V\) and targets \(N,\).*\(2, 1\) int64",
    ),
    "logits (T, N, V)": (
        lambda: F.cross_entropy(ones(5, 2, 3), mg.tensor(np.zeros((5, 2), dtype=int))),
        ValueError,
        r"For a sequence \(T, N, V\), write cross_entropy\(logits.reshape\(-1, V\), targets.reshape\(-1\)\)",
    ),
    "one-hot targets of integers": (
        lambda: F.cross_entropy(ones(2, 3), mg.tensor([[1, 0, 0], [0, 1, 0]])),
        TypeError,
        r'cross_entropy: targets of the shape of the logits.*floating-point, got int64.*astype\("float32"\)',
    ),
    "probabilities of another dtype": (
        lambda: F.cross_entropy(ones(2, 3), ones(2, 3, dtype=mg.float64)),
        TypeError,
        r"cross_entropy: expected targets of the dtype of logits, float32, got float64; convert it",
    ),
    "an ignored class among probabilities": (
        lambda: F.cross_entropy(ones(2, 3), ones(2, 3), ignore_index=0),
        ValueError,
        r"ignore_index=0 names a class, but these targets.*are probabilities",
    ),
    "too few class weights": (
        lambda: F.cross_entropy(ones(2, 3), ids(0, 1), ones(2)),
        ValueError,
        r"cross_entropy: expected a weight for each of the 3 classes, got \(2,\)",
    ),
    "class weights in a list": (
        lambda: nn.CrossEntropyLoss([1.0, 2.0]),
        TypeError,
        r"CrossEntropyLoss, weight: expected a Tensor or an array, got list",
    ),
    "class weights of another dtype": (
        lambda: F.nll_loss(ones(2, 3), ids(0, 1), ones(3, dtype=mg.float64)),
        TypeError,
        r"nll_loss: expected weight of the dtype of the predictions, float32, got float64",
    ),
    "a label smoothing above 1": (
        lambda: nn.CrossEntropyLoss(label_smoothing=2.0),
        ValueError,
        r"CrossEntropyLoss, label_smoothing: expected a probability from 0 to 1, got 2.0",
    ),
    "the reduction where the weight belongs": (
        lambda: F.cross_entropy(ones(2, 3), ids(0, 1), "sum"),
        TypeError,
        r"cross_entropy, weight: expected a Tensor or an array, got str",
    ),
    "an unknown reduction, when the loss is made": (
        lambda: nn.NLLLoss(reduction="average"),
        ValueError,
        r"NLLLoss: expected reduction \"mean\", \"sum\" or \"none\", got 'average'",
    ),
    "a number for a loss": (
        lambda: F.nll_loss(ones(), ids(0)),
        ValueError,
        r"nll_loss: expected log_probabilities \(N",
    ),
}
NUMBERS = {
    "(N, 1) against (N,)": (
        lambda: nn.MSELoss()(ones(4, 1), ones(4)),
        ValueError,
        r"mse_loss: expected predictions and targets of one shape, got \(4, 1\) and \(4,\); write targets.resh",
    ),
    "shapes that broadcast": (
        lambda: F.huber_loss(ones(4, 3), ones(3)),
        ValueError,
        r"huber_loss: expected predictions and targets of one shape, got \(4, 3\) and \(3,\); nothing is broadcast",
    ),
    "a number as target": (
        lambda: F.l1_loss(ones(4), 1.0),
        TypeError,
        r"l1_loss: expected a Tensor or an array, got flo",
    ),
    "integer targets": (
        lambda: F.mse_loss(ones(2), ids(0, 1)),
        TypeError,
        r'mse_loss: expected targets of the dtype of predictions, float32, got int64; convert it with .astype\("fl',
    ),
    "integer predictions": (
        lambda: F.smooth_l1_loss(ids(0, 1), ones(2)),
        TypeError,
        r"smooth_l1_loss: expected floating-point predictions, got \(2,\) int64.*convert",
    ),
    "boolean targets": (
        lambda: F.binary_cross_entropy_with_logits(ones(2), ones(2) > 0),
        TypeError,
        r"binary_cross_entropy_with_logits: expected targets of the dtype of logits, float32, got bool",
    ),
    "a weight that does not broadcast": (
        lambda: F.binary_cross_entropy_with_logits(ones(2, 3), ones(2, 3), pos_weight=ones(2)),
        ValueError,
        r"expected pos_weight to broadcast to the logits' shape \(2, 3\), got \(2,\)",
    ),
    "a weight that is larger": (
        lambda: F.binary_cross_entropy_with_logits(ones(1, 3), ones(1, 3), ones(2, 1)),
        ValueError,
        r"expected weight to broadcast to the logits' shape \(1, 3\), got \(2, 1\)",
    ),
    "a delta of zero": (
        lambda: F.huber_loss(ones(2), ones(2), delta=0),
        ValueError,
        r"expected a positive delta, got 0",
    ),
    "a negative beta": (
        lambda: F.smooth_l1_loss(ones(2), ones(2), beta=-1),
        ValueError,
        r"smooth_l1_loss: expected beta of at least 0, got -1",
    ),
}
LAYERS = {
    "softmax along no dim": (
        lambda: F.softmax(ones(2, 3), 2),
        ValueError,
        r"^softmax: expected an integer dim from -2 to 1, got dim=2 for x \(2, 3\)",
    ),
    "log_softmax of a number": (
        lambda: F.log_softmax(ones()),
        ValueError,
        r"^log_softmax: expected x of at least one dim",
    ),
    "softmax of nothing": (
        lambda: nn.Softmax()(ones(2, 0)),
        ValueError,
        r"^softmax: expected at least one entry along dim -1, got x \(2, 0\)",
    ),
    "softmax of a list": (lambda: F.softmax([1.0]), TypeError, r"^softmax: expected a Tensor or an array, got list"),
    "exact GELU": (nn.GELU, ValueError, r"GELU: approximate=\"none\".*needs.*erf.*pass approximate=\"tanh\""),
    "GELU of some other kind": (
        lambda: F.gelu(ones(1), "erf"),
        ValueError,
        r"gelu: there is no approximate='erf'; pass a",
    ),
    "Hardtanh the wrong way round": (
        lambda: nn.Hardtanh(1.0, -1.0),
        ValueError,
        r"Hardtanh: expected min_val <= max_val, got 1.0 and -1.0",
    ),
    "softplus with beta zero": (lambda: F.softplus(ones(1), 0), ValueError, r"softplus: expected beta other than 0"),
    "LayerNorm of another width": (
        lambda: nn.LayerNorm(4)(ones(2, 3)),
        ValueError,
        r"layer_norm: expected x \(..., 4\), got \(2, 3\) float32",
    ),
    "LayerNorm of another dtype": (
        lambda: nn.LayerNorm(3)(ones(2, 3, dtype=mg.float64)),
        TypeError,
        r"layer_norm: expected x of the dtype of the weight, float32, got float64",
    ),
    "LayerNorm of no size": (
        lambda: nn.LayerNorm(0),
        ValueError,
        r"LayerNorm: expected normalized_shape of positive int",
    ),
    "a bias of another size": (
        lambda: F.layer_norm(ones(2, 3), 3, bias=ones(2)),
        ValueError,
        r"layer_norm: expected bias \(3,\), got \(2,\)",
    ),
    "a padding index outside": (
        lambda: nn.Embedding(3, 2, padding_idx=3),
        ValueError,
        r"Embedding: expected padding_idx from -3 to 2, got 3",
    ),
    "a list of pretrained rows": (
        lambda: nn.Embedding.from_pretrained([[1.0]]),
        TypeError,
        r"Embedding.from_pretrained: expected a Tensor or an array, got list",
    ),
    "pretrained rows of one axis": (
        lambda: nn.Embedding.from_pretrained(ones(3)),
        ValueError,
        r"Embedding.from_pretrained: expected rows \(num_embeddings, embedding_dim\).*got \(3,\)",
    ),
    "pretrained integers": (
        lambda: nn.Embedding.from_pretrained(mg.tensor([[1]])),
        TypeError,
        r"Embedding.from_pretrained: expected floating-point rows",
    ),
    "a dropout that is no number": (
        lambda: nn.Dropout("0.5"),
        TypeError,
        r"Dropout: expected a probability.*got '0.5'",
    ),
    "flattening axes that are not there": (
        lambda: nn.Flatten()(ones(3)),
        ValueError,
        r"Flatten: expected an integer dim from -1 to 0, got dim=1 for x \(3,\)",
    ),
    "flattening backwards": (
        lambda: nn.Flatten(1, 0)(ones(3, 2)),
        ValueError,
        r"Flatten: expected start_dim before end",
    ),
}
MODULES = {
    "an integer Parameter": (lambda: nn.Parameter([1, 2]), TypeError, r"only floating-point.*got int64; convert"),
    "a misspelt forward": (
        lambda: Misspelt()(1),
        NotImplementedError,
        r"Misspelt has no forward method: define forward",
    ),
    "data given to train": (lambda: nn.Linear(1, 1).train(ones(1)), ValueError, r"train: expected True or False, got"),
    "a number for a mode": (lambda: nn.Linear(1, 1).train(0), ValueError, r"train: expected True or False, got 0"),
    "an array for a Parameter": (
        lambda: setattr(nn.Linear(1, 1), "weight", np.ones((1, 1))),
        TypeError,
        r"Linear.weight is a Parameter and can be replaced by one or by None, not by ndarray.*Write nn.Param",
    ),
    "a function for a Module": (
        lambda: setattr(module(act=nn.Tanh()), "act", mg.tanh),
        TypeError,
        r"Module.act is a Module and can be replaced by one or by None",
    ),
    "a number for a buffer": (
        lambda: setattr(nn.CrossEntropyLoss(ones(2)), "weight", 2.0),
        TypeError,
        r"CrossEntropyLoss.weight is a buffer and can be replaced by a Tensor or by None, not by float",
    ),
    "a buffer of numbers": (
        lambda: module().register_buffer("mean", [0.0]),
        TypeError,
        r"register_buffer: expected a Tensor or None as 'mean', got list; make one",
    ),
    "a buffer where something is": (
        lambda: module(mean=1).register_buffer("mean", ones(1)),
        KeyError,
        r"Module has an attribute 'mean' of its own; choose another name",
    ),
    "a dot in a name": (
        lambda: nn.ModuleDict({"a.b": nn.Tanh()}),
        KeyError,
        r"ModuleDict: expected a name without dots, which stand between modules, got 'a.b'",
    ),
    "a name that is a method": (
        lambda: nn.ModuleDict({"keys": nn.Tanh()}),
        KeyError,
        r"ModuleDict has an attribute 'keys' of its own; choose another name",
    ),
    "a number for a name": (
        lambda: nn.ModuleDict({1: nn.Tanh()}),
        TypeError,
        r"ModuleDict: expected a name, got 1 \(int\)",
    ),
    "a name that is not there": (
        lambda: nn.ModuleDict({"a": nn.Tanh()})["b"],
        KeyError,
        r"ModuleDict has no module 'b'; it has a",
    ),
    "a class for a module": (
        lambda: nn.Sequential(nn.Linear(1, 1), nn.Tanh),
        TypeError,
        r"Sequential holds Modules, got the class Tanh; call it",
    ),
    "a function among modules": (
        lambda: nn.Sequential(nn.Linear(1, 1), F.softmax),
        TypeError,
        r"Sequential holds Modules, got function; write a Module",
    ),
    "modules in a list": (
        lambda: nn.Sequential([nn.Tanh()]),
        TypeError,
        r"Sequential holds Modules, got list.*write Seq",
    ),
    "one module for a list": (
        lambda: nn.ModuleList(nn.Tanh()),
        TypeError,
        r"ModuleList: expected modules in a list, got one Tanh",
    ),
    "an index outside": (
        lambda: nn.ModuleList([nn.Tanh()])[1],
        IndexError,
        r"ModuleList holds 1 modules, there is no ind",
    ),
    "a submodule that is not there": (
        lambda: nn.Sequential(nn.Tanh()).get_submodule("1"),
        AttributeError,
        r"Sequential has no module '1'; it has '0'",
    ),
    "a hook that is no function": (
        lambda: nn.Tanh().register_forward_hook(None),
        TypeError,
        r"Tanh: expected a function as a hook, got NoneType",
    ),
    "a pre-hook that returns too little": (
        lambda: hooked(lambda module, args, kwargs: args)(ones(1)),
        TypeError,
        r"Tanh: expected None or \(args, kwargs\) from a forward pre-hook",
    ),
    "two devices": (
        lambda: nn.Tanh().to("cpu", "cpu"),
        TypeError,
        r"Tanh.to: expected a device, a dtype, or one of each",
    ),
    "a path for a state dict": (
        lambda: nn.Tanh().load_state_dict("model.safetensors"),
        TypeError,
        r"load_state_dict: expected names with their Tensors, got str; read a file first, with minigrad.io.load",
    ),
    "a state dict with a prefix": (
        lambda: nn.Linear(1, 1).load_state_dict(nn.Linear(1, 1).state_dict("module.")),
        KeyError,
        r"missing: bias, weight; unknown: module.bias, module.weight. With strict=False",
    ),
    "a state dict of many other names": (
        lambda: nn.Linear(1, 1).load_state_dict({f"layer{i}": ones(1) for i in range(20)}),
        KeyError,
        r"unknown: layer0, .* and 10 more",
    ),
}


def hooked(hook):
    layer = nn.Tanh()
    layer.register_forward_pre_hook(hook, with_kwargs=True)
    return layer


MISTAKES = CLASSES | NUMBERS | LAYERS | MODULES


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message(device, mistake):
    act, error, message = MISTAKES[mistake]
    with pytest.raises(error, match=message):
        act()


def test_no_message_is_lost():
    assert len(MISTAKES) == len(CLASSES) + len(NUMBERS) + len(LAYERS) + len(MODULES)


def test_targets_out_of_range():
    """Only the CPU can notice without waiting for a device."""
    for loss in (F.cross_entropy, F.nll_loss):
        for wrong in (3, -1):
            with pytest.raises(
                IndexError, match=rf"{loss.__name__}: expected targets from 0 to 2, got targets from {min(wrong, 0)} to"
            ):
                loss(ones(2, 3), ids(0, wrong))


def test_two_devices():
    near, far = ones(2, 3), ones(2, 3, device="strict")
    for loss in (F.mse_loss, F.cross_entropy, F.binary_cross_entropy_with_logits):
        with pytest.raises(RuntimeError, match=rf"{loss.__name__}: expected one device.*cpu.*strict.*\.to\(device\)"):
            loss(near, far)
    with pytest.raises(RuntimeError, match=r"layer_norm: expected one device"):
        nn.LayerNorm(3)(far)
    with pytest.raises(RuntimeError, match=r"cross_entropy: expected one device.*weight.*\.to\(device\)"):
        F.cross_entropy(far, mg.tensor([0, 1], device="strict"), ones(3))


def test_hidden_modules_are_refused():
    class Model(nn.Module):
        def __init__(self):
            self.layers = [nn.Linear(1, 1)]

    with pytest.raises(TypeError, match=r"Model.layers is a list that holds modules.*self.layers = nn.ModuleList"):
        list(Model().parameters())


@pytest.mark.parametrize("wrap", [tuple, lambda a: {"a": a}, lambda a: [a], lambda a: set(a)])
def test_modules_hidden_deeper_are_refused(wrap):
    model = nn.Module()
    model.layers = wrap([nn.Linear(1, 1)])
    with pytest.raises(TypeError, match=r"Module.layers is a \w+ that holds modules"):
        list(model.parameters())
