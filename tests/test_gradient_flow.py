"""How large gradients are, by layer and by time step: against `mg.grad`, and with rates that are known.

T: time steps   N: batch   D: input size   H: hidden size
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.inspect import gradient_flow
from minigrad.inspect.flowing.curves import curve
from minigrad.inspect.flowing.norms import Followed, Row
from minigrad.inspect.flowing.shown import NO_LOOP, GradientFlow
from minigrad.nn import functional as F

from .helpers import host

T, N, D, H = 12, 3, 4, 5


def norms(xs: list[mg.Tensor]) -> list[float]:
    return [float(np.linalg.norm(host(x).astype(np.float64))) for x in xs]


class Model(nn.Module):
    def __init__(self, make: Callable[..., Any] = nn.LSTM, layers: int = 1, **options: Any) -> None:
        self.rnn = make(D, H, layers, **options)
        self.output = nn.Linear(H, 2)

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        return self.output(self.rnn(x)[0])


def orthogonal(size: int, scale: float, seed: int = 0) -> np.ndarray[Any, Any]:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
    return scale * q


# By layer -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [nn.RNN, nn.LSTM, nn.GRU])
def test_norms_of_parameters_are_those_of_grad(device: str, make: Callable[..., Any]) -> None:
    model = Model(make, layers=2)
    loss = (model(mg.randn((T, N, D))) ** 2).mean()
    flow = gradient_flow(loss, model)
    named = dict(model.named_parameters())
    assert sorted(row.name for row in flow.parameters) == sorted(named)
    assert all(parameter.grad is None for parameter in named.values())
    loss.backward()  # the graph is whole
    for name, parameter in named.items():
        row = flow[name]
        assert row.shape == parameter.shape and row.reached
        assert row.gradient == pytest.approx(norms([parameter.grad])[0], rel=1e-4)
        assert row.value == pytest.approx(norms([parameter.detach()])[0], rel=1e-6)
        assert row.ratio == row.gradient / row.value
    assert flow.norm == pytest.approx(nn.utils.clip_grad_norm_(model.parameters(), 1e9).item(), rel=1e-4)
    assert list(flow.modules) == ["rnn", "output"] and flow.loss == pytest.approx(loss.item())
    assert flow.modules["output"] == pytest.approx(
        math.hypot(*(flow[f"output.{n}"].gradient for n in ("weight", "bias")))
    )


def test_leaves_without_a_module_and_parameters_that_no_gradient_reaches() -> None:
    w = mg.tensor([3.0, 4.0], requires_grad=True)
    model = nn.ModuleList([nn.Linear(2, 1), nn.Linear(2, 2)])
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    flow = gradient_flow((model[0](x * w)).sum(), {"w": w, "model": model, "other": 3})
    assert flow["w"].value == 5.0 and flow["w"].module == ""
    assert {row.name for row in flow.parameters} == {"w", "model.0.weight", "model.0.bias", "unnamed input 0"}
    assert flow.unreached == ["model.1.weight", "model.1.bias"]
    assert "model.1.weight" in str(flow) and "no gradient reaches it" in str(flow)
    assert flow.states == [] and NO_LOOP in str(flow) and NO_LOOP in flow._repr_html_()
    with pytest.raises(KeyError, match="there is no 'v'; expected one of .*'w'"):
        flow["v"]


# By time step -------------------------------------------------------------------------------------


@pytest.mark.parametrize("every_step", [True, False])
def test_a_loop_of_ones_own_against_grad_and_retain_grad(device: str, every_step: bool) -> None:
    w = mg.tensor(0.5 * np.random.default_rng(1).normal(size=(H, H)), requires_grad=True)
    x, h, states, total = mg.randn((T, N, H), dtype=mg.float64), mg.zeros((N, H), dtype=mg.float64), [], 0.0
    for t in range(T):
        h = mg.tanh(x[t] + h @ w)
        h.retain_grad()
        states.append(h)
        total = total + (h**2).sum() if every_step else (h**2).sum()
    flow = gradient_flow(total, {"w": w})
    (state,) = flow.states
    assert state.name == "loop h"
    np.testing.assert_allclose(state.norms, norms(list(mg.grad(total, states, retain_graph=True))))
    assert all(h.grad is None for h in states)
    total.backward()
    np.testing.assert_allclose(state.norms, norms([h.grad for h in states]))
    # What sets out from the last step alone.
    h, states = mg.zeros((N, H), dtype=mg.float64), []
    for t in range(T):
        h = mg.tanh(x[t] + h @ w)
        states.append(h)
    alone = norms(list(mg.grad((h**2).sum(), states)))
    np.testing.assert_allclose(np.exp(state.way), alone)
    assert state.factor == pytest.approx((alone[0] / alone[-1]) ** (1 / (T - 1)))


@pytest.mark.parametrize("make", [nn.RNN, nn.LSTM, nn.GRU, nn.PeepholeLSTM, nn.LayerNormLSTM])
def test_a_kernel_opened_is_the_same_as_op_by_op_and_as_steps(make: Callable[..., Any]) -> None:
    """A layer's states from its kernel, from its loop, and by mg.grad from Stateful steps."""
    mg.manual_seed(0)
    layer = make(D, H, dtype=mg.float64)
    x = mg.randn((T, N, D), dtype=mg.float64)

    def flow_of() -> GradientFlow:
        return gradient_flow((layer(x)[0] ** 2).sum(), {"rnn": layer})

    kernel = flow_of()
    with mg.fusing(False):
        plain = flow_of()
    short = ["c", "h"] if layer.has_memory else ["h"]
    assert [state.name for state in kernel.states] == [f"rnn.l0 {name}" for name in short]
    for a, b in zip(kernel.states, plain.states, strict=True):
        assert a.name == b.name and not a.backwards
        np.testing.assert_allclose(a.norms, b.norms, rtol=1e-10)
        np.testing.assert_allclose(a.way, b.way, rtol=1e-10)
    rnn, hs, loss = nn.Stateful(layer), [], 0.0
    for x_t in x:
        rnn.step(x_t)
        hs.append(rnn.state[0] if layer.has_memory else rnn.state)
        loss = loss + (hs[-1] ** 2).sum()
    np.testing.assert_allclose(kernel["rnn.l0 h"].norms, norms(list(mg.grad(loss, hs))), rtol=1e-10)


