"""How often gates are shut, and how often open.

T: time steps   H: cells
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...backend import Array
from ..extras import extra
from ..figures import COLOURS, check_format, save_figure
from .activations import Activations


@dataclass(frozen=True, eq=False, repr=False)
class Saturation:
    """Of each gate of each cell, the fraction of time that it is left-saturated (shut) and right-saturated (open).

    Source: Karpathy, Johnson and Li 2015, arXiv 1506.02078, section 4.2 and figure 3.
    """

    left: dict[tuple[str, str], Array]  # (layer, gate) -> (H,): below `low`
    right: dict[tuple[str, str], Array]  # (H,): above `high`
    low: float
    high: float
    steps: int

    def table(self) -> list[tuple[str, str, float, float, float, float]]:
        """Layer, gate, mean fraction shut, mean fraction open, and fractions of cells that are shut, open all the time.

        All the time: in 9 of 10 steps.
        """
        found = []
        for (layer, gate), left in self.left.items():
            right = self.right[layer, gate]
            always = float((left > 0.9).mean()), float((right > 0.9).mean())
            found.append((layer, gate, float(left.mean()), float(right.mean()), *always))
        return found

    def __str__(self) -> str:
        lines = [
            f"saturation of gates over {self.steps:,} steps: below {self.low:g} (shut), above {self.high:g} (open)"
        ]
        width = max(len(f"{layer} {gate}") for layer, gate in self.left)
        for layer, gate, shut, opened, always_shut, always_open in self.table():
            lines.append(
                f"{layer + ' ' + gate:<{width}}  shut {shut:6.1%} of the time, open {opened:6.1%}; cells that are so "
                f"in 9 of 10 steps: shut {always_shut:.1%}, open {always_open:.1%}"
            )
        return "\n".join(lines)

    __repr__ = __str__

    def plot(self, path: str | Path | None = None) -> Any:
        """The scatter plot of the paper, a panel for each kind of gate, a colour for each layer: matplotlib's figure.

        Args:
            path: where to write it, .png, .svg or .pdf.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: the suffix is another one.
        """
        check_format(path)
        gates = list(dict.fromkeys(gate for _, gate in self.left))
        figure = extra("matplotlib.figure", "a picture").Figure(figsize=(4.2 * len(gates), 4.4), layout="constrained")
        layers = list(dict.fromkeys(layer for layer, _ in self.left))
        for axes, gate in zip(figure.subplots(1, len(gates), squeeze=False)[0], gates, strict=True):
            for number, layer in enumerate(layers):
                if (layer, gate) in self.left:
                    colour = COLOURS[number % len(COLOURS)]
                    axes.scatter(
                        self.right[layer, gate], self.left[layer, gate], s=18, alpha=0.45, color=colour, label=layer
                    )
            axes.plot([0, 1], [1, 0], color="0.6", linewidth=0.8)  # all of the time
            axes.set_title(f"{gate} gate")
            axes.set_xlim(-0.03, 1.03)
            axes.set_ylim(-0.03, 1.03)
            axes.set_aspect("equal")
            axes.set_xlabel(f"of the time open (above {self.high:g})")
            axes.grid(alpha=0.3)
        figure.axes[0].set_ylabel(f"of the time shut (below {self.low:g})")
        if len(layers) > 1:
            figure.axes[-1].legend()
        if path is not None:
            save_figure(figure, path)
        return figure

    save = plot


def saturation(layers: Sequence[Activations], low: float = 0.1, high: float = 0.9) -> Saturation:
    """Count how often each gate is below `low`, and how often above `high`.

    Raises:
        ValueError: no layer has gates, or the bounds are no two numbers in order from 0 to 1.
    """
    if not 0 <= low < high <= 1:
        raise ValueError(f"saturation: expected 0 <= low < high <= 1, got {low} and {high}")
    left = {(a.name, gate): (values < low).mean(0) for a in layers for gate, values in a.gates.items()}
    right = {(a.name, gate): (values > high).mean(0) for a in layers for gate, values in a.gates.items()}
    if not left:
        raise ValueError(f"saturation: expected a layer with gates, LSTM or GRU, got {layers[0].kind}")
    return Saturation(left, right, low, high, len(layers[0].h))
