"""The profiler: what it counts is right, what it says of time is consistent, and it leaves everything as it was."""

from __future__ import annotations

import gzip
import json
import sys
import threading
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim, tape
from minigrad.inspect import profile
from minigrad.inspect.profiling.growth import Growth
from minigrad.inspect.profiling.report import curve, milliseconds, size
from minigrad.inspect.profiling.spans import NO_MODULE, OUTSIDE, Row
from minigrad.nn import functional as F

from .strict import StrictArray, strict


def rows(p: profile, by: str = "operation") -> dict[str, Row]:
    return {row.name: row for row in p.table(by).rows}


def program() -> None:
    """x (2, 3), w (3, 2) of float32: four operations, one of them a view."""
    x, w = mg.ones((2, 3)), mg.ones((3, 2), requires_grad=True)
    y = mg.tanh(x @ w)
    (y * y).reshape(4).sum().backward()


# What is counted --------------------------------------------------------------------------------------


def test_operations_are_counted_forward_and_backward_with_their_bytes(device: str) -> None:
    with profile() as p:
        program()
        program()
    found = {row.name: (row.calls, row.backward_calls, row.bytes) for row in p.table().rows if row.kind == "forward"}
    assert found == {
        "matmul": (2, 2, 2 * 4 * 4),
        "tanh": (2, 2, 2 * 4 * 4),
        "multiply": (2, 2, 2 * 4 * 4),
        "reshape": (2, 2, 0),
        "sum": (2, 2, 2 * 4),
    }
    assert rows(p)["sums of gradients"].bytes == 2 * 6 * 4  # of w


def test_nothing_is_recorded_without_gradients(device: str) -> None:
    with profile() as p, mg.no_grad():
        mg.tanh(mg.ones((5, 2), requires_grad=True))
    assert (rows(p)["tanh"].calls, rows(p)["tanh"].backward_calls, rows(p)["tanh"].bytes) == (1, 0, 40)
    assert [sample.nodes for sample in p.memory] == [0]


def test_rows_add_up_to_the_time_of_the_block(device: str) -> None:
    with profile() as p:
        program()
    table = p.table()
    assert all(row.forward >= 0 and row.backward >= 0 for row in table.rows)
    assert sum(row.seconds for row in table.rows if row.name != OUTSIDE) <= p.seconds
    assert sum(row.seconds for row in table.rows) == pytest.approx(p.seconds)
    assert rows(p)["tanh"].forward > 0 and rows(p)["tanh"].backward > 0


def model_step(steps: int = 2) -> Callable[[], None]:
    mg.manual_seed(0)
    embed, lstm, output, drop = nn.Embedding(4, 8), nn.LSTM(8, 8), nn.Linear(8, 4), nn.Dropout(0.5)
    optimizer = optim.Adam([*embed.parameters(), *lstm.parameters(), *output.parameters()], lr=0.1)

    def run() -> None:
        for _ in range(steps):
            ids = mg.tensor([0, 1, 2, 2, 3])  # which goes to the device
            h, _ = lstm(drop(embed(ids[:-1])))
            loss = F.cross_entropy(output(h), ids[1:])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
            optimizer.step()
            loss.item()
            mg.synchronize()

    return run


def many_functions() -> None:
    """Much of what there is, once: indices, draws, windows, reductions, conversions."""
    mg.manual_seed(1)
    x, order = mg.randn((4, 6), requires_grad=True), mg.tensor([0, 2, 1, 3])
    y = x[order] * 2 + mg.exp(x) - x.mean(axis=0)
    y = mg.where(y > 0, y, 0.1 * y)
    y = mg.concatenate([y, y[::-1]], axis=0)
    z = mg.einsum("ij,kj->ik", y, y).sum(axis=1)
    windows = nn.MaxPool2d(2)(nn.Conv2d(1, 2, 3)(mg.randn((2, 1, 8, 8))))
    gru = nn.GRU(6, 5, bidirectional=True)
    states, _ = gru(mg.randn((3, 2, 6)))
    spread = nn.LayerNorm(6)(x).std() + x.var() + mg.cumsum(x, axis=1).max()
    loss = z.sum() + windows.sum() + (states * states).sum() + spread
    loss.backward()
    optim.RMSprop([x, *gru.parameters()], lr=0.1).step()
    mg.argmax(x, axis=1).tolist()
    x.to("cpu").to(mg.default_device())
    float(loss)


