"""One-hot and embedding are the same numbers, and cost what the page says."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F
from models import tables
from models.common import costs, results
from models.common.errors import UserError
from models.one_hot.model import LOOK_UP, ONE_HOT, WAYS, Model, difference, differences
from models.one_hot.program import ALONE, WHOLE, Settings

T, N, V, D, H = 6, 4, 7, 3, 5
every_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(scope="module")
def rows():
    return results.read(tables.RESULTS / "one_hot" / results.FILE)["rows"]


def ids(seed=0):
    return np.random.default_rng(seed).integers(0, V, (T, N))


# The same numbers ---------------------------------------------------------------------------------


@every_way
def test_a_vector_is_a_row_of_the_table(way):
    table = mg.randn((V, D), dtype=mg.float64)
    assert (WAYS[way](table, mg.tensor(ids())).numpy() == table.numpy()[ids()]).all()


@every_way
def test_the_gradient_of_the_table_is_rows_added_up(way):
    table, g = mg.randn((V, D), dtype=mg.float64).requires_grad_(), np.random.default_rng(1).standard_normal((T, N, D))
    (found,) = mg.grad((WAYS[way](table, mg.tensor(ids())) * mg.tensor(g)).sum(), [table])
    expected = np.zeros((V, D))
    np.add.at(expected, ids(), g)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(np.eye(V)[ids().reshape(-1)].T @ g.reshape(-1, D), expected, rtol=1e-14, atol=1e-14)


def test_an_lstm_fed_one_hot_adds_a_column_of_its_matrix():
    lstm, symbol = nn.LSTM(V, H, dtype=mg.float64), 3
    found = F.linear(F.one_hot(mg.tensor([symbol]), V, dtype=mg.float64), lstm.weight_ih_l0)
    assert (found.detach().numpy()[0] == lstm.weight_ih_l0.detach().numpy()[:, symbol]).all()


@pytest.mark.parametrize(("dtype", "most"), [(mg.float32, 1e-6), (mg.float64, 1e-14)])
def test_what_is_compared_differs_by_rounding_at_most(dtype, most):
    found = differences(mg.tensor(ids()), V, D, H, dtype)
    assert found.keys() == {"vectors", "gradient", "lstm"} and max(found.values()) < most
    assert found["vectors"] == 0


def test_a_difference_is_a_share_of_the_largest_entry():
    assert difference(mg.tensor([1.0, -4.0]), mg.tensor([2.0, -4.0])) == 0.25


@every_way
def test_the_model_is_the_same_each_way(way):
    mg.manual_seed(0)
    first, other = (Model(each, V, D, H, mg.float64) for each in (LOOK_UP, way))
    other.load_state_dict(first.state_dict())
    x, y = mg.tensor(ids()), mg.tensor(ids(1))
    found, expected = (mg.grad(each.loss(x, y), list(each.parameters())) for each in (other, first))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10, atol=1e-14)


def test_the_same_seed_gives_the_same_weights_whichever_way():
    first, second = (Settings(embedding=D, hidden=H).model(way, V).state_dict() for way in (LOOK_UP, ONE_HOT))
    assert all((first[name].numpy() == second[name].numpy()).all() for name in first)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"vocabulary": [5, 1]}, "--vocabulary must be from 2"),
        ({"vocabulary": [1 << 21]}, "--vocabulary must be from 2"),
        ({"steps": 0}, "steps must be from 1"),
        ({"lr": float("nan")}, "--lr must be positive and finite"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, told):
    with pytest.raises(UserError, match=told):
        Settings(**options)


# Another cost -------------------------------------------------------------------------------------


def test_the_peak_is_that_of_the_arrays():
    assert 8e6 <= costs.peak(lambda: np.ones(500_000) + np.ones(500_000).sum()) < 8.1e6
    assert costs.peak(lambda: np.ones(1_000_000).sum()) < 8.1e6


def test_each_work_is_done_as_often_as_asked_and_by_turns():
    done = []
    assert len(costs.seconds([lambda: done.append("a"), lambda: done.append("b")], 3)) == 2
    assert done == ["a", "b"] * 4


def test_one_hot_takes_memory_by_the_vocabulary_and_a_look_up_does_not():
    x = mg.tensor(np.zeros((50, 10), np.int64))

    def peak(way, symbols):
        table = mg.randn((symbols, 2))
        return costs.peak(lambda: WAYS[way](table, x))

    assert peak(LOOK_UP, 4000) < 50_000
    assert peak(ONE_HOT, 4000) > 4 * 500 * 4000 and 3 < peak(ONE_HOT, 4000) / peak(ONE_HOT, 1000) < 5


# What the page says -------------------------------------------------------------------------------


def page():
    text = tables.README.read_text(encoding="utf-8")
    return " ".join(text.partition("## one_hot")[2].partition("\n## ")[0].split())


def losses(rows, dtype):
    return {r["way"]: np.array(r["loss"]) for r in rows if r["part"] == "trained" and r["dtype"] == dtype}


def cost(rows, part, size, way, key):
    (found,) = (r[key] for r in rows if (r["part"], r.get("V"), r.get("way")) == (part, size, way))
    return found


def test_the_page_tells_what_was_compared(rows):
    assert "rounding, some 1e-15 in float64" in page() and "1e-6 nats in float32 and 1e-14 in float64" in page()
    assert "60 updates" in page()
    for row in (row for row in rows if row["part"] == "compared"):
        assert row["vectors"] == 0
        assert max(row["gradient"], row["lstm"]) < {"float32": 1e-6, "float64": 5e-15}[row["dtype"]]
    for dtype, most in (("float32", 2e-6), ("float64", 2e-14)):
        found = losses(rows, dtype)
        assert max(abs(each - found[LOOK_UP]).max() for each in found.values()) < most
        assert {len(each) for each in found.values()} == {60}
        assert all(each[-1] < each[0] - 1.5 for each in found.values())
        assert (found[ONE_HOT] == found["embedding, no shortcut"]).all()  # "the same bits here"


def test_the_page_tells_the_memory(rows):
    at = 16384
    assert "134 MB, and 34 MB more" in page() and "half a megabyte" in page() and "V D, 4 MB" in page()
    settings = Settings()
    places = settings.steps * settings.batch
    assert (places * at * 4 // 10**6, round(places * at / 1e6)) == (134, 34)  # float32, and a byte to compare
    assert (round(places * settings.embedding * 4 / 1e6, 1), round(at * settings.embedding * 4 / 1e6)) == (0.5, 4)
    assert 167e6 < cost(rows, ALONE, at, ONE_HOT, "bytes") < 180e6
    assert "40 times the memory" in page() and "one and a half times the memory" in page() and "3% more" in page()

    def ratio(part, size):
        return cost(rows, part, size, ONE_HOT, "bytes") / cost(rows, part, size, LOOK_UP, "bytes")

    assert 38 < ratio(ALONE, at) < 42 and 1.4 < ratio(WHOLE, at) < 1.6 and 1.02 < ratio(WHOLE, 64) < 1.04


def test_the_page_tells_the_time(rows):
    def ratio(part, size):
        return cost(rows, part, size, ONE_HOT, "seconds") / cost(rows, part, size, LOOK_UP, "seconds")

    assert "tens of times as long" in page() and "hardly more time than the same without the shortcut" in page()
    plain = cost(rows, WHOLE, 64, "embedding, no shortcut", "seconds")
    assert 0.9 < cost(rows, WHOLE, 64, ONE_HOT, "seconds") / plain < 1.15
    assert ratio(ALONE, 16384) > 10 and ratio(ALONE, 16384) > 2 * ratio(ALONE, 64) and 1 < ratio(WHOLE, 16384) < 4
    assert "at V = 64, W_ih is multiplied by 64 rows instead of 2,048" in page()
    assert "From V = 4,096 on, where 2,048 places are fewer than two a row" in page()
