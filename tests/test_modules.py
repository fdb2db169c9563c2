"""Modules, initialisation and what is done to parameters."""

import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.nn import functional as F
from minigrad.testing import gradcheck, gradgradcheck


class Tied(nn.Module):
    """Two layers that share a weight."""

    def __init__(self):
        self.embedding = nn.Embedding(5, 3)
        self.output = nn.Linear(3, 5, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, ids):
        return self.output(self.embedding(ids))


class Counter(nn.Module):
    """A parameter, a buffer that is saved, and one that is not."""

    def __init__(self):
        self.scale = nn.Parameter([2.0])
        self.register_buffer("steps", mg.tensor(0))
        self.register_buffer("mean", mg.zeros(2), persistent=False)

    def forward(self, x):
        self.steps = self.steps + 1
        return x * self.scale + self.mean


def test_parameters_in_the_order_of_assignment():
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.LSTM(3, 4))
    assert [name for name, _ in model.named_parameters()] == [
        "0.weight", "0.bias", "2.weight_ih_l0", "2.weight_hh_l0", "2.bias_ih_l0", "2.bias_hh_l0",
    ]  # fmt: skip
    assert all(p.is_parameter and p.requires_grad and p.is_leaf for p in model.parameters())
    assert list(model.parameters(recurse=False)) == []
    assert [name for name, _ in model[0].named_parameters("out")] == ["out.weight", "out.bias"]


def test_train_and_eval_reach_every_module():
    model = nn.Sequential(nn.Dropout(0.5), nn.ModuleList([nn.Dropout(0.5)]))
    assert not model.eval()[1][0].training
    assert model.train()[1][0].training


def test_walking_the_tree():
    shared = nn.Tanh()
    model = nn.Sequential(nn.ModuleList([shared]), shared, nn.Linear(1, 1))
    assert [name for name, _ in model.named_modules("m")] == ["m", "m.0", "m.0.0", "m.2"]
    assert [name for name, _ in model.named_modules(remove_duplicate=False)] == ["", "0", "0.0", "1", "2"]
    assert list(model.modules()) == [model, model[0], shared, model[2]]
    assert [name for name, _ in model.named_children()] == ["0", "1", "2"]
    assert list(nn.Sequential(shared, shared).children()) == [shared]
    assert model.get_submodule("0.0") is shared
    assert model.get_submodule("") is model


def test_apply_goes_from_the_bottom_up():
    model, seen = nn.Sequential(nn.Linear(1, 2), nn.Sequential(nn.Tanh())), []
    assert model.apply(seen.append) is model
    assert seen == [model[0], model[1][0], model[1], model]


def test_freezing():
    model = nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1))
    model[0].requires_grad_(False)
    model(mg.ones((1, 1))).sum().backward()
    assert [p.grad is None for p in model.parameters()] == [True, True, False, False]
    assert all(p.requires_grad for p in model.requires_grad_().parameters())


def test_a_parameter_is_replaced_by_parameters_only():
    layer = nn.Linear(2, 2)
    kept = layer.weight
    with pytest.raises(TypeError, match=r"Linear.weight is a Parameter, which a Tensor cannot replace.*nn.Parameter\("):
        layer.weight = mg.ones((2, 2))
    assert layer.weight is kept
    layer.weight = nn.Parameter(mg.ones((2, 2)))
    assert layer.weight.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    layer.bias = None
    assert list(layer.state_dict()) == ["weight"]
    assert layer(mg.ones((1, 2))).tolist() == [[2.0, 2.0]]
    del layer.weight
    layer.weight = mg.ones((2, 2))
    assert list(layer.parameters()) == []


def test_printing():
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.GRU(3, 4, num_layers=2, reset_after=False))
    assert repr(model) == (
        "Sequential(\n  (0): Linear(2, 3, bias=False)\n  (1): GRU(3, 4, num_layers=2, reset_after=False)\n)"
    )
    assert repr(nn.ModuleDict({"a": nn.LayerNorm((2, 3), bias=False)})) == (
        "ModuleDict(\n  (a): LayerNorm((2, 3), eps=1e-05, bias=False)\n)"
    )
    assert [repr(m) for m in (nn.Softplus(), nn.Tanh(), nn.MSELoss(reduction="sum"), nn.Embedding(3, 2, -1))] == [
        "Softplus(beta=1.0, threshold=20.0)", "Tanh()", "MSELoss(reduction='sum')", "Embedding(3, 2, padding_idx=2)",
    ]  # fmt: skip