@pytest.mark.parametrize("writer", ["numpy", "cuda"])
def test_many_functions_are_counted_as_the_device_does(writer: str, request: Any) -> None:
    if writer == "cuda":
        request.getfixturevalue("emulated")
    with mg.use_device("strict"):
        before = strict.counts()
        with profile() as p:
            many_functions()
        counts = strict.counts() - before
    found = p.table().rows
    assert sum(row.launches for row in found) == counts.launches > 100
    assert sum(row.copies for row in found) == counts.reads + counts.uploads > 5


@pytest.mark.parametrize("writer", ["numpy", "cuda"])
def test_launches_copies_and_waits_are_those_that_the_device_counts(writer: str, request: Any) -> None:
    if writer == "cuda":
        request.getfixturevalue("emulated")
    with mg.use_device("strict"):
        run = model_step()
        run()
        before = strict.counts()
        with profile() as p:
            run()
        counts = strict.counts() - before
    for by in ("operation", "module"):
        found = p.table(by).rows if by == "operation" else [row for row in p.table(by).rows if not row.depth]
        assert sum(row.launches for row in found) == counts.launches > 100
        assert sum(row.copies for row in found) == counts.reads + counts.uploads
        assert sum(row.waits for row in found) == counts.synchronizations == 2
    assert rows(p)["take"].launches == 2
    assert rows(p)[OUTSIDE].waits == 2
    before = strict.counts()
    with mg.use_device("strict"):
        mg.ones(3) + 1
    assert strict.counts() - before == type(before)(launches=2)  # it counts by itself again, and once


def test_the_time_of_a_device_is_by_its_own_clock(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Event:
        """A device that does a millisecond's work between any two of these."""

        count = 0

        def record(self) -> None:
            Event.count += 1
            self.time = Event.count

        def synchronize(self) -> None:
            pass

    def elapsed(start: Event, end: Event) -> float:
        return float(end.time - start.time)  # in milliseconds

    cuda = types.SimpleNamespace(Event=Event, get_elapsed_time=elapsed)
    monkeypatch.setattr(strict.module, "cuda", cuda, raising=False)
    with mg.use_device("strict"), profile() as p:
        program()
    table = rows(p)
    assert table["tanh"].device == pytest.approx(0.002)  # forward and backward
    assert sum(row.device for row in table.values()) == pytest.approx(0.01)
    assert "device" in str(p.table()) and rows(p, "module")[NO_MODULE].device == pytest.approx(0.01)


def test_on_the_cpu_nothing_is_copied_and_kernels_are_counted() -> None:
    if mg.fuse_backend() != "c":
        pytest.skip("needs a C compiler")
    run = model_step(1)
    run()
    with profile() as p:
        run()
    table = rows(p)
    assert (table["scan"].calls, table["scan"].backward_calls, table["scan"].launches) == (1, 1, 2)
    # Four steps of h and of c, and the last of each, of 8 float32.
    assert table["scan"].bytes == (4 + 4 + 1 + 1) * 8 * 4
    assert not any(row.copies or row.waits for row in table.values())
    assert "copies" not in str(p.table()) and "kernels" in str(p.table())
    assert {"Adam.step", "clip_grad_norm_"} <= set(table)


def test_a_fused_function_is_one_operation(device: str) -> None:
    @mg.fuse
    def swish(x: mg.Tensor) -> mg.Tensor:
        return x * mg.sigmoid(x)

    x = mg.ones((2, 3), requires_grad=True)
    swish(x)
    with profile() as p:
        with mg.fusing(True):
            swish(x).sum().backward()
        with mg.fusing(False):
            swish(x)
    table = rows(p)
    assert (table["swish"].calls, table["swish"].backward_calls, table["swish"].bytes) == (1, 1, 24)
    assert table["sigmoid"].calls == table["multiply"].calls == 1


def test_what_is_computed_again_is_a_call_and_its_time_is_backward() -> None:
    x = mg.ones(3, requires_grad=True)
    with profile() as p:
        y = mg.checkpoint(lambda x: mg.tanh(x) * x, x)
        forward = rows(p)["tanh"].backward
        y.sum().backward()
    table = rows(p)
    assert forward == 0 and table["tanh"].backward > 0
    assert (table["tanh"].calls, table["tanh"].backward_calls) == (2, 1)
    assert (table["checkpoint"].calls, table["checkpoint"].backward_calls) == (1, 1)


def test_recorded_derivatives_are_calls() -> None:
    x = mg.ones(3, requires_grad=True)
    with profile() as p:
        (g,) = mg.grad((x * x * x).sum(), x, create_graph=True)
        g.sum().backward()
    table = rows(p)
    assert table["multiply"].calls > 2 and table["multiply"].backward_calls > 2
    assert table["multiply"].backward > 0


class Speller(nn.Module):
    def __init__(self) -> None:
        self.embed = nn.Embedding(4, 8)
        self.lstm = nn.LSTM(8, 8)
        self.head = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))

    def forward(self, ids: Any) -> Any:
        h, _ = self.lstm(self.embed(ids))
        return self.head(h)


