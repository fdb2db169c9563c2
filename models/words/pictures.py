"""How much it helps to have seen more words before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..common import curves

PERPLEXITY = "perplexity.png"
ALL = "all"


def by_words_seen(
    lines: Mapping[str, Mapping[int | str, float]], seen: Sequence[int | str], judged: int, path: Path
) -> None:
    """Perplexity by how many words before are seen.

    Args:
        lines: of each model, the perplexity by the number of words that it sees, or ALL.
        seen: all of these numbers, in order.
        judged: how many words the perplexity is of.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for number, (name, line) in enumerate(lines.items()):
        places = [list(seen).index(each) for each in line]
        axes.plot(places, list(line.values()), "o-", color=curves.COLOURS[number], label=name)
        for place, value in zip(places, line.values(), strict=True):
            aside, side = ((-6, -10), "right") if number else ((4, 6), "left")
            axes.annotate(f"{value:.0f}", (place, value), aside, textcoords="offset points", ha=side,
                          fontsize=8, color=curves.COLOURS[number])  # fmt: skip
    axes.margins(y=0.1)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:.0f}")
    axes.yaxis.set_minor_formatter("{x:.0f}")
    axes.set_title(f"Perplexity of {judged:,} held-out words, by how much of the text before is seen")
    axes.set_xlabel("words before that are seen; nothing older is")
    axes.set_ylabel("perplexity")
    axes.set_xticks(range(len(seen)), [str(each) for each in seen])
    axes.grid(alpha=0.3)
    axes.legend()
    curves.save(figure, path)
