"""Modules, initialisation and what is done to parameters."""

import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
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


def test_parameters_in_the_order_of_assignment():
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.LSTM(3, 4))
    assert [name for name, _ in model.named_parameters()] == [
        "0.weight", "0.bias", "2.weight_ih_l0", "2.weight_hh_l0", "2.bias_ih_l0", "2.bias_hh_l0",
    ]  # fmt: skip
    assert all(p.is_parameter and p.requires_grad and p.is_leaf for p in model.parameters())


def test_a_shared_parameter_is_listed_once_and_saved_under_both_names():
    model = Tied()
    assert [name for name, _ in model.named_parameters()] == ["embedding.weight"]
    assert list(model.state_dict()) == ["embedding.weight", "output.weight"]
    other = Tied()
    other.load_state_dict(model.state_dict())
    assert other.output.weight is other.embedding.weight
    assert other.output.weight.tolist() == model.output.weight.tolist()
    model(mg.tensor([1, 2])).sum().backward()
    assert model.embedding.weight.grad.shape == (5, 3)


def test_train_and_eval_reach_every_module():
    model = nn.Sequential(nn.Dropout(0.5), nn.ModuleList([nn.Dropout(0.5)]))
    assert not model.eval()[1][0].training
    assert model.train()[1][0].training


def test_state_dicts_share_memory_and_loading_copies():
    model = nn.Linear(2, 2)
    saved = model.state_dict()
    assert saved["weight"].data is model.weight.data
    arrays = {name: np.ones(value.shape) for name, value in saved.items()}  # float64
    model.load_state_dict(arrays)
    assert model.weight.dtype == mg.float32
    arrays["weight"][0, 0] = 5.0
    assert model.weight.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_a_wrong_state_dict_changes_nothing():
    model = nn.Linear(2, 2)
    before = model.weight.tolist()
    with pytest.raises(ValueError, match="do not fit"):
        model.load_state_dict({"weight": np.zeros((2, 2)), "bias": np.zeros(3)})
    assert model.weight.tolist() == before


def test_to_converts_in_place():
    model = nn.Linear(2, 2)
    weight = model.weight
    model(mg.ones((1, 2))).sum().backward()
    assert model.to(mg.float64) is model
    assert model.weight is weight
    assert (weight.dtype, weight.grad.dtype) == (mg.float64, mg.float64)
    assert model(mg.ones((1, 2), dtype=mg.float64)).dtype == mg.float64


def test_printing():
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.GRU(3, 4, num_layers=2, reset_after=False))
    assert repr(model) == (
        "Sequential(\n  (0): Linear(2, 3, bias=False)\n  (1): GRU(3, 4, num_layers=2, reset_after=False)\n)"
    )


def test_module_list():
    layers = nn.ModuleList([nn.Tanh()]).append(nn.ReLU())
    assert [type(layer) for layer in layers] == [nn.Tanh, nn.ReLU]
    assert type(layers[-1]) is nn.ReLU
    with pytest.raises(TypeError, match="ModuleList holds Modules, got list"):
        layers.append([])
    with pytest.raises(NotImplementedError, match="ModuleList has no forward"):
        layers(1)


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


LAYERS = {
    "Linear": (lambda: nn.Linear(3, 2, dtype=mg.float64), lambda: float64(4, 3)),
    "Linear of a vector": (lambda: nn.Linear(3, 2, dtype=mg.float64), lambda: float64(3)),
    "Tanh": (nn.Tanh, lambda: float64(4)),
    "ReLU": (nn.ReLU, lambda: float64(4) + 5.0),
    "Sigmoid": (nn.Sigmoid, lambda: float64(4)),
    "softmax": (lambda: F.softmax, lambda: float64(2, 3)),
    "log_softmax": (lambda: lambda x: F.log_softmax(x, dim=0), lambda: float64(2, 3)),
    "cross_entropy": (lambda: lambda x: F.cross_entropy(x, mg.tensor([0, 2, -100])), lambda: float64(3, 4)),
    "cross_entropy, extra axes": (
        lambda: lambda x: F.cross_entropy(x, mg.tensor([[0, 2], [1, 1]]), reduction="none"),
        lambda: float64(2, 3, 2),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradients(device, name):
    make, draw = LAYERS[name]
    layer, x = make(), draw().detach()
    x.requires_grad = True
    parameters = list(layer.parameters()) if isinstance(layer, nn.Module) else []
    assert gradcheck(lambda x, *_: layer(x), [x, *parameters])
    assert gradgradcheck(lambda x, *_: layer(x), [x, *parameters])


def test_embedding_gradients(device):
    table = nn.Embedding(4, 3, dtype=mg.float64)
    ids = mg.tensor([[1, 1], [0, 3]])
    assert gradcheck(lambda _: table(ids), table.weight)
    assert gradgradcheck(lambda _: table(ids), table.weight)


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
