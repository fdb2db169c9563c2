"""explain: the story of a computation, a primitive's formulas, a module's equations, and the pages they make."""

from __future__ import annotations

import html.parser
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.backend import namespace_of
from minigrad.inspect import explain
from minigrad.inspect.explaining.modules import blocks_of
from minigrad.inspect.explaining.notation import text
from minigrad.inspect.explaining.reading import Reader
from minigrad.inspect.explaining.story import Story
from minigrad.inspect.shown import short
from minigrad.nn import functional as F
from minigrad.ops.primitive import INPUTS, elementwise, registry

LETTERS, TEXT = "ehlo", "hello"


def hello(length: int = 4) -> tuple[mg.Tensor, nn.ModuleList]:
    """The loss of the README's LSTM that learns to spell, and its modules."""
    mg.manual_seed(0)
    ids = mg.tensor([LETTERS.index(TEXT[k % 5]) for k in range(length + 1)])
    model = nn.ModuleList([nn.Embedding(4, 8), nn.LSTM(8, 16), nn.Linear(16, 4)])
    embed, lstm, output = model
    with mg.fusing(True):  # by operation the gates are split otherwise
        h, _ = lstm(embed(ids[:-1]))
    return F.cross_entropy(output(h), ids[1:]), model


def told(length: int = 4, **options: Any) -> Story:
    loss, (embed, lstm, output) = hello(length)
    found = explain(loss, names={"embed": embed, "lstm": lstm, "output": output, "loss": loss}, **options)
    assert isinstance(found, Story)
    return found


def lines(story: Any) -> list[str]:
    """Its lines, with single spaces."""
    return [" ".join(line.replace("│", "").split()) for line in str(story).splitlines()]


# Stories ------------------------------------------------------------------------------------------


def test_the_story_of_hello() -> None:
    found = lines(told())
    assert re.fullmatch(r"loss = 1\.\d+, computed by 66 operations from 7 parameters and 2 arrays of data", found[0])
    for expected in [
        "take v1 = take(embed.weight, [1 0 2 2], axis=0) (4, 8) from",
        "linear v7 = v2 lstm.weight_ih_l0ᵀ + v5 (4, 1, 64) from",
        "14 operations × 4",
        "each round handing on v25 and v28 (their names in round 0)",
        "sigmoid v19 = σ(v16) (1, 16) from",
        "add v25 = v21 + v24 (1, 16) from",
        "rounds 1 to 3 likewise",
        "linear v75 = v72 output.weightᵀ + output.bias (4, 4) from",
        "mean loss = mean(v76) 1.",
        "→ output.weight: gᵀ v72 (4, 16) from",
        "→ output.bias: Σ₀(g) (4,) [",
        "multiply g = ∂v28, the sum of 2, from 61 and 19 (1, 16)",
        "→ v25: g ⊙ (1 − v27²) (1, 16)",
        "→ v18: g ⊙ v26 ⊙ (1 − v26) (1, 16)",
        "→ embed.weight: segment_sum(g, [1 0 2 2], size=4) (4, 8)",
        "lstm.weight_hh_l0 (64, 16) from",
    ]:
        assert any(expected in line for line in found), expected
    assert found.index("embed") < found.index("lstm") < found.index("output")


def test_forward_comes_before_backward_and_the_sweep_goes_back() -> None:
    found = told().opened()
    numbers = [line.number for line in found.forward() if hasattr(line, "number") and hasattr(line, "formula")]
    back = [line.number for line in found.backward() if hasattr(line, "sent")]
    assert numbers == list(range(66))
    assert back == sorted(back, reverse=True)
    assert set(back) == set(numbers)


def test_the_gradients_of_the_leaves_are_those_of_backward() -> None:
    loss, model = hello()
    story = explain(loss, names=model)
    assert all(parameter.grad is None for parameter in model.parameters())
    loss.backward()
    gradients = {leaf.value.name: leaf.gradient for leaf in story.leaves}
    parameters = dict(model.named_parameters())
    assert gradients.keys() == parameters.keys()
    for path, parameter in parameters.items():
        np.testing.assert_allclose(gradients[path], parameter.grad.data, rtol=1e-5, atol=1e-7)
    (shown,) = [line for line in lines(story)[-7:] if line.startswith("2.bias")]
    assert short(parameters["2.bias"].grad.data) in shown


