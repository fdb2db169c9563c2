"""Cells over a text: what they do, how they are coloured and scored, gates, guesses; and the command that shows it.

T: characters   H: cells   V: symbols
"""

from __future__ import annotations

import html
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import minigrad as mg
from minigrad import nn
from minigrad.inspect.cells import features as known
from minigrad.inspect.cells.activations import Activations, activations
from minigrad.inspect.cells.coloured import Coloured, Guesses
from minigrad.inspect.cells.features import FEATURES, Feature
from minigrad.inspect.cells.neurons import Neurons, neurons
from minigrad.inspect.cells.saturation import saturation
from minigrad.inspect.cells.scores import Cell, correlations, thresholds
from minigrad.inspect.page import DARK, LIGHT, mixed
from models.char_lm import checkpoint
from models.char_lm.checkpoint import Checkpoint, save
from models.char_lm.program import app

from .characters import small
from .helpers import host

LAYERS: list[Callable[..., Any]] = [
    nn.RNN,
    lambda *sizes: nn.RNN(*sizes, nonlinearity="relu"),
    nn.LSTM,
    lambda *sizes: nn.LSTM(*sizes, proj_size=2),
    nn.GRU,
    lambda *sizes: nn.GRU(*sizes, reset_after=False),
    nn.LayerNormLSTM,
    nn.PeepholeLSTM,
]
ALPHABET = "abc \n\"'()x"


def random_text(length: int, seed: int = 0) -> str:
    """Words, some of them in quotes or brackets, in lines."""
    rng = np.random.default_rng(seed)
    words: list[str] = []
    while sum(map(len, words)) < length:
        word = "".join(rng.choice(list("abcx"), rng.integers(1, 7)))
        words.append(rng.choice([word, word, f'"{word} {word[::-1]}"', f"({word})"]) + rng.choice([" ", " ", "\n"]))
    return "".join(words)[:length]


