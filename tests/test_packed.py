"""Sequences of unequal lengths: a packed batch computes what each sequence alone would, and nothing else.

T: time steps   N: batch   D: input size   H: hidden size
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn.utils import rnn
from minigrad.testing import gradcheck, gradgradcheck

from .helpers import far, host, on
from .test_equations import D, H, as_state, assert_close, build, draw, every_kind, parts_of

pytestmark = pytest.mark.fusing

ORDERS = {"sorted": [4, 2, 1], "equal": [3, 3, 3], "unsorted": [2, 4, 1], "one": [3], "ties": [1, 4, 2, 4]}
every_order = pytest.mark.parametrize("lengths", ORDERS.values(), ids=ORDERS)


def ragged(lengths: list[int], *rest: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.normal(size=(length, *rest)) for length in lengths]


def padded(sequences: list[np.ndarray], value: float = np.nan) -> np.ndarray:
    """(T, N, *), with what must never be looked at where a sequence has ended."""
    whole = np.full((max(map(len, sequences)), len(sequences), *sequences[0].shape[1:]), value, sequences[0].dtype)
    for n, x in enumerate(sequences):
        whole[: len(x), n] = x
    return whole


# The packed batch as a value -----------------------------------------------------------------------


def test_detach_and_checkpoint_take_a_packed_sequence(device: str) -> None:
    linear = nn.Linear(2, 3)
    packed = rnn.pack_sequence([mg.ones((2, 2)), mg.ones((3, 2))], enforce_sorted=False)

    def over(x: Any) -> Any:
        return dataclasses.replace(packed, data=linear(x))

    computed = over(packed.data)
    cut, state = mg.detach((computed, None))
    assert computed.data.requires_grad and not cut.data.requires_grad and state is None
    assert cut.data.tolist() == computed.data.tolist() and cut.unsorted_indices == computed.unsorted_indices
    mg.checkpoint(over, packed.data).data.sum().backward()
    assert linear.bias.grad is not None and linear.bias.grad.tolist() == [5.0, 5.0, 5.0]


def test_backward_hooks_see_a_packed_output(device: str) -> None:
    lstm, seen = nn.LSTM(2, 3), []
    lstm.register_full_backward_hook(lambda module, grad_input, grad_output: seen.append(grad_output))
    output, _ = lstm(rnn.pack_sequence([mg.ones((2, 2)), mg.ones((1, 2))]))
    output.data.sum().backward()
    assert seen[0][0].tolist() == [[1.0] * 3] * 3 and seen[0][1].tolist() == [[[0.0] * 3] * 2]


# Packing and padding ------------------------------------------------------------------------------


@every_order
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("rest", [(), (2,), (2, 3)])
def test_there_and_back(lengths: list[int], batch_first: bool, rest: tuple[int, ...], device: str) -> None:
    each = ragged(lengths, *rest)
    whole = padded(each)
    whole = whole.swapaxes(0, 1) if batch_first else whole
    packed = rnn.pack_padded_sequence(on(device, whole), lengths, batch_first, enforce_sorted=False)
    longest_first = sorted(each, key=len, reverse=True)
    rows = [x[t] for t in range(max(lengths)) for x in longest_first if t < len(x)]
    assert_close(packed.data, np.stack(rows))
    assert packed.batch_sizes == tuple(sum(t < length for length in lengths) for t in range(max(lengths)))
    back, counts = rnn.pad_packed_sequence(packed, batch_first, padding_value=7.0)
    assert_close(back, np.nan_to_num(whole, nan=7.0))
    assert counts.tolist() == lengths and counts.device == "cpu"
    for sequences in (rnn.unpack_sequence(packed), rnn.unpad_sequence(back, lengths, batch_first)):
        for x, expected in zip(sequences, each, strict=True):
            assert_close(x, expected)
    again = rnn.pack_sequence([on(device, x) for x in each], enforce_sorted=False)
    assert_close(again.data, host(packed.data))
    assert (again.batch_sizes, again.sorted_indices) == (packed.batch_sizes, packed.sorted_indices)
    assert_close(rnn.pad_sequence([on(device, x) for x in each], batch_first, 7.0), host(back))


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=5),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["left", "right"]),
    st.integers(0, 2),
)
def test_live_packing(lengths: list[int], batch_first: bool, enforce_sorted: bool, side: str, more: int) -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.utils.rnn
    lengths = sorted(lengths, reverse=True) if enforce_sorted else lengths
    each = ragged(lengths, 2)
    ours_in, theirs_in = [mg.tensor(x) for x in each], [torch.from_numpy(x) for x in each]
    whole = [r.pad_sequence(x, batch_first, -1.0, side) for r, x in ((rnn, ours_in), (theirs, theirs_in))]
    assert (whole[0].numpy() == whole[1].numpy()).all()
    ours, expected = (
        r.pack_padded_sequence(x, lengths, batch_first, enforce_sorted)
        for r, x in zip((rnn, theirs), whole, strict=True)
    )
    assert (ours.data.numpy() == expected.data.numpy()).all()
    assert list(ours.batch_sizes) == expected.batch_sizes.tolist()
    assert (ours.sorted_indices is None) == (expected.sorted_indices is None)
    total = max(lengths) + more
    found, counts = rnn.pad_packed_sequence(ours, batch_first, 0.5, total)
    expected_found, expected_counts = theirs.pad_packed_sequence(expected, batch_first, 0.5, total)
    assert (found.numpy() == expected_found.numpy()).all()
    assert counts.tolist() == expected_counts.tolist()
    for k, x in enumerate(theirs.unpack_sequence(expected)):
        assert (rnn.unpack_sequence(ours)[k].numpy() == x.numpy()).all()


def test_gradients_of_packing_and_padding(device: str) -> None:
    x = on(device, np.random.default_rng(0).normal(size=(3, 3, 2)), True)
    each = [on(device, a, True) for a in ragged([2, 3, 1], 2)]

    def pack(x: mg.Tensor) -> mg.Tensor:
        return rnn.pack_padded_sequence(x, [2, 3, 1], enforce_sorted=False).data

    def there_and_back(*xs: mg.Tensor) -> list[mg.Tensor]:
        packed = rnn.pack_sequence(xs, enforce_sorted=False)
        packed = dataclasses.replace(packed, data=packed.data.tanh())
        return [rnn.pad_packed_sequence(packed)[0], *rnn.unpack_sequence(packed), rnn.pad_sequence(xs, True)]

    for check in (gradcheck, gradgradcheck):
        assert check(lambda x: pack(x).tanh(), [x])
        assert check(there_and_back, each)


def test_lengths_may_be_a_list_an_array_or_a_tensor_of_the_cpu(device: str) -> None:
    x = mg.ones((3, 2, 1))
    kinds = [[3, 1], (3, 1), np.array([3, 1]), np.array([3, 1], np.int32), mg.tensor([3, 1], device="cpu")]
    assert {rnn.pack_padded_sequence(x, lengths).batch_sizes for lengths in kinds} == {(2, 1, 1)}
    assert rnn.pack_padded_sequence(np.ones((3, 2, 1), np.float32), list(np.array([3, 1]))).batch_sizes == (2, 1, 1)


def test_a_packed_batch_is_moved_and_shown(device: str) -> None:
    packed = rnn.pack_sequence([mg.tensor([1.0]), mg.tensor([2.0, 3.0])], enforce_sorted=False)
    assert (packed.device, packed.dtype) == (mg.default_device(), mg.float32)
    assert (packed.sorted_indices, packed.unsorted_indices) == ((1, 0), (1, 0))
    assert packed.to("cpu").device == "cpu" and packed.to(mg.float64).dtype == mg.float64
    assert packed.to("cpu").sorted_indices == (1, 0)
    assert repr(packed.to("cpu")) == (
        "PackedSequence(data=tensor([2., 1., 3.], dtype=float32, device='cpu'), batch_sizes=(2, 1), "
        "sorted_indices=(1, 0))"
    )
    torchs = rnn.PackedSequence(packed.data, [2, 1], [1, 0], [1, 0])  # as PyTorch's idiom builds one
    assert (torchs.batch_sizes, torchs.unsorted_indices) == ((2, 1), (1, 0))


# Layers -------------------------------------------------------------------------------------------


@every_kind
@every_order
@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("given", [True, False])
def test_a_layer_computes_each_sequence(kind: str, lengths: list[int], both: bool, given: bool, device: str) -> None:
    """Outputs, last states and gradients, with states in the user's order, and NaN for padding."""
    layer, _ = build(kind, device, num_layers=2, bidirectional=both)
    each = ragged(lengths, D)
    first = draw(kind, 2 * (1 + both), len(lengths), H)
    x = on(device, padded(each), True)
    state = [on(device, part, True) for part in first]
    packed = rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    rows, last = layer(packed, (tuple(state) if len(state) == 2 else state[0]) if given else None)
    assert rows.batch_sizes == packed.batch_sizes
    output, _ = rnn.pad_packed_sequence(rows)

    alone, lasts = [on(device, a, True) for a in each], []
    for n, x_n in enumerate(alone):
        y, last_n = layer(x_n, as_state(device, [part[:, n] for part in first]) if given else None)
        assert_close(output[: len(x_n), n], host(y))
        lasts.append(parts_of(last_n))
        (y.sum() + sum((part * part).sum() for part in parts_of(last_n))).backward()
    expected = {name: host(p.grad) for name, p in layer.named_parameters()}
    for k, part in enumerate(parts_of(last)):
        assert_close(part, np.stack([host(parts[k]) for parts in lasts], axis=1))

    layer.zero_grad()
    (rows.data.sum() + sum((part * part).sum() for part in parts_of(last))).backward()
    for name, parameter in layer.named_parameters():
        np.testing.assert_allclose(host(parameter.grad), expected[name], rtol=1e-10, atol=1e-11, err_msg=name)
    for n, x_n in enumerate(alone):
        np.testing.assert_allclose(host(x.grad)[: len(x_n), n], host(x_n.grad), rtol=1e-10, atol=1e-12)
        assert (host(x.grad)[len(x_n) :, n] == 0).all()
    assert all((part.grad is not None) == given for part in state)


