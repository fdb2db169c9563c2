"""`copied`: how much of a text is copied from the training text."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
from typer import Argument, Option

from ...common import streams
from ...common.choice import Choice
from ...common.console import clear_errors, say
from ...common.options import Device
from .. import checkpoint, copying, sampling
from ..model import CharLM
from ..settings import RUN
from ..text import Text, open_text, read_text
from ..vocabulary import Vocabulary
from .texts import Corpus, Data, Json, Run, learned_text, slices

SHOWN = 200  # characters of a passage


def copied(
    file: Annotated[
        Optional[Path],
        Argument(help='The text to look at; "-" is the standard input. Without it, the model of --run writes one.'),
    ] = None,
    run: Run = RUN,
    data: Data = None,
    corpus: Corpus = None,
    split: Annotated[
        Optional[str],
        Option(help="What of the training text was learned: " + ", ".join(streams.SPLITS) + ". Without it, the run's."),
    ] = None,
    length: Annotated[
        int, Option(help="Symbols for the model to write: characters, or bytes of a model of bytes.", min=1)
    ] = 10_000,
    temperature: Annotated[float, Option(help="At which it writes.", min=0)] = 1.0,
    seed: Annotated[int, Option(help="The same seed writes the same text.", min=0)] = 0,
    as_json: Json = False,
    device: Device = "cpu",
) -> None:
    """Tell how much of a text is copied from the training text, next to as much text that was held out.

    A symbol is copied in a run of k if it lies in k symbols in a row that occur in the training text.
    """
    with clear_errors():
        found = checkpoint.load(run) if file is None or not (data or corpus) else None
        learned, split = learned_text(found, data, corpus, split)
        if file is None:
            written = _sampled(found.model.to(device), length, temperature, seed, device)
        elif learned.vocabulary.unit == "byte":
            written = np.asarray(open_text([file], unit="byte").ids)
        else:
            written = _numbers(read_text(file), learned.vocabulary)
        results = _compare(learned, split, written)
        if as_json:
            print(json.dumps(results))
        else:
            _tell(f"{learned.source}, without what {split} holds out: {streams.SPLITS[split]}", results)


def _sampled(model: CharLM, length: int, temperature: float, seed: int, device: str) -> np.ndarray:
    """The numbers of what a model writes; as a text, bytes that are no UTF-8 would become others."""
    prime, choice = sampling.usual_prime(model.vocabulary), Choice(temperature)
    drawn = sampling.pieces(model, length, prime=prime, choice=choice, seed=seed, device=device)
    if model.vocabulary.unit == "byte":
        return np.array([piece.symbol for piece in drawn], np.int64)
    return model.vocabulary.encode("".join(str(piece.symbol) for piece in drawn))


def _numbers(text: str, vocabulary: Vocabulary) -> np.ndarray:
    """The numbers of a text's characters, -1 for what is not in the vocabulary: that was never learned."""
    ids = vocabulary.look_up(text).astype(np.int64)
    return np.where(ids == len(vocabulary), -1, ids)


def _compare(learned: Text, split: str, written: np.ndarray) -> dict[str, dict[str, Any]]:
    """What the text shares with what was learned, and what as much held-out text does.

    The places where the longest passages were found are places in the whole text.
    """
    parts = streams.split(range(len(learned.ids)), split)
    sources = slices(learned.ids, parts.train)
    held_out = np.concatenate([np.asarray(piece) for piece in slices(learned.ids, parts.held_out)])
    results = {}
    for name, ids in (("text", written), ("held-out text", held_out[: len(written)])):
        found = copying.copied(ids, sources)
        source, offset = found.source
        at = parts.train[source].start + offset
        passage = learned.vocabulary.decode(np.asarray(learned.ids[at : at + found.longest]))
        results[name] = asdict(found) | {"source": at, "passage": passage}
    return results


def _tell(source: str, results: dict[str, dict[str, Any]]) -> None:
    say(f"learned: {source}")
    say(f"{'':<14} {'symbols':>9}" + "".join(f"{f'in runs of {k}':>15}" for k in copying.LENGTHS) + f"{'longest':>9}")
    for name, result in results.items():
        shares = "".join(f"{share:15.1%}" for share in result["shares"].values())
        say(f"{name:<14} {result['symbols']:>9,}{shares}{result['longest']:>9,}")
    for name, result in results.items():
        if result["longest"]:
            say(f"longest in the {name}, at {result['place']:,}, from {result['source']:,} of the training text:")
            passage, more = result["passage"][:SHOWN], len(result["passage"]) - SHOWN
            say(f"  {passage!r}" + (f" and {more:,} more" if more > 0 else ""))
