"""Two tasks that are solved by memory alone, over as long a lag as is wanted; every sequence is drawn anew.

    adding    T = lag steps, each a value, uniform in [0, 1), and a mark: 1 at one step of the first half and at one
              of the second, 0 elsewhere. To be said at the end: the sum of the two marked values. Whoever always says
              1 has a mean squared error of 1/6, the variance of the sum.
    copying   2 symbols, each one of 8, then `lag` blanks, then a sign to go and a blank. To be said at these two
              steps: the symbols, so that each is said lag + 2 steps after it was read. Whoever has kept nothing
              loses ln 8 nats a symbol, and is right about 1 in 8.

Source: Hochreiter and Schmidhuber 1997; both in the form of Arjovsky et al. 2016 (arXiv
1511.06464), but with 2 symbols instead of 10, and with a loss of the answers alone.

T: time steps   N: batch   D: width of the input   A: steps that are answered, the last ones   O: width of an answer
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np

from minigrad import Tensor
from minigrad.nn import functional as F

SYMBOLS, LENGTH = 8, 2  # of copying: how many different ones there are, and how many are to be kept
BLANK, GO = SYMBOLS, SYMBOLS + 1


class Task(ABC):
    """What a network is to do.

    Attributes:
        inputs, outputs, answers: D, O, A.
        unit: of the loss.
        reference: the loss of whoever has kept nothing.
        called, goal: the figure by which it is judged, and what it is to be.
    """

    inputs: int
    outputs: int
    answers: int
    unit: str
    reference: float
    called: str
    goal: str

    @abstractmethod
    def batch(self, lag: int, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """N = `count` new sequences: x (T, N, D), and what is to be said, y (A, N)."""

    @abstractmethod
    def loss(self, said: Tensor, y: Tensor) -> Tensor:
        """Of what was said (A, N, O), the mean over A and N."""

    @abstractmethod
    def figure(self, said: Tensor, y: Tensor) -> Tensor:
        """By which it is judged, also a mean over A and N."""

    @abstractmethod
    def reached(self, figure: float) -> bool:
        """Whether that is the goal."""

    @abstractmethod
    def tell(self, figure: float) -> str: ...


class Adding(Task):
    """x (T, N, 2): values and marks; y (1, N): sums."""

    inputs, outputs, answers = 2, 1, 1
    unit, reference = "mean squared error", 1 / 6
    called, goal = "the mean squared error", "below 0.01"

    def batch(self, lag: int, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        half, each = lag // 2, np.arange(count)
        x = np.zeros((lag, count, 2), np.float32)
        x[..., 0] = rng.random((lag, count), np.float32)
        first, second = rng.integers(0, half, count), rng.integers(half, lag, count)
        x[first, each, 1] = x[second, each, 1] = 1
        return x, (x[first, each, 0] + x[second, each, 0])[None]

    def loss(self, said: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(said[..., 0], y)

    figure = loss

    def reached(self, figure: float) -> bool:
        return figure < 0.01

    def tell(self, figure: float) -> str:
        return f"{figure:.3f}"


class Copying(Task):
    """x (T, N, 10), T = lag + 4: symbols, blanks and the sign, one-hot; y (2, N): symbols."""

    inputs, outputs, answers = SYMBOLS + 2, SYMBOLS, LENGTH
    unit, reference = "nats a symbol", math.log(SYMBOLS)
    called, goal = "the share of symbols said right", "99% or more"

    def batch(self, lag: int, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        symbols = rng.integers(0, SYMBOLS, (LENGTH, count))
        shown = np.full((LENGTH + lag + LENGTH, count), BLANK)
        shown[:LENGTH], shown[LENGTH + lag] = symbols, GO
        return np.eye(self.inputs, dtype=np.float32)[shown], symbols

    def loss(self, said: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(said.reshape(-1, SYMBOLS), y.reshape(-1))

    def figure(self, said: Tensor, y: Tensor) -> Tensor:
        return (said.argmax(-1) == y).astype(said.dtype).mean()

    def reached(self, figure: float) -> bool:
        return figure >= 0.99

    def tell(self, figure: float) -> str:
        return f"{100 * figure:.0f}%"


TASKS: dict[str, Task] = {"adding": Adding(), "copying": Copying()}
