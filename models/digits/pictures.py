"""Digits to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import minigrad as mg

from ..common import curves
from .data import Digits
from .model import Features

GUESSES, FILTERS = "guesses.png", "filters.png"
ACROSS, DOWN = 12, 5  # images in a picture
MOST = 16  # filters in a picture
EXAMPLES = (0, 2, 4, 7)  # digits whose strokes run in all directions
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


def filters(features: Features, held_out: Digits, device: str, path: Path) -> None:
    """The filters of the first convolution, and what each of them finds in some digits."""
    from matplotlib.figure import Figure

    convolution, relu = features.layers[:2]
    weights = convolution.weight.detach().to("cpu").numpy()[:, 0]  # (C, 3, 3)
    shown = np.stack([held_out.images[held_out.labels == digit][0] for digit in EXAMPLES])
    found = relu(convolution(mg.tensor(shown, device=device))).to("cpu").numpy()  # (4, C, 8, 8)
    weights, found = weights[:MOST], found[:, :MOST]
    channels, rows = len(weights), 1 + len(shown)
    figure = Figure(figsize=(1 + channels * 0.75, rows * 0.95), layout="constrained")
    figure.suptitle("Filters of the first convolution (red: ink counts; blue: ink counts against)")
    grid = figure.subplots(rows, 1 + channels, squeeze=False)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    grid[0, 0].axis("off")
    strongest = float(np.abs(weights).max())
    for axes, weight in zip(grid[0, 1:], weights, strict=True):
        axes.imshow(weight, cmap="RdBu_r", vmin=-strongest, vmax=strongest)
    for row, image, maps in zip(grid[1:], shown, found, strict=True):
        for axes, pixels, most in zip(row, [image[0], *maps], [1.0, *[maps.max()] * channels], strict=True):
            axes.imshow(pixels, cmap="Greys", vmin=0, vmax=most)
    for axes, told in ((grid[1, 0], "an image"), (grid[1, 1], "what is found")):
        axes.set_title(told, fontsize=8)
    curves.save(figure, path)


def in_characters(image: np.ndarray) -> list[str]:
    """An image (1, 8, 8) for the terminal."""
    levels = np.rint(np.clip(image[0], 0, 1) * (len(SHADES) - 1)).astype(int)
    return ["".join(SHADES[level] * 2 for level in row).rstrip() for row in levels]
