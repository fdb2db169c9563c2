"""Golden values: what PyTorch computes, in float64, for minigrad to be compared with.

Run by hand, with torch installed, after a case is added or changed:

    python -m tests.golden.make [FAMILY ...]

It writes one .npz file per family of cases beside this file. The tests read the files, so they need no
torch; where torch is installed, they also call the `run_...` functions below on cases drawn at random.

A case's arrays have these names: what goes in ("x", "state.0", "weight.bias_hh_l0", ...), what comes out
("output.0", ...), and "gradient." before the name of each thing that goes in and has a gradient.
"""

from __future__ import annotations

import json
import math
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from .arrays import Arrays
from .functions import FUNCTIONS, run_function
from .layers import LAYERS, run_layer
from .optimizers import CLIPPINGS, OPTIMIZERS, run_clipping, run_optimizer
from .schedules import SCHEDULES, run_schedule

HERE = Path(__file__).parent

FAMILIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "layers": (run_layer, LAYERS),
    "functions": (run_function, FUNCTIONS),
    "optimizers": (run_optimizer, OPTIMIZERS),
    "clippings": (run_clipping, CLIPPINGS),
    "schedules": (run_schedule, SCHEDULES),
}


def read(family: str) -> dict[str, Arrays]:
    """The arrays of a golden file, by case."""
    cases: dict[str, Arrays] = {}
    with np.load(HERE / f"{family}.npz", allow_pickle=False) as file:
        rest = {dtype: file[dtype] for dtype in file.files if dtype not in ("torch", "index")}
        for case, name, shape, dtype in json.loads(str(file["index"])):
            size = math.prod(shape)
            cases.setdefault(case, {})[name] = rest[dtype][:size].reshape(shape)
            rest[dtype] = rest[dtype][size:]
    return cases


def write(family: str, cases: dict[str, Arrays], version: str) -> Path:
    """All arrays of a dtype end to end, for a thousand small ones take more room, and an index to find them by."""
    flat: dict[str, list[np.ndarray]] = {}
    index = []
    for case, arrays in cases.items():
        for name, array in arrays.items():
            index.append([case, name, array.shape, str(array.dtype)])
            flat.setdefault(str(array.dtype), []).append(array.ravel())
    path = HERE / f"{family}.npz"
    ends = {dtype: np.concatenate(parts) for dtype, parts in flat.items()}
    np.savez_compressed(path, torch=np.array(version), index=np.array(json.dumps(index)), **ends)
    return path


def main(families: list[str]) -> None:
    import torch

    torch.set_num_threads(1)
    for family in families or FAMILIES:
        run, cases = FAMILIES[family]
        found = {name: run(case, seed=zlib.crc32(name.encode())) for name, case in cases.items()}
        path = write(family, found, torch.__version__)
        print(f"{path.name}: {len(cases)} cases, {path.stat().st_size} bytes, torch {torch.__version__}")


if __name__ == "__main__":
    main(sys.argv[1:])