def test_what_is_sent_adds_up_to_what_is_received() -> None:
    story = told()
    sent: dict[int, Any] = {}
    for passage in story.sweep.passages:
        for value, g in zip(passage.operation.inputs, passage.sent, strict=True):
            if g is not None:
                sent[value.number] = sent.get(value.number, 0) + g
    for value, g in story.sweep.gradients.items():
        if value is not story.computation.result:
            np.testing.assert_allclose(sent[value.number], g, rtol=1e-5, atol=1e-8)


def test_rounds_are_folded_and_opened() -> None:
    folded, all_of_it, some = told(50), told(50, open=True), told(50).opened(0, -1)
    assert "14 operations × 50" in str(folded)
    assert len(lines(folded)) < 140 < 2000 < len(lines(all_of_it))
    assert any("… 47 more likewise" in line for line in lines(folded))
    assert [line for line in lines(folded) if line.startswith("round ")] == ["round 0"] * 2
    assert [line for line in lines(some) if line.startswith("round ")] == ["round 0", "round 49", "round 49", "round 0"]
    assert any("rounds 1 to 48 likewise" in line for line in lines(some))
    assert any("rounds 48 to 1 likewise" in line for line in lines(some))
    assert not any("rounds" in line and "likewise" in line for line in lines(all_of_it))
    assert any("v8, v9, …, v57 = v7[0], v7[1], …, v7[49]" in line for line in lines(folded))


def test_a_round_says_which_module_each_operation_ran_in() -> None:
    cell, out = nn.RNNCell(2, 3), nn.Linear(3, 1)
    state, loss = None, mg.tensor(0.0)
    for x in mg.ones((4, 1, 2)):
        state = cell(x, state)
        loss = loss + out(state).sum()
    story = explain(loss, names={"cell": cell, "out": out})
    assert isinstance(story, Story)
    found = lines(story)
    forward, backward = found[: found.index("")], found[found.index("Forward") :]
    forward, backward = (part.splitlines() for part in "\n".join(backward).split("\n\nBackward"))
    where = [line for line in forward if line in ("cell", "out", "(outside of modules)", "round 0")]
    assert where == ["round 0", "cell", "out", "(outside of modules)"]
    where = [line for line in backward if line in ("cell", "out", "(outside of modules)", "round 0")]
    assert where == ["round 0", "out", "cell"]
    page = story.html()
    assert page.count("<details") == page.count("</details>") == 8
    assert page.index("<summary>round 0") < page.index(">cell</h3>") < page.index(">out</h3>")


def test_several_contributions_to_one_value() -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    y = (x * x + mg.exp(x)).sum()
    found = lines(explain(y, names={"x": x}))
    assert any("multiply v1 = x²" in line for line in found)
    assert found.count("→ x: g ⊙ x (2,) [1 2]") == 2
    assert found[-1].endswith("(the sum of 3, from 1, 0 and 0)")


def test_numbers_and_names_are_filled_in() -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    g = mg.tensor([3.0, 4.0], requires_grad=True)  # a name that formulas use otherwise
    found = lines(explain((2 * x / (g + 1) - 0.5).sum(), names={"x": x, "g": g}))
    assert any("multiply v2 = 2 x" in line for line in found)
    assert any("add v5 = g′ + 1" in line for line in found)
    assert "g′ (2,) [3 4]" in found
    assert any("divide v6 = v2 / v5" in line for line in found)
    assert any("→ v5: −g ⊙ v2 / v5² (2,)" in line for line in found)


def test_a_gradient_to_start_from() -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    found = lines(explain(x * x, gradient=mg.tensor([1.0, 10.0])))
    assert "it begins with the gradient (2,) [1 10] of v1" in found
    assert found[-1] == "v0 (2,) [2 40] (the sum of 2, both from 0)"


