"""A running average of the weights, which generalises better than the latest ones.

Source: Polyak and Juditsky 1992; as an exponential average with a rising decay, TensorFlow's ExponentialMovingAverage.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import minigrad as mg
from minigrad import nn


class Average:
    """a ← d a + (1 - d) w after each update, d = min(decay, (1 + n)/(10 + n)) after n of them.

    With decay 0 it is the weights themselves, and costs nothing.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._weights = dict(model.named_parameters())
        self.decay, self.updates = decay, 0
        self.values = {name: w.detach().copy() for name, w in self._weights.items()} if decay else {}

    def update(self) -> None:
        """Take the latest weights in."""
        self.updates += 1
        d = min(self.decay, (1 + self.updates) / (10 + self.updates))
        with mg.no_grad():
            for name, a in self.values.items():
                a.data *= d
                a.data += (1 - d) * self._weights[name].data

    @contextlib.contextmanager
    def instead(self) -> Iterator[None]:
        """Inside a `with` block the model has the average for its weights."""
        latest = {name: self._weights[name].data for name in self.values}
        try:
            for name, a in self.values.items():
                self._weights[name].data = a.data
            yield
        finally:
            for name, data in latest.items():
                self._weights[name].data = data