class Reader(nn.Module):
    """A model of characters: one-hot, a layer, logits."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        self.rnn, self.output = layer, nn.Linear(width, len(ALPHABET))

    def forward(self, ids: mg.Tensor) -> tuple[mg.Tensor, Any]:
        h, state = self.rnn(nn.functional.one_hot(ids, len(ALPHABET), dtype=mg.float32))
        return self.output(h), state


def ids_of(text: str) -> mg.Tensor:
    return mg.tensor([ALPHABET.index(c) for c in text])


def watched(text: str, layer: nn.Module | None = None, width: int = 6) -> Neurons:
    mg.manual_seed(0)
    return neurons(Reader(layer or nn.LSTM(len(ALPHABET), width), width), ids_of(text), text, symbols=ALPHABET)


# What cells do ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", LAYERS)
@pytest.mark.parametrize("form", ["single", "batch", "batch_first"])
def test_h_is_the_output_of_the_layer(device: str, make: Callable[..., Any], form: str) -> None:
    layer = make(3, 5, 2)
    layer.batch_first = form == "batch_first"
    x = mg.randn({"single": (7, 3), "batch": (7, 1, 3), "batch_first": (1, 7, 3)}[form])
    _, state = layer(x)  # not zeros
    found = activations(layer, x, state, "rnn")
    assert [each.name for each in found] == ["rnn.l0", "rnn.l1"]
    output, last = layer(x, state)
    np.testing.assert_allclose(found[1].h, host(output).reshape(7, -1), atol=1e-6)
    for number, each in enumerate(found):
        parts = last if layer.has_memory else (last,)
        for mine, part in zip((each.h, each.c), parts, strict=False):
            np.testing.assert_allclose(mine[-1], host(part)[number].reshape(-1), atol=1e-6)


@pytest.mark.parametrize("make", LAYERS)
def test_the_gates_make_the_states(make: Callable[..., Any]) -> None:
    """The states again, from the gates alone."""
    layer = make(3, 5).double()
    (found,) = activations(layer, mg.randn((9, 3), dtype=mg.float64))
    before = np.zeros((1, 5))
    if isinstance(layer, nn.RNN):
        assert found.gates == {} and found.proposed is None and found.c is None
        return
    if isinstance(layer, nn.GRU):
        z, n = found.gates["update"], found.proposed
        np.testing.assert_allclose((1 - z) * n + z * np.concatenate([before, found.h[:-1]]), found.h, atol=1e-12)
        return
    assert found.c is not None
    c = found.gates["forget"] * np.concatenate([before, found.c[:-1]]) + found.gates["input"] * found.proposed
    np.testing.assert_allclose(c, found.c, atol=1e-12)
    if type(layer) is not nn.LayerNormLSTM:  # which normalises c on its way out
        h = found.gates["output"] * np.tanh(c)
        projection = vars(layer).get("weight_hr_l0")
        np.testing.assert_allclose(h if projection is None else h @ host(projection).T, found.h, atol=1e-12)


def test_the_model_runs_as_in_evaluation_and_stays_as_it_was() -> None:
    text = random_text(50)
    model = Reader(nn.GRU(len(ALPHABET), 6, 2, dropout=0.5), 6)
    model.output.eval()
    found = neurons(model, ids_of(text), text)
    assert model.training and model.rnn.training and not model.output.training
    assert not model.rnn._hooks and all(p.grad is None for p in model.parameters())
    model.eval()
    h, _ = model.rnn(nn.functional.one_hot(ids_of(text), len(ALPHABET), dtype=mg.float32))
    np.testing.assert_allclose(found.layers[1].h, host(h), atol=1e-6)


def test_several_recurrent_layers_each_by_its_name(device: str) -> None:
    model = nn.Sequential(nn.Embedding(10, 4), nn.Stateful(nn.LSTM(4, 5)), nn.Stateful(nn.GRU(5, 3)))
    text = "abc"
    found = neurons(model, ids_of(text), text)
    assert [layer.name for layer in found.layers] == ["1.layer.l0", "2.layer.l0"]
    assert str(found) == "2 layers over 3 characters: 1.layer.l0 LSTM of 5 cells, 2.layer.l0 GRU of 3 cells"
    assert found.named(Cell(1, 2)) == "2.layer.l0[2]"
    np.testing.assert_allclose(found.values(4), np.tanh(found.layers[0].c[:, 4]))
    np.testing.assert_allclose(found.values(2, 1), found.layers[1].h[:, 2])


# Scores -------------------------------------------------------------------------------------------


def quote_detector(noise: int) -> nn.LSTM:
    """An LSTM whose last cell turns its sign at each quote; the others are as they were drawn.

    c' = f c + i tanh(g): at a quote f is 0, i is 1 and g = -k h; else f is 1 and i is 0. c is 1 outside, -1 inside.
    """
    mg.manual_seed(3)
    layer = nn.LSTM(len(ALPHABET), noise + 1, learn_initial_state=True)
    H, quote, cell = noise + 1, ALPHABET.index('"'), noise
    w_ih, w_hh = layer.weight_ih_l0.detach(), layer.weight_hh_l0.detach()
    for gate in range(4):
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            getattr(layer, name).detach()[gate * H + cell] = 0.0
    i, f, g, o = (gate * H + cell for gate in range(4))
    bias = layer.bias_ih_l0.detach()
    bias[i], w_ih[i, quote] = -20.0, 40.0
    bias[f], w_ih[f, quote] = 20.0, -40.0
    bias[o] = 20.0
    w_hh[g, cell] = -20.0
    layer.c_0.detach()[0, 0, cell] = 1.0
    layer.h_0.detach()[0, 0, cell] = float(np.tanh(1.0))
    return layer


def test_a_planted_quote_cell_is_found_and_scores_one_on_held_out_text() -> None:
    text = random_text(3000)
    found = watched(text, quote_detector(12), 13)
    score = found.scores()["inside quotes"]
    assert score.cell == Cell(0, 12) and score.name == "rnn.l0[12]" and not score.above
    assert score.score == score.f1 == 1.0 and score.verdict == "found"
    half = np.array(known.inside_quotes(text))[1500:]
    assert score.share == half.mean() and score.f1_always == pytest.approx(2 * half.mean() / (1 + half.mean()))
    assert score.stretches == "".join("01"[int(x)] for x in half).count("01") + half[0]
    assert -1 < score.threshold < 1 and score.alone < 0.7
    assert found.coloured("inside quotes").title == "inside quotes: rnn.l0[12]"


def test_cells_that_know_nothing_are_weak_where_they_did_not_choose() -> None:
    """Random numbers, many of them: where the best one is chosen it looks better than chance, elsewhere not."""
    text, rng = random_text(6000), np.random.default_rng(0)
    noise = Activations("noise", "RNN", rng.normal(size=(6000, 200)), None)
    found = Neurons(list(text), [noise]).scores()
    for row in found:
        if row.cell is not None:
            assert row.verdict == "weak"
            assert abs(row.score - row.chance) < 0.08
    assert found["inside quotes"].chosen_at > 0.52


def test_numbers_are_scored_by_correlation_and_either_sign() -> None:
    text = random_text(800)
    values = np.random.default_rng(0).normal(size=(800, 4))
    values[:, 2] = -np.array(next(f for f in FEATURES if f.name == "position in the line").of(text))
    score = Neurons(list(text), [Activations("a", "RNN", values, None)]).scores()["position in the line"]
    assert score.cell == Cell(0, 2) and score.score == pytest.approx(-1) and score.verdict == "found"
    values[400:, 2] *= -1
    score = Neurons(list(text), [Activations("a", "RNN", values[:, 2:3], None)]).scores()["position in the line"]
    assert score.score == pytest.approx(1) and score.verdict == "of the other sign where chosen"
    y = np.arange(800) % 17
    expected = [np.corrcoef(values[:, k], y)[0, 1] for k in range(4)]
    np.testing.assert_allclose(correlations(values, y)[0], expected)
    assert correlations(np.ones((5, 1)), np.arange(5))[0][0] == 0


def test_what_the_last_character_tells_is_said() -> None:
    text = random_text(800)
    values = np.random.default_rng(0).normal(size=(800, 3))
    values[:, 1] += [9 * c.isalpha() for c in text]
    score = Neurons(list(text), [Activations("a", "RNN", values, None)]).scores()["inside a word"]
    assert score.cell == Cell(0, 1) and score.score > 0.99 and score.alone == 1.0
    assert score.verdict == "last character suffices"


def test_a_feature_that_is_too_rare_has_no_cell() -> None:
    found = watched("abc " * 100 + '"a" ' * 4 + "abc " * 100)
    expected = {
        "inside quotes": "too rare to judge",
        "inside brackets": "never true",
        "indentation": "changes too little to judge",
    }
    for name, verdict in expected.items():
        score = found.scores()[name]
        assert score.cell is None and score.verdict == verdict
        with pytest.raises(ValueError, match=f"{name!r} has no cell in this text: {verdict}; take a longer one"):
            found.coloured(name)
    assert watched("abc" * 100).scores()["inside a word"].verdict == "always true"
    with pytest.raises(KeyError, match="there is no feature 'quotes'; expected one of 'inside quotes', "):
        found.scores()["quotes"]


def test_the_best_threshold_is_that_of_trying_all() -> None:
    rng = np.random.default_rng(0)
    values, yes = rng.integers(0, 6, size=(40, 5)).astype(float), rng.random(40) < 0.3
    values[:, 4] = 1.0  # says nothing
    found = thresholds(values, np.argsort(values, axis=0, kind="stable"), yes)
    for k in range(5):
        tried = [(said[yes].mean() + (~said[~yes]).mean()) / 2
                 for cut in np.arange(-0.5, 6) for said in (values[:, k] > cut, values[:, k] <= cut)]  # fmt: skip
        assert found[0][k] == pytest.approx(max(tried))
        said = values[:, k] > found[1][k] if found[2][k] > 0 else values[:, k] <= found[1][k]
        if k < 4:
            assert (said[yes].mean() + (~said[~yes]).mean()) / 2 == pytest.approx(found[0][k])


def test_features_of_a_small_program() -> None:
    text = "if (a):\n    b = 'c' # d\n\n\"e\""
    marks = {f.name: f.of(text) for f in FEATURES}
    where = {name: "".join("-x"[bool(v)] for v in values) for name, values in marks.items()}
    rows = text.replace("\n", "|")
    assert rows == "if (a):|    b = 'c' # d||\"e\""
    assert where["inside brackets"] == "---xx" + "-" * (len(rows) - 5)
    assert where["inside a condition"] == "--xxxx" + "-" * (len(rows) - 6)
    assert where["inside a comment"] == "-" * 20 + "xxx" + "-" * (len(rows) - 23)
    assert where["in the indentation"] == "-" * 8 + "xxxx" + "-" * (len(rows) - 12)
    assert where["inside quotes"] == "-" * (len(rows) - 3) + "xx-"
    assert where["first line"] == "-" * (len(rows) - 3) + "xxx"
    assert where["after a newline"] == "".join("-x"[c == "|"] for c in rows)
    assert marks["position in the line"][:9] == [1, 2, 3, 4, 5, 6, 7, 0, 1]
    assert marks["indentation"][7:14] == [0, 1, 2, 3, 4, 4, 4]
    assert marks["letters into the word"][:6] == [1, 2, 0, 0, 1, 0]


def test_three_quotes_in_a_row_open_a_docstring_and_no_quotation() -> None:
    text = '"a" """b "c" d""" e "f"'
    shown = ["".join("-x"[v] for v in of(text)) for of in (known.inside_quotes, known.inside_docstring)]
    assert shown == ["xx--x----xx---x-----xx-", "------xxxxxxxxxx-------"]


def test_scores_as_a_table() -> None:
    found = watched(random_text(3000), quote_detector(3), 4).scores()
    line = next(line for line in str(found).splitlines() if line.startswith("inside quotes"))
    assert re.match(
        r"inside quotes +rnn\.l0\[3\] +1\.000 +1\.000 +0\.\d{3} +1\.00 \(0\.\d\d\) +\d\d\.\d% in \d+ +found", line
    )
    assert "0.5 is guessing" in str(found) and "judged on 1,500 characters" in str(found)
    assert "<td>rnn.l0[3]</td><td>1.000</td>" in found._repr_html_()
    assert "rnn.l0[3]" in printed(found, 200)


def test_what_an_untrained_network_tells_as_well() -> None:
    text, rng = random_text(800), np.random.default_rng(0)

    def one(noise: float) -> Neurons:
        y = np.array(known.inside_quotes(text)) + noise * rng.normal(size=800)
        return Neurons(list(text), [Activations("a", "RNN", y[:, None], None)])

    exact, blurred = one(0.0), one(0.3)
    assert "untrained" not in str(exact.scores()).splitlines()[1]
    assert exact.scores()["inside quotes"].verdict == "found"
    assert exact.scores(untrained=blurred)["inside quotes"].verdict == "found"
    shown = blurred.scores(untrained=exact)
    assert shown["inside quotes"].untrained == 1.0 and shown["inside quotes"].verdict == "untrained does it too"
    assert "untrained" in str(shown).splitlines()[1] and "<td>1.000</td>" in shown.html()
    assert blurred.scores() is shown and "an untrained network 1.000" in blurred.coloured("inside quotes").about
    with pytest.raises(ValueError, match="over the same text, got them over another"):
        exact.scores(untrained=Neurons(["a"], exact.layers))


def test_features_of_ones_own() -> None:
    text = random_text(600)
    vowel = Feature("vowel <a>", "it is a", lambda text: [c == "a" for c in text])
    found = watched(text).scores([vowel])
    assert [row.feature for row in found] == [vowel]
    assert "vowel &lt;a&gt;" in found._repr_html_() and "<a>" not in found._repr_html_()


# Colours ------------------------------------------------------------------------------------------


def printed(shown: Any, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(shown)
    return console.file.getvalue()  # type: ignore[attr-defined]


def spans(page: str) -> list[tuple[str, str, str]]:
    """Class, tooltip and text of each character."""
    (body,) = re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)
    found = re.findall(r'<span class="([^"]*)" title="([^"]*)">(.*?)</span>', body, re.DOTALL)
    assert body == "".join(f'<span class="{a}" title="{b}">{c}</span>' for a, b, c in found)
    return [(name, html.unescape(told), html.unescape(shown)) for name, told, shown in found]


def test_the_page_has_exactly_the_text_each_character_in_its_colour(tmp_path: Path) -> None:
    text = 'a <b> & "c"\n\td\n'
    values = np.linspace(-1, 1, len(text))
    values[3] = np.nan
    piece = Coloured(list(text), values, "cell <7>", start=1000)
    page = piece.save(tmp_path / "a.html").read_text(encoding="utf-8")
    found = spans(page)
    assert "".join(shown for *_, shown in found) == text and len(found) == len(text)
    levels = [None if np.isnan(v) else round(20 * v) for v in values]
    classes = ["x" if n is None else f"b{-n}" if n < 0 else f"r{n}" if n else "n" for n in levels]
    assert [name.split()[0] for name, *_ in found] == classes
    assert [name.split()[1:] for name, *_ in found] == [{"\n": ["nl"], "\t": ["tab"]}.get(c, []) for c in text]
    assert found[0][1] == "1,000: a -1.000" and found[-1][1] == "1,014: ↵ +1.000"
    light, dark = page.split("@media (prefers-color-scheme: dark)")
    for ends, part in ((LIGHT, light), (DARK, dark)):
        for name, level in (("b20", -20), ("n", 0), ("r7", 7), ("r20", 20)):
            assert f".mg .{name} {{ background: {mixed(ends, level)}; }}" in part
    assert "<h1>cell &lt;7&gt;</h1>" in page and "http" not in page
    assert page == piece.save(tmp_path / "b.html").read_text(encoding="utf-8")


def test_control_characters_and_broken_ones_do_no_harm(tmp_path: Path) -> None:
    piece = Coloured(["\x00", "\x1b", "\x9b", "\u202e", "\ud800", "\r", "é"], np.zeros(7))
    page = piece.save(tmp_path / "a.html").read_text(encoding="utf-8")
    assert [shown for *_, shown in spans(page)] == ["␀", "␛", "\ufffd", "\ufffd", "\ufffd", "␍", "é"]


def test_colours_in_the_terminal() -> None:
    piece = Coloured(list('a\n"'), [1.0, 0.0, -1.0])
    made = piece.__rich__()
    assert made.plain == 'a↵\n"'
    assert [str(span.style) for span in made.spans] == [f"#000000 on {mixed(LIGHT, n)}" for n in (20, 0, -20)]
    assert printed(piece) == 'a↵\n"\n'


def test_an_excerpt_is_coloured_by_the_cell(device: str) -> None:
    text = random_text(900)
    found = watched(text)
    piece = found.coloured(4, start=30, count=50)
    assert "".join(piece.text) == text[30:80] and piece.title == "rnn.l0[4]"
    np.testing.assert_allclose(piece.values, np.tanh(found.layers[0].c[30:80, 4]))
    by_feature = found.coloured("inside quotes", count=50)
    assert by_feature.start >= 450  # of what judges
    np.testing.assert_allclose(by_feature.values, found.values(found.scores()["inside quotes"].cell.number)[
        by_feature.start : by_feature.start + 50])  # fmt: skip
    mg.manual_seed(0)
    relu = neurons(nn.RNN(5, 3, nonlinearity="relu"), mg.randn((9, 5)), "relu cell")
    assert relu.coloured(1).scale == pytest.approx(relu.layers[0].h[:, 1].max())


def test_the_whole_page(tmp_path: Path) -> None:
    found = watched(random_text(3000), quote_detector(3), 4)
    extra = found.coloured(1, count=20)
    page = found.save(tmp_path / "cells.html", also=[extra], count=100).read_text(encoding="utf-8")
    titles = [html.unescape(t) for t in re.findall("<h2>(.*?)</h2>", page)]
    judged = [row for row in found.scores() if row.cell is not None]
    assert titles == ["rnn.l0[1]"] + [f"{row.feature.name}: {row.name}" for row in judged]
    assert page.count("</span>") > 20 + 100 * len(judged) and page.count("<style>") == 1
    assert "Balanced accuracy 1.000" in page
    with pytest.raises(ValueError, match=r"expected a file named .html, got 'a.txt'"):
        found.save(tmp_path / "a.txt")


# Gates and guesses --------------------------------------------------------------------------------


def test_saturation_by_hand(tmp_path: Path) -> None:
    gate = np.array([[0.05, 0.95], [0.05, 0.95], [0.5, 0.95], [0.95, 0.1]])
    layer = Activations("rnn.l0", "LSTM", np.zeros((4, 2)), np.zeros((4, 2)), {"forget": gate})
    found = saturation([layer])
    np.testing.assert_array_equal(found.left["rnn.l0", "forget"], [0.5, 0.0])  # 0.1 is not below 0.1
    np.testing.assert_array_equal(found.right["rnn.l0", "forget"], [0.25, 0.75])
    assert found.table() == [("rnn.l0", "forget", 0.25, 0.5, 0.0, 0.0)]
    assert "rnn.l0 forget  shut  25.0% of the time, open  50.0%" in str(found)
    wider = saturation([layer], low=0.2, high=0.94)
    np.testing.assert_array_equal(wider.left["rnn.l0", "forget"], [0.5, 0.25])
    figure = found.plot(tmp_path / "a.svg")
    (panel,) = figure.axes
    np.testing.assert_array_equal(panel.collections[0].get_offsets(), [[0.25, 0.5], [0.75, 0.0]])
    assert panel.get_title() == "forget gate" and "<svg" in (tmp_path / "a.svg").read_text()
    with pytest.raises(ValueError, match=r"expected a file named .png, .svg, .pdf, got 'a.txt'"):
        found.plot(tmp_path / "a.txt")
    with pytest.raises(ValueError, match="expected 0 <= low < high <= 1, got 0.9 and 0.1"):
        saturation([layer], 0.9, 0.1)
    with pytest.raises(ValueError, match="expected a layer with gates, LSTM or GRU, got RNN"):
        watched("abc", nn.RNN(len(ALPHABET), 6)).saturation()


def test_guesses_are_the_sorted_softmax(device: str, tmp_path: Path) -> None:
    text = random_text(60)
    mg.manual_seed(0)
    model = Reader(nn.LSTM(len(ALPHABET), 6), 6)
    found = neurons(model, ids_of(text), text, symbols=ALPHABET).guesses(5, start=10, count=20)
    with mg.no_grad():
        p = host(nn.functional.softmax(model(ids_of(text))[0], dim=-1))[10:30]
    for t in range(20):
        order = sorted(range(len(ALPHABET)), key=lambda n: -p[t, n])[:5]
        assert found.numbers[t].tolist() == order
        np.testing.assert_allclose(found.probabilities[t], p[t, order], rtol=1e-5)
    page = found.save(tmp_path / "a.html").read_text(encoding="utf-8")
    columns = re.findall(r'<div class="column"><u>(.*?)</u>(.*?)</div>', page)
    shown = [html.unescape(c) for c, _ in columns]
    assert "".join(shown).replace("↵", "\n") == text[10:30]
    first = re.findall(r'<span class="(\w+)( hit)?" title="(.*?)">(.*?)</span>', columns[0][1])
    assert len(first) == 5
    best = ALPHABET[found.numbers[0, 0]]
    assert html.unescape(first[0][3]) == {"\n": "↵", " ": "␣"}.get(best, best)
    assert first[0][2].endswith(f" {p[0].max():.1%}") and first[0][0] == f"r{round(20 * p[0].max())}"


def test_guesses_that_came_true() -> None:
    found = Guesses(list("ab b"), ["a", "b", " "], np.array([[1, 0], [1, 2], [0, 1], [0, 1]]), np.full((4, 2), 0.5))
    assert str(found) == "2 guesses at each of 4 characters, 100% of what comes next is among them and 33% the first"
    assert found.html(headed=False).count(" hit") == 3
    made = found.shown(width=3)
    assert made.plain == "ab \nbba\na␣b\n\nb\na\nb"
    assert sum("underline" in str(span.style) for span in made.spans) == 3


# Errors -------------------------------------------------------------------------------------------


def test_errors_say_what_to_do() -> None:
    x = mg.randn((3, 4))
    with pytest.raises(TypeError, match="expected a Module with recurrent layers, got str"):
        neurons("model", x, "abc")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"expected a model with a recurrent layer .* and Linear has none"):
        neurons(nn.Linear(4, 4), x, "abc")
    with pytest.raises(TypeError, match="and LSTMCell has none; single cells"):
        neurons(nn.LSTMCell(4, 4), x, "abc")
    with pytest.raises(ValueError, match="got an empty one"):
        neurons(nn.LSTM(4, 4), x, "")
    with pytest.raises(
        ValueError, match="neurons: the layer: expected a layer of one direction, got a bidirectional GRU"
    ):
        neurons(nn.GRU(4, 4, bidirectional=True), x, "abc")
    with pytest.raises(ValueError, match="expected a text of 3 characters, one for each time step of the layer, got 4"):
        neurons(nn.LSTM(4, 4), x, "abcd")
    with pytest.raises(ValueError, match="expected one sequence, got 2 side by side"):
        neurons(nn.LSTM(4, 4), mg.randn((3, 2, 4)), "abc")
    with pytest.raises(ValueError, match=r"expected logits of 3 steps and 9 symbols, got"):
        neurons(nn.LSTM(4, 4), x, "abc", symbols="abcdefghi")
    found = neurons(nn.LSTM(4, 4), x, "abc", symbols="abcd")
    with pytest.raises(IndexError, match="there is no cell 4 in layer 0, which has 4, numbered from 0"):
        found.coloured(4)
    with pytest.raises(IndexError, match="there is no layer 1; the model has 1"):
        found.values(0, 1)
    for odd in (1.5, None, -1):
        with pytest.raises(IndexError, match=f"there is no cell {odd} in layer 0"):
            found.coloured(odd)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected k from 1 to 4, got 5"):
        found.guesses(5)
    for start, count in ((3, 1), (-1, 1), (0, 0)):
        told = f"starts at 0 to 2, of one character or more; got start={start}, count={count}"
        with pytest.raises(ValueError, match=told):
            found.coloured(0, start=start, count=count)
        with pytest.raises(ValueError, match=told):
            found.guesses(2, start=start, count=count)
    for text in (b"abc", None, ["a", "b", 3]):
        with pytest.raises(TypeError, match="neurons: expected the text as a str, or as T strings, got"):
            neurons(nn.LSTM(4, 4), x, text)  # type: ignore[arg-type]
    broken = mg.randn((3, 4))
    broken.numpy()[1, 0] = np.nan
    with pytest.raises(ValueError, match="cells of l0 are NaN or infinite, first at character 1; mg.detect_anomaly"):
        neurons(nn.LSTM(4, 4), broken, "abc")
    with pytest.raises(ValueError, match=r"which symbols .* call neurons\(..., symbols=...\)"):
        neurons(nn.LSTM(4, 4), x, "abc").guesses()
    with pytest.raises(ValueError, match=r"expected a value for each of 3 characters, got shape \(2,\)"):
        Coloured("abc", [0.0, 1.0])


class Missing:
    """A finder that makes a package look as if it were not installed."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, *_: object) -> None:
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {self.package!r}", name=self.package)


