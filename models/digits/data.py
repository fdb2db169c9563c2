"""Handwritten digits: 1,797 images of 8 x 8 pixels, which scikit-learn brings along.

Thirteen people wrote them.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..common.errors import UserError
from ..common.extras import import_extra

HELD_OUT = 360  # images, the same ones in every program and for every seed
SIZE = 8  # pixels across
INK = 16.0  # of a pixel that is all black
LARGEST = 1 << 26  # pixels of a picture that is read


@dataclass(frozen=True)
class Digits:
    """Images (N, 1, 8, 8), with ink from 0 to 1; and their digits (N,)."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def load() -> tuple[Digits, Digits]:
    """What is learned, and what is held out.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    found = import_extra("sklearn.datasets").load_digits()
    images = (found.images / INK).astype(np.float32)[:, None]
    labels = found.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(labels))
    learned, held_out = order[HELD_OUT:], order[:HELD_OUT]
    return Digits(images[learned], labels[learned]), Digits(images[held_out], labels[held_out])


def moved(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of the images by -1, 0 or 1 pixels across and down; what comes in at a side is empty.

    A digit fills its 8 x 8 pixels, so that moving cuts some of it off: the other half stays whole.
    """
    count, size = len(images), images.shape[-1]
    wide = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    down, across = np.where(rng.random(count) < 0.5, 1, rng.integers(0, 3, (2, count)))
    steps = np.arange(size)
    rows, columns = (down[:, None] + steps)[:, :, None], (across[:, None] + steps)[:, None]
    return np.ascontiguousarray(wide[np.arange(count)[:, None, None], 0, rows, columns][:, None])


def read(path: Path) -> np.ndarray:
    """A picture of one digit, as those of the data are: (1, 8, 8), the digit in the middle, ink from 0 to 1.

    Raises:
        UserError: it is no picture, or there is nothing in it.
        OSError: there is no such file.
    """
    from PIL import Image, ImageOps  # matplotlib brings it

    try:
        with warnings.catch_warnings(), Image.open(path) as opened:
            warnings.simplefilter("ignore")  # of what it can read all the same
            if opened.width * opened.height > LARGEST:
                raise ValueError(f"{opened.width} x {opened.height} pixels; make it smaller")
            picture = opened.convert("RGBA")
    except OSError as error:
        if error.filename is not None:  # there is none, or it may not be read
            raise
        raise UserError(f"{path} is not a picture that can be read: {error}") from error
    except (ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:  # of spoilt files
        raise UserError(f"{path} is not a picture that can be read: {error}") from error
    for colour in "white", "black":  # of the paper, where the picture is transparent
        paper = Image.new("RGBA", picture.size, colour)
        grey = Image.alpha_composite(paper, picture).convert("L")
        low, high = grey.getextrema()
        if low < high:
            break
    else:
        raise UserError(f"{path} is a picture of one colour; expected one of a digit, dark on light or light on dark")
    grey = ImageOps.autocontrast(grey)
    edge = np.concatenate([np.asarray(grey)[[0, -1]].ravel(), np.asarray(grey)[:, [0, -1]].ravel()])
    if np.median(edge) > 127:  # the paper is light
        grey = ImageOps.invert(grey)
    box = grey.point(lambda value: 255 * (value > 64)).getbbox()
    digit = grey.crop(box)
    side = max(digit.size)
    square = Image.new("L", (side, side))
    square.paste(digit, ((side - digit.width) // 2, (side - digit.height) // 2))
    pixels = np.asarray(square.convert("F").resize((SIZE, SIZE), Image.Resampling.BOX))[None]
    return pixels / pixels.max()  # the strokes of a thin pen are as black as those of the data
