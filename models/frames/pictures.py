"""A video with its answers, and how good the answers are at each frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..common import curves
from .data import Videos, often

VIDEO, BY_FRAME = "video.png", "by_frame.png"
TITLES = {"larger": "is the digit larger than the one before?", "seen": "has the digit been seen already?"}


def strip(videos: Videos, p: np.ndarray, number: int, question: str, path: Path) -> None:
    """The frames of a video, the right answers, and how likely the model found "yes" at each.

    Args:
        p: (T, N)
        number: of the video.
    """
    from matplotlib.figure import Figure

    frames, labels, guesses = videos.frames[:, number, 0], videos.labels[:, number] > 0.5, p[:, number]
    T = len(frames)
    figure = Figure(figsize=(0.5 + 1.05 * T, 3.6), layout="constrained")
    figure.suptitle(f"Held-out video {number}: {TITLES[question]}")
    grid = figure.add_gridspec(2, T, height_ratios=(1, 1.4))
    for t, frame in enumerate(frames):
        axes = figure.add_subplot(grid[0, t])
        axes.imshow(frame, cmap="Greys", vmin=0, vmax=1)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel("yes" if labels[t] else "no", color="black" if labels[t] else "0.5")
        if t == 0:
            axes.set_ylabel("frames, and\nright answers")
    below = figure.add_subplot(grid[1, :])
    right = (guesses > 0.5) == labels
    below.bar(range(T), guesses, color=[curves.BLUE if r else curves.RED for r in right])
    for t, guess in enumerate(guesses):
        below.text(t, guess + 0.03, f"{100 * guess:.0f}%", ha="center", fontsize=9)
    below.axhline(0.5, color="0.6", linestyle=":")
    below.set_xlim(-0.5, T - 0.5)
    below.set_ylim(0, 1.15)
    below.set_xticks(range(T))
    below.set_yticks([0, 0.5, 1])
    below.set_xlabel("frame (blue: the likelier answer is right; orange: wrong)")
    below.set_ylabel('probability of "yes"')
    curves.save(figure, path)


def by_frame(videos: Videos, p: np.ndarray, question: str, path: Path) -> None:
    """The share of videos with the right answer at each frame, and that without looking at any."""
    from matplotlib.figure import Figure

    right = ((p > 0.5) == (videos.labels > 0.5)).mean(1)
    steps = np.arange(len(right))
    likely = often(question, len(right)) > 0.5
    blind = (likely[:, None] == (videos.labels > 0.5)).mean(1)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, 100 * right, "o-", color=curves.BLUE, label="the model")
    axes.plot(steps, 100 * blind, "s--", color="0.5", label="without looking: the likelier answer")
    axes.set_xticks(steps)
    axes.set_xlabel("frame")
    axes.set_ylabel("right answers, %")
    axes.set_title(f"{TITLES[question].capitalize()} {videos.labels.shape[1]:,} held-out videos")
    axes.set_ylim(40, 101.5)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    curves.save(figure, path)
