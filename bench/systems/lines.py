"""A process that answers on its standard output, a line of JSON each time."""

from __future__ import annotations

import os
from typing import IO


def only_answers() -> IO[str]:
    """Standard output for answers alone; what anybody prints goes to standard error from now on."""
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    return answers
