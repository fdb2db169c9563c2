"""Random programs, run by minigrad and by the oracle at once: values, gradients, errors and memory must agree."""

from __future__ import annotations

import types
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from minigrad import cotangent, derive, engine, sweep
from minigrad.graph import Tensor
from minigrad.ops import registry

from .machine import Machine

on_the_host = pytest.mark.parametrize("device", ["cpu", "strict"])  # the oracle looks at every array's memory


def run_machine(device: str, times: int = 6, **options: Any) -> None:
    machine = type(f"{device.title()}Machine", (Machine,), {"device": device})  # each name draws programs of its own
    tries = settings(
        max_examples=times * settings.default.max_examples,
        stateful_step_count=40,
        report_multiple_bugs=False,  # one at a time: shrinking several takes many minutes
        **options,
    )
    run_state_machine_as_test(machine, settings=tries)


@on_the_host
def test_random_programs_agree_with_the_oracle(device):
    run_machine(device)


# The machine finds what is broken -------------------------------------------------------------------


def forget_the_second_contribution() -> Any:
    def add(inbox: Any, slot: int, contribution: Any, xp: Any) -> None:
        inbox.values[slot] = contribution if inbox.values[slot] is None else inbox.values[slot]

    return patch.object(cotangent.Inbox, "add", add)


def add_into_what_is_borrowed() -> Any:
    add = cotangent.Inbox.add

    def broken(inbox: Any, slot: int, contribution: Any, xp: Any) -> None:
        held = inbox.values[slot]
        inbox.owned |= (xp is not None and getattr(held, "base", 0) is None) << slot
        add(inbox, slot, contribution, xp)

    return patch.object(cotangent.Inbox, "add", broken)


def give_away_what_is_borrowed() -> Any:
    return patch.object(engine, "owned_array", lambda xp, value, is_owned, shape: value)


def sweep_in_order_of_arrival() -> Any:
    queue = types.SimpleNamespace(
        heappush=lambda births, birth: births.append(birth), heappop=lambda births: births.pop()
    )
    return patch.object(sweep, "heapq", queue)


def forget_the_staleness_check() -> Any:
    return patch.object(derive, "_check_unwritten", lambda node: None)


def sum_over_the_wrong_axis() -> Any:
    right = registry["sum_to"].value

    def wrong(xp: Any, x: Any, *, shape: tuple[int, ...]) -> Any:
        return right(xp, xp.transpose(x) if x.shape == (3, 3) else x, shape=shape)

    return patch.object(registry["sum_to"], "value", wrong)


def ignore_retain_graph(retain: bool) -> Any:
    right = engine.sweep
    return patch.object(engine, "sweep", lambda *args, **options: right(*args, **options | {"retain_graph": retain}))


def cut_what_was_saved(leaves: bool) -> Any:
    inputs, output = derive._inputs, derive._output

    def cut(x: Any) -> Any:
        return Tensor(x._data) if type(x) is Tensor and (x._source is None) == leaves else x

    return patch.multiple(
        derive,
        _inputs=lambda node, create_graph: [cut(x) for x in inputs(node, create_graph)],
        _output=lambda node: cut(output(node)),
    )


def sweep_what_leads_nowhere() -> Any:
    return patch.object(sweep.Goal, "led_to_by", lambda goal, edge: True)


def forget_hooks() -> Any:
    return patch.object(sweep, "_run", lambda *args: None)


def believe_that_all_lies_in_the_buffer() -> Any:
    right = cotangent.Inbox.is_slice
    return patch.object(cotangent.Inbox, "is_slice", lambda inbox, slot: right(inbox, slot) or True)


BREAKS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "forget the second contribution": forget_the_second_contribution,
    "add into what is borrowed": add_into_what_is_borrowed,
    "give away what is borrowed": give_away_what_is_borrowed,
    "sweep in order of arrival": sweep_in_order_of_arrival,
    "forget the staleness check": forget_the_staleness_check,
    "sum over the wrong axis": sum_over_the_wrong_axis,
    "always retain": lambda: ignore_retain_graph(True),
    "never retain": lambda: ignore_retain_graph(False),
    "cut leaves in recorded gradients": lambda: cut_what_was_saved(leaves=True),
    "cut results in recorded gradients": lambda: cut_what_was_saved(leaves=False),
    "sweep what leads nowhere": sweep_what_leads_nowhere,
    "forget hooks": forget_hooks,
    "believe that all lies in the buffer": believe_that_all_lies_in_the_buffer,
}


ANYTHING = (Exception, pytest.fail.Exception)  # that a broken engine leads to: no exception where one is due is one too


def failure(device: str) -> list[str]:
    """The program of the first failing example."""
    with pytest.raises(ANYTHING) as caught:
        run_machine(device, times=20, phases=[Phase.generate], print_blob=False)
    notes = "\n".join(caught.value.__notes__)
    return notes[notes.index("import numpy") :].splitlines()


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_engine_is_found(name):
    with BREAKS[name]():
        program = failure("cpu")
    exec("\n".join(program), {})


@pytest.mark.parametrize("name", ["forget the second contribution", "cut results in recorded gradients"])
@on_the_host
def test_the_program_that_is_printed_fails_by_itself(name, device):
    with BREAKS[name]():
        program = failure(device)
        with pytest.raises(ANYTHING):
            exec("\n".join(program), {})
    exec("\n".join(program), {})
