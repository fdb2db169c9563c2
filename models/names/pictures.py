"""Which languages are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..common import curves

CONFUSIONS = "confusions.png"


def confusions(labels: np.ndarray, guesses: np.ndarray, languages: Sequence[str], path: Path) -> None:
    """For each language a row: of 100 names of it, how many were taken for each language.

    Args:
        labels: (N,), the right ones, as places in `languages`.
        guesses: (N,)
    """
    from matplotlib.figure import Figure

    count = np.zeros((len(languages), len(languages)))
    np.add.at(count, (labels, guesses), 1)
    of_each = count.sum(1)
    percent = 100 * count / np.maximum(of_each, 1)[:, None]
    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.subplots()
    axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for (row, column), share in np.ndenumerate(percent):
        if count[row, column]:
            colour = "white" if share > 55 else "black"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", color=colour, fontsize=10)
    axes.set_xticks(range(len(languages)), languages, rotation=45, ha="right")
    axes.set_yticks(range(len(languages)), [f"{name} ({n:.0f})" for name, n in zip(languages, of_each, strict=True)])
    axes.set_xlabel("guess")
    axes.set_ylabel("language (its held-out names)")
    axes.set_title(f"Of 100 names of a language, the guesses: {len(labels):,} held-out names")
    curves.save(figure, path)
