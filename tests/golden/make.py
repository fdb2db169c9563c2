"""Golden values: what PyTorch computes, in float64, for minigrad to be compared with.

Run by hand, with torch installed, after a case is added or changed:

    python -m tests.golden.make [FAMILY ...]

It writes one .npz file per family of cases beside this file. The tests read the files, so they need no
torch; where torch is installed, they also call the `run_...` functions below on cases drawn at random.

A case's arrays have these names: what goes in ("x", "state.0", "weight.bias_hh_l0", ...), what comes out
("output.0", ...), and "gradient." before the name of each thing that goes in and has a gradient.
"""

from __future__ import annotations

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
        for name in file.files:
            case, _, array = name.partition("/")
            if array:
                cases.setdefault(case, {})[array] = file[name]
    return cases


def main(families: list[str]) -> None:
    import torch

    torch.set_num_threads(1)
    for family in families or FAMILIES:
        run, cases = FAMILIES[family]
        arrays = {"torch": np.array(torch.__version__)}
        for name, case in cases.items():
            found = run(case, seed=zlib.crc32(name.encode()))
            arrays |= {f"{name}/{array}": value for array, value in found.items()}
        path = HERE / f"{family}.npz"
        np.savez_compressed(path, **arrays)
        print(f"{path.name}: {len(cases)} cases, {path.stat().st_size} bytes, torch {torch.__version__}")


if __name__ == "__main__":
    main(sys.argv[1:])