def test_batch_first_is_nothing_to_a_packed_input(device: str) -> None:
    plain, _ = build("lstm", device, num_layers=2)
    turned, _ = build("lstm", device, num_layers=2, batch_first=True)
    packed = rnn.pack_sequence([on(device, x) for x in ragged([4, 2], D)])
    assert_close(turned(packed)[0].data, host(plain(packed)[0].data))


@pytest.mark.parametrize("both", [True, False])
def test_no_padding_is_computed(both: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cell sees each row of the packed batch once per direction."""
    layer, seen = nn.GRU(2, 3, bidirectional=both), []
    cell = layer.cell()

    def counted(x: mg.Tensor, h: mg.Tensor, hh: Any) -> mg.Tensor:
        assert len(x) == len(h)
        seen.append(len(x))
        return cell(x, h, hh)

    monkeypatch.setattr(layer, "cell", lambda: counted)
    layer(rnn.pack_sequence([mg.ones((length, 2)) for length in (7, 3, 3, 1)]))
    forwards = [4, 3, 3, 1, 1, 1, 1]
    assert seen == forwards + both * forwards[::-1]


def graph_of(*outputs: mg.Tensor) -> list[str]:
    """The names of the primitives that lead to these."""
    found: dict[int, str] = {}
    frontier = [y._source[0] for y in outputs]
    while frontier:
        node = frontier.pop()
        if node.birth not in found:
            found[node.birth] = node.primitive.name
            frontier += [edge[0] for edge in node.edges if type(edge) is tuple]
    return list(found.values())


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_the_graph_grows_as_the_sequence_does(kind: str) -> None:
    """Linear in T: as many entries per step, none of which has a gradient of the size of the whole batch."""

    def graph(lengths: list[int]) -> list[str]:
        layer, _ = build(kind, "cpu", bidirectional=True)
        x = on("cpu", padded(ragged(lengths, D), 0.0), True)
        rows, last = layer(rnn.pack_padded_sequence(x, lengths))
        return graph_of(rows.data, *parts_of(last))

    short, middle, long = (graph(list(range(n, 0, -1))) for n in (10, 20, 30))
    assert len(long) - len(middle) == len(middle) - len(short)
    assert "getitem" not in long
    assert len(graph([30] * 3)) < len(long)


# What users do wrong ------------------------------------------------------------------------------


def ones(*shape: int) -> mg.Tensor:
    return mg.ones(shape)


MISTAKES = {
    "unsorted lengths": (
        lambda: rnn.pack_padded_sequence(ones(4, 3, 2), [2, 4, 1]),
        ValueError,
        r"pack_padded_sequence: expected lengths that never increase, got \[2, 4, 1\]; .*enforce_sorted=False",
    ),
    "unsorted sequences": (
        lambda: rnn.pack_sequence([ones(1), ones(2)]),
        ValueError,
        r"pack_sequence: expected lengths that never increase, got \[1, 2\]; .*enforce_sorted=False",
    ),
    "an empty sequence": (
        lambda: rnn.pack_padded_sequence(ones(4, 3, 2), [4, 1, 0]),
        ValueError,
        r"expected lengths of at least 1, got 0 as number 2; leave empty sequences out",
    ),
    "an empty sequence in a list": (
        lambda: rnn.pack_sequence([ones(2, 3), ones(0, 3)]),
        ValueError,
        r"pack_sequence: expected sequences of at least one step, but number 1 has none",
    ),
    "lengths beyond the end": (
        lambda: rnn.pack_padded_sequence(ones(4, 9, 2), [5] * 9),
        ValueError,
        r"expected lengths of at most 4, as the input \(T, N, \*\) of shape \(4, 9, 2\) has, got 5",
    ),
    "too few lengths": (
        lambda: rnn.pack_padded_sequence(ones(4, 3, 2), [4, 1]),
        ValueError,
        r"expected 3 lengths for an input \(T, N, \*\) of shape \(4, 3, 2\), got 2",
    ),
    "a batch-first batch": (
        lambda: rnn.pack_padded_sequence(ones(3, 4, 2), [4, 2, 1]),
        ValueError,
        r"expected 4 lengths .*got 3; batch_first=True would fit",
    ),
    "a time-first batch": (
        lambda: rnn.pack_padded_sequence(ones(4, 3, 2), [4, 2, 1], batch_first=True),
        ValueError,
        r"expected 4 lengths for an input \(N, T, \*\).*got 3; batch_first=False would fit",
    ),
    "no lengths": (lambda: rnn.pack_padded_sequence(ones(4, 0, 2), []), ValueError, r"at least one length, got none"),
    "lengths that are floats": (
        lambda: rnn.pack_padded_sequence(ones(4, 2), [4.0, 1.0]),
        TypeError,
        r"expected lengths that are integers, got 4.0 among them",
    ),
    "lengths that are booleans": (
        lambda: rnn.pack_padded_sequence(ones(4, 2), [True, True]),
        TypeError,
        r"expected lengths that are integers, got True",
    ),
    "a mask for lengths": (
        lambda: rnn.pack_padded_sequence(ones(4, 2), np.ones((4, 2), bool)),
        TypeError,
        r"expected lengths as a vector of integers, got shape \(4, 2\) and dtype bool",
    ),
    "a tensor of float lengths": (
        lambda: rnn.pack_padded_sequence(ones(4, 2), mg.tensor([4.0, 1.0], device="cpu")),
        TypeError,
        r"expected lengths as a vector of integers, got shape \(2,\) and dtype float32",
    ),
    "one number for lengths": (
        lambda: rnn.pack_padded_sequence(ones(4, 2), 4),
        TypeError,
        r"expected lengths as a list of integers, got int",
    ),
    "lengths on a device": (
        lambda: rnn.pack_padded_sequence(ones(4, 2), mg.tensor([4, 1], device=far())),
        TypeError,
        r"expected lengths on the CPU, got them on \S+.*make the host wait for the device: keep them as a list",
    ),
    "a vector to pack": (
        lambda: rnn.pack_padded_sequence(ones(4), [4]),
        ValueError,
        r"pack_padded_sequence: expected an input \(T, N, \*\), got \(4,\)",
    ),
    "a list to pack": (
        lambda: rnn.pack_padded_sequence([[1.0]], [1]),
        TypeError,
        r"pack_padded_sequence: expected a Tensor or an array, got list",
    ),
    "a tensor where a list belongs": (
        lambda: rnn.pad_sequence(ones(2, 3)),
        TypeError,
        r"pad_sequence: expected a list of sequences, got one Tensor; x.unstack\(\) makes a list",
    ),
    "a number where a list belongs": (
        lambda: rnn.pack_sequence(5),
        TypeError,
        r"pack_sequence: expected a list of sequences, got int",
    ),
    "padding to half a step": (
        lambda: rnn.pad_packed_sequence(rnn.pack_sequence([ones(3)]), total_length=4.5),
        ValueError,
        r"expected a total_length, an integer, of at least 3, the longest, got 4.5",
    ),
    "nothing to pad": (lambda: rnn.pad_sequence([]), ValueError, r"pad_sequence: expected at least one sequence"),
    "sequences of different widths": (
        lambda: rnn.pad_sequence([ones(2, 3), ones(2, 4)]),
        ValueError,
        r"pad_sequence: expected sequences \(T, \*\) that differ in T alone, got \(2, 3\).*\(2, 4\).*as number 1",
    ),
    "padding at the top": (
        lambda: rnn.pad_sequence([ones(2)], padding_side="top"),
        ValueError,
        r'expected padding_side "left" or "right", got \'top\'',
    ),
    "padding what is not packed": (
        lambda: rnn.pad_packed_sequence(ones(2, 3)),
        TypeError,
        r"pad_packed_sequence: expected a PackedSequence, got Tensor",
    ),
    "padding to too little": (
        lambda: rnn.pad_packed_sequence(rnn.pack_sequence([ones(3)]), total_length=2),
        ValueError,
        r"expected a total_length, an integer, of at least 3, the longest, got 2",
    ),
    "unpadding with other lengths": (
        lambda: rnn.unpad_sequence(ones(3, 2), [3, 1, 1]),
        ValueError,
        r"unpad_sequence: expected an input \(T, N, \*\) with a length from 1 to T for each of the N",
    ),
    "rows that do not fit": (
        lambda: rnn.PackedSequence(ones(3, 2), (2, 2)),
        ValueError,
        r"expected one row of data for each of the 4 steps that batch_sizes count, got \(3, 2\)",
    ),
    "batch sizes that grow": (
        lambda: rnn.PackedSequence(ones(3), (1, 2)),
        ValueError,
        r"expected batch_sizes that are positive and never increase, got \(1, 2\)",
    ),
    "no permutation": (
        lambda: rnn.PackedSequence(ones(3), (2, 1), (0, 0)),
        ValueError,
        r"expected a permutation of 0 to 1, got \(0, 0\)",
    ),
    "another permutation back": (
        lambda: rnn.PackedSequence(ones(3), (2, 1), (0, 1), (1, 0)),
        ValueError,
        r"expected unsorted_indices to be the inverse of sorted_indices",
    ),
    "an array for data": (lambda: rnn.PackedSequence([1.0], (1,)), TypeError, r"expected a Tensor as data, got list"),
    "packed rows of another width": (
        lambda: nn.GRU(3, 2)(rnn.pack_sequence([ones(4, 2)])),
        ValueError,
        r"GRU: expected an input of packed rows \(Σ lengths, D\) with D = 3, got \(4, 2\)",
    ),
    "packed ids": (
        lambda: nn.GRU(3, 2)(rnn.pack_sequence([mg.tensor([[1, 2, 3]])])),
        TypeError,
        r"GRU: expected the input of the dtype of the weights, float32, got int64",
    ),
    "a state of another batch": (
        lambda: nn.GRU(3, 2)(rnn.pack_sequence([ones(4, 3), ones(2, 3)]), ones(1, 3, 2)),
        ValueError,
        r"GRU: expected one Tensor h \(1, 2, 2\) as the state, got one of shape \(1, 3, 2\)",
    ),
    "a state without a batch": (
        lambda: nn.GRU(3, 2)(rnn.pack_sequence([ones(4, 3)]), ones(1, 2)),
        ValueError,
        r"GRU: expected one Tensor h \(1, 1, 2\) as the state, got one of shape \(1, 2\)",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message(mistake: str, device: str) -> None:
    act, error, message = MISTAKES[mistake]
    with pytest.raises(error, match=message):
        act()