def test_modules_have_their_paths_and_all_that_ran_in_them(device: str) -> None:
    model, other, third = Speller(), nn.Linear(4, 4), nn.Linear(4, 4)
    with profile() as p:
        third(other(model(mg.tensor([0, 1, 2])))).sum().backward()
    table = p.table("module").rows
    assert [(row.depth, row.name, row.calls) for row in table] == [
        (0, "Speller", 1),
        (1, "embed (Embedding)", 1),
        (1, "lstm (LSTM)", 1),
        (1, "head (Sequential)", 1),
        (2, "head.0 (Linear)", 1),
        (2, "head.1 (Tanh)", 1),
        (2, "head.2 (Linear)", 1),
        (0, "Linear", 1),
        (0, "Linear #2", 1),
        (0, NO_MODULE, 0),
    ]
    found = {row.name: row for row in table}
    assert found["head.0 (Linear)"].bytes == 3 * 8 * 4 and found["head.1 (Tanh)"].backward_calls == 1
    for outer, depth in ((found["Speller"], 1), (found["head (Sequential)"], 2)):
        inside = [row for row in table if row.depth == depth]
        assert sum(row.forward for row in inside) <= outer.forward
        assert sum(row.backward for row in inside) <= outer.backward + 1e-9
        assert sum(row.bytes for row in inside) == outer.bytes
    assert sum(row.forward for row in table if not row.depth) <= p.seconds


def test_a_step_of_a_layer_counts_as_a_call_of_it() -> None:
    rnn = nn.Stateful(nn.GRU(3, 4))
    with profile() as p:
        rnn.step(mg.ones((2, 3)))
    assert [(row.depth, row.name) for row in p.table("module").rows][:2] == [(0, "Stateful"), (1, "layer (GRU)")]


def test_other_threads_are_measured_too(tmp_path: Path) -> None:
    def work() -> None:
        for _ in range(3):
            program()

    with profile() as p:
        thread = threading.Thread(target=work, name="reader")
        thread.start()
        thread.join()
        program()
    assert rows(p)["tanh"].calls == 4
    assert [row.name for row in p.table("module").rows] == [NO_MODULE]
    names = [e["args"]["name"] for e in p.trace()["traceEvents"] if e["name"] == "thread_name"]
    assert names == ["MainThread", "reader"]
    assert max(sample.nodes for sample in p.memory) == 5


# Memory -----------------------------------------------------------------------------------------------


def test_nodes_and_what_they_keep(device: str) -> None:
    w = mg.ones((3, 2), requires_grad=True)
    with profile() as p:
        x = mg.ones((2, 3))
        y = mg.tanh(x @ w)
        loss = (y * y).sum()
        p.step()
        loss.backward()
    # x, 24 bytes, and y, 16, which two nodes keep; w is there anyway.
    assert [(sample.nodes, sample.kept) for sample in p.memory] == [(4, 40), (4, 40), (0, 0), (0, 0)]
    report = str(p)
    assert "at most 4, 0 at the end" in report and "at most 40 B, 0 at the end" in report


def test_what_a_time_loop_keeps_counts() -> None:
    lstm, x = nn.LSTM(4, 4), mg.ones((50, 2, 4))
    with profile() as p:
        y, _ = lstm(x)
        y.sum().backward()
    assert p.memory[0].kept > 2 * 50 * 2 * 4 * 4  # h and c of each step at least


def test_a_large_graph_is_looked_at_while_it_grows() -> None:
    with profile() as p:
        x = mg.ones((), requires_grad=True)
        for _ in range(5000):
            x = x + 1.0
        del x  # and they are gone
    nodes = [sample.nodes for sample in p.memory]
    assert nodes == [1001, 3003, 0]