# Buffers ------------------------------------------------------------------------------------------


def test_buffers_are_listed_and_saved_but_not_trained():
    model = nn.Sequential(Counter())
    assert [name for name, _ in model.named_buffers()] == ["0.steps", "0.mean"]
    assert [name for name, _ in model.named_parameters()] == ["0.scale"]
    assert list(model.state_dict()) == ["0.scale", "0.steps"]
    model(mg.ones(2))
    model(mg.ones(2))
    other = nn.Sequential(Counter())
    other.load_state_dict(model.state_dict())
    assert other[0].steps.item() == 2
    assert other[0].steps.dtype == np.int64


def test_buffers_move_and_convert_only_if_floating():
    model = Counter().to(mg.float64)
    assert [x.dtype for x in model.buffers()] == [np.int64, np.float64]
    model.to("strict")
    assert {x.device for x in [*model.buffers(), *model.parameters()]} == {"strict"}
    assert model(mg.ones(2, dtype=mg.float64, device="strict")).tolist() == [2.0, 2.0]


def test_a_buffer_may_be_none_and_be_filled_later():
    module = nn.Module()
    module.register_buffer("cache", None)
    assert list(module.buffers()) == []
    module.cache = mg.ones(2)
    assert list(module.state_dict()) == ["cache"]


# Hooks --------------------------------------------------------------------------------------------


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
    assert layer._hooks is None


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
    x = float64(3, 2)
    assert gradcheck(lambda x, *_: layer(x), [x, *layer.parameters()])


# State dicts --------------------------------------------------------------------------------------


def test_state_dicts_share_memory_and_loading_copies():
    model = nn.Linear(2, 2)
    saved = model.state_dict()
    assert saved["weight"].data is model.weight.data
    assert list(model.state_dict(prefix="a.")) == ["a.weight", "a.bias"]
    arrays = {name: np.ones(value.shape) for name, value in saved.items()}  # float64
    assert model.load_state_dict(arrays) == ([], [])
    assert model.weight.dtype == mg.float32
    arrays["weight"][0, 0] = 5.0
    assert model.weight.tolist() == [[1.0, 1.0], [1.0, 1.0]]


