"""minigrad training on one text chunk by chunk: each step begins with the state that the one before left."""

from __future__ import annotations

from functools import partial

from . import minigrad_layers
from .minigrad_device import device as device

build = partial(minigrad_layers.build, carries_state=True)
