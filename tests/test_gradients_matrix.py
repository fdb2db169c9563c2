"""`python -m models.gradients spectrum` and `clipping`: the mathematics at small scale, and what their page says."""

import json
import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from models import tables
from models.common.errors import UserError
from models.gradients import cliff, clipping, spectrum
from models.gradients.characters import Characters, read


def committed(name):
    return json.loads((tables.RESULTS / "gradients" / name / "results.json").read_text())["rows"]


def spectra(kind=None, drive=None, sigma=None):
    wanted = {"kind": kind, "drive": drive, "sigma": sigma}
    found = [r for r in committed("spectrum") if all(value in (None, r[key]) for key, value in wanted.items())]
    assert found
    return found


def clipped(gain=None, clip=None, seed=None):
    wanted = {"gain": gain, "clip": clip, "seed": seed}
    found = [r for r in committed("clipping") if all(value in (None, r[key]) for key, value in wanted.items())]
    assert found
    return found


def between(values, low, high, digits):
    """Whether the least and the largest are these, rounded as the page rounds them."""
    return (round(min(values), digits), round(max(values), digits)) == (low, high)


# spectrum: small ----------------------------------------------------------------------------------


@pytest.mark.parametrize("drive", [0.0, 0.7])
def test_the_way_back_is_a_product_of_jacobians(drive):
    random = np.random.default_rng(3)
    steps, batch, hidden = 6, 2, 5
    layer = spectrum.recurrence(hidden)
    matrix = layer.weight_hh_l0.detach().numpy() * 3
    with mg.no_grad():
        layer.weight_hh_l0[...] = mg.tensor(matrix)
    x, direction = drive * random.standard_normal((steps, batch, hidden)), random.standard_normal((batch, hidden))
    found = spectrum.watched(layer, x, direction)

    factors, slopes, norms = [], [], []
    for n in range(batch):
        h, jacobians, way = np.zeros(hidden), [], [direction[n]]
        for t in range(steps):
            h = np.tanh(x[t, n] + matrix @ h)
            jacobians.append((1 - h**2)[:, None] * matrix)
            slopes += [(1 - h**2) ** 2] if t < 3 else []
        for jacobian in jacobians[::-1]:
            way.append(jacobian.T @ way[-1])
        norms.append([np.linalg.norm(each) / np.linalg.norm(way[0]) for each in way])
        factors.append([b / a for a, b in zip(norms[-1], norms[-1][1:], strict=False)])
    assert found["distances"] == [0, 1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(found["norms"], np.exp(np.log(norms).mean(0)), rtol=1e-12)
    assert found["factor"] == pytest.approx(np.exp(np.log(np.array(factors)[:, 3:]).mean()), rel=1e-12)
    assert found["largest"] == pytest.approx(np.max(factors), rel=1e-12)
    assert found["slope"] == pytest.approx(np.sqrt(np.mean(slopes)), rel=1e-12)


def test_no_step_is_above_the_largest_singular_value():
    rows = spectrum.measure(spectrum.Settings(sigma=[0.5, 3.0], hidden=8, steps=12, batch=3, drive=[0.0, 0.3]))
    assert len(rows) == 3 * 2 * 2
    for row in [*rows, *spectra()]:
        assert row["factor"] <= row["largest"] <= row["sigma"] * (1 + 1e-9), row
        assert row["rho"] <= row["sigma"] * (1 + 1e-9) and row["mean"] <= row["sigma"] * (1 + 1e-9)


def test_matrices_have_the_singular_values_that_are_asked_for():
    for kind in spectrum.KINDS:
        layer = spectrum.recurrence(6)
        drawn = spectrum.initial(kind, layer.weight_hh_l0)
        values = np.linalg.svd(drawn, compute_uv=False)
        assert (np.ptp(values) < 1e-12) == (kind == "orthogonal")
        about = spectrum.spread(drawn)
        assert about["mean"] == pytest.approx(np.sqrt((values**2).mean()))
        assert about["rho"] == pytest.approx(max(abs(np.linalg.eigvals(drawn))))
    assert np.abs(drawn @ drawn.T - np.eye(6)).max() < 1e-12


def test_a_size_whose_square_is_beyond_float64_has_a_logarithm():
    rows = np.array([[3e-200, 4e-200], [3e200, 4e200]])
    np.testing.assert_allclose(spectrum._log_norm(rows), np.log(5) + np.log(10) * np.array([-200, 200]))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"sigma": [40.0]}, "40^200 is beyond float64: take fewer --steps"),
        ({"sigma": [0.0]}, "--sigma must be positive and finite"),
        ({"drive": [1.0, -1.0]}, "--drive must be 0 or more, got -1.0"),
        ({"drive": [math.nan]}, "--drive must be finite"),
        ({"hidden": 10**6}, "hidden must be from 1"),
    ],
)
def test_what_makes_no_sense_to_spectrum_is_refused(options, told):
    with pytest.raises(UserError, match="^" + told.replace("^", r"\^")):
        spectrum.Settings(**options)