WRONG = {
    "a shape": ({"weight": np.zeros((2, 2)), "bias": np.zeros(3)}, ValueError, "bias is \\(3,\\), expected \\(2,\\)"),
    "a name": ({"weight": np.zeros((2, 2)), "bais": np.zeros(2)}, KeyError, "missing: bias; unknown: bais"),
    "a list": ({"weight": np.zeros((2, 2)), "bias": [0.0, 0.0]}, TypeError, "bias is a list"),
    "strings": ({"weight": np.zeros((2, 2)), "bias": np.array(["a", "b"])}, TypeError, "bias has dtype <U1"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("strict", [True, False])
def test_a_wrong_state_dict_changes_nothing(wrong, strict):
    state_dict, error, message = WRONG[wrong]
    model = nn.Linear(2, 2)
    before = model.weight.tolist()
    if strict or wrong != "a name":
        with pytest.raises(error, match=message):
            model.load_state_dict(state_dict, strict=strict)
        assert model.weight.tolist() == before


def test_what_fits_is_loaded_if_not_strict():
    model = nn.Linear(2, 2)
    bias = model.bias.tolist()
    result = model.load_state_dict({"weight": np.zeros((2, 2)), "more": "anything"}, strict=False)
    assert (result.missing_keys, result.unexpected_keys) == (["bias"], ["more"])
    assert model.weight.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert model.bias.tolist() == bias


# Tied parameters ----------------------------------------------------------------------------------


def test_a_shared_parameter_is_listed_once_and_saved_under_both_names():
    model = Tied()
    assert [name for name, _ in model.named_parameters()] == ["embedding.weight"]
    assert len(list(model.named_parameters(remove_duplicate=False))) == 2
    assert list(model.state_dict()) == ["embedding.weight", "output.weight"]
    other = Tied()
    other.load_state_dict(model.state_dict())
    assert other.output.weight is other.embedding.weight
    assert other.output.weight.tolist() == model.output.weight.tolist()


def test_a_tied_weight_gets_the_gradient_of_both_places(device):
    model = Tied().to(mg.float64)
    ids = mg.tensor([1, 2, 1])
    assert gradcheck(lambda _: model(ids), model.embedding.weight)
    assert gradgradcheck(lambda _: model(ids), model.embedding.weight)


def test_a_tied_weight_is_stepped_once():
    """Adam's first step moves every entry by lr, in the direction of the gradient."""
    model = Tied()
    optimizer = optim.Adam(model.parameters(), lr=0.5)
    before = model.output.weight.detach().numpy().copy()
    model(mg.arange(5)).sum().backward()
    optimizer.step()
    moved = before - model.output.weight.detach().numpy()
    np.testing.assert_allclose(moved, 0.5 * np.sign(model.output.weight.grad.numpy()), rtol=1e-3)
    assert model.output.weight is model.embedding.weight


def test_to_keeps_a_tied_weight_tied():
    model = Tied()
    assert model.to("strict", mg.float64).output.weight is model.embedding.weight
    assert (model.output.weight.device, model.output.weight.dtype) == ("strict", mg.float64)


def test_one_name_of_a_tied_weight_is_enough(device):
    """Files that keep shared memory once have one of the names."""
    for strict in (True, False):
        model = Tied()
        result = model.load_state_dict({"output.weight": np.ones((5, 3))}, strict=strict)
        assert result == ([], [])
        assert model.embedding.weight.tolist() == np.ones((5, 3)).tolist()


def test_different_values_for_a_tied_weight_are_refused(device):
    model = Tied()
    before = model.output.weight.tolist()
    state_dict = {"embedding.weight": mg.zeros((5, 3)), "output.weight": mg.ones((5, 3))}
    for strict in (True, False):
        with pytest.raises(
            ValueError, match=r"embedding.weight and output.weight are one tied tensor in this Tied.*diff"
        ):
            model.load_state_dict(state_dict, strict=strict)
    assert model.output.weight.tolist() == before


# Moving -------------------------------------------------------------------------------------------


def test_to_converts_in_place():
    model = nn.Linear(2, 2)
    weight = model.weight
    model(mg.ones((1, 2))).sum().backward()
    assert model.to(mg.float64) is model
    assert model.weight is weight
    assert (weight.dtype, weight.grad.dtype) == (mg.float64, mg.float64)
    assert model(mg.ones((1, 2), dtype=mg.float64)).dtype == mg.float64


def test_to_a_device_and_a_dtype():
    for arguments, options in [
        (("strict", mg.float64), {}), ((mg.float64, "strict"), {}), ((), {"device": "strict", "dtype": "float64"}),
        (("strict",), {"dtype": mg.float64}),
    ]:  # fmt: skip
        weight = nn.Linear(2, 2).to(*arguments, **options).weight
        assert (weight.device, weight.dtype) == ("strict", mg.float64)


def test_to_where_it_is_changes_nothing():
    model = nn.Linear(2, 2)
    y = (model.weight * model.weight).sum()
    model.to("cpu").to(mg.float32)
    y.backward()  # would raise if the weight had been written to
    assert model.weight.grad is not None


def test_to_somewhere_impossible_changes_nothing():
    model = nn.Linear(2, 2)
    for arguments in [("strict", mg.int64), ("nowhere", mg.float64), (mg.float64, mg.float32), (None,)]:
        with pytest.raises((TypeError, mg.DeviceError)):
            model.to(*arguments)
    assert {(p.device, p.dtype) for p in model.parameters()} == {("cpu", np.dtype("float32"))}


# Containers ---------------------------------------------------------------------------------------


def names_of(container):
    return [name for name, _ in container.named_children()]


def test_module_list():
    layers = nn.ModuleList([nn.Tanh()]).append(nn.ReLU())
    assert [type(layer) for layer in layers] == [nn.Tanh, nn.ReLU]
    assert type(layers[-1]) is nn.ReLU
    with pytest.raises(TypeError, match="ModuleList holds Modules, got list"):
        layers.append([])
    with pytest.raises(NotImplementedError, match="ModuleList has no forward"):
        layers(1)


MODULES = [nn.Tanh(), nn.ReLU(), nn.Sigmoid(), nn.Softsign(), nn.SiLU()]
CHANGES = {
    "setting": lambda xs: xs.__setitem__(-1, MODULES[4]),
    "deleting": lambda xs: xs.__delitem__(1),
    "deleting some": lambda xs: xs.__delitem__(slice(0, 2)),
    "inserting": lambda xs: xs.insert(1, MODULES[4]),
    "inserting at the end": lambda xs: xs.insert(100, MODULES[4]),
    "extending": lambda xs: xs.extend([MODULES[3], MODULES[4]]),
    "popping": lambda xs: xs.pop(),
    "popping the first": lambda xs: xs.pop(0),
    "repeating": lambda xs: xs.append(xs[0]),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", [nn.ModuleList, nn.Sequential])
def test_a_module_list_changes_as_a_list_does(kind, change):
    modules = list(MODULES[:3])
    container = kind(modules) if kind is nn.ModuleList else kind(*modules)
    CHANGES[change](container)
    CHANGES[change](modules)
    assert list(container) == modules
    assert [name for name, _ in container.named_modules(remove_duplicate=False)][1:] == [
        str(i) for i in range(len(modules))
    ]


def test_slices():
    layers = nn.ModuleList(MODULES)
    assert list(layers[1:3]) == MODULES[1:3]
    assert names_of(layers[1:3]) == ["0", "1"]
    sequence = nn.Sequential(*MODULES)
    assert type(sequence[2:]) is nn.Sequential
    assert names_of(sequence[2:]) == ["2", "3", "4"]  # as in PyTorch
    assert names_of(sequence[2:].append(nn.Tanh())) == ["2", "3", "4", "5"]
    assert list(sequence[::-1]) == MODULES[::-1]


def test_sequential_with_names():
    model = nn.Sequential({"hidden": nn.Linear(2, 3), "act": nn.Tanh()})
    assert names_of(model) == ["hidden", "act"]
    assert model.hidden is model[0]
    assert model(mg.zeros((4, 2))).shape == (4, 3)
    model[1] = nn.ReLU()
    assert names_of(model) == ["hidden", "act"]
    assert nn.Sequential()(5) == 5


def test_module_dict():
    tanh, relu, linear = nn.Tanh(), nn.ReLU(), nn.Linear(1, 1)
    modules = nn.ModuleDict([("b", tanh), ("a", relu)])
    modules["c"] = linear
    assert (modules.keys(), modules.values()) == (["b", "a", "c"], [tanh, relu, linear])
    modules["b"] = relu  # stays where it was
    assert modules.items() == [("b", relu), ("a", relu), ("c", linear)]
    assert "a" in modules
    assert "d" not in modules
    assert modules.pop("a") is relu
    del modules["b"]
    assert list(modules) == ["c"]
    assert list(modules.state_dict()) == ["c.weight", "c.bias"]
    modules.update({"d": tanh})
    assert modules.d is modules["d"] is tanh
    modules.clear()
    assert len(modules) == 0
    assert list(nn.ModuleDict(nn.ModuleDict({"x": tanh}))) == ["x"]


def test_a_wrong_update_changes_nothing():
    modules = nn.ModuleDict({"a": nn.Tanh()})
    for wrong in ({"b": nn.Tanh(), "c.d": nn.Tanh()}, {"b": nn.Tanh(), "c": 3}, {"b": nn.Tanh(), "keys": nn.Tanh()}):
        with pytest.raises((KeyError, TypeError)):
            modules.update(wrong)
    assert list(modules) == ["a"]
    layers = nn.ModuleList([nn.Tanh()])
    with pytest.raises(TypeError):
        layers.extend([nn.Tanh(), 3])
    assert len(layers) == 1


def test_a_module_inside_itself():
    parent, child = nn.ModuleList(), nn.ModuleList()
    child.parent = parent
    parent.append(child)
    with pytest.raises(ValueError, match=r"ModuleList contains itself, as its 0.parent"):
        list(parent.parameters())


# First values -------------------------------------------------------------------------------------


def test_layers_start_within_pytorchs_bounds(device):
    for layer, bound in [(nn.Linear(16, 9), 1 / 4), (nn.LSTM(3, 25), 1 / 5), (nn.GRUCell(3, 100), 1 / 10)]:
        for p in layer.parameters():
            largest = abs(p.detach()).max().item()
            assert 0.5 * bound < largest <= bound


def test_initialisers(device):
    w = mg.zeros((300, 200))
    assert nn.init.normal_(w, 1.0, 0.5) is w
    assert w.mean().item() == pytest.approx(1.0, abs=0.02)
    assert w.var().item() == pytest.approx(0.25, rel=0.05)
    for fill, std in [
        (nn.init.xavier_uniform_, math.sqrt(2 / 500)),
        (nn.init.xavier_normal_, math.sqrt(2 / 500)),
        (nn.init.kaiming_uniform_, math.sqrt(2 / 200)),
        (lambda x: nn.init.uniform_(x, -1, 1), 1 / math.sqrt(3)),
    ]:
        fill(w)
        assert w.var().item() == pytest.approx(std**2, rel=0.05)
    for shape in ((4, 7), (7, 4)):
        q = nn.init.orthogonal_(mg.zeros(shape, dtype=mg.float64), gain=2.0)
        gram = q @ q.T if shape[0] < shape[1] else q.T @ q
        np.testing.assert_allclose(gram.to("cpu").numpy(), 4 * np.eye(4), atol=1e-12)
    with pytest.raises(ValueError, match="need a weight of at least 2 axes"):
        nn.init.xavier_uniform_(mg.zeros(3))


def test_initialising_bumps_the_version(device):
    w = nn.Parameter(np.ones((2, 2)))
    y = (w * w).sum()
    nn.init.zeros_(w)
    with pytest.raises(RuntimeError, match="written to since"):
        y.backward()


# Functions and losses -----------------------------------------------------------------------------


def float64(*shape):
    return mg.randn(shape, dtype=mg.float64, requires_grad=True)


def classes(*shape):
    """Targets, one of them ignored."""
    ids = np.arange(int(np.prod(shape))).reshape(shape) % 3
    ids.flat[1] = -100
    return mg.tensor(ids)


WEIGHT = np.array([0.5, 1.5, 1.0])
EVERYWHERE = {name: (lambda name=name: getattr(nn, name)(), lambda: float64(4)) for name in (
    "Tanh", "Sigmoid", "ELU", "SiLU", "Softplus", "Softsign", "LogSigmoid", "Softmax", "LogSoftmax", "Identity",
)}  # fmt: skip
LAYERS = EVERYWHERE | {
    "Linear": (lambda: nn.Linear(3, 2, dtype=mg.float64), lambda: float64(4, 3)),
    "Linear of a vector": (lambda: nn.Linear(3, 2, dtype=mg.float64), lambda: float64(3)),
    "ReLU": (nn.ReLU, lambda: float64(4) + 5.0),
    "LeakyReLU": (nn.LeakyReLU, lambda: abs(float64(4)) + 0.1),
    "LeakyReLU below": (nn.LeakyReLU, lambda: -abs(float64(4)) - 0.1),
    "Hardtanh": (lambda: nn.Hardtanh(-5.0, 5.0), lambda: float64(4)),
    "GELU": (lambda: nn.GELU("tanh"), lambda: float64(4)),
    "Flatten": (nn.Flatten, lambda: float64(2, 2, 2)),
    "LayerNorm": (lambda: nn.LayerNorm(3, dtype=mg.float64), lambda: float64(2, 3)),
    "LayerNorm of two axes": (lambda: nn.LayerNorm((2, 3), bias=False, dtype=mg.float64), lambda: float64(2, 2, 3)),
    "softmax": (lambda: lambda x: F.softmax(x, 0), lambda: float64(2, 3)),
    "log_softmax": (lambda: lambda x: F.log_softmax(x, dim=0), lambda: float64(2, 3)),
    "CrossEntropyLoss": (nn.CrossEntropyLoss, lambda: float64(4, 3), lambda: classes(4)),
    "CrossEntropyLoss, extra axes": (
        lambda: nn.CrossEntropyLoss(reduction="none"), lambda: float64(2, 3, 2), lambda: classes(2, 2)
    ),
    "CrossEntropyLoss, weights and smoothing": (
        lambda: nn.CrossEntropyLoss(mg.tensor(WEIGHT), label_smoothing=0.2), lambda: float64(4, 3), lambda: classes(4)
    ),
    "CrossEntropyLoss, probabilities": (
        lambda: nn.CrossEntropyLoss(mg.tensor(WEIGHT)), lambda: float64(2, 3), lambda: F.softmax(float64(2, 3)).detach()
    ),
    "NLLLoss": (lambda: nn.NLLLoss(mg.tensor(WEIGHT)), lambda: float64(4, 3), lambda: classes(4)),
    "MSELoss": (nn.MSELoss, lambda: float64(2, 3), lambda: float64(2, 3)),
    "L1Loss": (lambda: nn.L1Loss(reduction="none"), lambda: float64(2, 3) + 9.0, lambda: float64(2, 3)),
    "SmoothL1Loss": (lambda: nn.SmoothL1Loss(beta=0.3), lambda: float64(2, 3), lambda: float64(2, 3)),
    "HuberLoss": (lambda: nn.HuberLoss(delta=0.7), lambda: float64(2, 3), lambda: float64(2, 3)),
    "BCEWithLogitsLoss": (
        lambda: nn.BCEWithLogitsLoss(mg.tensor(WEIGHT), pos_weight=mg.tensor(WEIGHT)),
        lambda: float64(2, 3),
        lambda: F.sigmoid(float64(2, 3)).detach(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_gradients(device, name):
    """Of the input, of the parameters, and of the targets where they are floating; of first and second order."""
    make, *draw = LAYERS[name]
    layer, inputs = make(), [d().detach() for d in draw]
    for x in inputs:
        x.requires_grad = x.dtype == mg.float64
    parameters = list(layer.parameters()) if isinstance(layer, nn.Module) else []
    assert gradcheck(lambda *xs: layer(*xs[: len(inputs)]), [*inputs, *parameters])
    assert gradgradcheck(lambda *xs: layer(*xs[: len(inputs)]), [*inputs, *parameters])


def test_every_layer_is_checked():
    plain = {
        name for name in vars(nn) if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Module)
    }
    elsewhere = {"Module", "ModuleList", "ModuleDict", "Sequential", "Dropout", "Embedding"}
    elsewhere |= {name for name in plain if "RNN" in name or "LSTM" in name or "GRU" in name} | {"LockedDropout"}
    assert plain - elsewhere == {name.partition(",")[0].partition(" ")[0] for name in LAYERS} - {
        "softmax", "log_softmax"
    }  # fmt: skip


@pytest.mark.parametrize("padding_idx", [None, 1])
def test_embedding_gradients(device, padding_idx):
    table = nn.Embedding(4, 3, padding_idx, dtype=mg.float64)
    ids = mg.tensor([[1, 1], [0, 3]])

    def look_up(_):
        rows = table(ids)
        return rows if padding_idx is None else rows[1]  # the padding is cut off: differences would see it

    assert gradcheck(look_up, table.weight)
    assert gradgradcheck(look_up, table.weight)


def test_the_padding_of_an_embedding_stays_zero(device):
    table = nn.Embedding(4, 2, padding_idx=-3)
    assert table.padding_idx == 1
    assert table.weight[1].tolist() == [0.0, 0.0]
    (table(mg.tensor([[1, 2], [1, 1]])) ** 2 + table(mg.tensor([1]))).sum().backward()
    assert table.weight.grad[1].tolist() == [0.0, 0.0]
    assert abs(table.weight.grad[2]).max().item() > 0
    y = table(mg.tensor([1, 2]))
    (g,) = mg.grad((y * y * y).sum(), table.weight, create_graph=True)
    assert mg.grad((g * g).sum(), table.weight)[0][1].tolist() == [0.0, 0.0]


def test_an_embedding_of_given_rows(device):
    rows = mg.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    table = nn.Embedding.from_pretrained(rows)
    assert not table.weight.requires_grad
    assert list(table.state_dict()) == ["weight"]
    assert (table.num_embeddings, table.embedding_dim, table.padding_idx) == (3, 2, None)
    assert table(mg.tensor([2, 0])).tolist() == [[5.0, 6.0], [1.0, 2.0]]
    learned = nn.Embedding.from_pretrained(rows, freeze=False, padding_idx=0)
    learned(mg.tensor([0, 1])).sum().backward()
    assert learned.weight.grad.tolist() == [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    assert learned.weight.tolist() == rows.tolist()


def test_losses_keep_their_weights_as_buffers():
    loss = nn.BCEWithLogitsLoss(pos_weight=np.ones(2, dtype=np.float32)).to(mg.float64)
    assert list(loss.state_dict()) == ["pos_weight"]  # as in PyTorch
    assert loss.pos_weight.dtype == mg.float64
    assert list(loss.parameters()) == []


def test_layer_norm_of_a_constant_is_its_bias(device):
    norm = nn.LayerNorm(3)
    x = mg.full((2, 3), 1e4, requires_grad=True)
    assert norm(x).tolist() == [[0.0] * 3] * 2
    norm(x).sum().backward()
    assert np.isfinite(x.grad.to("cpu").numpy()).all()


def test_cross_entropy_of_nothing_is_nan(device):
    with np.errstate(invalid="ignore"):  # on the CPU, NumPy warns as it does for 0 / 0
        assert math.isnan(F.cross_entropy(mg.zeros((2, 3)), mg.tensor([-100, -100])).item())
    assert F.cross_entropy(mg.zeros((2, 3)), mg.tensor([-100, 1]), reduction="sum").item() == pytest.approx(math.log(3))


def test_dropout_gradients(device):
    def drop(x):
        mg.manual_seed(0)  # the same mask every time
        return F.dropout(x, 0.4)

    x = float64(4, 5)
    assert gradcheck(drop, x)
    assert gradgradcheck(drop, x)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_float32_stays_float32(device, reduction):
    x = mg.randn((3, 4), requires_grad=True)
    model = nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5), nn.Tanh(), nn.Linear(5, 4))
    rnn = nn.LSTM(4, 4)
    y = rnn(model(x))[0]
    loss = F.cross_entropy(F.softmax(y), mg.tensor([0, 1, -100]), reduction=reduction)
    assert {y.dtype, loss.dtype} == {np.dtype("float32")}
    loss.sum().backward()
    assert {p.grad.dtype for p in [x, *model.parameters(), *rnn.parameters()]} == {np.dtype("float32")}


def test_cross_entropy_of_large_logits(device):
    logits = mg.tensor([[1e4, 0.0], [-1e4, 0.0]], requires_grad=True)
    loss = F.cross_entropy(logits, mg.tensor([0, 0]))
    loss.backward()
    assert loss.item() == 5e3
    assert logits.grad.tolist() == [[0.0, 0.0], [-0.5, 0.5]]


def test_dropout(device):
    x = mg.ones((200, 50), requires_grad=True)
    y = F.dropout(x, 0.2)
    assert set(np.unique(y.detach().to("cpu").numpy())) == {np.float32(0.0), np.float32(1.25)}
    assert y.mean().item() == pytest.approx(1.0, abs=0.03)
    y.sum().backward()
    assert x.grad.tolist() == y.detach().tolist()
    assert F.dropout(x, 0.2, training=False) is x
    assert F.dropout(x, 0.0) is x
    assert F.dropout(x, 1.0).sum().item() == 0.0
    mg.manual_seed(1)
    first = F.dropout(x, 0.5).tolist()
    mg.manual_seed(1)
    assert F.dropout(x, 0.5).tolist() == first


def test_one_hot(device):
    ids = mg.tensor([[0, 2]])
    assert F.one_hot(ids, 3).tolist() == [[[1, 0, 0], [0, 0, 1]]]
    assert F.one_hot(ids, 3, dtype=mg.float64).dtype == mg.float64


def test_numpy_arrays_are_accepted_where_data_are():
    x, ids = np.ones((2, 3), dtype=np.float32), np.array([0, 1])
    assert nn.Linear(3, 2)(x).shape == (2, 2)
    assert nn.Embedding(2, 4)(ids).shape == (2, 4)
    assert nn.RNN(3, 4)(x)[0].shape == (2, 4)
    assert nn.CrossEntropyLoss()(x, ids).shape == ()
    assert nn.RNN(3, 4)(x, np.zeros((1, 4), dtype=np.float32))[1].shape == (1, 4)
    assert F.dropout(x, 0.5).shape == (2, 3)
    assert mg.take(x, [0], 1).shape == (2, 1)
