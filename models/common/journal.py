"""What happened in a run, event by event: a file of JSON lines, and TensorBoard's file where that is wanted.

An event is a line such as {"event": "train", "update": 10, "loss": 2.91}. A number that is NaN or infinite is null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from . import files
from .errors import UserError

# What TensorBoard shows of an event: its name there.
SCALARS = {
    ("train", "loss"): "loss/train",
    ("validation", "nats"): "loss/validation",
    ("train", "gradient_norm"): "training/gradient_norm",
    ("train", "lr"): "training/learning_rate",
    ("train", "symbols_per_second"): "training/symbols_per_second",
}


class Journal:
    """A file that grows by a line for each event, whatever becomes of the process.

    Args:
        path: a new file, or one to go on with; half a line at its end, which a killed process left, is cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        self._file.truncate(len(_whole_lines(path.read_bytes())))

    def write(self, event: str, **facts: Any) -> None:
        """Add an event."""
        self._file.write(_line({"event": event, **facts}))
        self._file.flush()

    def keep(self, until_update: int) -> None:
        """Drop what happened after an update: a run that goes on from an older checkpoint makes it again."""
        records = [record for record in read(self.path) if (record.get("update") or 0) <= until_update]
        self._file.close()
        files.replace_file(self.path, lambda new: new.write_bytes(b"".join(map(_line, records))))
        self._file = self.path.open("ab")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The events of a journal, without half a line at its end.

    Raises:
        UserError: there is no such file, or a line of it is no JSON object.
    """
    if not path.is_file():
        raise UserError(f"there is no journal {path}")
    records = []
    for number, line in enumerate(_whole_lines(path.read_bytes()).splitlines(), start=1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(record, dict):
            raise UserError(f"{path}, line {number} must be a JSON object such as {{...}}, got {line[:60]!r}")
        if not isinstance(record.get("update", 0), int):
            raise UserError(f"{path}, line {number}: expected a number of updates, got {record['update']!r:.60}")
        records.append(record)
    return records


def _whole_lines(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]


def _line(record: Mapping[str, Any]) -> bytes:
    # A file's name may hold what is no Unicode; the escape written for it is one of JSON's too.
    return json.dumps(_plain(record), ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace") + b"\n"


def _plain(value: Any) -> Any:
    """`value` as JSON has it."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return _plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


class TensorBoard:
    """The same events for TensorBoard, which draws them while training goes on: `tensorboard --logdir FOLDER`.

    Args:
        folder: where its files go.
        resumed_at: the update that the run goes on from; what an earlier session wrote of later ones is not shown.

    Raises:
        ImportError: tensorboardX is not installed.
    """

    def __init__(self, folder: Path, resumed_at: int | None = None) -> None:
        self._writer = summary_writer()(str(folder), purge_step=None if resumed_at is None else resumed_at + 1)

    def write(self, event: str, **facts: Any) -> None:
        """Add an event; of its facts, the numbers in SCALARS."""
        for (kind, name), tag in SCALARS.items():
            if kind == event and name in facts:
                self._writer.add_scalar(tag, float(facts[name]), int(facts["update"]))

    def close(self) -> None:
        self._writer.close()


def summary_writer() -> Any:
    """What writes TensorBoard's files, so that one can see early whether it is installed.

    Raises:
        ImportError: it is not.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError(f"{error}. TensorBoard's files need an extra: pip install -e '.[tensorboard]'") from error
    return SummaryWriter
