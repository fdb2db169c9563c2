"""The program that sets truncated against full backpropagation through time, and what its page says."""

import itertools

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F
from models import tables
from models.char_lm.model import CharLM, Options
from models.common import results
from models.common.errors import UserError
from models.truncation import learning
from models.truncation.program import EQUAL, PRACTISED, Settings, Work, pairs

T, N, V, H = 12, 2, 5, 4
every_cell = pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])


@pytest.fixture(scope="module")
def rows():
    return results.read(tables.RESULTS / "truncation" / results.FILE)["rows"]


def model(cell="lstm", hidden=H, seed=0):
    mg.manual_seed(seed)
    return CharLM(Options("abcde", cell, hidden, 1, 3)).to(mg.float64)


def sequence(steps=T, batch=N):
    symbols = np.random.default_rng(0).integers(0, V, (steps + 1, batch))
    return mg.tensor(symbols[:-1]), mg.tensor(symbols[1:])


def loss_of(logits, targets):
    return F.cross_entropy(logits.reshape(-1, V), targets.reshape(-1))


def full(of, seq):
    """By the model alone: one pass over the whole sequence."""
    loss = loss_of(of(seq[0])[0], seq[1])
    return {
        name: g.numpy()
        for name, g in zip(dict(of.named_parameters()), mg.grad(loss, list(of.parameters())), strict=True)
    }


def check_equal(found, expected, rtol=1e-10):
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=rtol, atol=1e-13, err_msg=name)


# The gradient -------------------------------------------------------------------------------------


@every_cell
def test_a_window_of_the_whole_sequence_gives_the_full_gradient_exactly(cell):
    of, seq = model(cell), sequence()
    found, expected = learning.gradient(of, seq, (T, T)), full(of, seq)
    assert all((found[name] == expected[name]).all() for name in expected)
    assert learning.compared(found, expected)["error"] == 0


@every_cell
@pytest.mark.parametrize("pair", [(1, T), (3, T), (5, T + 3)])
def test_windows_that_reach_the_beginning_give_it_to_rounding(cell, pair):
    of, seq = model(cell), sequence()
    check_equal(learning.gradient(of, seq, pair), full(of, seq))


@every_cell
@pytest.mark.parametrize("k", [1, 3, 4, 5])
def test_windows_side_by_side_are_a_state_detached_by_hand(cell, k):
    of, seq, total, state = model(cell), sequence(), 0.0, None
    for start in range(0, T, k):
        logits, state = of(seq[0][start : start + k], mg.detach(state))
        total = total + loss_of(logits, seq[1][start : start + k]) * (min(k, T - start) / T)
    expected = mg.grad(total, list(of.parameters()))
    found = learning.gradient(of, seq, (k, k))
    check_equal(found, {name: g.numpy() for name, g in zip(found, expected, strict=True)})


def test_a_gradient_leaves_none_behind():
    of = model()
    learning.gradient(of, sequence(), (3, 5))
    assert all(p.grad is None or not p.grad.numpy().any() for p in of.parameters())


def test_the_error_falls_with_the_look_back_and_more_so_where_windows_overlap():
    of, seq = model("rnn"), sequence(32, 8)
    expected = full(of, seq)

    def error(*pair):
        return learning.compared(learning.gradient(of, seq, pair), expected)["error"]

    errors = [error(k, k) for k in (1, 2, 4, 8, 16)]
    assert all(b < a for a, b in itertools.pairwise(errors)) and errors[-1] > 1e-6
    assert error(2, 8) < error(8, 8) / 2
    assert error(4, 32) < 1e-12


def test_what_a_comparison_tells():
    g = {"a": np.array([3.0]), learning.HIDDEN: np.array([4.0])}
    found = learning.compared({"a": np.array([3.0]), learning.HIDDEN: np.array([0.0])}, g)
    assert found == pytest.approx({"error": 4 / 5, "cosine": 3 / 5, "error of W_hh": 1})


# Learning -----------------------------------------------------------------------------------------


