"""`neurons`: what the cells of a trained model do over a text."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
from typer import Option

import minigrad as mg
from minigrad.inspect import neurons as look

from ...common import files, runs
from ...common.console import clear_errors, say, show
from ...common.errors import UserError
from ...common.options import Device
from .. import checkpoint
from ..model import CharLM
from ..settings import RUN
from ..surprise import name
from .texts import SPLITS, Corpus, Data, Run, judged, settings_of, text_for

CELLS, GUESSES, SCORES, GATES = "cells.html", "guesses.html", "scores.json", "gates.png"
LEAST = 200  # symbols, or there is nothing to choose and to judge by


def neurons(
    run: Run = RUN,
    data: Data = None,
    corpus: Corpus = None,
    out: Annotated[Path, Option(help="Folder for the pages, pictures and numbers.")] = Path("runs/neurons"),
    overwrite: Annotated[bool, Option("--overwrite", help="Replace what is in the folder already.")] = False,
    split: Annotated[
        Optional[str],
        Option(help="What of the text to read, as for `eval`. " + "; ".join(f"{k}: {v}" for k, v in SPLITS.items())),
    ] = None,
    symbols: Annotated[int, Option(help="Symbols that are read, at most.", min=LEAST)] = 40_000,
    cell: Annotated[
        Optional[list[int]], Option(help="Colour the text by this cell, too; several: --cell 3 --cell 7.")
    ] = None,
    layer: Annotated[int, Option(help="The layer of --cell, from 0.", min=0)] = 0,
    count: Annotated[int, Option("--show", help="Symbols of a coloured excerpt.", min=1)] = 600,
    guesses: Annotated[int, Option(help="Guesses shown under each symbol.", min=1)] = 5,
    compare: Annotated[
        bool, Option(help="Score a network that has learned nothing, too: some features need no learning.")
    ] = True,
    unknown: Annotated[
        str, Option(help="Characters that the model does not know: error, skip (leave out), or replace (by U+FFFD).")
    ] = "error",
    device: Device = "cpu",
) -> None:
    """Look at single cells: which of them follow quotes, brackets, lines; how often gates are shut; what is guessed.

    For each feature the best cell is chosen on the first half of what is read, and scored on the second.
    """
    with clear_errors():
        if layer and not cell:
            raise UserError(f"--layer {layer} says in which layer the cells of --cell are; name a cell, too")
        found = checkpoint.load(run)
        model = found.model.to(device)
        text, same = text_for(found, data, corpus, unknown)
        place = _place(text.ids, split or (same and settings_of(found).get("split")) or "whole", symbols)
        ids = np.asarray(text.ids[place.start : place.stop]).astype(np.int64)
        if len(ids) < LEAST:
            raise UserError(f"{text.source}: {len(ids)} symbols are too few to tell cells apart; take {LEAST} or more")
        runs.make(out)
        written = [CELLS, GUESSES, SCORES, *([GATES] if model.options.cell != "rnn" else [])]
        names = [name(model.vocabulary, number) for number in range(len(model.vocabulary))]
        with contextlib.ExitStack() as stack:
            stack.enter_context(files.held(out))
            runs.refuse_another(out, written, overwrite=overwrite)
            inputs = mg.tensor(ids[:, None], device=device)  # (T, 1)
            characters = [names[number] for number in ids]
            with _told_apart():
                cells = look(model, inputs, characters, symbols=names)
                pieces = [cells.coloured(number, layer, count=count) for number in cell or ()]
                guessed = cells.guesses(guesses, count=count)
            say(f"{text.source}, symbols {place.start:,} to {place.stop - 1:,}")
            say(str(cells))
            scores = cells.scores(untrained=look(_untrained(model, device), inputs, characters) if compare else None)
            show(scores.__rich__())
            _write(out, cells, scores, pieces, guessed, count)
            if GATES in written:
                saturation = cells.saturation()
                saturation.plot(out / GATES)
                say(str(saturation))
            say(str(guessed))
            judged_ones = [row for row in scores if row.cell is not None and not row.feature.number]
            if judged_ones:
                best = max(judged_ones, key=lambda row: row.score - row.alone).feature.name
                pieces.insert(0, cells.coloured(best, count=count))
            for piece in pieces:
                say(f"\n{piece.title}, from blue (-{piece.scale:g}) to red ({piece.scale:g})")
                say(piece.__rich__())
            say("\n" + "\n".join(f"written: {out / each}" for each in written))


def _place(ids: Any, split: str, symbols: int) -> range:
    """The first of the pieces that are held out, as much of it as is wanted."""
    first = judged(len(ids), split)[0]
    return first[:symbols]


def _untrained(model: CharLM, device: str) -> CharLM:
    """The same network as it is first drawn, from seed 0."""
    mg.manual_seed(0)
    return CharLM(model.options).to(model.output.weight.dtype).to(device)


@contextlib.contextmanager
def _told_apart() -> Any:
    """What the instrument finds wrong with an option, or with a model, is an error of the user's."""
    try:
        yield
    except (IndexError, ValueError) as error:
        raise UserError(str(error)) from error


def _write(out: Path, cells: Any, scores: Any, pieces: Any, guessed: Any, count: int) -> None:
    """The pages, and the numbers."""
    cells.save(out / CELLS, also=pieces, count=count)
    guessed.save(out / GUESSES)
    rows = [
        {key: value for key, value in asdict(row).items() if key != "feature"}
        | {"feature": row.feature.name, "verdict": row.verdict, "cell": row.cell and row.cell._asdict()}
        for row in scores
    ]
    files.write_text(out / SCORES, json.dumps({"characters": scores.characters, "rows": rows}, indent=1) + "\n")