# spectrum: what the page says ---------------------------------------------------------------------


def test_at_rest_the_factor_is_the_spectral_radius():
    for row in spectra(drive=0.0):
        assert row["factor"] == pytest.approx(row["rho"], rel=1e-3)
    for kind, ratio in {"Gaussian": 0.52, "uniform": 0.58}.items():
        assert {round(row["rho"] / row["sigma"], 2) for row in spectra(kind, 0.0)} == {ratio}


def test_an_orthogonal_matrix_keeps_the_norm():
    for row in spectra("orthogonal", 0.0):
        assert row["factor"] == pytest.approx(row["sigma"], rel=1e-12)
        assert row["largest"] == pytest.approx(row["sigma"], rel=1e-12)
    (row,) = spectra("orthogonal", 0.0, 1.0)
    assert row["distances"][-1] == 200
    np.testing.assert_allclose(row["norms"], 1.0, rtol=1e-11)


def test_random_matrices_vanish_though_their_largest_singular_value_is_above_one():
    (gaussian,), (uniform,) = spectra("Gaussian", 0.0, 1.5), spectra("uniform", 0.0, 1.5)
    assert round(gaussian["factor"], 2) == 0.78 and round(uniform["factor"], 2) == 0.87
    assert gaussian["largest"] < 1 and round(uniform["largest"], 2) == 1.06
    drawn, rho = uniform["drawn"], uniform["drawn"] * uniform["rho"] / uniform["sigma"]
    assert round(drawn, 2) == 1.11 and round(rho, 2) == 0.64 and round(math.log10(rho**200)) == -39


def test_inputs_shrink_the_gradient_further():
    at = {row["sigma"]: row["factor"] for row in spectra("orthogonal", 1.0)}
    assert round(at[1.0], 2) == 0.62 and round(at[2.0], 2) == 1.03
    assert [sigma for sigma, factor in at.items() if factor > 1] == [2.0]
    assert max(row["factor"] for kind in ("uniform", "Gaussian") for row in spectra(kind, 1.0)) < 1
    for row in spectra(drive=1.0):
        assert row["mean"] * row["slope"] == pytest.approx(row["factor"], rel=0.04)


def test_saturation_holds_back_what_explodes():
    (row,) = spectra("orthogonal", 0.1, 2.0)
    assert round(row["factor"], 2) == 1.17
    lines = {}
    for row in spectra():
        lines.setdefault((row["kind"], row["sigma"]), []).append(row["factor"])
    assert not any(max(abs(factor - 1) for factor in factors) < 0.05 for factors in lines.values())


# clipping: small ----------------------------------------------------------------------------------

TEXT = "a cat sat on a mat, and that was that. " * 3


@pytest.fixture
def ids(tmp_path):
    (tmp_path / "text").write_text(TEXT)
    return read(tmp_path / "text")[1]


def small(ids, seed=0):
    mg.manual_seed(seed)
    starts = np.arange(3)
    return Characters(int(ids.max()) + 1, 4, gain=2.0), ids[starts + np.arange(8)[:, None]]


def weights(model):
    return np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])


def gradient(model, batch):
    found = mg.grad(model.loss(batch), list(model.parameters()))
    return np.concatenate([g.numpy().ravel() for g in found])


def test_a_text_becomes_the_numbers_of_its_characters(ids):
    letters = sorted(set(TEXT))
    assert ids.tolist() == [letters.index(letter) for letter in TEXT]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 2.0])
def test_clipping_keeps_the_direction_and_limits_the_length(ids, share):
    model, batch = small(ids)
    g, before = gradient(model, batch), weights(model)
    norm = np.linalg.norm(g)
    expected = model.loss(batch).item()
    loss, found = clipping.update(model, optim.SGD(model.parameters(), lr=0.3), batch, share * norm)
    step = before - weights(model)
    assert loss == pytest.approx(expected) and found == pytest.approx(norm)
    assert step @ g / np.linalg.norm(step) / norm == pytest.approx(1.0)
    assert np.linalg.norm(step) == pytest.approx(0.3 * norm * (min(share, 1.0) or 1.0), rel=1e-4)


def test_w_hh_begins_orthogonal_times_the_gain(ids):
    model, _ = small(ids)
    np.testing.assert_allclose(np.linalg.svd(model.rnn.weight_hh_l0.detach().numpy(), compute_uv=False), 2.0)
    assert cliff.largest_of(model) == pytest.approx(2.0)


