"""What `gradient_flow` gives: tables as text and HTML, and a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..extras import extra
from ..figures import COLOURS, check_format, save_figure
from ..page import filled, in_notebook, page, save
from .curves import bar, curve, lines_of
from .norms import Followed, Row, together

NO_LOOP = "no loop over time was found (three rounds or more that are alike), so there is nothing to show by time step"


@dataclass(frozen=True, repr=False)
class GradientFlow:
    """Norms of gradients; see `gradient_flow`."""

    loss: float
    parameters: list[Row]
    states: list[Followed]
    unreached: list[str]  # parameters to which no gradient flows

    def __getitem__(self, name: str) -> Any:
        """The parameter, or the state, of this name."""
        named: dict[str, Any] = {each.name: each for each in self.parameters} | {
            each.name: each for each in self.states
        }
        if name not in named:
            raise KeyError(f"there is no {name!r}; expected one of {', '.join(map(repr, named))}")
        return named[name]

    @property
    def norm(self) -> float:
        """Of the gradients of all parameters together: what clipping by norm looks at."""
        return together(row.gradient for row in self.parameters)

    @property
    def modules(self) -> dict[str, float]:
        """The norm of the gradients of the parameters in each module."""
        names = dict.fromkeys(row.module for row in self.parameters)
        return {name: together(row.gradient for row in self.parameters if row.module == name) for name in names}

    @property
    def explosions(self) -> list[str]:
        """In words, where a gradient explodes on its way back through a loop: nothing is more urgent."""
        return [f"{state.name} {state.verdict}" for state in self.states if state.explodes]

    # As text --------------------------------------------------------------------------------------

    def __str__(self) -> str:
        lines = [self._summary(), *(f"! {told}" for told in self.explosions), "", *self._by_layer()]
        lines += ["", *(self._by_step() if self.states else [NO_LOOP])]
        return "\n".join(lines)

    __repr__ = __str__

    def _summary(self) -> str:
        wrong = [row.name for row in self.parameters if not math.isfinite(row.gradient)]
        told = f"; no finite numbers: {', '.join(wrong)}" if wrong else ""
        return f"loss {self.loss:.6g}, norm of the whole gradient {self.norm:.3g}{told}"

    def _by_layer(self) -> list[str]:
        width = max((len(row.name) for row in self.parameters), default=0) + 2
        shapes = max((len(str(row.shape)) for row in self.parameters), default=0)
        width = max(width, len("by layer"))
        lines = [f"{'by layer':<{width}}  {'shape':<{shapes}}  ‖gradient‖  ‖value‖   ratio"]
        bars = self._bars()
        for module, norm in self.modules.items():
            if module:
                lines.append(f"{module:<{width}}  {'':<{shapes}}  {norm:10.3g}")
            for row, drawn in zip(self.parameters, bars, strict=True):
                if row.module == module:
                    name = f"{'  ' if module else ''}{row.name}"
                    told = f"{row.gradient:10.3g}  {row.value:7.3g}  {row.ratio:7.1e}  {drawn}"
                    lines.append(
                        f"{name:<{width}}  {row.shape!s:<{shapes}}  {told if row.reached else NOTHING}".rstrip()
                    )
        return lines + [f"{name:<{width}}  {'':<{shapes}}  {NOTHING}" for name in self.unreached]

    def _by_step(self) -> list[str]:
        width = max(len(state.name) for state in self.states)
        lines = [
            "by time step: the norm of dL/dh_t from t = 0 to the last, each curve on a logarithmic scale of its own;",
            "then the factor a step, on its way back, of the gradient that sets out from the last step alone",
        ]
        for state in self.states:
            ends = f"{state.norms[0]:8.2g}  {curve(state.norms)}  {state.norms[-1]:<8.2g}"
            lines.append(f"{state.name:<{width}}  {ends}  {state.verdict}")
        return lines

    # As HTML and as a picture ---------------------------------------------------------------------

    def html(self) -> str:
        """A piece of HTML."""
        rows = list(zip(self.parameters, self._bars(), strict=True))
        return filled(
            "flow.html", flow=self, summary=self._summary(), rows=rows,
            states=[(state, *lines_of(state)) for state in self.states],
            no_loop=NO_LOOP, nothing=NOTHING,
        )  # fmt: skip

    def _bars(self) -> list[str]:
        """The ratio of each parameter as a bar; none where the value is 0, as a bias may be that has not learned."""
        most = max((row.ratio for row in self.parameters if math.isfinite(row.ratio)), default=0.0)
        told = [row.value != 0 or not math.isfinite(row.gradient) for row in self.parameters]
        return [bar(row.ratio, most) if tell else "" for row, tell in zip(self.parameters, told, strict=True)]

    def _repr_html_(self) -> str:
        return in_notebook(self.html())

    def save(self, path: str | Path) -> Path:
        """Write the tables as a page, .html, or the picture, .png, .svg or .pdf.

        Raises:
            ValueError: the suffix is another one.
            ImportError: jinja2, or matplotlib, is not installed.
        """
        if Path(path).suffix == ".html":
            return save(path, page("Gradient flow", self.html()))
        check_format(path, ".html")
        self.plot(path)
        return Path(path)

    def plot(self, path: str | Path | None = None) -> Any:
        """Ratios by parameter, and norms against time, both on logarithmic scales: matplotlib's figure.

        Args:
            path: where to write it, .png, .svg or .pdf.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: the suffix is another one.
        """
        check_format(path)
        panels = 1 + bool(self.states)
        height = max(3.6 + 0.2 * len(self.states), 0.22 * len(self.parameters) + 1.2)
        make = extra("matplotlib.figure", "a picture of the gradient flow").Figure
        figure = make(figsize=(5.6 * panels, height), layout="constrained")
        axes = figure.subplots(1, panels, squeeze=False)[0]
        self._draw_layers(axes[0])
        if self.states:
            self._draw_steps(axes[1])
        if path is not None:
            save_figure(figure, path)
        return figure

    def _draw_layers(self, axes: Any) -> None:
        names = [row.name for row in self.parameters]
        shown = [row.ratio if math.isfinite(row.ratio) and row.ratio > 0 else math.nan for row in self.parameters]
        axes.barh(range(len(names)), shown, color=COLOURS[0], height=0.7)
        axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
        axes.invert_yaxis()
        if not all(map(math.isnan, shown)):
            axes.set_xscale("log")
            _tell_few_decades(axes)
        axes.set_xlabel("‖gradient‖ / ‖value‖")
        axes.set_title("by parameter", fontsize=10)
        axes.grid(alpha=0.3, axis="x")
        for place, row in enumerate(self.parameters):
            if math.isnan(shown[place]):
                told = f"{row.ratio:g}" if row.reached else NOTHING
                axes.text(0.02, place, told, transform=axes.get_yaxis_transform(), va="center", fontsize=8)

    def _draw_steps(self, axes: Any) -> None:
        others = False
        for number, state in enumerate(self.states):
            shown = [g if math.isfinite(g) and g > 0 else math.nan for g in state.norms]
            label = f"{state.name}: {state.verdict}"
            style = "--" if state.name.endswith(" c") else "-"
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(shown, style, marker=".", markersize=3, color=colour, label=label)
            alone = [math.exp(x) if -690 < x < 690 else math.nan for x in state.way]
            if any(abs(a - b) > 1e-3 * b for a, b in zip(alone, shown, strict=True)):
                axes.plot(alone, ":", color=colour, linewidth=1)
                others = True
        if any(0 < g < math.inf for state in self.states for g in state.norms):
            axes.set_yscale("log")
        axes.set_xlabel("time step t")
        axes.set_ylabel("norm of the gradient")
        axes.set_title("by time step", fontsize=10)
        axes.grid(alpha=0.3)
        if others:
            axes.plot([], [], ":", color="0.4", label="from the last step alone")
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16))


NOTHING = "no gradient reaches it"


def _tell_few_decades(axes: Any) -> None:
    """Label 1, 2, 5, 10, ... where there are too few powers of ten: matplotlib's own labels would touch."""
    low, high = axes.get_xlim()
    if high < 100 * low:
        ticker = extra("matplotlib.ticker", "a picture of the gradient flow")
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_formatter(ticker.NullFormatter())
