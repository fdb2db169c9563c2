"""Modules: the tree, buffers, hooks, state dicts, tied parameters, moving."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
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
    with pytest.raises(TypeError, match=r"Linear.weight is a Parameter and can be.* not by Tensor.*nn.Parameter\("):
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


def test_a_computed_tensor_may_stand_for_a_parameter():
    layer, half = nn.Linear(2, 2, bias=False), mg.ones((2, 2), requires_grad=True)
    layer.weight = half * 2
    layer(mg.ones((1, 2))).sum().backward()
    assert half.grad.tolist() == [[2.0, 2.0], [2.0, 2.0]]
    layer = nn.Linear(2, 2)
    with (
        mg.no_grad(),
        pytest.raises(TypeError, match=r"to change its entries, with minigrad.no_grad"),
    ):
        layer.weight = layer.weight * 0.5  # the Parameter would be lost


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


def test_layers_exchange_what_they_hold(device):
    """Every value is taken before the first is written, though they are one memory."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    saved = model.state_dict()
    first, second = saved["0.weight"].tolist(), saved["1.weight"].tolist()
    model.load_state_dict(saved | {"0.weight": saved["1.weight"], "1.weight": saved["0.weight"]})
    assert (model[0].weight.tolist(), model[1].weight.tolist()) == (second, first)
    model.load_state_dict({"0.weight": model[0].weight.T}, strict=False)  # onto itself, turned
    assert model[0].weight.tolist() == [list(row) for row in zip(*second, strict=True)]


@pytest.mark.parametrize(
    ("buffer", "value", "message"),
    [
        ([1, 2], [2.7, np.nan], "own is float64, expected int64"),
        ([True, False], [2, 3], "own is int64, expected bool"),
        ([1.0, 2.0], [True, False], "own is bool, expected float32"),
    ],
)
def test_a_buffer_takes_its_own_kind_of_numbers(buffer, value, message):
    module = nn.Module()
    module.register_buffer("own", mg.tensor(buffer))
    with pytest.raises(
        TypeError, match=rf"dtypes in this state dict do not fit Module: {message}\. Nothing is rounded"
    ):
        module.load_state_dict({"own": np.array(value)})
    assert module.own.tolist() == buffer


def test_pytorch_tensors_are_named_as_what_they_are():
    torch = pytest.importorskip("torch")
    cure = r"torch.Tensor; write minigrad.from_dlpack\(x\)"
    theirs = torch.nn.Linear(2, 2).state_dict()
    model = nn.Linear(2, 2)
    with pytest.raises(TypeError, match=rf"weight is a {cure}"):
        model.load_state_dict(theirs)
    with pytest.raises(TypeError, match=rf"linear: expected a Tensor or an array, got {cure}"):
        model(torch.ones(2))
    model.load_state_dict({name: mg.from_dlpack(x) for name, x in theirs.items()})  # the cure cures
    assert model.weight.tolist() == theirs["weight"].tolist()


WRONG = {
    "a shape": ({"weight": np.zeros((2, 2)), "bias": np.zeros(3)}, ValueError, "bias is \\(3,\\), expected \\(2,\\)"),
    "a name": ({"weight": np.zeros((2, 2)), "bais": np.zeros(2)}, KeyError, "missing: bias; unknown: bais"),
    "a list": ({"weight": np.zeros((2, 2)), "bias": [0.0, 0.0]}, TypeError, "bias is a list"),
    "strings": ({"weight": np.zeros((2, 2)), "bias": np.array(["a", "b"])}, TypeError, "bias has dtype <U1"),
}


@pytest.mark.parametrize(
    ("wrong", "strict"), [(wrong, strict) for wrong in WRONG for strict in (True, False) if strict or wrong != "a name"]
)
def test_a_wrong_state_dict_changes_nothing(wrong, strict):
    state_dict, error, message = WRONG[wrong]
    model = nn.Linear(2, 2)
    before = model.weight.tolist()
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


def test_a_name_kept_free_for_a_module():
    model = nn.Linear(1, 1)
    model.add_module("act", None)
    assert model.act is None
    assert repr(model) == "Linear(1, 1, bias=True)"
