"""`sample`: write text with a trained model."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Optional

from typer import Option

from ...common.console import clear_errors, write_out
from .. import checkpoint, sampling

RUN = Path("runs/char_lm")


def sample(
    run: Annotated[Path, Option(help="Folder with a trained model.")] = RUN,
    prime: Annotated[Optional[str], Option(help="Text to go on from; without it, a new line or any character.")] = None,
    length: Annotated[int, Option(help="Characters to write.", min=0)] = 1000,
    temperature: Annotated[
        float, Option(help="0 takes the likeliest character; 1 draws as learned; above is wilder.")
    ] = 0.7,
    seed: Annotated[int, Option(help="The same seed writes the same text.", min=0)] = 0,
    device: Annotated[str, Option(help='"cpu", or "cuda" for a GPU.')] = "cpu",
) -> None:
    """Write text with a trained model."""
    with clear_errors():
        model = checkpoint.load(run).model.to(device)
        known = model.options.vocabulary
        start = prime if prime is not None else "\n" if "\n" in known else known[0]
        drawn = sampling.sample(model, length, prime=start, temperature=temperature, seed=seed, device=device)
        write_out(itertools.chain(prime or "", drawn))