def test_steps_that_are_as_before_cost_no_look() -> None:
    w = mg.ones((2, 2), requires_grad=True)
    with profile() as p:
        for _ in range(6):
            x = w
            for _ in range(60):
                x = x * w
            x.sum().backward()
    assert rows(p)["profile itself, counting nodes"].calls == 6 + 4 + 1
    assert [sample.nodes for sample in p.memory] == [61, 0] * 6 + [0]


# Leaks ------------------------------------------------------------------------------------------------


class Loop:
    """Truncated backpropagation through time over unequal chunks."""

    def __init__(self) -> None:
        mg.manual_seed(0)
        self.lstm, self.out = nn.LSTM(3, 4), nn.Linear(4, 2)
        self.optimizer = optim.SGD([*self.lstm.parameters(), *self.out.parameters()], lr=0.01)
        self.chunks = [(mg.randn((n, 2, 3)), mg.zeros((n, 2, 2))) for n in (5, 3, 6, 4, 5, 2)]

    def learn(self, loss: Any, **options: Any) -> None:
        self.optimizer.zero_grad()
        loss.backward(**options)
        self.optimizer.step()


def forgotten(retain: bool = False, steps: bool = True) -> None:
    loop, state = Loop(), None
    for x, target in loop.chunks:
        h, state = loop.lstm(x, state)  # the culprit
        loss = F.mse_loss(loop.out(h), target)
        if steps:
            loop.learn(loss, retain_graph=retain)
        else:
            loss.backward(retain_graph=retain)


class Tagger(nn.Module):
    def __init__(self) -> None:
        self.lstm, self.out = nn.LSTM(3, 4), nn.Linear(4, 2)

    def forward(self, x: Any, state: Any) -> Any:
        h, state = self.lstm(x, state)
        return self.out(h), state


def forgotten_outside() -> None:
    model, hidden = Tagger(), None
    for x, target in Loop().chunks:
        y, hidden = model(x, hidden)  # the culprit
        F.mse_loss(y, target).backward(retain_graph=True)


def forgotten_by_hand() -> None:
    w, h = mg.ones((3, 3), requires_grad=True), mg.ones((2, 3))
    for _ in range(5):
        h = mg.tanh(h @ w)  # the culprit
        h.sum().backward(retain_graph=True)


def forgotten_in_a_stateful_layer() -> None:
    rnn = nn.Stateful(nn.RNN(3, 4))
    for _ in range(5):
        y = rnn.step(mg.ones((2, 3)))  # the culprit
        y.sum().backward(retain_graph=True)


def summed() -> None:
    loop, total = Loop(), 0.0
    for x, target in loop.chunks:
        loss = F.mse_loss(loop.out(loop.lstm(x)[0]), target)
        loop.learn(loss)
        total += loss  # the culprit


def summed_and_differentiated() -> None:
    loop, total = Loop(), mg.zeros(())
    for x, target in loop.chunks:
        loss = F.mse_loss(loop.out(loop.lstm(x)[0]), target)
        total = total + loss  # the culprit
        total.backward()


def listed() -> None:
    loop, losses = Loop(), []
    for x, target in loop.chunks:
        loss = F.mse_loss(loop.out(loop.lstm(x)[0]), target)  # the culprit
        loop.learn(loss)
        losses.append(loss)


def listed_seldom() -> None:
    loop, losses = Loop(), []
    for k, (x, target) in enumerate(loop.chunks * 7):
        loss = F.mse_loss(loop.out(loop.lstm(x)[0]), target)  # the culprit
        loop.learn(loss)
        if k % 10 == 0:
            losses.append(loss)


def on_one_line() -> None:
    lstm, state = nn.LSTM(3, 4), None
    for x, _ in Loop().chunks:
        y = x; h, state = lstm(y, state)  # fmt: skip # noqa: E702 # the culprit
        h.sum().backward(retain_graph=True)


CULPRIT = "# the culprit"
LEAKS = {
    "op by op": (lambda: forgotten(retain=True, steps=False), "state = mg.detach(state)"),
    "outside": (forgotten_outside, "hidden = mg.detach(hidden)"),
    "by hand": (forgotten_by_hand, "h = mg.detach(h)"),
    "stateful": (forgotten_in_a_stateful_layer, "call its detach() after each backward pass"),
    "summed": (summed, "total += loss.item()"),
    "listed": (listed, "losses.append(loss.item())"),
    "listed seldom": (listed_seldom, "losses.append(loss.item())"),
    "on one line": (on_one_line, "state = mg.detach(state)"),
}
FAILURES = {
    "freed": (forgotten, "state = mg.detach(state)"),
    "written": (lambda: forgotten(retain=True), "state = mg.detach(state)"),
    "summed": (summed_and_differentiated, "total += loss.item()"),
}


