"""`sample`: write text with a trained model."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from typer import Option

from ...common.choice import Choice
from ...common.console import clear_errors, write_out
from ...common.errors import UserError
from ...common.options import Device
from .. import checkpoint, sampling
from ..conversation import Conversation, Manner, converse
from ..settings import RUN
from .texts import Run


def sample(
    run: Run = RUN,
    device: Device = "cpu",
    length: Annotated[int, Option(help="Symbols to write: characters, or bytes of a model of bytes.", min=0)] = 1000,
    samples: Annotated[int, Option(help="Texts to write, drawn side by side.", min=1)] = 1,
    stop: Annotated[Optional[list[str]], Option(help="End before this text, which is not written. May repeat.")] = None,
    seed: Annotated[int, Option(help="The same seed writes the same text.", min=0)] = 0,
    prime: Annotated[
        Optional[str], Option(help="Text to go on from; without it, a new line.", rich_help_panel="Beginning")
    ] = None,
    prime_file: Annotated[
        Optional[Path],
        Option(
            help='UTF-8 file to go on from, its last new line too; "-" is the standard input.',
            rich_help_panel="Beginning",
        ),
    ] = None,
    unknown: Annotated[
        str,
        Option(
            help="Characters that the model does not know: error, skip (leave out), or replace (by U+FFFD).",
            rich_help_panel="Beginning",
        ),
    ] = "error",
    temperature: Annotated[
        float,
        Option(help="0 takes the likeliest symbol, 1 draws as learned, above is wilder.", rich_help_panel="Choice"),
    ] = 0.7,
    top_k: Annotated[int, Option(help="Of the k likeliest symbols; 0 for all.", rich_help_panel="Choice")] = 0,
    top_p: Annotated[
        float,
        Option(help="Of the fewest likeliest symbols with this share together; 1 for all.", rich_help_panel="Choice"),
    ] = 1.0,
    interactive: Annotated[
        bool, Option("--interactive", help="Write in turns with the model; :help tells how.", rich_help_panel="Manner")
    ] = False,
    as_json: Annotated[
        bool, Option("--json", help="One JSON object with all texts.", rich_help_panel="Manner")
    ] = False,
    logprobs: Annotated[
        bool,
        Option(
            "--logprobs",
            help="A JSON line for each symbol: log p in nats, by the model itself (temperature 1, all symbols), and "
            "its likeliest guesses; at the end the total.",
            rich_help_panel="Manner",
        ),
    ] = False,
    guesses: Annotated[int, Option(help="Guesses that --logprobs tells.", min=0, rich_help_panel="Manner")] = 5,
) -> None:
    """Write text with a trained model: what follows a text of yours, several times over, or in turns with you.

    The text is written as it is drawn. Several texts come when all are done, each under a heading.
    """
    with clear_errors():
        if prime is not None and prime_file is not None:
            raise UserError("--prime and --prime-file were both given; choose one")
        if interactive and (as_json or logprobs or samples > 1):
            raise UserError("--interactive writes one text, as text; leave out --json, --logprobs and --samples")
        if interactive and str(prime_file) == "-":
            raise UserError(
                "--interactive reads the standard input itself; name a file with --prime-file, or use --prime"
            )
        choice, stops = Choice(temperature, top_k, top_p), tuple(stop or ())
        model = checkpoint.load(run).model.to(device)
        vocabulary = model.vocabulary
        given = prime if prime_file is None else _read(prime_file, vocabulary.unit)
        if interactive:
            manner = Manner(choice, length, seed, stops, unknown)
            converse(Conversation(model, manner, device), write_out, lambda line: typer.echo(line, err=True), given)
            return

        start = sampling.usual_prime(vocabulary) if given is None else given
        drawn = sampling.pieces(
            model, length, samples, prime=start, choice=choice, seed=seed, stop=stops, unknown=unknown, device=device,
            guesses=guesses if logprobs else None,
        )  # fmt: skip
        known = "" if given is None else vocabulary.decode(vocabulary.encode(given, unknown=unknown))
        if as_json:
            about = {"run": str(run), "prime": known, "seed": seed, **dataclasses.asdict(choice), "stop": stops}
            texts = [_document(one, logprobs) for one in sampling.gather(drawn, samples)]
            write_out([json.dumps(about | {"samples": texts})])
        elif logprobs:
            together = [drawn] if samples == 1 else (one.pieces for one in sampling.gather(drawn, samples))
            write_out(("\n" if k else "") + line for k, line in enumerate(_lines(together)))
        elif samples == 1:
            write_out(itertools.chain([known], (piece.text for piece in drawn)))
        else:
            for k, one in enumerate(sampling.gather(drawn, samples)):
                write_out([f"--- {k + 1} of {samples} ---\n", known, one.text])


def _read(path: Path, unit: str) -> str:
    """A prime text; "-" is the standard input. A model of bytes takes those that are no UTF-8 too."""
    raw = typer.get_binary_stream("stdin").read() if str(path) == "-" else path.read_bytes()
    name = "the standard input" if str(path) == "-" else str(path)
    if not raw:
        raise UserError(f"{name} is empty; the model needs at least one symbol to start from")
    try:
        # Without the mark that some editors put first.
        return raw.decode("utf-8-sig", "surrogateescape" if unit == "byte" else "strict")
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8 text: byte 0x{raw[error.start]:02x} at offset {error.start}") from error


def _lines(texts: Iterable[Iterable[sampling.Piece]]) -> Iterator[str]:
    """A JSON object for each symbol, and one for each text at its end."""
    for k, pieces in enumerate(texts):
        logprobs, stop = [], None
        for piece in pieces:
            logprobs.append(piece.logprob)
            stop = piece.stop
            yield json.dumps({"sample": k, **_told(piece)})
        yield json.dumps({"sample": k, "total": math.fsum(logprobs), "symbols": len(logprobs), "stop": stop})


def _told(piece: sampling.Piece) -> dict[str, Any]:
    return {"symbol": piece.symbol, "logprob": piece.logprob, "guesses": piece.guesses}


def _document(one: sampling.Sample, logprobs: bool) -> dict[str, Any]:
    about: dict[str, Any] = {"text": one.text, "symbols": len(one.pieces), "stop": one.stop}
    return about | ({"total": one.logprob, "logprobs": [_told(p) for p in one.pieces]} if logprobs else {})