@pytest.mark.parametrize("package", ["Jinja2", "rich", "matplotlib"])
def test_a_package_that_is_missing_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = neurons(nn.LSTM(4, 4), mg.randn((3, 4)), "abc")
    ask = {"Jinja2": found.coloured(0).html, "rich": found.coloured(0).__rich__, "matplotlib": found.saturation().plot}
    for name in [name for name in sys.modules if name.partition(".")[0] == package.lower()]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing(package.lower()), *sys.meta_path])
    with pytest.raises(ImportError, match=f"pip install {package}"):
        ask[package]()


def test_models_that_call_their_layers_otherwise() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            self.rnn = nn.RNN(4, 4)

        def forward(self, x: mg.Tensor) -> mg.Tensor:
            return self.rnn(self.rnn(x)[0])[0]

    class Steps(Twice):
        def forward(self, x: mg.Tensor) -> mg.Tensor:
            return self.rnn.step(x[0])[0]

    with pytest.raises(ValueError, match="rnn is called a second time; give the whole text in one call"):
        neurons(Twice(), mg.randn((3, 4)), "abc")
    with pytest.raises(ValueError, match="did not call rnn on a whole sequence"):
        neurons(Steps(), mg.randn((3, 4)), "abc")


# The command --------------------------------------------------------------------------------------


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["neurons", *map(str, arguments)], env={"COLUMNS": "200"})


