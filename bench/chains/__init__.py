"""Long chains of one operation, recorded by several systems and computed bare; each module runs in a process alone."""

from __future__ import annotations

CHAINS = {
    "minigrad": "bench.chains.minigrad_chains",
    "torch": "bench.chains.torch_chains",
    "autograd": "bench.chains.autograd_chains",
}
