"""The gradient on its way back through three cells, and through the forget gate: by hand, and what the page tells."""

import json

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F
from models import tables
from models.common.errors import UserError
from models.gradients import back, flow, forget, sign
from models.gradients.back import rate
from tests.pages import told

T, N, H, V = 6, 3, 4, 5


def rows(name):
    return json.loads((tables.RESULTS / "gradients" / name / "results.json").read_text())["rows"]


def model(cell):
    mg.manual_seed(3)
    return flow.CharLM(cell, V, H).double(), np.random.default_rng(3).integers(0, V, (T + 1, N))


def softmax(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# Three cells ----------------------------------------------------------------------------------------


def test_the_gradient_of_an_rnn_is_a_product_of_jacobians():
    lm, ids = model("rnn")
    (found,) = flow.of_last(lm, mg.tensor(ids))
    p = {name: each.detach().numpy() for name, each in lm.named_parameters()}
    W = p["cell.weight_hh_l0"]
    h = [np.zeros((N, H))]
    for t in range(T):
        x = p["embedding.weight"][ids[t]]
        inputs = x @ p["cell.weight_ih_l0"].T + p["cell.bias_ih_l0"] + p["cell.bias_hh_l0"]
        h.append(np.tanh(inputs + h[-1] @ W.T))
    error = softmax(h[-1] @ p["output.weight"].T + p["output.bias"])
    error[np.arange(N), ids[-1]] -= 1
    gradient = error @ p["output.weight"]
    assert found.shape == (T + 1, N, H)
    np.testing.assert_allclose(found[0], gradient, rtol=1e-12)
    for n in range(N):
        product = np.eye(H)
        for distance in range(1, T + 1):
            product = product @ (np.diag(1 - h[T + 1 - distance][n] ** 2) @ W)  # J_T ... J_t+1
            np.testing.assert_allclose(found[distance, n], product.T @ gradient[n], rtol=1e-10)


def loss_from(lm, ids, state, t):
    """The loss of the last character, from a state after t steps."""
    h, _ = lm.cell(lm.embedding(ids[t:-1]), state)
    return F.cross_entropy(lm.output(h[-1]), ids[-1], reduction="sum").item()


@pytest.mark.parametrize("t", [0, 2, T - 1])
@pytest.mark.parametrize("kind", [0, 1], ids="hc")
def test_the_gradients_of_an_lstm_are_its_slopes_with_the_other_held_fixed(kind, t):
    lm, ids = model("lstm")
    ids = mg.tensor(ids)
    found = flow.of_last(lm, ids)[kind][T - t]
    with mg.no_grad():
        state = [each.detach().numpy() for each in back.states(lm.cell, lm.embedding(ids[:-1]))[t]]
        for n, unit in [(0, 0), (1, 3), (2, 2)]:
            losses = []
            for step in (1e-5, -1e-5):
                moved = [each.copy() for each in state]
                moved[kind][0, n, unit] += step
                losses.append(loss_from(lm, ids, tuple(map(mg.tensor, moved)), t))
            np.testing.assert_allclose(found[n, unit], (losses[0] - losses[1]) / 2e-5, rtol=1e-5, atol=1e-11)


def test_the_loss_does_not_read_the_last_c():
    lm, ids = model("lstm")
    of_h, of_c = flow.of_last(lm, mg.tensor(ids))
    assert not of_c[0].any() and of_c[1:].all() and of_h.all()


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_what_is_read_before_changes_the_states_and_is_not_shown(cell):
    lm, ids = model(cell)
    ids = mg.tensor(ids)
    for whole, part in zip(flow.of_last(lm, ids), flow.of_last(lm, ids, 2), strict=True):
        assert part.shape == (T - 1, N, H)
        np.testing.assert_array_equal(part, whole[: T - 1])


def test_the_states_are_those_of_the_layer():
    lm, ids = model("gru")
    x = lm.embedding(mg.tensor(ids))
    found = back.states(lm.cell, x)
    assert len(found) == T + 2 and not found[0][0].detach().numpy().any()
    np.testing.assert_allclose(found[-1][0].detach().numpy(), lm.cell(x)[1].detach().numpy(), rtol=1e-12)


def test_how_far_a_gradient_gets():
    assert flow.reach([1.0, 0.01, 1e-4, 1e-5]) == 2
    assert flow.reach([1.0, 1e-4, 0.01, 1e-5]) == 3  # it came back
    assert flow.reach([1.0, 0.1]) is None


def test_training_lowers_the_loss_on_a_text_of_ones_own(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the cat sat. " * 100)
    settings = flow.Settings(
        str(path), hidden=8, distance=4, before=2, sequences=3, updates=30, batch=4, seq=10, lr=0.02
    )
    found = flow.measure(settings)
    assert [(row["cell"], row["when"], row["quantity"]) for row in found] == [
        (cell, when, quantity)
        for cell, quantities in (("rnn", "h"), ("lstm", "hc"), ("gru", "h"))
        for when in flow.WHEN
        for quantity in quantities
    ]
    assert all(len(row[name]) == 5 for row in found for name in ("low", "norm", "high"))
    assert all(row["norm"][0] == (row["quantity"] == "h") for row in found)
    nats = {(row["cell"], row["when"]): row["nats"] for row in found}
    assert all(nats[cell, "trained"] < nats[cell, "at first"] - 0.5 for cell in ("rnn", "lstm", "gru"))


def test_what_makes_no_sense_is_refused(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("too short")
    with pytest.raises(UserError, match=r"the last tenth of .* has 2 characters, but --before 200, --distance 200"):
        flow.measure(flow.Settings(data=path))
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(UserError, match="is UTF-16 text"):
        flow.measure(flow.Settings(data=path))
    for wrong in ({"lr": 0.0}, {"lr": float("nan")}, {"distance": 1}, {"before": -1}, {"hidden": 5000}):
        with pytest.raises(UserError):
            flow.Settings(**wrong)
    for wrong in ({"bias": [float("inf")]}, {"delay": [3, 0]}, {"distance": 1}, {"seeds": 0}):
        with pytest.raises(UserError):
            forget.Settings(**wrong)


# The forget gate ------------------------------------------------------------------------------------


def lstm(bias=1.0, recurrent=True):
    mg.manual_seed(5)
    layer = nn.LSTM(3, H, forget_bias=bias, dtype=mg.float64)
    if not recurrent:
        with mg.no_grad():
            layer.weight_hh_l0[...] = 0.0
    rng = np.random.default_rng(5)
    return layer, rng.standard_normal((T, N, 3)), rng.standard_normal((N, H))


def test_without_recurrent_weights_the_gradient_is_the_product_of_the_forget_gates():
    layer, x, v = lstm(recurrent=False)
    whole, alone, gates = forget.highway(layer, mg.tensor(x), mg.tensor(v))
    assert whole.shape == alone.shape == (T + 1, N, H) and gates.shape == (T, N, H)
    np.testing.assert_allclose(whole, alone, rtol=1e-12)
    preactivation = x @ layer.weight_ih_l0.detach().numpy()[H : 2 * H].T + 1.0  # the two biases are 1 together
    np.testing.assert_allclose(gates, 1 / (1 + np.exp(-preactivation)), rtol=1e-12)
    np.testing.assert_allclose(alone[2], v * gates[-1] * gates[-2], rtol=1e-12)


def test_with_them_the_gates_are_those_that_made_the_states():
    layer, x, v = lstm()
    whole, alone, gates = forget.highway(layer, mg.tensor(x), mg.tensor(v))
    found = back.states(layer, mg.tensor(x))
    for t in range(1, T + 1):
        h, c = (each.detach().numpy()[0] for each in found[t - 1])
        all_gates = (
            x[t - 1] @ layer.weight_ih_l0.detach().numpy().T + h @ layer.weight_hh_l0.detach().numpy().T
            + layer.bias_ih_l0.detach().numpy() + layer.bias_hh_l0.detach().numpy()
        )  # fmt: skip
        i, f, g, _ = np.split(all_gates, 4, axis=-1)
        np.testing.assert_allclose(gates[t - 1], 1 / (1 + np.exp(-f)), rtol=1e-12)
        np.testing.assert_allclose(
            found[t][1].detach().numpy()[0], gates[t - 1] * c + np.tanh(g) / (1 + np.exp(-i)), rtol=1e-12, atol=1e-15
        )
    assert not np.allclose(whole[2], alone[2], rtol=1e-3)


def test_the_task_shows_the_sign_once():
    x, plus = sign.examples(7, 400, np.random.default_rng(0))
    x, plus = x.detach().numpy(), plus.detach().numpy()
    assert x.shape == (8, 400, 1) and set(plus.tolist()) == {0.0, 1.0}
    np.testing.assert_array_equal(x[0, :, 0], 2 * plus - 1)
    assert abs(np.corrcoef(x[1:, :, 0].sum(0), plus)[0, 1]) < 0.15


def test_a_task_that_is_easy_is_learned_and_then_left():
    row = sign.learn(8, 400, 2.0, 1, 0)
    assert row["right"][-1] >= sign.ENOUGH > max(row["right"][:-1])
    assert row["learned"] == sign.LOOK * (len(row["right"]) - 1)
    never = sign.learn(2, 20, 0.0, 30, 0)
    assert never["learned"] is None and len(never["right"]) == 2


def test_half_lives_are_shown_no_further_than_they_were_measured():
    assert forget._shown(forget.half_life(0.5), 100) == "1.0"
    assert forget._shown(forget.half_life(0.999), 100) == forget._shown(forget.half_life(1.01), 100) == "over 100"


# What the page tells --------------------------------------------------------------------------------


def test_what_is_told_of_three_cells():
    found = {(row["cell"], row["when"], row["quantity"]): row for row in rows("flow")}
    norm = {key: row["norm"] for key, row in found.items()}
    rnn, lstm_h, lstm_c, gru = (
        norm[c, "trained", q] for c, q in (("rnn", "h"), ("lstm", "h"), ("lstm", "c"), ("gru", "h"))
    )
    first = {key: each for key, each in norm.items() if key[1] == "at first"}

    told("0.52 for the RNN, 0.65 for LSTM and GRU", "After 14 steps at most a thousandth is left")
    assert {key[0]: f"{rate(each):.2f}" for key, each in first.items()} == {
        "rnn": "0.52",
        "lstm": "0.65",
        "gru": "0.65",
    }
    assert max(map(flow.reach, first.values())) == 14
    for each in first.values():  # a constant factor
        assert abs(rate(each) - (each[100] / each[20]) ** (1 / 80)) < 0.01

    told("by a factor of 0.63 a step", "2e-10 of what set out is left, but 3e-4 in the GRU and 9e-5 in c of the LSTM")
    assert f"{rate(rnn):.2f}" == "0.63" and [f"{each[50]:.0e}" for each in (rnn, gru, lstm_c)] == [
        "2e-10",
        "3e-04",
        "9e-05",
    ]
    told("the gradient of the LSTM falls by 4% a step")
    assert [f"{1 - rate(each):.0%}" for each in (lstm_h, lstm_c)] == ["4%", "4%"]

    told(
        "from distance 11 on dL/dc is the larger",
        "0.15 of what set out",
        "over 10 steps the LSTM loses more than the RNN",
    )
    assert all(c > h for h, c in zip(lstm_h[11:], lstm_c[11:], strict=True)) and f"{lstm_c[1]:.2f}" == "0.15"
    assert lstm_h[10] < rnn[10] and lstm_h[50] > 1e4 * rnn[50]
    for each, low in ((lstm_h, 0.3), (lstm_c, 0.2), (gru, 0.05)):  # the lines bend
        assert rate(each) - (each[10] / each[1]) ** (1 / 9) > low

    nats = {cell: f"{found[cell, 'trained', 'h']['nats']:.2f}" for cell in ("rnn", "lstm", "gru")}
    told("the same loss, 1.66 nats", "reaches 1.54", "the largest at distances 10 and 50")
    assert nats == {"rnn": "1.66", "lstm": "1.66", "gru": "1.54"}
    assert all(gru[at] > max(rnn[at], lstm_h[at], lstm_c[at]) for at in (10, 50))

    told("gone before distance 140", "at 200 it is 4e-58")
    start, gone = found["rnn", "at first", "h"]["start"], norm["rnn", "at first", "h"]
    assert gone[140] * start < np.finfo(np.float32).tiny and f"{gone[200]:.0e}" == "4e-58"


def test_what_is_told_of_the_forget_gate():
    found = {row["bias"]: row for row in rows("forget") if row["kind"] == "gradient"}
    power = {bias: forget.sigmoid(bias) ** 50 for bias in found}
    told("within 0.005 of sigmoid(b)", "within a factor of 2.1 of sigmoid(b)^50, 9e-16 for a bias of 0 and 0.4 for")
    assert f"{power[0]:.0e} {power[4]:.1f}" == "9e-16 0.4"
    for bias, row in found.items():
        assert abs(row["gate"] - forget.sigmoid(bias)) < 0.005
        assert 1 < row["gates"][50] / power[bias] < 2.1
        assert all(whole > gates for whole, gates in zip(row["whole"][5:], row["gates"][5:], strict=True))
    told(
        "From 5 steps on the whole gradient is larger, by 0.12 to 0.13 a step for the biases 0 and 1",
        "0.69 is left after 100 steps",
    )
    more = {bias: f"{rate(row['whole']) - rate(row['gates']):.2f}" for bias, row in found.items()}
    assert (more[0], more[1], f"{found[4]['whole'][100]:.2f}") == ("0.13", "0.12", "0.69")
    told("the half-life is 1.5 steps with a bias of 0, 5 with 1 and 15 with 2")
    lives = [forget.half_life(rate(found[bias]["whole"])) for bias in (0, 1, 2)]
    assert f"{lives[0]:.1f} {lives[1]:.0f} {lives[2]:.0f}" == "1.5 5 15"


def test_what_is_told_of_the_task():
    left = {row["bias"]: row["whole"] for row in rows("forget") if row["kind"] == "gradient"}
    learned, early = {}, {}
    for row in rows("forget"):
        if row["kind"] == "task":
            learned.setdefault((row["bias"], row["delay"]), []).append(row["learned"])
            early.setdefault((row["bias"], row["delay"]), []).append(row["right"])
    much = [key for key in learned if left[key[0]][key[1]] > 1 / 5]
    little = [key for key in learned if left[key[0]][key[1]] < 1 / 1000]
    told("with a bias of 2 or 4 over 20 steps and of 4 over 50, all seeds learn the task, within 400 updates")
    assert sorted(much) == [(2, 20), (4, 20), (4, 50)] and max(max(learned[key]) for key in much) == 400
    told("with 0 over 20 steps and with 0 or 1 over 50, none does", "that of a coin")
    assert sorted(little) == [(0, 20), (0, 50), (1, 50)] and not any(any(learned[key]) for key in little)
    assert all(0.4 < share < 0.6 for key in little for right in early[key] for share in right)
    told("and then at most a hundred updates do it")
    for right in [each for each in early[1, 20] + early[2, 50] if max(each) > 0.95]:
        assert (len(right) - 1 - max(n for n, share in enumerate(right) if share < 0.56)) * sign.LOOK <= 100
    told("or 600 are too few", "A bias of 1, the usual choice, is too small for 50 steps here")
    assert None in learned[2, 50] and {row["budget"] for row in rows("forget") if row["kind"] == "task"} == {600}
    told("Over 50 steps the bias of 4 takes 140 to 400 updates", "that gets there with a bias of 2 takes 80")
    assert (min(learned[4, 50]), max(learned[4, 50])) == (140, 400) and sign.ENOUGH == 0.95
    assert [updates for updates in learned[2, 50] if updates] == [80]
    assert all(np.diff(right[1:]).min() < -0.03 for right in early[4, 50])  # setbacks