@pytest.mark.parametrize("name", LEAKS)
@pytest.mark.parametrize("fusing", [True, False])
def test_a_leak_is_found_with_its_line_and_cure(name: str, fusing: bool) -> None:
    function, cure = LEAKS[name]
    with pytest.warns(UserWarning, match="profile: The graph grows") as caught, mg.fusing(fusing), profile() as p:
        function()
    (leak,), (warning,) = p.leaks, caught
    assert CULPRIT in leak.line.text and cure in leak.cure
    assert (warning.filename, warning.lineno) == (__file__, leak.line.number)
    for text in (str(warning.message), str(p)):
        assert "grows from chunk to chunk" in text and CULPRIT in text and cure in text


@pytest.mark.parametrize("name", FAILURES)
def test_a_leak_that_makes_a_pass_fail_is_told_by_the_error(name: str) -> None:
    function, cure = FAILURES[name]
    with pytest.raises(RuntimeError) as caught, profile() as p:
        function()
    (note,) = caught.value.__notes__
    assert CULPRIT in note and cure in note and cure in str(p)
    assert rows(p)["mean"].calls == 2


def test_both_lines_are_named_the_outer_one_first() -> None:
    with pytest.warns(UserWarning, match="profile"), profile() as p:
        forgotten_outside()
    assert [line.function for line in p.leaks[0].lines] == ["forgotten_outside", "forward"]


def test_a_loop_of_evaluation_that_keeps_its_graphs() -> None:
    def evaluate() -> None:
        loop, total = Loop(), mg.zeros(())
        for x, target in loop.chunks:
            total = total + F.mse_loss(loop.out(loop.lstm(x)[0]), target)  # the culprit
            p.step()

    p = profile()
    with pytest.warns(UserWarning, match="of 6 chunks something is still held, made by add:"), p:
        evaluate()
    assert CULPRIT in p.leaks[0].line.text


def truncated() -> None:
    loop, state = Loop(), None
    for _ in range(2):
        for x, target in loop.chunks:
            h, state = loop.lstm(x, state)
            loop.learn(F.mse_loss(loop.out(h), target))
            state = mg.detach(state)


def evaluated() -> None:
    loop, state, losses = Loop(), None, []
    with mg.no_grad():
        for x, target in loop.chunks:
            h, state = loop.lstm(x, state)
            losses.append(F.mse_loss(loop.out(h), target))


def accumulated() -> None:
    loop = Loop()
    for _ in range(3):
        losses = []
        for x, target in loop.chunks:
            losses.append(F.mse_loss(loop.out(loop.lstm(x)[0]), target) / 6)
            losses[-1].backward()
        loop.optimizer.step()


def penalised() -> None:
    w = mg.ones((3, 3), requires_grad=True)
    for _ in range(6):
        x = mg.ones((2, 3), requires_grad=True)
        (g,) = mg.grad(mg.tanh(x @ w).sum(), x, create_graph=True)
        (g * g).sum().backward()


def differentiated_often() -> None:
    x = mg.tensor(2.0, requires_grad=True)
    for _ in range(2):
        y = x**7
        for _ in range(6):
            (y,) = mg.grad(y, x, create_graph=True)


def checkpointed() -> None:
    loop, state = Loop(), None
    for x, target in loop.chunks:
        h, state = mg.checkpoint(loop.lstm, x, state)
        loop.learn(F.mse_loss(loop.out(h), target))
        state = mg.detach(state)


def row_by_row() -> None:
    x = mg.ones(6, requires_grad=True)
    y = mg.tanh(x) * 2
    for i in range(6):
        mg.grad(y[i], x, retain_graph=True)


def in_windows() -> None:
    lstm, x, target = nn.LSTM(3, 4), mg.ones((20, 2, 3)), mg.zeros((20, 2, 4))
    for steps, output, _ in nn.utils.rnn.tbptt(lstm, x, k1=2, k2=6):
        F.mse_loss(output, target[steps]).backward()


