"""Whose memory is whose: gradients share none, and what a sweep still needs must not have been written to."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.testing import gradcheck

from .helpers import leaf

# Who owns what ------------------------------------------------------------------------------------


def test_gradients_share_no_memory(device):
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    given = mg.ones(2, dtype=mg.float64)
    (x + y).backward(given)
    x.grad.data[...] = 9.0
    assert y.grad.tolist() == [1.0, 1.0]
    assert given.tolist() == [1.0, 1.0]


def test_a_broadcast_gradient_can_be_written_to(device):
    x = leaf(1.0, 2.0)
    x.sum().backward()  # its cotangent is a read-only view of one number
    x.grad.data[0] = 5.0
    assert x.grad.tolist() == [5.0, 1.0]


def test_the_callers_gradient_is_not_written_to(device):
    x = leaf(1.0, 2.0)
    y = x * 1
    given = mg.tensor([1.0, 1.0], dtype=mg.float64)
    (y + y + y).backward(given)
    assert given.tolist() == [1.0, 1.0]
    assert x.grad.tolist() == [3.0, 3.0]


def test_an_input_named_twice_gets_two_gradients(device):
    x = leaf(1.0, 2.0)
    first, second = mg.grad((x * x + x).sum(), [x, x])
    first.data[...] = 0.0
    assert second.tolist() == [3.0, 5.0]


def test_the_gradient_of_an_intermediate_result_shares_no_memory(device):
    x = leaf(1.0, 2.0)
    h = x + 0.0
    for_h, for_x = mg.grad(h.sum(), [h, x])  # the same cotangent goes by both
    for_h.data[...] = 7.0
    assert for_x.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("twice", [False, True])
def test_a_gradient_that_was_summed_shares_no_memory(device, twice):
    """Broadcasting is undone by a sum, a new array: it may be handed out as it is, to one who asks."""
    b, x = leaf(1.0, 2.0), mg.ones((3, 2), dtype=mg.float64)
    h = b + 0.0
    h.retain_grad()
    seen = []
    h.register_hook(seen.append)
    y = x * h + (x * h if twice else 0.0) + b
    for_h, for_b = mg.grad(y.sum(), [h, b], retain_graph=True)
    y.sum().backward()
    gradients = [for_h, for_b, h.grad, b.grad, *seen]
    before = [g.tolist() for g in gradients]
    h_gets = [6.0, 6.0] if twice else [3.0, 3.0]
    b_gets = [g + 3.0 for g in h_gets]
    assert before == [h_gets, b_gets, h_gets, b_gets, h_gets, h_gets]
    for k, g in enumerate(gradients):
        g.data[...] = -1.0
        assert [other.tolist() for other in gradients[k + 1 :]] == before[k + 1 :]


def test_recorded_gradients_share_no_memory(device):
    x, y = leaf(3.0, 4.0), leaf(1.0, 2.0)
    (x + y).sum().backward(create_graph=True)
    nn.utils.clip_grad_norm_([x, y], 1.0)  # writes to both
    assert x.grad.tolist() == y.grad.tolist() == pytest.approx([0.5, 0.5])
    given = mg.ones(2, dtype=mg.float64, requires_grad=True)
    x.grad = None
    (x + 0.0).backward(given, create_graph=True)
    assert x.grad is not given
    assert mg.grad(x.grad.sum(), given)[0].tolist() == [1.0, 1.0]


def test_a_gradient_of_another_dtype_is_converted(device):
    x = leaf(1.0, 2.0)
    (x * 1.0).backward(mg.ones(2))
    assert x.grad.dtype == mg.float64


# Freed and stale graphs ---------------------------------------------------------------------------


def test_a_second_backward_raises(device):
    y = (leaf(1.0) * 2).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="freed by an earlier backward.*retain_graph=True.*detach the state"):
        y.backward()


def test_retain_graph_allows_a_second_backward(device):
    x = leaf(3.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [12.0]
    with pytest.raises(RuntimeError, match="freed"):
        y.backward()


def test_truncated_bptt_without_detach_raises(device):
    cell = nn.LSTM(2, 3)
    x, state = mg.ones((4, 1, 2)), None
    out, state = cell(x, state)
    out.sum().backward()
    out, state = cell(x, state)
    with pytest.raises(RuntimeError, match="detach the state you carried"):
        out.sum().backward()


def test_a_parameter_stepped_between_forward_and_backward_raises(device):
    model = nn.Linear(2, 2)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    x = mg.ones((1, 2), requires_grad=True)
    loss = (model(x) ** 2).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"linear: w, which it saved.*written to since"):
        loss.backward()


@pytest.mark.parametrize("write", ["assign", "setitem", "detached", "view"])
def test_every_way_of_writing_is_noticed(device, write):
    x = mg.tensor([1.0, 2.0])
    w = leaf(1.0, 1.0).astype(mg.float32)
    y = (w * x).sum()
    if write == "assign":
        x.data = mg.zeros(2).data
    elif write == "setitem":
        x[0] = 5.0
    elif write == "detached":
        x.detach()[0] = 5.0
    else:
        x[1:][0] = 5.0
    with pytest.raises(RuntimeError, match="written to since"):
        y.backward()


def through_a_detached_view(y):
    y.detach()[1:][0] = 0.0


def through_a_transpose(y):
    y.T.detach()[...] = 0.0


def through_one_of_its_parts(y):
    y.reshape(2, 2).unstack()[1].detach()[...] = 0.0


def by_assigning(y):
    y.data = mg.zeros(4, dtype=mg.float64).data


@pytest.mark.parametrize("shared", ["before", "after"])
@pytest.mark.parametrize(
    "write", [through_a_detached_view, through_a_transpose, through_one_of_its_parts, by_assigning]
)
@pytest.mark.parametrize("f", [mg.tanh, mg.sigmoid, mg.exp, mg.sqrt, nn.functional.softmax])
def test_a_saved_output_written_to_is_noticed(f, write, shared, device):
    """Whoever shares its memory, and whether that was before the output was used or after."""
    x = leaf(1.0, 2.0, 3.0, 4.0)
    y = f(x, -1) if f is nn.functional.softmax else f(x)
    share = y.detach() if shared == "before" else None
    z = (y + 1.0).sum()
    write(y)
    with pytest.raises(RuntimeError, match="the output, which it saved.*written to since"):
        z.backward()
    assert share is None or share.shape == y.shape


@pytest.mark.parametrize("write", [through_a_detached_view, by_assigning])
def test_a_saved_output_is_watched_in_the_second_order_too(write, device):
    x = leaf(1.0, 2.0, 3.0, 4.0)
    y = mg.tanh(x)
    (g,) = mg.grad((y * y).sum(), x, create_graph=True)
    write(y)
    with pytest.raises(RuntimeError, match="written to since"):
        mg.grad((g * g).sum(), x)


PRODUCTS = {
    "multiply": lambda x, w: x * w,
    "divide": lambda x, w: w / x,
    "power": lambda x, w: x**w,
    "maximum": mg.maximum,
    "matmul": lambda x, w: x.reshape(2, 2) @ w.reshape(2, 2),
    "linear": lambda x, w: nn.functional.linear(x.reshape(2, 2), w.reshape(2, 2)),
    "einsum": lambda x, w: mg.einsum("i,i->", x, w),
    "twice": lambda x, w: (x * w) * x,
}


@pytest.mark.parametrize("needed", [True, False])
@pytest.mark.parametrize(
    "write", [through_a_detached_view, through_a_transpose, through_one_of_its_parts, by_assigning]
)
@pytest.mark.parametrize("product", PRODUCTS)
def test_a_saved_input_written_to_is_noticed(product, write, needed, device):
    x, w = leaf(1.0, 2.0, 3.0, 4.0) * 1.0, leaf(2.0, 2.0, 2.0, 2.0)
    x = x if needed else x.detach()
    z = PRODUCTS[product](x, w).sum()
    write(x)
    with pytest.raises(RuntimeError, match="written to since"):
        z.backward()


# A leaf whose shape is another ---------------------------------------------------------------------

READERS = {
    "sum": lambda x: x.sum(),
    "take": lambda x: mg.take(x, [0, 1], axis=0),
    "getitem": lambda x: x[1:],
    "broadcast_to": lambda x: mg.broadcast_to(x, (2, 4)),
    "add": lambda x: x + 1.0,
    "concatenate": lambda x: mg.concatenate([x, x]),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_leaf_that_was_assigned_another_shape_gets_no_gradient(reader, device):
    x = leaf(1.0, 2.0, 3.0, 4.0)
    y = READERS[reader](x).sum()
    for _ in range(2):  # the second has the shape that the leaf has by now
        x.data = mg.zeros(5, dtype=mg.float64).data
    with pytest.raises(RuntimeError, match=rf"{reader}: .* another shape since, \(5,\).*compute forward again"):
        y.backward()
    assert x.grad is None
    x.sum().backward()
    assert x.grad.tolist() == [1.0] * 5


def test_others_get_theirs_though_a_leaf_was_assigned_another_shape(device):
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = (x + w).sum()
    x.data = mg.zeros(5, dtype=mg.float64).data
    assert mg.grad(y, w)[0].tolist() == [1.0, 1.0]


def test_writing_before_recording_is_fine(device):
    x, w = mg.tensor([1.0, 2.0]), mg.ones(2, requires_grad=True)
    x[0] = 5.0
    (w * x).sum().backward()
    assert w.grad.tolist() == [5.0, 2.0]


def test_writing_to_what_was_not_saved_is_fine(device):
    x, w = mg.tensor([1.0, 2.0]), mg.ones(2, requires_grad=True)
    y = (w + x).sum()
    x[0] = 5.0
    y.backward()
    assert w.grad.tolist() == [1.0, 1.0]


def test_a_swept_node_holds_nothing(device):
    x = leaf(1.0, 2.0)
    y = mg.exp(x * x)
    node, _ = y._source
    y.sum().backward()
    assert (len(node.inputs), len(node.edges), node.output, node.storage) == (0, 0, None, None)


def test_what_no_derivative_reads_may_change(device):
    """Only the other factor of a product is kept: two losses of one model, with a step in between."""
    model = nn.Linear(2, 2)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    x = mg.ones((1, 2))
    first, second = model(x).sum(), model(x).sum()
    first.backward()
    optimizer.step()
    second.backward()
    assert model.weight.grad.tolist() == [[2.0, 2.0], [2.0, 2.0]]

    x, c = leaf(1.0, 2.0), mg.tensor([3.0, 4.0], dtype=mg.float64)
    y = (x * c).sum()
    with mg.no_grad():
        x[0] = 9.0
    y.backward()
    assert x.grad.tolist() == [3.0, 4.0]


@pytest.mark.parametrize("pick", ["getitem", "take", "embedding"])
def test_writing_to_an_index_changes_nothing(device, pick):
    table, ids = nn.Embedding(3, 1), mg.tensor([0, 1])
    w = table.weight
    y = {"getitem": lambda: w[ids], "take": lambda: w.take(ids, 0), "embedding": lambda: table(ids)}[pick]()
    ids[0] = 2
    y.sum().backward()
    assert w.grad.tolist() == [[1.0], [1.0], [0.0]]


def test_a_buffer_that_is_filled_again_changes_nothing():
    buffer, model = np.ones((1, 2), dtype=np.float32), nn.Linear(2, 1)
    x = mg.ones(2, requires_grad=True)
    y, z = model(buffer).sum(), (x * buffer).sum()
    buffer[:] = 7.0
    y.backward()
    z.backward()
    assert model.weight.grad.tolist() == [[1.0, 1.0]]
    assert x.grad.tolist() == [1.0, 1.0]

    state, cell = np.ones((1, 1), dtype=np.float32), nn.RNNCell(1, 1, nonlinearity="relu")
    for p in cell.parameters():
        nn.init.ones_(p)
    h = cell(np.ones((1, 1), dtype=np.float32), state).sum()
    state[:] = 7.0
    h.backward()
    assert cell.weight_hh.grad.tolist() == [[1.0]]


def test_a_write_between_the_orders_is_noticed(device):
    x = leaf(1.0, 2.0)
    y = mg.tanh(x)
    (g,) = mg.grad(y.sum(), x, create_graph=True)  # 1 - y²
    y.detach()[0] = 0.0
    with pytest.raises(RuntimeError, match="written to since"):
        mg.grad(g.sum(), x)


@pytest.mark.parametrize("write", ["clip", "load"])
def test_every_function_that_writes_says_so(device, write):
    model = nn.Linear(2, 2)
    model(mg.ones((1, 2))).sum().backward()
    w = model.weight.grad if write == "clip" else model.weight
    y = (w * mg.ones((2, 2), requires_grad=True)).sum()
    if write == "clip":
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    else:
        model.load_state_dict(nn.Linear(2, 2).state_dict())
    with pytest.raises(RuntimeError, match="written to since"):
        y.backward()


def test_assigning_data_lets_go_of_the_old_memory(device):
    p, q = leaf(1.0, 2.0), leaf(1.0, 1.0)
    old = p.detach()
    p.data = mg.zeros(2, dtype=mg.float64).data
    y = (q * old).sum()
    with mg.no_grad():
        p[0] = 5.0  # not what `old` holds
    y.backward()
    assert q.grad.tolist() == [1.0, 2.0]


def test_gradcheck_disturbs_no_graph(device):
    x = leaf(0.5, 1.0)
    y = (x * x).sum()
    gradcheck(mg.tanh, x)
    y.backward()
    assert x.grad.tolist() == [1.0, 2.0]
    assert np.array_equal(x.detach().tolist(), [0.5, 1.0])
