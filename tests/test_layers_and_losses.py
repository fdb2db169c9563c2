"""Layers without memory, activations and losses: their first values, and what is special.

Their derivatives are proved in test_proofs.py.
"""

import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

from .helpers import close

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
        (lambda x: nn.init.kaiming_uniform_(x, 0.5), math.sqrt(2 / 1.25 / 200)),
        (nn.init.kaiming_normal_, math.sqrt(2 / 200)),
        (lambda x: nn.init.kaiming_normal_(x, mode="fan_out", nonlinearity="tanh"), 5 / 3 / math.sqrt(300)),
        (lambda x: nn.init.uniform_(x, -1, 1), 1 / math.sqrt(3)),
    ]:
        fill(w)
        assert w.var().item() == pytest.approx(std**2, rel=0.05)
    for shape in ((4, 7), (7, 4)):
        q = nn.init.orthogonal_(mg.zeros(shape, dtype=mg.float64), gain=2.0)
        gram = q @ q.T if shape[0] < shape[1] else q.T @ q
        np.testing.assert_allclose(gram.to("cpu").numpy(), 4 * np.eye(4), atol=1e-12)
    with pytest.raises(ValueError, match="expected a weight of at least 2 axes"):
        nn.init.xavier_uniform_(mg.zeros(3))


def test_gains():
    torch = pytest.importorskip("torch")
    for name in ("linear", "sigmoid", "tanh", "relu", "selu", "leaky_relu"):
        assert nn.init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name), rel=1e-14)
    assert nn.init.calculate_gain("leaky_relu", 0.2) == torch.nn.init.calculate_gain("leaky_relu", 0.2)
    with pytest.raises(ValueError, match="calculate_gain: expected one of linear, .*got 'gelu'"):
        nn.init.calculate_gain("gelu")
    with pytest.raises(ValueError, match='expected mode "fan_in" or "fan_out", got \'in\''):
        nn.init.kaiming_normal_(mg.zeros((2, 2)), mode="in")


def test_initialising_bumps_the_version(device):
    w = nn.Parameter(np.ones((2, 2)))
    y = (w * w).sum()
    nn.init.zeros_(w)
    with pytest.raises(RuntimeError, match="written to since"):
        y.backward()


# What is special ---------------------------------------------------------------------------------


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


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_target_that_is_ignored_changes_nothing(device, reduction, weighted):
    """Whatever the logits are that it would have been compared with."""
    options = {"reduction": reduction, "weight": mg.tensor([1.0, 0.5, 2.0]) if weighted else None}
    known, nonsense = mg.randn((4, 3), requires_grad=True), mg.full((2, 3), 1e30, requires_grad=True)
    targets = mg.tensor([2, 0, 1, 1])
    expected = F.cross_entropy(known, targets, **options)
    found = F.cross_entropy(
        mg.concatenate([known, nonsense]), mg.concatenate([targets, mg.tensor([7, 7])]), ignore_index=7, **options
    )
    close(found[:4] if reduction == "none" else found, expected.detach().to("cpu").numpy(), rtol=1e-6)
    (expected_gradient,) = mg.grad(expected.sum(), known)
    gradient, none = mg.grad(found.sum(), [known, nonsense])
    close(gradient, expected_gradient.to("cpu").numpy(), rtol=1e-6)
    assert none.tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint8", "uint32", "uint64"])
def test_classes_of_every_integer_dtype(device, dtype):
    logits, classes = mg.randn((300, 5)), np.arange(300) % 5
    expected = F.cross_entropy(logits, mg.tensor(classes)).item()
    assert F.cross_entropy(logits, mg.tensor(classes.astype(dtype))).item() == expected


def test_a_class_that_the_logits_exclude(device):
    logits = mg.tensor([[-math.inf, 0.0, 0.0], [-1e9, 0.0, 0.0]], requires_grad=True)
    losses = F.cross_entropy(logits, mg.tensor([0, 0]), reduction="none")
    losses.sum().backward()
    assert losses.tolist() == [math.inf, 1e9]
    close(logits.grad, [[-1.0, 0.5, 0.5]] * 2, rtol=1e-6)


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
    assert F.dropout(mg.tensor(1.0), 0.5).item() in (0.0, 2.0)  # without axes
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
    assert F.linear(x, x, ids.astype(np.float32)).tolist() == [[3.0, 4.0], [3.0, 4.0]]
    assert F.layer_norm(x, 3, x[0], x[1]).tolist() == x.tolist()
    assert mg.take(x, [0], 1).shape == (2, 1)


def test_a_norm_without_weights(device: str) -> None:
    norm = nn.LayerNorm(3, elementwise_affine=False)
    norm.reset_parameters()
    assert not list(norm.parameters())
    x = mg.tensor([[1.0, 2.0, 6.0]], dtype=mg.float64)
    close(norm(x), (np.array([[1.0, 2.0, 6.0]]) - 3) / np.sqrt(14 / 3 + 1e-5))


def test_layers_show_their_options() -> None:
    assert [repr(m) for m in (nn.Dropout(0.25), nn.Flatten())] == [
        "Dropout(p=0.25)",
        "Flatten(start_dim=1, end_dim=-1)",
    ]


def test_orthogonal_needs_a_matrix(device: str) -> None:
    with pytest.raises(ValueError, match=r"orthogonal_: expected a weight of at least 2 axes, got shape \(3,\)"):
        nn.init.orthogonal_(mg.zeros(3))