@pytest.mark.parametrize(("cell", "unit"), [("rnn", "char"), ("gru", "char"), ("lstm", "byte")])
def test_the_command_for_other_models(tmp_path: Path, cell: str, unit: str) -> None:
    vocabulary = {} if unit == "char" else {"vocabulary": "", "unit": "byte"}
    model, _ = small(cell)
    if unit == "byte":
        model = type(model)(type(model.options)(cell=cell, hidden=16, embedding=8, **vocabulary))
    save(tmp_path / checkpoint.BEST, Checkpoint(model))
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat. " * 12 + ("größe" if unit == "byte" else ""), encoding="utf-8")
    shown = run("--run", tmp_path, "--data", text, "--out", tmp_path / "out", "--no-compare")
    assert "untrained" not in shown.output.split("The first half")[0]
    assert shown.exit_code == 0, shown.output
    assert (tmp_path / "out" / "gates.png").exists() == (cell != "rnn") == ("of the time, open" in shown.output)
    assert ("rnn.l0 forget" in shown.output) == (cell == "lstm") and ("rnn.l0 reset" in shown.output) == (cell == "gru")


def test_the_command(tmp_path: Path) -> None:
    model, _ = small(layers=2)
    (tmp_path / "run").mkdir()
    save(tmp_path / "run" / checkpoint.BEST, Checkpoint(model))
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on a mat. no cat sat on the dog. " * 12)
    out = tmp_path / "out"
    shown = run("--run", tmp_path / "run", "--data", text, "--out", out, "--cell", 3, "--layer", 1, "--show", 44)
    assert shown.exit_code == 0, shown.output
    assert "symbols 0 to 539" in shown.output and "rnn.l1 LSTM of 16 cells" in shown.output
    assert "\nrnn.l1[3], from blue (-1) to red (1)\nthe cat sat on a mat. no cat sat on the dog.\n" in shown.output
    assert sorted(path.name for path in out.iterdir()) == ["cells.html", "gates.png", "guesses.html", "scores.json"]
    rows = {row["feature"]: row for row in json.loads((out / "scores.json").read_text())["rows"]}
    assert rows["inside quotes"]["verdict"] == "never true" and rows["inside a word"]["cell"]["layer"] in (0, 1)
    assert rows["inside a word"]["name"] in shown.output and rows["inside a word"]["untrained"] > 0.5
    again = run("--run", tmp_path / "run", "--data", text, "--out", out)
    assert again.exit_code == 1 and "--overwrite" in again.output
    for options, told in [
        (["--cell", "16"], "there is no cell 16 in layer 0, which has 16"),
        (["--cell", "1", "--layer", "2"], "there is no layer 2; the model has 2"),
        (["--layer", "1"], "--layer 1 says in which layer the cells of --cell are; name a cell, too"),
        (["--guesses", "29"], "expected k from 1 to 28, got 29"),
    ]:
        wrong = run("--run", tmp_path / "run", "--data", text, "--out", out, "--overwrite", *options)
        assert wrong.exit_code == 1 and told in wrong.output, wrong.output
    text.write_text("THE CAT")
    wrong = run("--run", tmp_path / "run", "--data", text, "--out", out, "--overwrite")
    assert wrong.exit_code == 1 and "the character 'T' at position 0" in wrong.output
    text.write_text("the cat")
    wrong = run("--run", tmp_path / "run", "--data", text, "--out", out, "--overwrite")
    assert wrong.exit_code == 1 and "7 symbols are too few" in wrong.output
    text.write_text("")
    wrong = run("--run", tmp_path / "run", "--data", text, "--out", out, "--overwrite")
    assert wrong.exit_code == 1 and "is empty" in wrong.output
