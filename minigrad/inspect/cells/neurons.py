"""What the cells of a trained language model do over a text: coloured, scored, and how often its gates are shut.

T: time steps, one for each character   H: cells of a layer   V: symbols

Source: Karpathy, Johnson and Li 2015, "Visualizing and Understanding Recurrent Networks", arXiv 1506.02078.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...backend import Array, cpu
from ...nn.module import Module
from ...nn.sequence import Layers
from ..page import in_notebook, page, save
from . import saturation as gates
from .activations import Activations, activations
from .coloured import Coloured, Guesses
from .features import FEATURES, Feature
from .running import called, logits
from .scores import Cell, Score, Scores, scores

EXCERPT = 600  # characters of a coloured excerpt


def neurons(model: Module, inputs: Any, text: Sequence[str], *, symbols: Sequence[str] | None = None) -> Neurons:
    """Run a model over a text, and keep what every cell of its recurrent layers does at every character.

    The model runs as in evaluation, without dropout, and is left as it was.

    Args:
        model: a module with one or more recurrent layers (RNN, LSTM, GRU or their kin, of one direction), each
            called once on the whole sequence; or such a layer itself.
        inputs: what the model is called with, model(inputs), or model(*inputs) for a tuple: one sequence.
        text: what stands at each time step: a str of T characters, or T strings.
        symbols: for guesses: the V symbols that the model's output, or the first of its outputs, gives logits of.

    Returns:
        An object to ask: `scores()`, `coloured(cell)`, `saturation()`, `guesses()`, `save("cells.html")`.

    Raises:
        TypeError: it is no module, or has no recurrent layer; or the text has something else than strings in it.
        ValueError: the text is empty, or not as long as the sequence; or a layer has two directions, or is called
            twice or never; or its cells become NaN or infinite.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> from minigrad.inspect import neurons
    >>> text = 'say "hello" ' * 20
    >>> ids = mg.tensor([ord(c) - 32 for c in text])
    >>> model = nn.Sequential(nn.Embedding(96, 4), nn.LSTM(4, 6))
    >>> found = neurons(model, ids, text)
    >>> found
    1 layer over 240 characters: 1.l0 LSTM of 6 cells
    >>> found.values(3).shape                             # tanh c of cell 3 at each character
    (240,)
    >>> found.scores()["inside quotes"].verdict in ("found", "weak", "last character suffices")
    True
    """
    if not isinstance(model, Module):
        raise TypeError(f"neurons: expected a Module with recurrent layers, got {type(model).__name__}")
    recurrent = {name: layer for name, layer in model.named_modules() if isinstance(layer, Layers)}
    if not recurrent:
        raise TypeError(
            f"neurons: expected a model with a recurrent layer (nn.RNN, nn.LSTM, nn.GRU), and {type(model).__name__} "
            "has none; single cells and loops of one's own are not seen"
        )
    if not isinstance(text, Iterable) or not all(isinstance(symbol, str) for symbol in text):
        raise TypeError(f"neurons: expected the text as a str, or as T strings, got {repr(text)[:40]}")
    if not len(text):
        raise ValueError("neurons: expected a text of at least one character, got an empty one")
    calls, output = called(model, inputs, recurrent)
    layers = []
    for name, (x, state) in calls.items():
        try:
            found = activations(recurrent[name], x, state, name)
        except (TypeError, ValueError) as error:
            raise type(error)(f"neurons: {name or 'the layer'}: {error}") from error
        if len(found[0].h) != len(text):
            raise ValueError(
                f"neurons: expected a text of {len(found[0].h)} characters, one for each time step of "
                f"{name or 'the layer'}, got {len(text)}"
            )
        layers += found
    for layer in layers:
        finite = cpu.isfinite(layer.h).all(1) & (True if layer.c is None else cpu.isfinite(layer.c).all(1))
        if not finite.all():
            raise ValueError(
                f"neurons: cells of {layer.name} are NaN or infinite, first at character {int(finite.argmin())}; "
                "mg.detect_anomaly tells where that comes from"
            )
    return Neurons(list(text), layers, None if symbols is None else list(symbols), logits(output, len(text), symbols))


@dataclass(frozen=True, eq=False)
class Neurons:
    """What cells did over a text; see `neurons`. All arrays are NumPy's."""

    text: list[str]
    layers: list[Activations]  # all of the model, in the order of the calls
    symbols: list[str] | None = None
    logits: Array | None = None  # (T, V)
    _found: dict[Any, Scores] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        kinds = ", ".join(f"{a.name} {a.kind} of {self.scored(k).shape[1]} cells" for k, a in enumerate(self.layers))
        return f"{len(self.layers)} layer{'s' * (len(self.layers) > 1)} over {len(self.text):,} characters: {kinds}"

    # One cell -------------------------------------------------------------------------------------

    def scored(self, layer: int) -> Array:
        """What is scored of a layer, (T, H): c of an LSTM, of others h."""
        found = self.layers[layer]
        return found.h if found.c is None else found.c

    def shown(self, layer: int) -> Array:
        """What is coloured of a layer, (T, H): tanh c of an LSTM, as in the paper; of others h."""
        found = self.layers[layer]
        return found.h if found.c is None else cpu.tanh(found.c)

    def values(self, number: int, layer: int = 0) -> Array:
        """One cell at each character, (T,): tanh c of an LSTM, of others h.

        Raises:
            IndexError: there is no such layer or cell.
        """
        if layer not in range(len(self.layers)):
            raise IndexError(f"there is no layer {layer}; the model has {len(self.layers)}, numbered from 0")
        values = self.shown(layer)
        if number not in range(values.shape[1]):
            raise IndexError(
                f"there is no cell {number} in layer {layer}, which has {values.shape[1]}, numbered from 0"
            )
        return values[:, int(number)]

    def named(self, cell: Cell) -> str:
        """What a cell is called: rnn.l0[12]."""
        return f"{self.layers[cell.layer].name}[{cell.number}]"

    # All cells ------------------------------------------------------------------------------------

    def scores(self, features: Sequence[Feature] = FEATURES, untrained: Neurons | None = None) -> Scores:
        """For each feature the cell that tells it best: chosen on the first half of the text, scored on the second.

        Args:
            features: some of FEATURES, or of one's own.
            untrained: what the cells of the same network do before it has learned, over the same text: some features
                need no learning. These scores are then remembered, and shown on the page.

        Raises:
            ValueError: it is of another text.
        """
        if untrained is not None and untrained.text != self.text:
            raise ValueError("scores: expected an untrained network's cells over the same text, got them over another")
        key = tuple(features)
        if key not in self._found or untrained is not None:
            values = [self.scored(layer) for layer in range(len(self.layers))]
            rows = scores(self.text, values, features, self.named)
            if untrained is not None:
                other = [row.score if row.cell else None for row in untrained.scores(features)]
                rows = [replace(row, untrained=score) for row, score in zip(rows, other, strict=True)]
            self._found[key] = Scores(rows, len(self.text) - len(self.text) // 2)
        return self._found[key]

    def saturation(self, low: float = 0.1, high: float = 0.9) -> gates.Saturation:
        """How often the gates are shut (below `low`) and open (above `high`).

        Raises:
            ValueError: no layer has gates.
        """
        return gates.saturation(self.layers, low, high)

    # Shown ----------------------------------------------------------------------------------------

    def coloured(self, cell: int | str, layer: int = 0, *, start: int | None = None, count: int = EXCERPT) -> Coloured:
        """An excerpt of the text, coloured by one cell.

        Args:
            cell: its number, or the name of a feature, for the best cell of which it is.
            layer: which layer's, if a number is given.
            start: where the excerpt begins; None for the beginning, or for the place in the second half where the
                feature changes most often, whatever the cell does there.
            count: characters of it.

        Raises:
            IndexError: there is no such cell.
            KeyError: there is no such feature.
            ValueError: the feature is too rare to have a cell, or there is no such excerpt.
        """
        score = None
        if isinstance(cell, str):
            score = self.scores()[cell]
            if score.cell is None:
                raise ValueError(f"{cell!r} has no cell in this text: {score.verdict}; take a longer one")
            layer, number = score.cell
        else:
            number = cell
        values = self.values(number, layer)
        if start is None:
            start = 0 if score is None else _place(score.feature, self.text, count)
        found = self.layers[layer]
        about = "" if score is None else _in_words(score, "h" if found.c is None else "c")
        what, scale = ("h", 1.0) if found.c is None else ("tanh c", 1.0)
        if found.c is None and not found.bounded:
            scale = float(cpu.abs(values).max()) or 1.0
        piece = self._piece(start, count)
        name = self.named(Cell(layer, number))
        title = f"{cell}: {name}" if score is not None else name
        return Coloured(self.text[piece], values[piece], title, scale, what, about, start)

    def guesses(self, k: int = 5, *, start: int = 0, count: int = EXCERPT) -> Guesses:
        """The k likeliest symbols to follow each character of an excerpt, with their probabilities.

        Raises:
            ValueError: `neurons` was not given the symbols; or k is not from 1 to V; or there is no such excerpt.
        """
        if self.logits is None or self.symbols is None:
            raise ValueError("guesses: which symbols the model guesses is not known; call neurons(..., symbols=...)")
        if not 1 <= k <= len(self.symbols):
            raise ValueError(f"guesses: expected k from 1 to {len(self.symbols)}, got {k}")
        piece = self._piece(start, count)
        logits = self.logits[piece].astype(float)
        e = cpu.exp(logits - logits.max(1, keepdims=True))
        probabilities = e / e.sum(1, keepdims=True)
        numbers = cpu.argsort(-probabilities, axis=1, kind="stable")[:, :k]
        found = cpu.take_along_axis(probabilities, numbers, axis=1)
        return Guesses(self.text[piece], self.symbols, numbers, found)

    def _piece(self, start: int, count: int) -> slice:
        """Where an excerpt lies."""
        if start not in range(len(self.text)) or count < 1:
            raise ValueError(
                f"expected an excerpt that starts at 0 to {len(self.text) - 1}, of one character or more; got "
                f"start={start}, count={count}"
            )
        return slice(start, start + count)

    def html(self, also: Sequence[Coloured] = (), count: int = EXCERPT) -> str:
        """A piece of HTML: the scores, and for each feature an excerpt coloured by its best cell."""
        found = self.scores()
        best = [self.coloured(row.feature.name, count=count) for row in found if row.cell is not None]
        return "\n".join([found.html(), *(each.html() for each in [*also, *best])])

    def _repr_html_(self) -> str:
        return in_notebook(self.html())

    def save(self, path: str | Path, *, also: Sequence[Coloured] = (), count: int = EXCERPT) -> Path:
        """Write this as a page, path.html.

        Args:
            also: excerpts to show besides.
            count: characters of each feature's excerpt.

        Raises:
            ValueError: the file is named otherwise.
            ImportError: jinja2 is not installed.
        """
        return save(path, page("Cells of a recurrent network", self.html(also, count)))


def _in_words(score: Score, what: str) -> str:
    measure = "Correlation" if score.feature.number else "Balanced accuracy"
    side = "above" if score.above else "below"
    rule = "" if score.feature.number else f", saying yes where {what} is {side} {score.threshold:.3g}"
    untrained = "" if score.untrained is None else f", an untrained network {score.untrained:.3f}"
    about = score.feature.about[:1].upper() + score.feature.about[1:]
    return (
        f"{about}. {measure} {score.score:.3f} on the half of the text that judges{rule} (guessing {score.chance:g}, "
        f"the last character alone {score.alone:.3f}{untrained}): {score.verdict}."
    )


def _place(feature: Feature, text: Sequence[str], count: int) -> int:
    """In the second half, where an excerpt has most changes of a feature, or a number varies most."""
    half, y = len(text) // 2, cpu.asarray(feature.of(text), dtype=float)
    starts = range(half, max(len(text) - count, half) + 1, max(count // 4, 1))

    def much(start: int) -> float:
        seen = y[start : start + count]
        return float(seen.std() if feature.number else cpu.abs(seen[1:] - seen[:-1]).sum())

    return max(starts, key=much)