@pytest.mark.parametrize(("scale", "word"), [(2.0, "explodes"), (0.5, "vanishes"), (1.0, "steady")])
@pytest.mark.parametrize("every_step", [True, False])
def test_a_planted_rate_is_told(device: str, scale: float, word: str, every_step: bool) -> None:
    """h_t = x_t + h_{t-1} W, W orthogonal times a number: each step back is that number, exactly."""
    layer = nn.RNN(D, H, nonlinearity="relu", bias=False, dtype=mg.float64)
    layer.weight_hh_l0.detach()[...] = scale * mg.eye(H, dtype=mg.float64)  # positive, so that relu does nothing
    layer.weight_ih_l0.detach()[...] = 1.0
    output, _ = layer(mg.rand((30, N, D), dtype=mg.float64))
    loss = output.sum() if every_step else output[-1].sum()
    (state,) = gradient_flow(loss, layer).states
    assert state.factor == pytest.approx(scale)
    assert state.verdict.startswith(f"{word}: {scale:.3g} a step")
    if word == "steady":
        return
    assert state.verdict == f"{word}: {scale:g} a step, {scale**29:.0e} over 29"
    if not every_step:
        np.testing.assert_allclose(np.array(state.norms[:-1]) / state.norms[1:], scale)


def test_a_planted_rate_by_an_orthogonal_matrix() -> None:
    w = mg.tensor(orthogonal(H, 2.0), requires_grad=True)
    x, h = mg.randn((40, N, H), dtype=mg.float64), mg.zeros((N, H), dtype=mg.float64)
    for t in range(40):
        h = x[t] + h @ w
    (state,) = gradient_flow((h**2).sum(), {"w": w}).states
    assert state.factor == pytest.approx(2.0) and state.verdict == "explodes: 2 a step, 5e+11 over 39"


@pytest.mark.parametrize(
    ("scale", "told"),
    [
        (1e-3, "vanishes: 0.001 a step, 1e-147 over 49"),
        (1e3, "infinite at step 36, going back from 49; explodes: 1e+03 a step, 1e+147 over 49"),
    ],
)
def test_rates_beyond_float32(scale: float, told: str) -> None:
    """Where the gradient itself is 0 or infinite, its rate is known still."""
    w, h = mg.tensor([[scale]], requires_grad=True), mg.zeros((1, 1))
    for _ in range(50):
        h = h @ w
    (state,) = gradient_flow(h.sum(), {"w": w}).states
    assert state.verdict == told
    assert state.norms[0] == (0 if scale < 1 else math.inf)


def loop(of: Callable[..., mg.Tensor], x: list[float]) -> tuple[mg.Tensor, mg.Tensor]:
    """h_t = of(h_{t-1} w + x_t): w, and the last h."""
    w, h = mg.tensor([1.0, 1.0], requires_grad=True), mg.ones(2)
    for x_t in x:
        h = of(h * w + mg.tensor([x_t, 1.0]))
    return w, h


