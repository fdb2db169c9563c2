"""Many to many, in step: every frame goes through an encoder into a recurrent cell, and every state gives an answer.

T: frames   N: videos   P = 8: pixels across   F: width of what the encoder finds   H: hidden size
"""

from __future__ import annotations

from dataclasses import dataclass

from minigrad import Tensor, nn

from ..common.cells import CELLS, refuse_unknown_cell
from ..common.checks import check_sizes
from ..common.errors import UserError
from ..digits.model import CLASSES, Features
from .data import QUESTIONS


@dataclass(frozen=True)
class Options:
    """Everything needed to build the model again."""

    question: str = "larger"
    cell: str = "gru"
    hidden: int = 128
    features: int = 64  # F
    channels: int = 16  # of the encoder's first convolution
    frames: int = 10  # T of the videos it was trained on

    def __post_init__(self) -> None:
        refuse_unknown_cell(self.cell)
        if self.question not in QUESTIONS:
            raise UserError(f"there is no question {self.question!r}; choose one of {', '.join(QUESTIONS)}")
        check_sizes(self, "hidden", "features", "channels")
        check_sizes(self, "frames", least=2, most=256)


class Answerer(nn.Module):
    """logits, digits = model(frames)          frames (T, N, 1, P, P), logits (T, N), digits (T, N, 10)

        vₜ = features(frameₜ)               (F,)
        hₜ = cell(vₜ, hₜ₋₁)                 (H,), h₀ = 0
        logitₜ = w · hₜ + b                 of "yes" at frame t
        digitsₜ = D vₜ + d                  of each digit on frame t: for an auxiliary loss, while learning alone

    The answer at frame t knows the frames 0 to t, and none that follow.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.features = Features(options.channels, options.features)
        self.rnn = CELLS[options.cell](options.features, options.hidden)
        self.output = nn.Linear(options.hidden, 1)
        self.digits = nn.Linear(options.features, CLASSES)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        T, N = frames.shape[:2]
        v = self.features(frames.reshape(T * N, *frames.shape[2:]))  # each frame by itself: (T N, F)
        v = v.reshape(T, N, -1)
        h, _ = self.rnn(v)  # (T, N, H)
        return self.output(h)[..., 0], self.digits(v)
