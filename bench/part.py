"""One part of `device`, in a process of its own: `python -m bench.part MODULE:FUNCTION OPTIONS`; a line a row."""

from __future__ import annotations

import importlib
import json
import sys

from .systems import lines


def main() -> None:
    module, _, function = sys.argv[1].partition(":")
    with lines.only_answers() as answers:
        for row in getattr(importlib.import_module(f"bench.{module}"), function)(**json.loads(sys.argv[2])):
            print(json.dumps(row, allow_nan=False), file=answers)


if __name__ == "__main__":
    main()