def test_the_first_nan_on_the_way_back_is_placed(device: str) -> None:
    """√ has no derivative at 0, which step 7 takes it of."""
    x = [0.0] * 12
    x[7], x[8] = -1.0, 1.0  # h is 1 before and after
    w, h = loop(mg.sqrt, x)
    (state,) = gradient_flow(h[1], {"w": w}).states
    assert state.wrong_at == 6 and state.verdict == "NaN at step 6, going back from 11"  # 0 times infinity
    assert math.isnan(state.norms[6]) and math.isfinite(state.norms[7])
    flow = gradient_flow((h * math.nan).sum(), {"w": w})
    assert flow.states[0].verdict == "NaN at step 11, going back from 11"
    assert "no finite numbers: w" in str(flow) and "!!!" in str(flow)


def test_where_nothing_comes_back_that_is_said(device: str) -> None:
    """A relu that is shut at step 4."""
    x = [0.0] * 12
    x[4], x[5] = -99.0, 1.0
    w, h = loop(mg.relu, x)
    (state,) = gradient_flow((h * mg.tensor([1.0, 0.0])).sum(), {"w": w}).states
    assert state.gone_at == 3 and state.verdict == "0 from step 3 on, going back from 11"
    assert curve(state.norms)[:4] == "····"


def test_layers_directions_and_running_totals(device: str) -> None:
    layer = nn.GRU(D, H, 2, bidirectional=True)
    output, _ = layer(mg.randn((T, N, D)))
    flow = gradient_flow((output[0] ** 2).sum(), {"gru": layer})  # the last step of what reads from the end
    backwards = flow["gru.l1_reverse h"]
    assert backwards.backwards and backwards.order == list(range(T))
    assert backwards.norms[0] == max(backwards.norms) and backwards.factor < 0.95
    names = [state.name for state in flow.states]
    assert names == ["gru.l0 h", "gru.l0_reverse h", "gru.l1 h", "gru.l1_reverse h"]
    assert flow["gru.l1 h"].verdict == "0 from step 11 on, going back from 11"
    cell, state, total = nn.LSTMCell(D, H), None, 0.0
    for x_t in mg.randn((T, N, D)):
        state = cell(x_t, state)
        total = total + state[0].sum()
    flow = gradient_flow(total, {"cell": cell})
    assert [each.name for each in flow.states] == ["cell c", "cell h"]


def test_the_forget_gate_is_the_rate_of_c() -> None:
    """Gates that do not look at h: c goes back by the forget gate alone."""
    layer = nn.LSTM(D, H, dtype=mg.float64)
    layer.weight_hh_l0.detach()[...] = 0.0
    layer.weight_ih_l0.detach()[...] = 0.0
    layer.bias_hh_l0.detach()[...] = 0.0
    layer.bias_ih_l0.detach()[...] = 0.0
    layer.bias_ih_l0.detach()[H : 2 * H] = math.log(0.8 / 0.2)
    output, _ = layer(mg.randn((T, N, D), dtype=mg.float64))
    flow = gradient_flow(output[-1].sum(), layer)
    c = next(state for state in flow.states if state.name.endswith(" c"))
    assert c.factor == pytest.approx(0.8) and "vanishes: 0.8 a step" in c.verdict


def test_an_explosion_is_told_first() -> None:
    layer = nn.RNN(D, H, nonlinearity="relu", bias=False, dtype=mg.float64)
    layer.weight_hh_l0.detach()[...] = 2 * mg.eye(H, dtype=mg.float64)
    layer.weight_ih_l0.detach()[...] = 1.0  # relu does nothing
    flow = gradient_flow(layer(mg.rand((30, N, D), dtype=mg.float64))[0][-1].sum(), layer)
    assert str(flow).splitlines()[1] == "! RNN.l0 h explodes: 2 a step, 5e+08 over 29"
    assert "<h2>RNN.l0 h explodes: 2 a step, 5e+08 over 29</h2>" in flow.html()
    assert "!" not in str(shown()) and "<h2>" not in shown().html()


# Shown --------------------------------------------------------------------------------------------


def shown() -> GradientFlow:
    mg.manual_seed(0)
    model = Model(nn.LSTM, layers=2)
    return gradient_flow((model(mg.randn((T, N, D)))[-1] ** 2).sum(), model)


def test_as_text() -> None:
    flow = shown()
    lines = str(flow).splitlines()
    assert lines[0] == f"loss {flow.loss:.6g}, norm of the whole gradient {flow.norm:.3g}"
    row = flow["rnn.weight_hh_l1"]
    (line,) = [line for line in lines if "rnn.weight_hh_l1" in line]
    assert line.split()[:6] == [
        "rnn.weight_hh_l1",
        "(20,",
        "5)",
        f"{row.gradient:.3g}",
        f"{row.value:.3g}",
        f"{row.ratio:.1e}",
    ]
    for state in flow.states:
        (line,) = [line for line in lines if line.startswith(state.name + " ")]
        assert line.endswith(state.verdict) and curve(state.norms) in line
    assert (
        len([line for line in lines if re.match("rnn|output", line) and " h " not in line and " c " not in line]) == 2
    )