def adversaries() -> None:
    maker, judge = nn.Linear(2, 2), nn.Linear(2, 1)
    for _ in range(6):
        made = maker(mg.ones((3, 2)))
        judge(mg.detach(made)).sum().backward()
        judge(made).sum().backward()


def with_garbage() -> None:
    """Cycles, which hold graphs until Python's collector comes."""
    for _ in range(6):
        holder: list[Any] = [mg.ones(2, requires_grad=True) * 2]
        holder.append(holder)
        holder[0].sum().backward()


def the_last_few() -> None:
    """What is kept is at most so much."""
    loop, losses = Loop(), []
    for x, target in loop.chunks * 3:
        losses = [*losses[-5:], F.mse_loss(loop.out(loop.lstm(x)[0]), target)]
        loop.learn(losses[-1])


def longer_and_longer() -> None:
    """Sequences that grow on purpose, with a state that is detached."""
    lstm, state = nn.LSTM(3, 4), None
    for length in range(1, 9):
        h, state = lstm(mg.ones((length, 2, 3)), mg.detach(state))
        h.sum().backward()


def with_a_new_module_each_time() -> None:
    """It holds its state, and nobody holds it."""
    lstm = nn.LSTM(3, 4)
    for _ in range(8):
        nn.Stateful(lstm)(mg.ones((2, 2, 3))).sum().backward()


HARMLESS = [
    *(truncated, evaluated, accumulated, penalised, differentiated_often, checkpointed, row_by_row, in_windows),
    *(adversaries, with_garbage, the_last_few, longer_and_longer, with_a_new_module_each_time),
]


