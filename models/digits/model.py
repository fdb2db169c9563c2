"""The plain shape, one to one: an image in, a guess out, nothing before and nothing after.

N: images   P = 8: pixels across   C: channels   H: hidden size
"""

from __future__ import annotations

from dataclasses import dataclass

from minigrad import Tensor, nn

from ..common.checks import check_sizes
from ..common.errors import UserError
from .data import SIZE

CLASSES = 10
KINDS = ("cnn", "mlp")


@dataclass(frozen=True)
class Options:
    """Everything needed to build the model again."""

    kind: str = "cnn"
    channels: int = 16  # of the first convolution; the second has twice as many
    hidden: int = 64

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"there is no model {self.kind!r}; choose one of {', '.join(KINDS)}")
        check_sizes(self, "channels", "hidden")


class Features(nn.Module):
    """v = features(images)          images (N, 1, P, P), v (N, H)

    Two convolutions, each followed by the largest of every 2 x 2 pixels; then a vector of all that was found.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        left = SIZE // 4  # pixels across, after two times 2 x 2
        self.layers = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),  # (N, C, P, P)
            nn.ReLU(),
            nn.MaxPool2d(2),  # (N, C, P/2, P/2)
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),  # (N, 2C, P/4, P/4)
            nn.Flatten(),
            nn.Linear(2 * channels * left * left, hidden),
            nn.ReLU(),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class Classifier(nn.Module):
    """logits = model(images)          images (N, 1, P, P), logits (N, 10)"""

    def __init__(self, options: Options) -> None:
        self.options = options
        if options.kind == "cnn":
            self.features: nn.Module = Features(options.channels, options.hidden)
        else:
            self.features = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, options.hidden), nn.ReLU())
        self.output = nn.Linear(options.hidden, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.output(self.features(images))
