"""y = rnn.step(x) beside the whole sequence: what the program measures, and what models/README.md says of it."""

import numpy as np
import pytest

import minigrad as mg
from models import tables
from models.common import results
from models.common.errors import UserError
from models.step.program import Pair, Settings, measure

ROWS = results.read(tables.RESULTS / "step" / results.FILE)["rows"]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_both_ways_give_the_same(cell):
    (row,) = measure(Settings(cells=[cell], hidden=[3], steps=5, rounds=1))
    assert row["outputs"] < 1e-14 and row["gradients"] < 1e-13
    assert row["seconds"].keys() == {"step", "sequence", "step, learning", "sequence, learning"}


def test_what_differs_is_found():
    pair = Pair("gru", 3, 5, 0, mg.float64)
    weights = pair.rnn2.layer.weight_hh_l0
    weights.data = weights.data * 1.001
    outputs = [
        np.abs((a - b).numpy()).max() for a, b in zip(pair.step().detach(), pair.sequence().detach(), strict=True)
    ]
    assert outputs[0] == 0.0 and outputs[1] > 1e-6  # the second step is the first that has a state


def test_what_the_readme_says():
    page = " ".join(tables.README.read_text(encoding="utf-8").split())
    assert "nothing differs by more than 4e-15 of the largest number" in page
    assert "With 16 units a step takes some ten times as long, with 256" in page and "two to three times" in page
    assert {row["cell"] for row in ROWS} == {"rnn", "lstm", "gru"}
    assert max(max(row["outputs"], row["gradients"]) for row in ROWS) < 4.05e-15
    for row in ROWS:
        for learning in "", ", learning":
            times = row["seconds"][f"step{learning}"] / row["seconds"][f"sequence{learning}"]
            assert times > 1.5
            if row["hidden"] in (16, 256):
                low, high = (8, 14) if row["hidden"] == 16 else (1.8, 3.5)
                assert low < times < high


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"cells": ["elman"]}, "there is no cell 'elman'; choose one of rnn, lstm, gru"),
        ({"hidden": [16, 0]}, "hidden must be from 1 to 4,096, got 0"),
        ({"steps": 5000}, "steps must be from 1 to 4,096, got 5,000"),
    ],
)
def test_wrong_options(options, told):
    with pytest.raises(UserError, match=told):
        Settings(**options)
