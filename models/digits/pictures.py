"""Digits to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..common import curves
from .data import Digits

GUESSES = "guesses.png"
ACROSS, DOWN = 12, 5  # images in a picture
SHADES = " .:-=+*#%@"


def guesses(held_out: Digits, probabilities: np.ndarray, path: Path) -> None:
    """The images that the model was least sure of, or wrong about, with its guess."""
    from matplotlib.figure import Figure

    count = len(held_out)
    right = probabilities[np.arange(count), held_out.labels]
    hardest = np.argsort(right, kind="stable")[: ACROSS * DOWN]
    guess = probabilities.argmax(1)
    figure = Figure(figsize=(ACROSS * 0.9, DOWN * 1.15), layout="constrained")
    figure.suptitle(f"The {len(hardest)} hardest of {count} held-out images: the guess, and how likely it seemed")
    for axes, number in zip(figure.subplots(DOWN, ACROSS).flat, hardest, strict=True):
        axes.imshow(held_out.images[number, 0], cmap="Greys", vmin=0, vmax=1)
        axes.set_xticks([])
        axes.set_yticks([])
        wrong = guess[number] != held_out.labels[number]
        told = f"{guess[number]}, {100 * probabilities[number].max():.0f}%"
        told += f"\nis a {held_out.labels[number]}" if wrong else ""
        axes.set_xlabel(told, color=curves.RED if wrong else "black", fontsize=9)
    curves.save(figure, path)


def in_characters(image: np.ndarray) -> list[str]:
    """An image (1, 8, 8) for the terminal."""
    levels = np.rint(np.clip(image[0], 0, 1) * (len(SHADES) - 1)).astype(int)
    return ["".join(SHADES[level] * 2 for level in row).rstrip() for row in levels]
