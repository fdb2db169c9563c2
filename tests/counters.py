"""What the host asked a device to do: reads, waits, uploads, launches; and how much memory its arrays hold."""

from __future__ import annotations

from typing import Any, NamedTuple


class Counts(NamedTuple):
    """How often the host did something, by now or between two moments: `strict.counts() - before`."""

    reads: int = 0  # copies from the device, each of which waits for it
    synchronizations: int = 0  # other waits
    uploads: int = 0  # copies to the device
    launches: int = 0  # calls that compute something, copy, fill or draw on the device: not views, not `empty`

    def __sub__(self, before: Counts) -> Counts:
        return Counts(*(now - then for now, then in zip(self, before, strict=True)))


class Counters:
    """A namespace that counts.

    CuPy's library functions are counted as one launch each, though some of them, such as `var`, make several.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.reads = self.synchronizations = self.uploads = self.launches = 0
        self.live = self.peak = 0  # bytes of the arrays that are there, and the most there have been

    def counts(self) -> Counts:
        return Counts(self.reads, self.synchronizations, self.uploads, self.launches)

    def allocated(self, size: int) -> None:
        self.live += size
        self.peak = max(self.peak, self.live)

    def freed(self, size: int) -> None:
        self.live -= size

    def forget_peak(self) -> None:
        """Look for the most bytes from now on."""
        self.peak = self.live
