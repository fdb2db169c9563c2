"""Images and what is said of them."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill

import minigrad as mg

from ..common import curves
from ..digits.data import Digits
from .data import caption, joined
from .model import Captioner

CAPTIONS = "captions.png"
SHOWN = ("en", "de")  # languages whose letters every font has
ACROSS, DOWN = 4, 4  # images in a picture
WIDTH = 26  # characters in a line


def captions(model: Captioner, held_out: Digits, device: str, path: Path) -> None:
    """Images with a wrong caption, and then others, with what is said of them; what is wrong is red."""
    from matplotlib.figure import Figure

    seen, count = mg.tensor(held_out.images, device=device), ACROSS * DOWN
    told = {language: model.captions(seen, language) for language in SHOWN}
    right = {lang: [joined(caption(digit, lang)) for digit in held_out.labels.tolist()] for lang in SHOWN}
    wrong = [any(told[lang][n] != right[lang][n] for lang in SHOWN) for n in range(len(held_out))]
    numbers = sorted(range(len(held_out)), key=lambda n: not wrong[n])[:count]
    figure = Figure(figsize=(ACROSS * 2.4, DOWN * 2.9), layout="constrained")
    figure.suptitle(f"Captions of held-out images: {sum(wrong)} of {len(held_out)} images have a wrong one, in red")
    for axes, number in zip(figure.subplots(DOWN, ACROSS).flat, numbers, strict=True):
        axes.imshow(held_out.images[number, 0], cmap="Greys", vmin=0, vmax=1)
        axes.set_xticks([])
        axes.set_yticks([])
        colour = curves.RED if wrong[number] else "black"
        axes.set_title(f"image {number}, a {held_out.labels[number]}", fontsize=8, color=colour)
        lines = [fill(told[lang][number], WIDTH) for lang in SHOWN]
        axes.set_xlabel("\n".join(lines), fontsize=7, color=colour)
    curves.save(figure, path)
