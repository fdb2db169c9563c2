"""The mutation run sees what it is to see: a test that notices, one that does not, and mutants that are none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import variants
from minigrad.ops import registry

from .cases import CASES, differentiable_inputs
from .helpers import close
from .mutants import EQUIVALENT, Mutant, mutants
from .mutation import CRASHED, KILLED, SURVIVED, TIMED_OUT, Outcome, faults

MUTANTS = {mutant.name: mutant for mutant in mutants()}
STRONG = """
import minigrad as mg
def test_tanh():
    x = mg.tensor([0.5, -1.0], dtype=mg.float64, requires_grad=True)
    mg.testing.gradcheck(mg.tanh, x)
"""
WEAK = """
import minigrad as mg
def test_tanh():
    x = mg.tensor([0.5, -1.0], requires_grad=True)
    mg.tanh(x).sum().backward()
    assert (x.grad > 0).all().item()
def test_sign():
    x = mg.tensor([0.5, -1.0], requires_grad=True)
    assert mg.sign(x).requires_grad
    mg.sign(x).sum().backward()
    assert (x.grad == 0).all().item()
"""


def run(folder: Path, tests: str, *names: str) -> tuple[int, str]:
    file = folder / "test_it.py"
    file.write_text(tests)
    command = [sys.executable, "-m", "tests.mutation", *names, "--tests", str(file)]
    wide = {**os.environ, "COLUMNS": "400"}  # a long path is not folded
    done = subprocess.run(command, cwd=Path(__file__).parents[1], env=wide, capture_output=True, text=True)
    return done.returncode, " ".join(done.stdout.split())


def test_strong_tests_kill_every_mutant(tmp_path: Path) -> None:
    status, said = run(tmp_path, STRONG, "tanh")
    assert (status, "│ derivative │ 3 │ 3 │ 0 │ 0 │ 0 │" in said) == (0, True), said


def test_weak_tests_let_one_live(tmp_path: Path) -> None:
    """Of tanh, one is killed, one has no gradient to ask about, one lives; of sign, two are equivalent."""
    status, said = run(tmp_path, WEAK, "tanh", "sign")
    assert (status, "│ derivative │ 6 │ 2 │ 1 │ 2 │ 1 │" in said) == (1, True), said
    assert "crashed: tanh: x dropped (RuntimeError: " in said
    assert said.endswith("tanh: x scaled: survived")


def test_tests_that_fail_anyhow_prove_nothing(tmp_path: Path) -> None:
    status, said = run(tmp_path, "def test_tanh():\n    assert 1 == 2\n", "tanh")
    assert (status, said.startswith("without any mutant, ")) == (2, True), said
    assert said.endswith("test_it.py::test_tanh fails: assert 1 == 2")


def test_the_list_of_equivalent_mutants_must_be_true() -> None:
    def judged(name: str, status: str) -> list[str]:
        return faults({MUTANTS[name]: Outcome(status, "some_test")})

    assert all(judged(name, SURVIVED) == [] for name in EQUIVALENT)
    assert judged("sign: x scaled", KILLED) == ["sign: x scaled: listed as equivalent, but killed by some_test"]
    assert judged("tanh: x scaled", KILLED) == judged("tanh: x scaled", CRASHED) == []
    assert judged("tanh: x scaled", SURVIVED) == ["tanh: x scaled: survived"]
    assert judged("tanh: x scaled", TIMED_OUT) == ["tanh: x scaled: timed out"]


# The mutants ----------------------------------------------------------------------------------------


def test_every_derivative_is_mutated() -> None:
    expected = {
        f"{name}: {x} {change}"
        for name in CASES
        for x in differentiable_inputs(registry[name])
        for change in ("scaled", "negated", "dropped")
    }
    assert expected <= set(MUTANTS)
    assert {"subtract: x and y exchanged", "where: x and y exchanged", "stack: of xs, the order reversed"} <= set(
        MUTANTS
    )


@pytest.mark.parametrize("layer", [nn.RNN, nn.LSTM, nn.GRU, nn.LayerNormLSTM, nn.PeepholeLSTM])
def test_every_cell_is_mutated(layer: type[nn.LSTM]) -> None:
    assert layer(2, 3).cell().__name__ in {mutant.subject for mutant in mutants_of("cell")}


def mutants_of(kind: str) -> list[Mutant]:
    return [mutant for mutant in MUTANTS.values() if mutant.kind == kind]


def test_every_gate_of_a_cell_is_mutated() -> None:
    changes = {mutant.change for mutant in mutants_of("cell") if mutant.subject in ("lstm", "lstm_gates")}
    assert {
        "sigmoid(i) scaled",
        "sigmoid(f) scaled",
        "tanh(g) scaled",
        "sigmoid(o) scaled",
        "tanh(c) scaled",
    } <= changes
    assert {"i and f exchanged", "f and g exchanged", "g and o exchanged", "sigmoid(f) * c without c"} <= changes


def test_a_mistake_is_made_for_whoever_holds_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    norm, v = variants.norm, mg.tensor([1.0, 2.0, 6.0], dtype=mg.float64)
    monkeypatch.setattr(norm, "__code__", norm.__code__)  # put back after the test
    MUTANTS["norm: mean(v, axis=-1, keepdims=True) scaled"].apply()
    close(norm(v), (np.array([1.0, 2.0, 6.0]) - 1.001 * 3) / np.sqrt(14 / 3 + 1e-5))
