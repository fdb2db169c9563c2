"""One to many: an image in, a sentence out.

              a      seven    <end>
              ↑        ↑        ↑
              y₁       y₂       y₃
              ↑        ↑        ↑
     h₀  →    h₁   →   h₂   →   h₃          h_t = tanh(W_xh x_t + W_hh h_{t-1} + W_ih v)
            ↗ ↑      ↗ ↑      ↗ ↑           y_t = W_hy h_t
           v  x₁    v  x₂    v  x₃
             <en>      a      seven

T: time steps   N: images   P: pixels across   F: features of an image, v   D: of a word, x   H: hidden   V: words
"""

from __future__ import annotations

from dataclasses import dataclass

import minigrad as mg
from minigrad import Tensor, nn

from ..common.checks import check_printable, check_sizes
from ..common.errors import UserError
from ..digits.model import Features
from .data import END, LANGUAGES, joined, start, until_the_end

MOST = 24  # words of a caption
INJECT = ("every", "first")


@dataclass(frozen=True)
class Options:
    """Everything needed to build the model again."""

    words: tuple[str, ...]  # V of them
    channels: int = 16  # of the CNN
    features: int = 64  # F
    embedding: int = 32  # D
    hidden: int = 128  # H
    inject: str = "every"

    def __post_init__(self) -> None:
        if self.inject not in INJECT:
            raise UserError(f"the image cannot enter at the step {self.inject!r}; choose one of {', '.join(INJECT)}")
        needed = {END, *map(start, LANGUAGES)}
        if not needed <= set(self.words) or len(set(self.words)) < len(self.words):
            raise UserError(f"words must differ from each other, with {', '.join(sorted(needed))} among them")
        check_printable("words", self.words)
        check_sizes(self, "channels", "features", "embedding", "hidden")


def recurrence(x: Tensor, h: Tensor, weight: Tensor) -> Tensor:
    """h_t = tanh(x + W_hh h_{t-1}), where x = W_xh x_t + W_ih v has no part in the loop."""
    return mg.tanh(x + h @ weight.T)


class Decoder(nn.Module):
    """The words of a caption, from an image's features.

    h_t = tanh(W_xh x_t + W_hh h_{t-1} + W_ih v)          y_t = W_hy h_t, with biases in W_xh and W_hy

    W_ih v enters at every step, or only at the first one: then h alone has to keep in mind what was seen. Vinyals et
    al. 2015 (arXiv 1411.4555) show the image once, Mao et al. 2015 (arXiv 1412.6632) at every step.
    """

    def __init__(self, options: Options) -> None:
        self.inject = options.inject
        vocabulary, hidden = len(options.words), options.hidden
        self.embedding = nn.Embedding(vocabulary, options.embedding)  # x
        self.xh = nn.Linear(options.embedding, hidden)
        self.hh = nn.Linear(hidden, hidden, bias=False)
        self.ih = nn.Linear(options.features, hidden, bias=False)
        self.hy = nn.Linear(hidden, vocabulary)

    def forward(self, words: Tensor, v: Tensor) -> Tensor:
        """logits of the word after each: words (T, N) that are known beforehand, v (N, F), logits (T, N, V)"""
        x, image = self.xh(self.embedding(words)), self.ih(v)  # (T, N, H), (N, H)
        x = x + image if self.inject == "every" else mg.concatenate([x[:1] + image, x[1:]])
        h, _ = mg.scan(recurrence, x, mg.zeros(image.shape, device=v.device), self.hh.weight)
        return self.hy(h)

    def write(self, words: Tensor, v: Tensor, steps: int) -> Tensor:
        """The likeliest word at each step, which is read at the next: words (N,) to begin with, v (N, F) -> (steps, N)

        Nothing is read from the device: all write on to the last step, and what comes after an END is to be cut off.
        """
        image = self.ih(v)
        h, written = mg.zeros(image.shape, device=v.device), []
        for step in range(steps):
            x = self.xh(self.embedding(words))
            if self.inject == "every" or step == 0:
                x = x + image
            h = recurrence(x, h, self.hh.weight)
            words = self.hy(h).argmax(-1)
            written.append(words)
        return mg.stack(written)


class Captioner(nn.Module):
    """logits = model(images, words)          images (N, 1, P, P), words (T, N), logits (T, N, V)"""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.features = Features(options.channels, options.features)
        self.decoder = Decoder(options)

    def forward(self, images: Tensor, words: Tensor) -> Tensor:
        return self.decoder(words, self.features(images))

    def captions(self, images: Tensor, language: str) -> list[str]:
        """What it says of each image, up to END, or MOST words."""
        words = self.options.words
        begin = mg.full(len(images), words.index(start(language)), dtype=mg.int64, device=images.device)
        written = self.decoder.write(begin, self.features(images), MOST).to("cpu").numpy()
        return [joined(until_the_end(numbers, words)) for numbers in written.T.tolist()]