@pytest.mark.parametrize("function", HARMLESS)
def test_no_false_alarms(function: Callable[[], None]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with profile() as p:
            function()
    assert p.leaks == [] and "!" not in str(p)


# The trace --------------------------------------------------------------------------------------------


def check_trace(document: Any) -> dict[str, list[dict[str, Any]]]:
    """Raise if this is not what the description of the format asks for; the events by their kind."""
    assert set(document) == {"traceEvents", "displayTimeUnit"} and document["displayTimeUnit"] in ("ms", "ns")
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for event in document["traceEvents"]:
        by_kind.setdefault(event["ph"], []).append(event)
        assert {"name", "ph", "ts", "pid", "tid", "args"} - set(event) <= ({"args"} if event["ph"] == "i" else set())
        assert isinstance(event["name"], str) and isinstance(event["pid"], int) and isinstance(event["tid"], int)
        assert isinstance(event["ts"], (int, float)) and event["ts"] >= 0
    assert set(by_kind) <= {"M", "X", "C", "i"}
    for event in by_kind["M"]:
        assert event["name"] in ("process_name", "thread_name", "thread_sort_index")
    for event in by_kind["X"]:
        assert event["dur"] >= 0 and isinstance(event["cat"], str) and isinstance(event["args"], dict)
    for event in by_kind.get("C", ()):
        assert event["args"] and all(isinstance(value, (int, float)) for value in event["args"].values())
    for event in by_kind.get("i", ()):
        assert event["s"] in ("g", "p", "t")
    for thread in {event["tid"] for event in by_kind["X"]}:  # what overlaps lies one in the other
        open_: list[float] = []
        for event in (e for e in by_kind["X"] if e["tid"] == thread):
            while open_ and open_[-1] <= event["ts"] + 1e-9:
                open_.pop()
            assert not open_ or event["ts"] + event["dur"] <= open_[-1] + 1e-6
            open_.append(event["ts"] + event["dur"])
    return by_kind


def test_the_trace_is_as_its_format_wants_it(device: str, tmp_path: Path) -> None:
    model = Speller()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with profile() as p:
        for _ in range(2):
            loss = model(mg.tensor([0, 1, 2])).sum()
            loss.backward()
            optimizer.step()
            loss.item()
            p.step()
    p.save(tmp_path / "trace.json")
    p.save(str(tmp_path / "trace.json.gz"))
    p.save(tmp_path / "profile.txt")
    text = (tmp_path / "trace.json").read_text()
    assert gzip.decompress((tmp_path / "trace.json.gz").read_bytes()).decode() == text.rstrip("\n")
    assert (tmp_path / "profile.txt").read_text() == f"{p}\n"
    events = check_trace(json.loads(text))
    spans = events["X"]
    names = [e["name"] for e in spans if e["cat"] != "kernel"]
    count = {name: names.count(name) for name in ("Speller", "lstm (LSTM)", "take", "SGD.step")}
    assert count == {"Speller": 2, "lstm (LSTM)": 2, "take": 2, "SGD.step": 2}
    assert [e["name"] for e in spans if e["cat"] == "module,backward"].count("Speller, backward") == 2
    take = next(e for e in spans if e["name"] == "take" and e["cat"] == "forward")
    outer = next(e for e in spans if e["name"] == "embed (Embedding)")
    assert outer["ts"] <= take["ts"] and take["ts"] + take["dur"] <= outer["ts"] + outer["dur"]
    assert take["args"]["bytes"] == 3 * 8 * 4 and take["args"]["line"].startswith(__file__)
    back = next(e for e in spans if e["name"] == "take, backward")
    assert back["cat"] == "backward" and back["args"]["node"] == take["args"]["node"]
    assert [e["name"] for e in events["i"]] == ["step 1", "step 2"]
    nodes = [e["args"]["nodes"] for e in events["C"] if e["name"] == "nodes of the graph"]
    assert nodes == [sample.nodes for sample in p.memory] and max(nodes) > 5
    if device == "strict":
        assert sum(e["cat"] == "kernel" for e in spans) == sum(row.launches for row in p.table().rows)
        assert sum(e["name"] == "to the host" for e in spans) == 2
    assert sum(e["dur"] for e in spans if e["cat"] == "optimizer") / 1e6 <= p.seconds


# Everything is as it was ------------------------------------------------------------------------------


def everything() -> dict[tuple[str, str], Any]:
    """All that has a name in minigrad, and in the classes of the device strict."""
    found: dict[tuple[str, str], Any] = {}
    owners: list[Any] = [m for name, m in sys.modules.items() if name.split(".")[0] == "minigrad"]
    for module in list(owners):
        owners += [c for c in vars(module).values() if isinstance(c, type) and c.__module__.startswith("minigrad")]
    for owner in [*owners, StrictArray, type(strict)]:
        for name, value in vars(owner).items():
            if not name.startswith("__") or name in (
                "__call__",
                "__getattr__",
                "__add__",
                "__getitem__",
                "__setitem__",
            ):
                found[f"{owner.__module__ if isinstance(owner, type) else ''}.{owner.__name__}", name] = value
    for name in ("from_host", "to_host", "synchronize", "zeros", "tanh", "module"):
        found["strict", name] = vars(strict).get(name)
    return found


KEPT = {"clock", "last_write", "_running", "decided", "_last", "__weakref__"}


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_put_back(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    run = model_step(1)
    run()
    with mg.use_device("strict"):
        model_step(1)()
    late = types.ModuleType("minigrad.late")
    monkeypatch.setitem(sys.modules, "minigrad.late", late)
    before = everything()
    node = tape.Node
    try:
        with profile():
            late.apply = tape.Primitive.apply  # type: ignore[attr-defined] # as a file does that is imported now
            assert (
                tape.Node is not node
                and vars(nn.Module)["__call__"] is not before["minigrad.nn.module.Module", "__call__"]
            )
            run()
            with mg.use_device("strict"):
                program()
            if fails:
                mg.ones((2, 3)) @ mg.ones((2, 3))
    except ValueError:
        assert fails
    after = everything()
    assert {k for k in before.keys() | after.keys() if before.get(k) is not after.get(k) and k[1] not in KEPT} <= {
        ("minigrad.late", "apply"),
        (".minigrad.late", "apply"),
    }
    assert type((mg.ones(2, requires_grad=True) * 2)._source[0]) is node  # type: ignore[index]


def test_a_profile_after_an_error_can_be_read() -> None:
    model = Speller()

    def fail() -> None:
        model(mg.tensor([0, 1]))
        mg.ones((2, 3)) @ mg.ones((2, 3))

    with pytest.raises(ValueError, match="matmul"), profile() as p:
        fail()
    assert rows(p, "module")["Speller"].calls == 1 and "matmul" not in rows(p)
    check_trace(p.trace())
    with profile() as again:
        program()
    assert rows(again)["tanh"].calls == 1


def test_a_graph_outlives_its_profile() -> None:
    x = mg.ones(3, requires_grad=True)
    with profile():
        y = (x * x).sum()
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2)  # type: ignore[union-attr]


def test_anomaly_mode_and_a_profile_go_together() -> None:
    with pytest.raises(mg.AnomalyError), profile() as p, mg.detect_anomaly():
        mg.log(mg.exp(mg.ones(2)) * 0)
    assert set(rows(p)) >= {"exp", "multiply"}


def test_who_is_interrupted_at_the_end_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    before = everything()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), profile():
        patch.setattr(Growth, "look", interrupted)
    after = everything()
    assert {k for k in before if before[k] is not after[k]} <= {k for k in before if k[1] in KEPT}
    with profile() as again:
        program()
    assert rows(again)["tanh"].calls == 1


