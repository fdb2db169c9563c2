"""Random programs, run by minigrad and by the oracle at once: values, gradients, errors and memory must agree."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from .machine import Machine


def run_machine(device: str) -> None:
    machine = type("Machine", (Machine,), {"device": device})
    tries = settings(max_examples=6 * settings.default.max_examples, stateful_step_count=40)
    run_state_machine_as_test(machine, settings=tries)


def test_random_programs_agree_with_the_oracle(device):
    run_machine(device)
