"""All options of `train`, each with a remark; the presets.

Two tables: what a run is, recorded with it and kept when it is resumed; and how this session goes about it.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer
from typer import Option

from ..common.cells import CELLS
from ..common.console import clear_errors
from ..common.errors import UserError
from ..common.options import Device, fall_back, flag, prefer, read_toml
from ..common.streams import SPLITS
from ..common.training import TRAINING, Clip, LearningRate, Seed, Updates, WeightDecay
from .vocabulary import UNITS

RUN = Path("runs/char_lm")
TEXT, MODEL, WATCHING = "The text", "The model", "Watching over it"


@dataclass(frozen=True)
class Settings:
    """What a run is."""

    data: Annotated[
        list[Path],
        Option(help="UTF-8 text to learn: a file, or a folder of *.txt and *.md; several: --data A --data B. "
               "Without it, the language reference inside Python.", show_default=False, rich_help_panel=TEXT),
    ] = field(default_factory=list)  # fmt: skip
    corpus: Annotated[
        str | None, Option(help="A well-known text, downloaded once: tinyshakespeare, ...", rich_help_panel=TEXT)
    ] = None
    unit: Annotated[
        str, Option(help="char, or byte: any file, 256 symbols, no unknown ones.", rich_help_panel=TEXT)
    ] = "char"
    min_count: Annotated[
        int, Option(help="Characters seen less often are replaced by U+FFFD.", min=1, rich_help_panel=TEXT)
    ] = 1
    newline: Annotated[
        str, Option(help="keep, or unix: line ends become LF where they are CR LF.", rich_help_panel=TEXT)
    ] = "keep"
    split: Annotated[
        str,
        Option(help="What is held out to judge by: " + "; ".join(f"{k}: {v}" for k, v in SPLITS.items()) + ".",
               rich_help_panel=TEXT),
    ] = "contiguous"  # fmt: skip

    cell: Annotated[str, Option(help="rnn, lstm or gru.", rich_help_panel=MODEL)] = "lstm"
    hidden: Annotated[int, Option(help="Units in each recurrent layer.", min=1, rich_help_panel=MODEL)] = 256
    layers: Annotated[int, Option(help="Recurrent layers.", min=1, rich_help_panel=MODEL)] = 1
    embedding: Annotated[
        int, Option(help="Width of a symbol's learned vector; 0: as many as --hidden.", min=0, rich_help_panel=MODEL)
    ] = 0
    one_hot: Annotated[
        bool, Option("--one-hot", help="Feed symbols as one-hot vectors, not learned ones.", rich_help_panel=MODEL)
    ] = False
    dropout: Annotated[
        float,
        Option(help="Probability of dropping a value between layers and before the output.", min=0, max=1,
               rich_help_panel=MODEL),
    ] = 0.0  # fmt: skip
    dropout_input: Annotated[
        float,
        Option(help="Probability of dropping a value of a symbol's vector.", min=0, max=1, rich_help_panel=MODEL),
    ] = 0.0
    weights: Annotated[
        Path | None,
        Option(help="Start from the weights in a safetensors file, of minigrad or of PyTorch, with the same layers.",
               rich_help_panel=MODEL),
    ] = None  # fmt: skip

    updates: Updates = 1200
    batch: Annotated[int, Option(help="Streams of text read side by side.", min=1, rich_help_panel=TRAINING)] = 32
    seq: Annotated[
        int, Option(help="Symbols per chunk: how far back gradients flow.", min=1, rich_help_panel=TRAINING)
    ] = 64
    lr: LearningRate = 4e-3
    warmup: Annotated[
        int, Option(help="Updates during which the learning rate rises to --lr.", min=0, rich_help_panel=TRAINING)
    ] = 0
    weight_decay: WeightDecay = 0.0
    clip: Clip = 1.0
    average: Annotated[
        float,
        Option(help="Judge and save a running average of the weights: the part of it that each update keeps, such as "
               "0.999; 0: the weights as they are.", min=0, rich_help_panel=TRAINING),
    ] = 0.0  # fmt: skip
    seed: Seed = 0

    eval_every: Annotated[
        int, Option(help="Updates between two looks at the held-out text.", min=1, rich_help_panel=WATCHING)
    ] = 100
    patience: Annotated[
        int,
        Option(help="Stop early after so many looks at the held-out text without a better loss; 0: never.", min=0,
               rich_help_panel=WATCHING),
    ] = 0  # fmt: skip
    guard: Annotated[
        float,
        Option(help="Stop when the loss exceeds that of guessing so many times; 0: only when it is no number.", min=0,
               rich_help_panel=WATCHING),
    ] = 3.0  # fmt: skip
    save_every: Annotated[
        float, Option(help="Seconds between two checkpoints, at most.", min=0, rich_help_panel=WATCHING)
    ] = 30.0
    tensorboard: Annotated[
        bool, Option("--tensorboard", help="Write TensorBoard's events, too.", rich_help_panel=WATCHING)
    ] = False

    def __post_init__(self) -> None:
        self._check_kinds()
        object.__setattr__(self, "data", [Path(path) for path in self.data])
        object.__setattr__(self, "weights", self.weights and Path(self.weights))  # in a checkpoint they are strings
        for name in ("lr", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"--{name} must be positive, got {getattr(self, name)}")
        for name in ("weight_decay", "guard", "save_every"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"--{name.replace('_', '-')} must be 0 or more, got {getattr(self, name)}")
        if not 0 <= self.average < 1:
            raise UserError(f"--average must be in [0, 1), got {self.average}")
        for name, choices in (("cell", CELLS), ("unit", UNITS), ("split", SPLITS)):
            if getattr(self, name) not in choices:
                raise UserError(f"there is no {name} {getattr(self, name)!r}; choose one of {', '.join(choices)}")
        if self.data and self.corpus:
            raise UserError("--data and --corpus both name a text; choose one")
        if self.one_hot and self.embedding:
            raise UserError("--one-hot feeds symbols as they are; leave --embedding out")

    def _check_kinds(self) -> None:
        """Values may come from a file, where typer did not look at them, and where a path is a string."""
        for name, hint in get_type_hints(Settings, include_extras=True).items():
            (kind, option), value = get_args(hint), getattr(self, name)
            kinds = {float: float | int, list[Path]: list, Path | None: str | Path | None}.get(kind, kind)
            if not isinstance(value, kinds) or isinstance(value, bool) != (kind is bool):
                raise UserError(f"{flag(name)} must be {getattr(kind, '__name__', kind)}, got {value!r:.60}")
            if option.min is not None and value < option.min:
                raise UserError(f"{flag(name)} must be {option.min} or more, got {value}")
        if not all(isinstance(path, (str, Path)) for path in self.data):
            raise UserError(f"--data must be names of files, got {self.data!r:.60}")

    def plain(self) -> dict[str, Any]:
        """As JSON and TOML can say it."""
        data = [str(path) if str(path) == "-" else str(path.absolute()) for path in self.data]
        named = {"data": data, "weights": self.weights and str(self.weights.absolute())}
        return asdict(self) | named


def recorded(about: Mapping[str, Any]) -> Settings:
    """The settings that a checkpoint says its model was trained with; what it does not say is the default.

    Raises:
        UserError: it says what cannot be settings.
    """
    said = about.get("settings", {})
    names = {field.name for field in fields(Settings)}
    if not isinstance(said, dict) or not said.keys() <= names:
        raise UserError(f"the checkpoint says what cannot be options of `train`: {said!r:.100}")
    try:
        return Settings(**said)
    except UserError as error:
        raise UserError(f"the checkpoint says what cannot be options of `train`: {error}") from error


CHANGEABLE = {"updates", "lr", "clip", "eval_every", "patience", "guard", "save_every", "tensorboard"}  # on resuming

PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"hidden": 64, "batch": 16, "seq": 32, "updates": 400, "lr": 1e-2},
    "fast": {"hidden": 256, "updates": 2500, "lr": 6e-3, "warmup": 50, "weight_decay": 0.01, "dropout": 0.1,
             "average": 0.99, "eval_every": 50},
    "best": {"hidden": 512, "embedding": 128, "updates": 9000, "lr": 2e-3, "warmup": 100, "weight_decay": 0.05,
             "dropout": 0.5, "dropout_input": 0.2, "average": 0.999, "eval_every": 250},
}  # fmt: skip
REMARKS = {"tiny": "seconds, for a first look", "fast": "a good model soon", "best": "the best of a quarter of an hour"}


def _preset(ctx: typer.Context, name: str | None) -> str | None:
    if name is not None:
        with clear_errors():
            if name not in PRESETS:
                raise UserError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
        fall_back(ctx, PRESETS[name])
    return name


def _config(ctx: typer.Context, path: Path | None) -> Path | None:
    if path is not None:
        with clear_errors():
            prefer(ctx, read_toml(path, Settings))
    return path


@dataclass(frozen=True)
class Session:
    """How this session goes about it."""

    preset: Annotated[
        str | None,
        Option(help="Options that go well together: " + "; ".join(f"{k}: {v}" for k, v in REMARKS.items()) + ".",
               is_eager=True, callback=_preset),
    ] = None  # fmt: skip
    config: Annotated[
        Path | None,
        Option(help="Options from a TOML file, such as a run's options.toml; the command line goes first.",
               is_eager=True, callback=_config),
    ] = None  # fmt: skip
    resume: Annotated[
        Path | None,
        Option(help="Go on with a run that was stopped, exactly as if it had not been; names its folder."),
    ] = None
    out: Annotated[Path, Option(help="Folder for the run.")] = RUN
    overwrite: Annotated[bool, Option("--overwrite", help="Replace a run that is in the folder already.")] = False
    pause_at: Annotated[
        int | None, Option(help="Save and stop after so many updates in all, to resume later.", min=1)
    ] = None
    dry_run: Annotated[
        bool, Option("--dry-run", help="Show model, memory and time needed, after a few updates that are thrown away.")
    ] = False
    device: Device = "cpu"
