"""One unit and the powers of its weight: the derivatives, and what models/gradients/README.md says of them."""

import numpy as np
import pytest

from models import tables
from models.common import results
from models.common.errors import UserError
from models.gradients.back import rate
from models.gradients.scalar import Settings, measure
from tests.pages import told

ROWS = results.read(tables.RESULTS / "gradients" / "scalar" / results.FILE)["rows"]
BY = {(row["place"], row["b"]): row for row in ROWS[:-1]}  # the last is the wall


def gradient(place, b):
    return np.array(BY[place, b]["gradient"])


def test_at_rest_the_gradient_is_a_power_of_b():
    for row in measure(Settings(b=[-1.5, 0.3, 1.0, 2.0], steps=20))[:4]:
        np.testing.assert_allclose(row["gradient"], np.abs(row["b"]) ** np.arange(21.0), rtol=1e-12)


def test_the_gradient_is_that_of_numeric_differences():
    a, b, c, steps, seed = 0.7, 0.8, 0.2, 8, 3
    row = next(r for r in measure(Settings(b=[b], a=a, c=c, steps=steps, seed=seed)) if r["place"] == "driven")
    noise = np.random.default_rng(seed).standard_normal(steps)

    def last(h, start):
        for x in noise[start:]:
            h = np.tanh(a * x + b * h + c)
        return h

    h = 0.5
    for _ in range(1000):
        h = np.tanh(b * h)
    states = [h]
    for x in noise:
        h = np.tanh(a * x + b * h + c)
        states.append(h)
    numeric = [abs(last(h + 1e-6, t) - last(h - 1e-6, t)) / 2e-6 for t, h in enumerate(states)][::-1]
    np.testing.assert_allclose(row["gradient"], numeric, rtol=1e-5, atol=1e-10)


def test_it_never_exceeds_the_power_of_b():
    for row in ROWS[:-1]:
        assert (np.array(row["gradient"]) <= row["b"] ** np.arange(51.0) * (1 + 1e-12)).all()


def test_what_the_page_says():
    told("b = 0.9 leaves a 200th", "less than float32 can add to 1; b = 1.1 makes 117 times", "a number of 16 digits")
    told("0.166 for b = 2", "lose a factor of 3 to 5 a step over the second half of the way")
    assert gradient("at rest", 0.9)[50] == pytest.approx(1 / 194, rel=0.01)
    assert gradient("at rest", 0.5)[50] < np.finfo(np.float32).eps / 2
    assert gradient("at rest", 1.1)[50] == pytest.approx(117, abs=1)
    assert len(f"{gradient('at rest', 2.0)[50]:.0f}") == 16
    settled = rate(gradient("settled", 2.0))
    h = 1.0
    for _ in range(1000):
        h = np.tanh(2 * h)
    assert settled == pytest.approx(2 * (1 - h * h), rel=1e-6) and round(settled, 3) == 0.166
    assert settled < rate(gradient("settled", 0.5)) == pytest.approx(0.5)
    assert 0.99 < rate(gradient("settled", 1.0)) < 1.0
    for b in (0.5, 0.9, 1.0, 1.1, 2.0):
        assert 1 / 5 < rate(gradient("driven", b)) < 1 / 2.9


def test_smaller_inputs_bend_less():
    told("with smaller ones, `--a 0.1`, b = 1 keeps 0.95 a step")
    (row,) = [row for row in measure(Settings(a=0.1, b=[1.0])) if row["place"] == "driven"]
    assert round(rate(row["gradient"]), 2) == 0.95


def test_the_wall():
    told("dh_T/db is below 0.02 up to b = 0.9, at 1.04 it is 7, at 2 it is 0.1")
    wall = ROWS[-1]
    b, h, slope = (np.array(wall[name]) for name in ("b", "h", "slope"))
    assert np.abs(h[(b > -0.9) & (b < 0.9)]).max() < 1e-3 and h[-1] > 0.99
    assert b[slope.argmax()] == pytest.approx(1.04, abs=0.01) and round(slope.max()) == 7
    assert slope[b <= 0.9].max() < 0.02 and slope[np.abs(b - 2).argmin()] == pytest.approx(0.1, abs=0.005)
    numeric = np.gradient(h, b)
    np.testing.assert_allclose(slope[1:-1], numeric[1:-1], atol=0.15)


def test_the_rate_is_of_the_second_half():
    assert rate([1.0, 9.0, 4.0, 2.0, 1.0]) == 0.5
    assert rate([1.0, 0.0, 0.0]) == 0.0


@pytest.mark.parametrize("options", [{"b": [np.nan]}, {"a": np.inf}, {"c": np.nan}, {"steps": 1}])
def test_wrong_options(options):
    with pytest.raises(UserError, match="must be"):
        Settings(**options)