def test_step_by_step_gives_the_same_gradient_and_those_of_the_states(ids):
    model, batch = small(ids)
    loss, gradients, states = cliff.backward(model, batch)
    assert loss == pytest.approx(model.loss(batch).item())
    np.testing.assert_allclose(np.concatenate([g.ravel() for g in gradients]), gradient(model, batch), atol=1e-14)
    assert len(states) == len(batch)

    def loss_from(h):
        y, _ = model.rnn(model.embedding(mg.tensor(batch[:-1])), mg.tensor(h))
        logits = model.output(y)
        return nn.functional.cross_entropy(logits.reshape(batch[1:].size, -1), mg.tensor(batch[1:].ravel())).item()

    slopes = []
    for place in range(3 * 4):
        nudge = np.zeros(3 * 4)
        nudge[place] = 1e-6
        nudge = nudge.reshape(1, 3, 4)
        slopes.append((loss_from(nudge) - loss_from(-nudge)) / 2e-6)
    assert states[0] == pytest.approx(np.linalg.norm(slopes), rel=1e-6)


def test_a_look_along_the_step_meets_the_steps_that_are_made(ids):
    model, batch = small(ids)
    kept = {name: value.copy() for name, value in model.state_dict().items()}
    seen = cliff.look(model, batch, 0.5, [0.01, 100.0])
    assert seen["before"] == pytest.approx(seen["losses"][0], abs=1e-6)
    slope = (seen["before"] - seen["losses"][20]) / seen["lengths"][20]
    assert slope == pytest.approx(seen["norm"], rel=1e-2)
    for clip, after in [(0.0, seen["after"]), *seen["clipped"]]:
        model.load_state_dict(kept)
        clipping.update(model, optim.SGD(model.parameters(), lr=0.5), batch, clip)
        assert model.loss(batch).item() == pytest.approx(after, rel=1e-5)


def settings(tmp_path, **options):
    (tmp_path / "text").write_text(TEXT)
    usual = {"updates": 4, "steps": 5, "batch": 2, "hidden": 3, "seeds": 1, "data": str(tmp_path / "text")}
    return clipping.Settings(**(usual | options))


def test_runs_with_the_same_seed_begin_alike_and_the_worst_update_is_found_again(tmp_path):
    rows = clipping.measure(settings(tmp_path, clip=[0.0, 0.1], gain=[1.0]))
    assert rows[0]["first"] == rows[1]["first"] and rows[0]["losses"][0] == rows[0]["first"]
    assert rows[0]["losses"][1:] != rows[1]["losses"][1:]
    seen = rows[0]["cliff"]
    assert "cliff" not in rows[1] and seen["norm"] == pytest.approx(rows[0]["largest"])
    assert rows[0]["norms"][seen["update"] - 1] == rows[0]["largest"]
    assert seen["before"] == pytest.approx(rows[0]["losses"][seen["update"] - 1])


@pytest.mark.parametrize("good", [0, 2])
def test_a_run_that_diverges_stops_and_says_so(tmp_path, monkeypatch, good):
    update, made = clipping.update, []

    def breaking(model, optimizer, batch, clip):
        made.append(clip)
        return update(model, optimizer, batch, clip) if clip or len(made) <= good else (math.nan, 1.0)

    monkeypatch.setattr(clipping, "update", breaking)
    rows = clipping.measure(settings(tmp_path, clip=[0.0, 1.0], gain=[1.0]))
    lost, held = rows
    assert made == [0.0] * (good + 1) + [1.0] * 4
    assert (lost["lost"], lost["final"], lost["sigma"]) == (good, None, None) and held["lost"] is None
    assert [value is None for value in lost["losses"]] == [number >= good for number in range(4)]
    assert ("cliff" in lost) == (good > 0)
    json.dumps(rows, allow_nan=False)
    (first, *_) = clipping.tables(rows)
    assert f"no number at {good + 1}" in [str(cell) for cell in first.columns[-1].cells]
    clipping.draw(rows, tmp_path)
    assert all((tmp_path / name).exists() for name in clipping.PICTURES)


def test_what_is_no_number_is_none():
    assert [cliff.number(found) for found in (1, math.inf, math.nan)] == [1.0, None, None]


def test_a_summary_counts_what_was_found():
    row = clipping.summary([(2.0, 1.0), (3.0, 5.0), (1.0, 0.5)], 4)
    assert (row["lost"], row["first"], row["final"], row["worst"], row["above"]) == (3, 2.0, None, 3.0, 1)
    assert (row["median"], row["largest"]) == (1.0, 5.0)
    assert row["updates"] == [1, 2, 3, 4] and row["losses"] == [2.0, 3.0, 1.0, None] and row["norms"][1] == 5.0
    many = clipping.summary([(float(n), float(n)) for n in range(120)], 120)
    assert many["losses"][:2] == [1.0, 4.0] and many["norms"][:2] == [2.0, 5.0] and many["updates"][:2] == [2, 5]
    assert many["lost"] is None and many["final"] == np.mean(range(100, 120))