def test_a_formula_that_cannot_be_read_is_its_docstrings() -> None:
    x = mg.randn((1, 1, 4, 4), requires_grad=True)
    found = lines(explain(nn.MaxPool2d(2)(x).sum()))
    called = "take_from_windows v2 = take_from_windows(v1, integers (1, 2, 2, 1), size=(2, 2), "
    assert any(called + "stride=(2, 2), dilation=(1, 1), axis=1)" in line for line in found)
    assert any("y[a, w, b] = entry which[a, w, b] of the window w of x[a, :, b]" in line for line in found)


def test_lines_of_the_program_in_anomaly_mode() -> None:
    with mg.detect_anomaly():
        x = mg.tensor([1.0, 2.0], requires_grad=True)
        y = mg.tanh(x).sum()
    assert "test_explain.py" in str(explain(y))


def test_a_line_of_the_program_is_one_line() -> None:
    with mg.detect_anomaly():
        y = mg.tanh(mg.tensor([1.0, 2.0], requires_grad=True)).sum()
    (line,) = {line for line in lines(explain(y)) if "test_explain.py" in line}
    assert line.endswith("y = mg.tanh(mg.tensor([1.0, 2.0], requires_grad=True)).sum()")


def test_names_that_numbered_values_have_too() -> None:
    v2, w = mg.tensor([1.0, 2.0], requires_grad=True), mg.tensor([3.0, 2.0], requires_grad=True)
    found = lines(explain((v2 * 2 + w).sum(), names={"v2": v2, "w": w}))
    assert "v2′ (2,) [1 2]" in found
    assert any(line.startswith("0 multiply v2 = 2 v2′") for line in found)
    assert any(line.startswith("1 add v4 = v2 + w") for line in found)


def test_on_another_device() -> None:
    with mg.use_device("strict"):
        loss, model = hello()
        story = explain(loss, names=model)
        assert "sigmoid" in str(story)
        assert "(4, 8) from" in story.markdown()
    on_cpu, of_cpu = hello()
    expected = {leaf.value.name: leaf.gradient for leaf in explain(on_cpu, names=of_cpu).leaves}
    for leaf in story.leaves:
        found = namespace_of(leaf.gradient).to_host(leaf.gradient)
        np.testing.assert_allclose(found, expected[leaf.value.name], rtol=1e-4, atol=1e-7)


def test_the_same_story_each_time() -> None:
    assert str(told()) == str(told())
    assert told().markdown() == told().markdown()


# Errors -------------------------------------------------------------------------------------------


def test_what_cannot_be_explained() -> None:
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="explain: .* is a leaf: it was made, not computed.*Give the result"):
        explain(x)
    with pytest.raises(RuntimeError, match="explain: .* is not recorded"):
        explain(mg.tensor([1.0]) * 2)
    with pytest.raises(RuntimeError, match="explain: expected a scalar to go backward from.*pass gradient="):
        explain(x * x)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="explain: the graph of this tensor was freed.*retain_graph=True"):
        explain(y)
    with pytest.raises(TypeError, match="explain: expected a Tensor that was computed .* got int"):
        explain(3)
    with pytest.raises(TypeError, match="give it an example of what it is called on"):
        explain(F.cross_entropy)
    with pytest.raises(TypeError, match="tanh takes the inputs x, got 2"):
        explain(mg.tanh, x, x)
    with pytest.raises(TypeError, match="it has to run: pass an example"):
        explain(nn.Sequential(nn.Linear(2, 3)))
    with pytest.raises(TypeError, match="open is for the story of a tensor; got tanh"):
        explain(mg.tanh, open=True)
    with pytest.raises(TypeError, match="axis is for a primitive; got LSTM"):
        explain(nn.LSTM, axis=1)
    with pytest.raises(TypeError, match="a tensor's story takes no inputs"):
        explain((x * x).sum(), x)
    with pytest.raises(TypeError, match="cannot make a ModuleThatNeeds without arguments"):
        explain(ModuleThatNeeds)


class ModuleThatNeeds(nn.Module):
    def __init__(self, size: int) -> None:
        self.size = size


