"""Numbers of more than a byte, in about a byte each.

Of some thousand symbols in a row, few are different, even in a text that has thousands of them in all. A block has
these, in order, and then for each symbol its place among them:

    k (4 bytes), k numbers, and BLOCK places of one byte if k <= 256, else of two; k = 0: BLOCK numbers as they are
"""

from __future__ import annotations

import numpy as np

BLOCK = 1024  # symbols; fewer have fewer different ones, but what is different is told more often


class Packer:
    """Packs blocks of numbers below `size`."""

    def __init__(self, size: int) -> None:
        self._dtype = np.min_scalar_type(size - 1)
        self._seen = np.zeros(size, bool)
        self._places = np.zeros(size, np.uint16)

    def pack(self, ids: np.ndarray) -> bytes:
        """A block, of BLOCK symbols or fewer."""
        self._seen[ids] = True
        different = np.flatnonzero(self._seen).astype(self._dtype)
        self._seen[different] = False
        self._places[different] = np.arange(len(different))
        places = self._places[ids].astype(_of_places(len(different)))
        if different.nbytes + places.nbytes >= ids.nbytes:
            return _count(0) + ids.tobytes()
        return _count(len(different)) + different.tobytes() + places.tobytes()


def unpack(block: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The numbers in a block, which is given as its bytes."""
    count = int(block[:4].view("<u4")[0])
    if not count:
        return block[4:].view(dtype)
    stop = 4 + count * dtype.itemsize
    different: np.ndarray = block[4:stop].view(dtype)
    return different[block[stop:].view(_of_places(count))]


def _of_places(count: int) -> type[np.unsignedinteger]:
    return np.uint8 if count <= 256 else np.uint16


def _count(number: int) -> bytes:
    return number.to_bytes(4, "little")