def test_what_makes_no_sense_to_clipping_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"--clip must be 0, for none, or more, got -1"):
        clipping.Settings(clip=[-1.0])
    with pytest.raises(UserError, match=r"--lr must be positive and finite"):
        clipping.Settings(lr=[0.0])
    with pytest.raises(UserError, match=r"--lr must be at most 1,000,000, got 1e\+07"):
        clipping.Settings(lr=[1e7])
    with pytest.raises(UserError, match=r"too few for --steps 500"):
        clipping.measure(settings(tmp_path, steps=500))
    (tmp_path / "no text").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match="is UTF-16 text"):
        clipping.measure(settings(tmp_path, data=str(tmp_path / "no text")))


# clipping: what the page says ---------------------------------------------------------------------


def test_no_run_ends_in_what_is_no_number_and_those_of_a_seed_begin_alike():
    assert {row["lost"] for row in clipped()} == {None} and {row["lr"] for row in clipped()} == {2.0}
    for gain in (1.0, 2.0):
        for seed in range(3):
            assert len({row["first"] for row in clipped(gain, seed=seed)}) == 1


def test_at_gain_2_the_first_gradient_explodes():
    free, held = clipped(2.0, 0.0), [row for clip in (5.0, 1.0) for row in clipped(2.0, clip)]
    assert all(row["cliff"]["update"] == 1 for row in free)
    first, last = ([row["cliff"]["states"][t] for row in free] for t in (0, -1))
    assert between(first, 100, 530, -1) and between(last, 0.002, 0.002, 3)
    assert between([(a / b) ** 0.01 for a, b in zip(first, last, strict=True)], 1.11, 1.13, 2)
    assert between([row["largest"] for row in free], 844, 3278, 0)
    assert {round(row["median"], 1) for row in clipped(2.0, 1.0)} == {0.6}
    assert between([row["sigma"] for row in free], 567, 1082, 0)
    assert between([row["final"] for row in free], 3.5, 8.6, 1)
    assert between([row["sigma"] for row in held], 3.7, 6.1, 1)
    assert between([row["final"] for row in held], 2.14, 2.23, 2)


def test_at_gain_1_one_seed_of_three_needs_a_clip():
    bad = [row["seed"] for row in clipped(1.0, 0.0) if row["final"] > 3]
    assert len(bad) == 1
    good = [row for clip in (0.0, 5.0, 1.0) for row in clipped(1.0, clip) if row["seed"] not in bad]
    assert between([row["final"] for row in good], 2.10, 2.14, 2) and max(row["above"] for row in good) == 4
    (row,) = clipped(1.0, 0.0, *bad)
    assert (round(row["worst"]), row["above"], round(row["final"], 2)) == (31, 71, 3.75)
    assert (round(row["largest"]), round(row["largest"] / row["median"])) == (29, 16)
    assert round(clipped(1.0, 1.0, *bad)[0]["final"], 2) == 2.17
    assert round(clipped(1.0, 5.0, *bad)[0]["worst"], 1) == 20.6


def test_a_clip_can_be_too_small():
    large, usual = clipped(2.0, 0.25), clipped(1.0, 0.25)
    assert between([row["final"] for row in large], 2.58, 2.65, 2)
    assert between([row["final"] for row in usual], 2.26, 2.36, 2)
    assert round(max(row["largest"] for row in large)) == 9138
    norms = np.median([row["norms"] for row in large], axis=0)
    left = np.array(large[0]["updates"])[norms > 10].max()
    assert 25 <= left <= 35


def test_from_near():
    usual, large = ([row["cliff"] for row in clipped(gain, 0.0)] for gain in (1.0, 2.0))
    rose = [(round(at["before"], 2), round(at["after"], 2)) for at in usual if at["after"] > at["before"]]
    assert rose == [(3.57, 5.01), (7.34, 8.25)] and len(usual) == 3
    assert all(dict(map(tuple, at["clipped"]))[0.25] < at["before"] for at in usual)
    for at in large:
        ratios = {
            length: (at["before"] - loss) / (length * at["norm"])
            for length, loss in zip(at["lengths"], at["losses"], strict=True)
        }
        assert all(0.7 < ratio < 1.4 for length, ratio in ratios.items() if length < 1e-7)
        assert all(ratio < 0.7 for length, ratio in ratios.items() if length > 1e-5)
        assert max(abs(loss - at["before"]) for loss in at["losses"]) < 0.3