def test_rounds_that_are_not_there() -> None:
    with pytest.raises(ValueError, match="has the rounds 0 to 3; got 4"):
        told(open=(0, 4))
    with pytest.raises(TypeError, match="expected open as True, False or the numbers of rounds"):
        told(open=2.5)
    with pytest.raises(ValueError, match="it has no loop; got 1"):
        explain((mg.ones(2, requires_grad=True) * 2).sum(), open=(1,))


@pytest.mark.parametrize("wrong", ["all", (0.5,), None])
def test_rounds_are_whole_numbers(wrong: Any) -> None:
    with pytest.raises(TypeError, match="expected open as True, False or the numbers of rounds"):
        told(open=wrong)


def test_an_unknown_ending(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in one of \.html, \.md, \.txt, got .*story\.pdf"):
        told().save(tmp_path / "story.pdf")


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert "Forward" in str(told())
    assert "### Forward" in told().markdown()
    with pytest.raises(ImportError, match=r"needs the package Jinja2: pip install Jinja2"):
        told().html()


@pytest.mark.parametrize("missing", ["jinja2", "latex2mathml"])
def test_a_missing_package_of_a_page(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    import sys

    from minigrad.inspect.explaining import page

    for known in [m for m in sys.modules if m.startswith(f"{missing}.")]:
        monkeypatch.delitem(sys.modules, known)
    monkeypatch.setitem(sys.modules, missing, None)
    page._drawn.cache_clear()
    with pytest.raises(
        ImportError, match=r"explain\(...\).html\(\) needs the package (Jinja2|latex2mathml): pip install"
    ):
        told().html()


# Primitives ---------------------------------------------------------------------------------------


def test_a_primitive() -> None:
    assert str(explain(mg.tanh)).splitlines() == [
        "tanh: an elementwise primitive, of minigrad.ops.elementwise",
        "    stated    y = tanh x          dy/dx = 1 - y²",
        "    computes  y = tanh(x)",
        "    ∂L/∂x     g ⊙ (1 − y²)      (g is the incoming gradient, ∂L/∂y)",
        "    saves     y, the output",
        "    read on   x (2, 3)",
    ]


@pytest.mark.parametrize(
    ("what", "parameters", "expected"),
    [
        (mg.matmul, {}, ["out = x y", "∂L/∂x g yᵀ", "∂L/∂y xᵀ g", "saves x if y needs a gradient, y if x does"]),
        (mg.sum, {"axis": 0}, ["y = Σ₀(x)", "∂L/∂x broadcast_to(g[None], (2, 3))"]),
        (mg.take, {}, ["∂L/∂x segment_sum(g, [1 0 1], size=4)"]),
        (mg.where, {}, ["∂L/∂condition none: no gradient flows through it", "domain of condition true or false"]),
        (mg.divide, {}, ["domain of y tried from -3 to 3, without 0, where it has no derivative"]),
        (mg.split, {}, ["y₀, y₁, y₂ = x[0:2], x[2:4], x[4:6]", "∂L/∂x concatenate([g₀, g₁, g₂])"]),
    ],
    ids=["matmul", "sum", "take", "where", "divide", "split"],
)
def test_primitives(what: Any, parameters: dict[str, Any], expected: list[str]) -> None:
    found = "\n".join(lines(explain(what, **parameters)))
    for line in expected:
        assert line in found


def test_conversions_name_their_dtypes() -> None:
    found = "\n".join(lines(explain(mg.ops.primitive.registry["astype"])))
    assert "computes y = float32(x)" in found
    assert "∂L/∂x float64(g)" in found


def test_inputs_and_parameters_that_do_not_fit_a_primitive() -> None:
    with pytest.raises(ValueError, match="matmul"):
        explain(mg.matmul, mg.ones((2, 3)), mg.ones((2, 3)))
    with pytest.raises(TypeError, match="tanh: expected Tensors, arrays or numbers, got list"):
        explain(mg.tanh, [1.0, 2.0])
    with pytest.raises(TypeError, match="explain: tanh has no parameter axis; its parameters: none"):
        explain(mg.tanh, axis=1)


def test_a_primitive_that_states_nothing() -> None:
    @elementwise(saves=INPUTS)
    def silent(xp, x):  # type: ignore[no-untyped-def]
        return 2 * x if x.all() else x

    silent.derivatives(lambda xp, g, y, x: g * x)
    try:
        sheet = str(explain(silent))
        assert "stated" not in sheet
        assert "computes ? (its code cannot be read: it decides by the values of an array)" in " ".join(sheet.split())
        story = lines(explain(silent(mg.ones(2, requires_grad=True)).sum()))
        assert "its code cannot be read: it decides by the values of an array" in story
    finally:
        del registry["silent"]


def test_a_primitive_on_ones_own_shapes() -> None:
    found = "\n".join(lines(explain(mg.multiply, mg.zeros((4, 3)), mg.zeros(3))))
    assert "∂L/∂y Σ₀(g ⊙ x)" in found
    assert "read on x (4, 3), y (3,)" in found


# Modules ------------------------------------------------------------------------------------------


def equations(module: Any, *inputs: Any) -> list[str]:
    return [line.said(text) for block in blocks_of(module, inputs) for line in block.equations.lines]


LSTM = [
    "i, f, g, o = split(W_hh h_{t−1} + W_ih x_t + b_ih + b_hh, 4, axis=−1)",
    "c_t = σ(f) ⊙ c_{t−1} + σ(i) ⊙ tanh(g)",
    "h_t = σ(o) ⊙ tanh(c_t)",
]


def test_the_equations_of_an_lstm() -> None:
    assert equations(nn.LSTM(3, 4)) == LSTM
    assert equations(nn.LSTMCell(3, 4)) == LSTM
    assert equations(nn.LSTM(3, 4, proj_size=2)) == [*LSTM[:2], "h_t = W_hr (σ(o) ⊙ tanh(c_t))"]
    found = lines(explain(nn.LSTM))
    assert found[0] == "LSTM(3, 4), made small to be explained"
    assert found[3:6] == LSTM
    assert "W_hh weight_hh_l0 (16, 4)" in found


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.RNN(3, 4), "h_t = tanh(W_hh h_{t−1} + W_ih x_t + b_ih + b_hh)"),
        (nn.RNN(3, 4, nonlinearity="relu"), "h_t = max(W_hh h_{t−1} + W_ih x_t + b_ih + b_hh, 0)"),
        (nn.RNN(3, 4, bidirectional=True), "h_t = tanh(W_hh h_{t+1} + W_ih x_t + b_ih + b_hh)"),
        (nn.GRU(3, 4), "n = tanh(n_x + r ⊙ n_h)"),
        (nn.GRU(3, 4), "h_t = n + z ⊙ (h_{t−1} − n)"),
        (nn.GRU(3, 4, reset_after=False), "n = tanh(w_n (r ⊙ h_{t−1}) + n_x)"),
        (nn.GRUCell(3, 4), "r, z = split(σ(rz_x + rz_h), 2, axis=−1)"),
        (nn.PeepholeLSTM(3, 4), "h_t = σ(o + p_o ⊙ c_t) ⊙ tanh(c_t)"),
        (nn.LayerNormLSTM(3, 4), "h_t = σ(o) ⊙ tanh(γ_c ⊙ ((c_t − mean₋₁(c_t)) / √(var₋₁(c_t) + 1e-05)) + b_c)"),
        (nn.Linear(3, 2), "y = W x + b"),
        (nn.Linear(3, 2, bias=False), "y = W x"),
        (nn.Embedding(5, 3), "y = take(W, ids, axis=0)"),
        (nn.LayerNorm(4), "y = centred ⊙ (1 / √(mean₋₁(centred²) + 1e-05)) ⊙ W + b"),
        (nn.SiLU(), "y = x ⊙ σ(x)"),
        (nn.ELU(), "y = x where x > 0, else expm1(min(x, 0))"),
    ],
    ids=lambda value: repr(value) if isinstance(value, nn.Module) else "",
)
def test_equations(module: nn.Module, expected: str) -> None:
    assert expected in equations(module)


