"""`ngram`: what counting reaches on a text, to compare a model with."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Optional

from typer import Option

from ...common import ngrams, streams
from ...common.console import clear_errors, say, warn
from .. import checkpoint
from .texts import Corpus, Json, learned_text


def ngram(
    run: Annotated[
        Optional[Path], Option(help="A trained model, to compare with: its text, its symbols, its split.")
    ] = None,
    data: Annotated[
        Optional[list[Path]],
        Option(
            help="A text: a file, or a folder of *.txt and *.md; several: --data A --data B. Without it, the one "
            "inside Python."
        ),
    ] = None,
    corpus: Corpus = None,
    unit: Annotated[str, Option(help="char, or byte.")] = "char",
    split: Annotated[
        Optional[str],
        Option(
            help="What is held out. " + "; ".join(f"{k}: {v}" for k, v in streams.SPLITS.items()) + ". Without it, "
            "contiguous, or as the run has it."
        ),
    ] = None,
    orders: Annotated[int, Option(help="The longest n-grams, in symbols.", min=1)] = 8,
    limit: Annotated[
        int, Option(help="Symbols to learn from, and to judge by: the first ones of each piece.", min=1)
    ] = ngrams.LIMIT,
    as_json: Json = False,
) -> None:
    """Judge n-grams of 1, 2, ... symbols on a text as a model is judged: nats and bits per symbol.

    Interpolated modified Kneser-Ney (Chen and Goodman 1998).
    """
    with clear_errors():
        text, split = learned_text(run and checkpoint.load(run), data, corpus, split, unit)
        parts = streams.split(text.ids, split)
        train, held_out = (_first(pieces, limit) for pieces in (parts.train, parts.held_out))
        learned, judged = (sum(map(len, pieces)) for pieces in (train, held_out))
        if learned + judged < len(text.ids):
            warn(f"of {len(text.ids):,} symbols, {learned:,} are learned and {judged:,} judged, as --limit says")
        if not as_json:
            say(f"{text.source}, {split}: {streams.SPLITS[split]}; {learned:,} learned, {judged:,} judged")
            say(f"{'n':>2} {'nats':>8} {'bits':>8} {'perplexity':>11} {'n-grams':>12} {'seconds':>8}")
        results = []
        for found in ngrams.judge(train, held_out, len(text.vocabulary), orders):
            bits, perplexity = found.nats / math.log(2), math.exp(found.nats)
            results.append(asdict(found) | {"bits": bits, "perplexity": perplexity})
            if not as_json:
                say(
                    f"{found.order:>2} {found.nats:8.4f} {bits:8.4f} {perplexity:11.3f} {found.ngrams:>12,} "
                    f"{found.seconds:8.2f}"
                )
        if as_json:
            about = {"text": text.source, "fingerprint": text.fingerprint, "split": split, "unit": text.vocabulary.unit}
            print(json.dumps(about | {"learned": learned, "judged": judged, "orders": results}))


def _first(pieces: Sequence[Any], limit: int) -> list[Any]:
    """The first symbols of each piece, `limit` of them in all."""
    share = limit // len(pieces)
    return list(pieces) if sum(map(len, pieces)) <= limit else [piece[0 : min(share, len(piece))] for piece in pieces]
