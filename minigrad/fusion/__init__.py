"""The third reading: kernels written from the formulas.

`fuse` makes one kernel of a function of elementwise primitives, `scan` one call of a whole time loop. In reading order:

    expression.py  formulas read on symbols          trace.py     a function of primitives, run on stand-ins
    gradient.py    its derivative formulas           nest.py      loops over entries
    c.py           their text                        compiler.py  from text to functions
    program.py     all of it together                fused.py     `fuse`
    steps.py       what a time step consists of      cell.py      a cell, and cell_gradient.py its gradient
    c_loop.py      the loop over time                scanned.py   `scan`

runtime.py and cuda_library.py are what the kernels of the CPU and of a GPU do besides: products, rows, sums by index.
"""

from . import cuda_library as cuda_library  # which makes itself known to CUDA devices
from .fused import fuse
from .scanned import scan, scan_source
from .setting import fuse_backend, fusing

__all__ = ["fuse", "fuse_backend", "fusing", "scan", "scan_source"]