MODULES = [
    nn.RNN(3, 4, dtype=mg.float64),
    nn.RNN(3, 4, nonlinearity="relu", bias=False, dtype=mg.float64),
    nn.LSTM(3, 4, dtype=mg.float64),
    nn.LSTM(3, 4, proj_size=2, dtype=mg.float64),
    nn.GRU(3, 4, dtype=mg.float64),
    nn.GRU(3, 4, reset_after=False, dtype=mg.float64),
    nn.LayerNormLSTM(3, 4, dtype=mg.float64),
    nn.PeepholeLSTM(3, 4, dtype=mg.float64),
    nn.LSTM(3, 4, num_layers=2, bidirectional=True, dtype=mg.float64),
]


@pytest.mark.parametrize("module", MODULES, ids=repr)
def test_the_equations_give_what_the_layer_gives(module: Any) -> None:
    """Read at one time step, and computed by NumPy over a whole sequence, with other weights than at the reading."""
    blocks = blocks_of(module, ())
    with mg.no_grad():
        for k, parameter in enumerate(module.parameters()):
            parameter[...] = mg.tensor(np.random.default_rng(k).normal(size=parameter.shape) / 2, dtype=mg.float64)
    x = np.random.default_rng(9).normal(size=(5, 3))
    expected, _ = module(mg.tensor(x, dtype=mg.float64))
    rows, waiting = x, []
    for block in blocks:
        weights = {symbol: getattr(module, path).data for symbol, path in block.legend}
        waiting.append(over_time(block, weights, rows, module))
        if len(waiting) == 1 + module.bidirectional:
            rows, waiting = np.concatenate(waiting, axis=-1), []
    np.testing.assert_allclose(rows, expected.data, rtol=1e-12, atol=1e-12)