# Errors, and how it is shown --------------------------------------------------------------------------


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    p = profile()
    assert "nothing has been measured yet" in str(p)
    with pytest.raises(RuntimeError, match=r"nothing has been measured yet; write with profile\(\) as p"):
        p.save(tmp_path / "x.json")
    with pytest.raises(RuntimeError, match="inside of the block"):
        p.step()
    with p:
        with pytest.raises(RuntimeError, match="another profile is running already"), profile():
            pass
        program()
        assert "has not ended yet" in str(p) and rows(p)["tanh"].calls == 1  # it may be read already
    with pytest.raises(RuntimeError, match="this one has run already"), p:
        pass
    with pytest.raises(ValueError, match='expected by="operation" or by="module", got \'layer\''):
        p.table("layer")
    with pytest.raises(ValueError, match=r"ends in \.json, \.json\.gz, \.txt, got '.*x\.svg'"):
        p.save(tmp_path / "x.svg")


def test_another_thread_cannot_begin_a_second_one() -> None:
    said: list[str] = []

    def second() -> None:
        try:
            with profile():
                pass
        except RuntimeError as error:
            said.append(str(error))

    with profile():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(said) == 1 and "another profile is running" in said[0]


def test_the_table_is_for_reading() -> None:
    with profile() as p:
        program()
    head, rule, *lines = str(p.table()).splitlines()
    assert head.split("  ")[0] == "operation" and set(rule) == {"─"}
    assert max(map(len, [head, *lines])) == len(rule)
    assert [line.split()[0] for line in lines][-2:] == ["─" * len(rule), "in"]
    assert "matmul" in str(p) and "copies" not in str(p)
    assert p.table()._repr_html_().count("<tr>") == len(lines)  # the rule is none, the head is one


def test_an_empty_block_takes_no_more_than_all_of_its_time() -> None:
    with profile() as p:
        pass
    assert sum(row.seconds for row in p.table().rows) == pytest.approx(p.seconds)
    assert "no module has run" in p._repr_html_() and "100.0%" in str(p)


def test_it_shows_itself_in_a_notebook() -> None:
    with pytest.warns(UserWarning, match="grows"), profile() as p:
        forgotten_by_hand()
    shown = p._repr_html_()
    assert shown.count("<table>") == 2 and "<pre>the graph, from beginning to end\n" in shown
    assert "in forgotten_by_hand\n      h = mg.tanh(h @ w)" in shown and "File &quot;" in shown


def test_shown_with_rich(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with profile() as p:
        program()
    pytest.importorskip("rich")
    monkeypatch.setenv("COLUMNS", "80")
    p.show()
    shown = capsys.readouterr().out
    assert all(row.name in shown for row in p.table().rows if row.kind == "forward") and "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(ImportError, match=r"profile.show\(\) needs the package rich: pip install rich"):
        p.show()


def test_marks_alone_say_where_steps_end() -> None:
    x, total = mg.tensor([1.0, 2.0], requires_grad=True), 0.0
    with warnings.catch_warnings(record=True, action="always") as told, profile() as p:
        for _ in range(8):
            loss = (x * x).sum()
            loss.backward()
            total = total + loss
            p.step()
    assert "of 8 chunks something is still held" in str(told[0].message)
    assert "loss.item()" in p.leaks[0].cure


def test_numbers_are_short() -> None:
    assert [milliseconds(s) for s in (0.0, 1.234e-5, 0.0012345, 0.12345, 12.0)] == [
        *("", "0.01 ms", "1.23 ms", "123 ms", "12,000 ms")
    ]
    assert [size(n) for n in (0, 40, 999, 1000, 123456, 99_960, 5e9)] == [
        *("", "40 B", "999 B", "1.0 kB", "123 kB", "100 kB", "5.0 GB")
    ]
    assert curve([0, 5, 10], [0, 4, 8], width=10) == "▁▁▁▁▁▅▅▅▅█"