def test_an_update_a_turn_is_the_usual_loop():
    seq, k = sequence(), 5
    found, expected, state = model(), model(), None
    assert learning.learn(found, seq, (k, k), 0.01) == 3
    optimizer = mg.optim.AdamW(expected.parameters(), lr=0.01, betas=(0.9, 0.99))
    for number, start in enumerate(range(0, T, k)):
        logits, state = expected(seq[0][start : start + k], mg.detach(state))
        optimizer.zero_grad()
        loss_of(logits, seq[1][start : start + k]).backward()
        nn.utils.clip_grad_norm_(expected.parameters(), learning.CLIP)
        optimizer.param_groups[0]["lr"] = 0.01 * (1 + np.cos(np.pi * number / 3)) / 2
        optimizer.step()
    check_equal(*({name: p.numpy() for name, p in each.state_dict().items()} for each in (found, expected)))


def test_with_updates_alike_the_cuts_between_them_change_the_gradient_alone():
    seq = sequence()

    def after(pair, every):
        of = model()
        assert learning.learn(of, seq, pair, 0.01, every) == 3
        return {name: p.numpy() for name, p in of.state_dict().items()}

    check_equal(after((1, 4), 4), after((4, 4), 4))  # each turn looks back to the update before: nothing is cut
    cut, whole = after((1, 1), 4), after((4, 4), 4)
    assert any(abs(cut[name] - whole[name]).max() > 1e-6 for name in cut)


# Memory -------------------------------------------------------------------------------------------


def test_the_memory_of_a_turn_grows_with_what_it_looks_back():
    of, seq = model(hidden=32), sequence(128, 8)
    peaks = [learning.peak(of, seq, (2, k2)) for k2 in (8, 32, 128)]
    assert all(2.5 * a < b < 5 * a for a, b in itertools.pairwise(peaks))
    assert 0.8 * peaks[1] < learning.peak(of, seq, (32, 32)) < 1.25 * peaks[1]


# Options ------------------------------------------------------------------------------------------


def test_look_backs_as_they_are_typed():
    assert pairs(["1", "8:32", "16:16"]) == [(1, 1), (8, 32), (16, 16)]