def over_time(block: Any, weights: dict[str, Any], rows: Any, module: Any) -> Any:
    """h at each time step, by the equations of one layer in one direction."""
    backwards = "{t+1}" in " ".join(block.equations.arrays)
    before = "{t+1}" if backwards else "{t−1}"
    state = [np.zeros(n) for n in (module.h_size, module.hidden_size)]
    found = []
    for x_t in rows[::-1] if backwards else rows:
        known = {"x_t": x_t, f"h_{before}": state[0], f"c_{before}": state[1]}
        state = (block.equations.evaluate(weights | known) + state[1:])[:2]
        found.append(state[0])
    return np.stack(found[::-1] if backwards else found)


def test_modules_on_another_device() -> None:
    kinds = [nn.LSTM, nn.GRUCell, nn.LayerNormLSTM, nn.Linear, nn.Embedding, nn.Conv2d, nn.MaxPool2d, nn.ELU]
    expected = [str(explain(kind)) for kind in kinds]
    with mg.use_device("strict"):
        assert [str(explain(kind)) for kind in kinds] == expected
        rows = mg.tensor([0, 1]).data
        assert "segment_sum(g, [0 1], size=3)" in str(explain(mg.take, mg.zeros((3, 4)), indices=rows, axis=0))


def test_another_cell_has_other_equations(monkeypatch: pytest.MonkeyPatch) -> None:
    def leaky(x: Any, state: Any, hh: Any) -> Any:
        h, c = state
        gate = mg.sigmoid(x + h @ hh.weight.T)
        i, f, g, o = mg.split(gate, 4, axis=-1)
        c = f * c + i * g
        return o * c, c

    monkeypatch.setattr(nn.LSTM, "cell", lambda self: leaky)
    assert equations(nn.LSTM(3, 4)) == [
        "i, f, g, o = split(σ(W_ih x_t + b_ih + b_hh + W_hh h_{t−1}), 4, axis=−1)",
        "c_t = f ⊙ c_{t−1} + i ⊙ g",
        "h_t = o ⊙ c_t",
    ]


class Speller(nn.Module):
    def __init__(self) -> None:
        self.embed, self.rnn, self.output = nn.Embedding(4, 3), nn.RNN(3, 5), nn.Linear(5, 4)

    def forward(self, ids: Any) -> Any:
        return self.output(self.rnn(self.embed(ids))[0])


