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
ABOVE, BELOW = "en", "de"  # languages whose letters every font has
ACROSS, DOWN = 4, 4  # images in a picture
WIDTH, LINES = 30, 4  # characters in a line, and lines of a caption


def captions(model: Captioner, held_out: Digits, device: str, path: Path) -> None:
    """One image of each digit, and before them some with a wrong caption; what is wrong is red."""
    from matplotlib.figure import Figure

    labels, count = held_out.labels.tolist(), ACROSS * DOWN
    said, wrong = {}, {}
    for language in (ABOVE, BELOW):
        right = [joined(caption(digit, language)) for digit in labels]
        said[language] = model.captions(mg.tensor(held_out.images, device=device), language)
        wrong[language] = [a != b for a, b in zip(said[language], right, strict=True)]
    mistaken = [number for number, each in enumerate(zip(*wrong.values(), strict=True)) if any(each)]
    others = [labels.index(digit) for digit in sorted(set(labels))]
    numbers = list(dict.fromkeys([*mistaken[: count - len(others)], *others]))
    figure = Figure(figsize=(ACROSS * 2.8, DOWN * 3.2), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.15, h_pad=0.15)
    figure.suptitle(f"Captions of held-out images: for {len(mistaken)} of {len(labels)} one is wrong, in orange")
    for place, number in enumerate(numbers, 1):
        axes = figure.add_subplot(DOWN, ACROSS, place)
        axes.imshow(held_out.images[number, 0], cmap="Greys", vmin=0, vmax=1)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_ylabel(f"image {number}, a {labels[number]}", fontsize=8)
        for language, write in ((ABOVE, axes.set_title), (BELOW, axes.set_xlabel)):
            colour = curves.RED if wrong[language][number] else "black"
            write(fill(said[language][number], WIDTH, max_lines=LINES, placeholder=" ..."), fontsize=8, color=colour)
    curves.save(figure, path)
