"""`eval`: how well a trained model expects a text."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
from rich.text import Text as Line
from typer import Option

import minigrad as mg

from ...common.console import clear_errors, reading, say, warn
from ...common.errors import UserError
from ...common.options import Device
from .. import checkpoint, evaluation, surprise
from ..model import CharLM
from ..settings import RUN
from ..text import Text
from ..vocabulary import UNITS, Vocabulary
from .texts import SPLITS, Corpus, Data, Json, Run, judged, settings_of, slices, text_for

BLOCK = 1 << 20  # symbols of a file that are counted at a time


@dataclass(frozen=True)
class Result:
    """What is printed; losses are per symbol, in the unit of the model."""

    text: str
    split: str
    unit: str
    symbols: int  # that count: all but the first of each piece
    nats: float
    bits: float
    perplexity: float  # e to the nats: as hard to guess as so many equally likely symbols
    bits_per_byte: float  # of the text in UTF-8
    bits_per_character: float
    seconds: float
    skipped: int  # characters that the model does not know and that were left out,
    replaced: int  # or became U+FFFD
    learned: bool  # whether some of the text was trained on


def eval(
    run: Run = RUN,
    data: Data = None,
    corpus: Corpus = None,
    split: Annotated[
        Optional[str],
        Option(
            help="What of the text to judge by. " + "; ".join(f"{k}: {v}" for k, v in SPLITS.items()) + ". Losses "
            "by different splits do not compare. Without it, the training's for its text, whole for another one."
        ),
    ] = None,
    unknown: Annotated[
        str, Option(help="Characters that the model does not know: error, skip (leave out), or replace (by U+FFFD).")
    ] = "error",
    surprise_to: Annotated[
        Optional[Path], Option("--surprise", help="Write each symbol's nats, and the likeliest one, to .csv or .jsonl.")
    ] = None,
    show: Annotated[int, Option(help="Show so many of the most certain and most surprising places.", min=0)] = 0,
    as_json: Json = False,
    device: Device = "cpu",
) -> None:
    """Judge a model by a text: nats and bits per symbol, perplexity; and which symbols surprise it.

    The state is carried from the start of a piece to its end, and each symbol but the first counts once.
    """
    # NumPy need not warn of what is no number: the loss is looked at.
    with clear_errors(), np.errstate(all="ignore"):
        if as_json and show:
            raise UserError("--show is for readers and --json for programs; choose one, or write --surprise FILE")
        if surprise_to is not None:
            surprise.check_rows(surprise_to)
            if any(surprise_to.exists() and path.exists() and path.samefile(surprise_to) for path in data or ()):
                raise UserError(f"--surprise would replace the text itself, {surprise_to}; name another file")
        found = checkpoint.load(run)
        model = found.model.to(device)
        text, same = text_for(found, data, corpus, unknown)
        trained_by = settings_of(found).get("split")
        split = split or (same and trained_by) or "whole"
        places = judged(len(text.ids), split)
        learned = same and split != trained_by
        if learned:
            warn(f"the model was trained by the split {trained_by!r}, so it has learned some of what it is judged by")
        summary = surprise.Summary(model.vocabulary, show) if show else None
        started = time.perf_counter()
        with reading(sum(map(len, places))) as tell:
            if surprise_to is None and summary is None:
                nats = evaluation.evaluate(model, slices(text.ids, places), device, tell=tell)
            else:
                nats = _symbol_by_symbol(model, text.ids, places, device, surprise_to, summary, tell)
        seconds = time.perf_counter() - started
        if not math.isfinite(nats):
            raise UserError(f"the loss is {nats}: the model gives no numbers; its training must have diverged")
        result = _result(text, split, places, nats, seconds, learned, model.vocabulary)
        if as_json:
            print(json.dumps(asdict(result)))
            return
        _tell(result)
        if summary is not None:
            _tell_surprises(summary, text.ids, model.vocabulary)


@mg.no_grad()
def _symbol_by_symbol(
    model: CharLM,
    ids: Any,
    places: Sequence[range],
    device: str,
    path: Path | None,
    summary: surprise.Summary | None,
    tell: Callable[[int], object],
) -> float:
    """Nats per symbol, having told of each one."""
    total, count = 0.0, 0
    with contextlib.ExitStack() as stack:
        write = stack.enter_context(surprise.rows_to(path, model.vocabulary)) if path else None
        for place in places:
            for part in surprise.surprises(model, ids, place, device):
                total, count = total + float(part.nats.sum(dtype=np.float64)), count + len(part.nats)
                if not math.isfinite(total):
                    return total
                if write is not None:
                    write(part)
                if summary is not None:
                    summary.add(part)
                tell(len(part.nats))
    if not count:
        raise UserError("there is nothing to judge: the text needs at least two symbols, as the first is given")
    return total / count


def _result(
    text: Text, split: str, places: Sequence[range], nats: float, seconds: float, learned: bool, vocabulary: Vocabulary
) -> Result:
    symbols = sum(max(len(place) - 1, 0) for place in places)
    others = _others(text.ids, places, vocabulary)
    bytes_, characters = (others, symbols) if vocabulary.unit == "char" else (symbols, others)
    bits = nats / math.log(2)
    return Result(
        text=text.source,
        split=split,
        unit=vocabulary.unit,
        symbols=symbols,
        nats=nats,
        bits=bits,
        perplexity=math.exp(min(nats, 700)),
        bits_per_byte=bits * symbols / bytes_,
        bits_per_character=bits * symbols / max(characters, 1),
        seconds=round(seconds, 3),
        skipped=text.skipped,
        replaced=text.replaced,
        learned=learned,
    )


def _others(ids: Any, places: Sequence[range], vocabulary: Vocabulary) -> int:
    """Of the symbols that count, how many bytes they take in UTF-8, if they are characters; or the other way round.

    A byte 10xxxxxx goes on with a character that has begun.
    """
    if vocabulary.unit == "char":
        weights = np.array([len(c.encode("utf-8", "surrogatepass")) for c in vocabulary.characters])
    else:
        weights = np.array([byte & 0xC0 != 0x80 for byte in range(256)])
    total = 0
    for place in places:
        for start in range(place.start + 1, place.stop, BLOCK):
            total += int(weights[np.asarray(ids[start : min(start + BLOCK, place.stop)])].sum())
    return total


def _tell(result: Result) -> None:
    unit = UNITS[result.unit]
    say(f"text:       {result.text}")
    say(f"judged by:  {result.split}: {SPLITS[result.split]}; {result.symbols:,} {unit}{'s' * (result.symbols != 1)}")
    if result.skipped or result.replaced:
        say(f"unknown:    {result.skipped:,} characters left out, {result.replaced:,} became U+FFFD")
    say(f"loss:       {result.nats:.4f} nats ({result.bits:.4f} bits) per {unit}, perplexity {result.perplexity:.3f}")
    if result.unit == "char":
        say(f"            {result.bits_per_byte:.4f} bits per byte of UTF-8")
    else:
        say(f"            {result.bits_per_character:.4f} bits per character")
    say(f"seconds:    {result.seconds:.1f}")


def _tell_surprises(summary: surprise.Summary, ids: Any, vocabulary: Vocabulary) -> None:
    say("")
    for line in summary.lines():
        say(line)
    for title, rows, colour in (
        ("most certain", summary.least, "black on green"),
        ("most surprising", summary.most, "white on red"),
    ):
        say(f"\n{title} (position from 0, nats, the likeliest)")
        for place in surprise.shown(rows, ids, vocabulary):
            instead = f"'{place.likeliest}' {place.certainty:.0%}"
            say(
                Line.assemble(
                    f"{place.position:>10,} {place.nats:8.4f}  {instead:<11} {place.left:>40}",
                    "[",
                    (place.symbol, colour),
                    "]",
                    place.right,
                )
            )