def test_a_module_of_modules() -> None:
    mixed = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    assert equations(mixed, mg.zeros(3)) == ["y = 2.weight tanh(0.weight x + 0.bias) + 2.bias"]
    blocks = blocks_of(Speller(), (mg.tensor([0, 1, 2]),))
    assert [block.heading.partition(":")[0] for block in blocks] == ["embed", "rnn", "output"]
    assert [line.said(text) for line in blocks[1].equations.lines] == [
        "h_t = tanh(W_hh h_{t−1} + W_ih x_t + b_ih + b_hh)"
    ]


def test_a_long_function_is_told_in_several_lines() -> None:
    def long(x: mg.Tensor) -> mg.Tensor:
        for _ in range(2000):
            x = mg.tanh(0.5 * x)
        return x

    found = lines(explain(long, mg.ones(2)))
    assert found[3].startswith("u = 0.5 tanh(0.5 tanh(")
    assert any(line.startswith("y = tanh(0.5 ") for line in found)
    assert max(map(len, found)) < 1000


def test_explaining_draws_no_random_numbers() -> None:
    before = mg.get_rng_state()
    explain(nn.LSTM)
    explain(nn.Dropout(0.5), mg.ones(4))
    explain(lambda x: F.dropout(x, 0.5), mg.ones(4))
    assert mg.get_rng_state() == before


def test_what_is_detached_has_a_name() -> None:
    found = lines(explain(lambda x: x + mg.ones(2) + 3 * x.detach(), mg.ones(2)))
    assert "y = x + k + 3 k′" in found
    embedding = nn.Embedding(5, 3, padding_idx=0)
    assert "k (3, 1)" in lines(explain(embedding))


def test_a_function() -> None:
    def softsign(x: Any) -> Any:
        size = 1 + abs(x)
        return x / size

    assert "y = x / (1 + |x|)" in lines(explain(softsign, mg.ones(3)))
    assert "y = mean(surprisal(logits, targets))" in lines(
        explain(F.cross_entropy, mg.ones((3, 4)), mg.tensor([0, 1, 2]))
    )


# Other forms --------------------------------------------------------------------------------------


def test_markdown() -> None:
    found = told().markdown()
    assert r"$v_{14} = v_{12}\, {\mathrm{lstm.weight\_hh\_l0}}^{\top} + v_{8}$" in found
    assert r"$\to v_{25}:\quad g \odot \left(1 - {v_{27}}^{2}\right)$" in found
    assert found.count("$") % 2 == 0
    rows = [line for line in found.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} <= {3, 4}
    assert told()._repr_markdown_() == found
    assert r"$h_{t} = \sigma\left(o\right) \odot \tanh\left(c_{t}\right)$" in explain(nn.LSTM).markdown()