def test_as_html_and_as_a_picture(tmp_path: Path) -> None:
    flow = shown()
    page = flow.save(tmp_path / "flow.html").read_text(encoding="utf-8")
    assert page == flow.save(tmp_path / "again.html").read_text(encoding="utf-8")
    for row in flow.parameters:
        assert f'<th scope="row">{row.name}</th><td>{row.shape}</td><td>{row.gradient:.3g}</td>' in page
    for state in flow.states:
        assert f"<td>{state.verdict}</td>" in page
    assert flow._repr_html_().startswith("<style>") and "http" not in page
    figure = flow.plot(tmp_path / "flow.svg")
    bars, lines = figure.axes
    assert [text.get_text() for text in bars.get_yticklabels()] == [row.name for row in flow.parameters]
    np.testing.assert_allclose([bar.get_width() for bar in bars.patches], [row.ratio for row in flow.parameters])
    assert lines.get_yscale() == "log"
    drawn = {line.get_label(): line.get_ydata() for line in lines.lines}
    for state in flow.states:
        np.testing.assert_allclose(drawn[f"{state.name}: {state.verdict}"], state.norms)
    first = (tmp_path / "flow.svg").read_bytes()
    flow.save(tmp_path / "flow.svg")
    assert first == (tmp_path / "flow.svg").read_bytes()
    assert flow.save(tmp_path / "flow.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match=r"expected a file named .png, .svg, .pdf, .html, got 'flow.txt'"):
        flow.save(tmp_path / "flow.txt")


def test_what_is_no_number_can_be_drawn() -> None:
    rows = [Row("a", (2,), math.nan, 1.0), Row("b", (2,), 0.0, 0.0, False), Row("c", (2,), 1.0, 0.0)]
    state = Followed("loop h", [math.nan, 0.0, 1.0], [math.nan, -math.inf, 0.0])
    flow = GradientFlow(math.nan, rows, [state], [])
    assert [row.ratio for row in rows][1:] == [0.0, math.inf] and math.isnan(rows[0].ratio)
    flow.plot().draw_without_rendering()
    assert all("no finite numbers: a" in told for told in (str(flow), flow.html()))
    assert "!·█" in str(flow) and "NaN at step 0" in flow._repr_html_()


def test_a_bias_of_zeros_is_no_alarm() -> None:
    b = mg.zeros(2, requires_grad=True)
    flow = gradient_flow(((b + 1) ** 2).sum(), {"b": b})
    (line,) = [line for line in str(flow).splitlines() if line.startswith("b ")]
    assert line.split()[-3:] == ["2.83", "0", "inf"] and "<td>inf</td>" in flow.html() and "!" not in flow.html()


# Errors -------------------------------------------------------------------------------------------


def test_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(TypeError, match="gradient_flow: expected a Tensor that was computed"):
        gradient_flow(1.0)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="gradient_flow: .* a leaf"):
        gradient_flow(x)
    with pytest.raises(RuntimeError, match="gradient_flow: expected a scalar to go backward from"):
        gradient_flow(x * 2)
    loss = (x * x).sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="gradient_flow: the graph of this tensor was freed"):
        gradient_flow(loss)
    with pytest.raises(TypeError, match="gradient_flow: expected names to be a module, or a mapping"):
        gradient_flow((x * x).sum(), names=[x])
    flow = gradient_flow((x * x).sum())
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match="pip install Jinja2"):
        flow.html()


def test_grad_hooks_and_graph_are_left_alone() -> None:
    model, seen = Model(), []
    for parameter in model.parameters():
        parameter.register_hook(lambda g: seen.append(g))
    loss = F.cross_entropy(model(mg.randn((T, N, D))).reshape(-1, 2), mg.tensor([0] * (T * N)))
    first, second = str(gradient_flow(loss, model)), str(gradient_flow(loss, model))
    assert first == second and not seen and all(p.grad is None for p in model.parameters())
    loss.backward()
    assert len(seen) == len(list(model.parameters()))


def test_a_loop_over_numbers() -> None:
    """States without axes: h' = 2 h, whose gradient doubles at each step on its way back."""
    h, w = (mg.tensor(x, dtype=mg.float64, requires_grad=True) for x in (0.5, 2.0))
    for _ in range(10):
        h = h * w + h * 0.0
    (state,) = gradient_flow(h, names={"w": w}).states
    assert state.factor == pytest.approx(2.0)
    assert state.norms == pytest.approx([2.0**k for k in range(9, -1, -1)])