@pytest.mark.parametrize("text", ["", "a", "0", "-1", "1.5", "4:", ":4", "4:2", "1:2:3", "\u0663"])
def test_other_look_backs_are_refused(text):
    with pytest.raises(UserError, match="a look-back"):
        pairs([text])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"steps": 64}, "nothing can look back 256 steps"),
        ({"symbols": 2048}, "nothing can look back 256 steps"),
        ({"learn": ["512", "1"]}, "nothing can look back 512 steps"),
        ({"learn": ["64", "8:16"]}, "--learn needs a k that is at most --every 32, got 64 8:16"),
        ({"lr": 0.0}, "--lr must be positive"),
        ({"seeds": 0}, "seeds must be from 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, told):
    with pytest.raises(UserError, match=told):
        Settings(**options)


def test_a_text_that_is_too_short_is_refused(tmp_path):
    (tmp_path / "short.txt").write_text("ab" * 200)
    with pytest.raises(UserError, match="has 359 symbols to learn, but --symbols asks for 400"):
        Work(Settings(look_back=["1"], learn=["1"], symbols=400, batch=4, data=tmp_path / "short.txt"))


# What the page says -------------------------------------------------------------------------------


def page():
    text = tables.README.read_text(encoding="utf-8")
    return " ".join(text.partition("## truncation")[2].partition("\n## ")[0].split())


def said(*texts):
    for text in texts:
        assert text in page(), text


def errors(rows, cell, when, key="error"):
    return {
        (r["k1"], r["k2"]): r[key]
        for r in rows
        if (r["part"], r.get("cell"), r.get("when")) == ("gradient", cell, when)
    }


def nats(rows, how, *pair):
    return [r["nats"] for r in rows if r["part"] == "learned" and (r["how"], r["k1"], r["k2"]) == (how, *pair)]


def costs_of(rows, key):
    return {(r["k1"], r["k2"]): r[key] for r in rows if r["part"] == "cost"}


def test_the_page_tells_the_settings(rows):
    usual = Settings()
    said(
        "LSTM of 128 units", "32 streams", "256 steps", "163,840 characters", "learning rate of 0.02", "every 32 steps"
    )
    assert (usual.hidden, usual.batch, usual.steps, usual.symbols, usual.lr, usual.every) == (
        128,
        32,
        256,
        163840,
        0.02,
        32,
    )
    updates = {(r["how"], r["k2"]): r["updates"] for r in rows if r["part"] == "learned" and r["k1"] == r["k2"]}
    said("with 20 updates by the gradient of 256 steps", "the same 160 updates")
    assert updates[PRACTISED, 256] == 20 and {n for (how, _), n in updates.items() if how == EQUAL} == {160}


def test_the_page_tells_the_gradient(rows):
    first, trained = (errors(rows, "lstm", when) for when in ("at first", "trained"))
    said("With k = 16 a tenth of the trained LSTM's gradient is wrong, with k = 64 less than a twentieth")
    assert 0.09 < trained[16, 16] < 0.12 and trained[64, 64] < 0.05
    cosine = errors(rows, "lstm", "trained", "cosine")
    said("the cosine is 0.99 at k = 16, and 0.89 even at k = 1")
    assert cosine[16, 16] == pytest.approx(0.99, abs=0.006) and cosine[1, 1] == pytest.approx(0.89, abs=0.01)
    said("At first, from k = 4 on, the error about halves with each doubling of k")
    for cell in ("lstm", "rnn"):
        found = [errors(rows, cell, "at first")[k, k] for k in (4, 8, 16, 32, 64, 128)]
        assert all(1.7 < a / b < 2.8 for a, b in itertools.pairwise(found))
    said("four to five and a half times that at first")
    for cell in ("lstm", "rnn"):
        assert 3.9 < errors(rows, cell, "trained")[64, 64] / errors(rows, cell, "at first")[64, 64] < 5.6
    said("the rounding of float32, 1e-6", "the trained LSTM's is 4e-4, over a hundred times less than with k = 32")
    assert all(errors(rows, "rnn", when)[8, 32] < 1e-5 for when in ("at first", "trained"))
    assert 2e-4 < trained[8, 32] < 6e-4 and trained[32, 32] > 100 * trained[8, 32]
    assert first[256, 256] == trained[256, 256] == 0


def test_the_page_tells_what_is_learned(rows):
    of = {k: np.array(nats(rows, PRACTISED, k, k)) for k in (1, 4, 16, 32, 64, 256)}
    said(
        "k = 4 is the best with each of three seeds, ahead of k = 16",
        "a nat or more behind",
        "k = 1 is worse than k = 4",
    )
    assert all((of[4] < each).all() for k, each in of.items() if k != 4)
    assert (of[256] > of[4] + 1).all()
    alike = {k: np.array(nats(rows, EQUAL, k, k)) for k in (1, 4, 16, 32)}
    said("k = 1 is behind k = 4 with every seed, by 0.03 to 0.07 nats", "from k = 4 to 32 there is no order")
    behind = alike[1] - alike[4]
    assert behind.min() > 0.025 and behind.max() < 0.075
    said("Nor do they agree that (16, 64) is better than k = 16")
    better = np.array(nats(rows, PRACTISED, 16, 64)) < of[16]
    assert better.any() and not better.all()
    assert len({tuple(np.argsort([alike[k][seed] for k in (4, 16, 32)])) for seed in range(len(behind))}) > 1


def test_the_page_tells_the_costs(rows):
    memory, time = costs_of(rows, "bytes"), costs_of(rows, "seconds")
    said("grows by 0.28 MB with each step of k2", "0.7 MB for k = 1, 72 MB for 256 steps")
    assert (memory[256, 256] - memory[128, 128]) / 128 == pytest.approx(0.28e6, rel=0.05)
    assert memory[1, 1] == pytest.approx(0.7e6, rel=0.1) and memory[256, 256] == pytest.approx(72e6, rel=0.02)
    assert memory[8, 32] == pytest.approx(memory[32, 32], rel=0.15)
    said(
        "several times as long with k = 1 as with k = 64, and beyond that hardly less",
        "takes about three times as long",
    )
    assert time[1, 1] > 2.5 * time[64, 64] and 1.5 < time[16, 64] / time[16, 16] < 6
    assert max(time[k, k] for k in (64, 128, 256)) < 2 * min(time[k, k] for k in (64, 128, 256))