class Checked(html.parser.HTMLParser):
    """Whether every element that begins also ends, and what text there is."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.ids: list[str] = []
        self.links: list[str] = []
        self.details = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        found = dict(attrs)
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.details += tag == "details"
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if "href" in found else []
        assert "src" not in found

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def checked(page: str) -> Checked:
    found = Checked()
    found.feed(page)
    assert not found.open
    return found


def test_names_do_not_leave_their_formula_in_markdown() -> None:
    x = mg.ones(2, requires_grad=True)
    story = explain((x * x).sum(), names={"a|b <i>`c` $d": x})
    assert isinstance(story, Story)
    name = r"\mathrm{a\vert b\ \lt i\gt 'c'\ \$d}"
    assert f"| ${name}$ | (2,) \\[1 1\\] |" in story.markdown()
    assert f"$v_{{1}} = {{{name}}}^{{2}}$" in story.markdown()
    assert "<i>" not in story.html()


def test_a_page(tmp_path: Path) -> None:
    pytest.importorskip("latex2mathml")
    story = told(50)
    story.save(tmp_path / "story.html")
    page = (tmp_path / "story.html").read_text("utf-8")
    found = checked(page)
    assert found.details == 100  # fifty rounds forward and fifty back
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)
    assert all(link.startswith("#") for link in found.links)
    assert "prefers-color-scheme: dark" in page
    assert page.count("<math") > 100
    assert "lstm.weight_hh_l0" in found.text
    assert page == story.html()
    assert page.count("<details open>") == 2
    assert story.opened(0, -1).html().count("<details open>") == 4


def test_a_page_of_a_long_loop_has_some_rounds_and_no_dead_links() -> None:
    pytest.importorskip("latex2mathml")
    h, w = mg.zeros(2), mg.tensor([0.5, -0.5], requires_grad=True)
    for _ in range(101):
        h = mg.tanh(h * w + 1.0)
    found = checked(explain(h.sum()).opened(0, -1).html())
    assert found.details == 4
    assert {link[1:] for link in found.links} - {"forward", "backward", "leaves"} <= set(found.ids)
    assert "… rounds 1 to 99 likewise" in found.text


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", 'a"b&c', "$x_1^2$", "{", "\\", "%", "x__", "日本", "~"])
def test_names_are_escaped_on_a_page(name: str) -> None:
    pytest.importorskip("latex2mathml")
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    page = explain((x * x).sum(), names={name: x}).html()
    assert "<script" not in page
    assert name.replace("^", "∧").replace("'", "′") in checked(page).text


def test_pages_of_sheets(tmp_path: Path) -> None:
    pytest.importorskip("latex2mathml")
    explain(nn.LSTM).save(tmp_path / "lstm.html")
    page = (tmp_path / "lstm.html").read_text("utf-8")
    assert checked(page).text.count("weight_hh_l0") == 1
    checked(explain(mg.std).html())
    explain(mg.tanh).save(tmp_path / "tanh.md")
    assert r"$g \odot" in (tmp_path / "tanh.md").read_text("utf-8")
    explain(mg.tanh).save(tmp_path / "tanh.txt")
    assert "g ⊙ (1 − y²)" in (tmp_path / "tanh.txt").read_text("utf-8")


# Values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.float32(0.25), "0.25"),
        (np.array([0.1, -0.2, 0.3]), "[0.1 -0.2 0.3]"),
        (np.arange(12), "[0 1 … 11]"),
        (np.arange(13.0), "(13,) from 0 to 12, mean 6"),
        (np.array([[0.0, 1.0], [2.0, np.nan]]), "[[0 1] [2 nan]]"),
        (np.array([[0.0, 1.0, 2.0], [1.0, 1.0, np.nan]]), "(2, 3) from 0 to 2, mean 1, 1 NaN"),
        (np.array([[np.inf, 1.0, 1.0, 1.0, 1.0]]), "(1, 5) all 1, 1 infinite"),
        (np.full((2, 3), np.nan), "(2, 3) 6 NaN"),
        (np.zeros((0, 3)), "(0, 3), no entries"),
        (np.array([[True, False, True]] * 2), "(2, 3), 4 of 6 true"),
        (np.array([[3, -1, 0]] * 2), "(2, 3) from -1 to 3"),
        (np.array([[3, -1]]), "[[3 -1]]"),
        (None, "not kept"),
        (2.5, "2.5"),
    ],
)
def test_short(array: Any, expected: str) -> None:
    assert short(np.asarray(array) if isinstance(array, np.generic) else array) == expected


def test_reading_leaves_the_graph_as_it_was() -> None:
    loss, model = hello()
    str(explain(loss, names=model))
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert Reader().names == {}


@pytest.mark.skipif(mg.fuse_backend() != "c", reason="needs a C compiler")
def test_a_loop_that_ran_as_a_kernel_says_so() -> None:
    lstm = nn.LSTM(2, 3)
    assert "14 operations × 4, opened from scan, as which they ran" in str(explain(lstm(mg.ones((4, 1, 2)))[0].sum()))


def test_names_that_only_minigrad_has_are_told_at_the_end() -> None:
    logits = mg.tensor([[0.5, -1.0], [2.0, 0.0]], requires_grad=True)
    story = explain(F.cross_entropy(logits, mg.tensor([1, 0])))
    assert list(story.glossary) == ["surprisal_gradient"]
    for shown in (str(story), story.markdown(), story.html()):
        assert "g (softmax x - [1 at the class, else 0]) of each row x" in shown.replace("\\", "")
    assert explain((logits * logits).sum()).glossary == {}
    assert "Names in the formulas" not in str(explain((logits * logits).sum()))
