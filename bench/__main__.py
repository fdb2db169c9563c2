"""What things cost: `python -m bench NAME`. Each command measures, keeps JSON under bench/results/, and shows that."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

try:
    import typer
    from rich.console import Console
    from typer import Argument, Option

    from minigrad import DeviceError, cuda_is_available
    from minigrad.backend import namespace
    from models.char_lm.settings import PRESETS

    from . import options as o
    from . import pictures, record
    from .chains import CHAINS
    from .device import PARTS
    from .processes import SystemLost
    from .report import rewrite
    from .samplers import SAMPLERS
    from .systems import SYSTEMS
except ImportError as error:
    raise SystemExit(f"{error}. This program needs minigrad's extra: pip install -e '.[bench]'") from error

EVERY = {"part": ",".join(PARTS), "chain": ",".join(CHAINS), "sampler": ",".join(SAMPLERS)}

app = typer.Typer(help=__doc__, add_completion=False, no_args_is_help=True)
console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)


@app.callback()
def main() -> None:
    """What things cost. Run on a machine that does nothing else."""


@app.command()
def crossover(
    cells: Annotated[o.Names, o.cells()] = "rnn,gru,lstm",
    hidden: Annotated[o.Sizes, o.sizes("Hidden sizes H.")] = "64,128,256,512,1024,2048",
    batch: Annotated[o.Sizes, o.sizes("Batches N.")] = "16,64",
    length: Annotated[o.Sizes, o.sizes("Time steps T.")] = "64",
    rounds: o.Rounds = 5,
    seconds: o.Seconds = 0.5,
    device: Annotated[str | None, Option(help="What is compared with the CPU; cuda if there is one.")] = None,
    show: o.Show = False,
    folder: o.Folder = None,
    threads: o.Threads = o.THREADS,
) -> None:
    """One training step on CPU and GPU, and the size at which the GPU overtakes the CPU."""
    device = device or ("cuda" if cuda_is_available() else "cpu")
    options = {"cells": cells, "hidden": hidden, "batch": batch, "length": length, "device": device}
    carry_out("crossover", show, folder, threads, **options, rounds=rounds, seconds=seconds)


@app.command()
def peers(
    cells: Annotated[o.Names, o.cells()] = "lstm,gru,rnn",
    layers: Annotated[o.Sizes, o.sizes("Layers L.")] = "1,2,3",
    hidden: Annotated[o.Sizes, o.sizes("Hidden sizes H.")] = "64,128,256,512",
    batch: Annotated[int, Option(help="N.", min=1)] = 50,
    length: Annotated[int, Option(help="Time steps T.", min=1)] = 50,
    systems: Annotated[o.Names | None, o.names(SYSTEMS)] = None,
    rounds: o.Rounds = 5,
    seconds: o.Seconds = 0.4,
    cap: Annotated[float, Option(help="A system whose step takes longer than so many seconds is not timed.")] = 10.0,
    quick: Annotated[bool, Option("--quick", help="Twelve configurations of the grid.")] = False,
    resume: Annotated[bool, Option("--resume", help="Keep what an earlier run has measured, and go on.")] = False,
    device: o.Device = "cpu",
    show: o.Show = False,
    folder: o.Folder = None,
    threads: o.Threads = o.THREADS,
) -> None:
    """The same training step in minigrad, PyTorch, JAX and others, over a grid of sizes."""
    options = {"cells": cells, "layers": layers, "hidden": hidden, "batch": batch, "length": length}
    options |= {"systems": systems, "rounds": rounds, "seconds": seconds, "cap": cap, "quick": quick}
    options |= {"device": device}
    carry_out("peers", show, folder, threads, resume, **options)


@app.command()
def overhead(
    systems: Annotated[o.Names, o.names(CHAINS)] = EVERY["chain"],
    rounds: o.Rounds = 9,
    device: o.Device = "cpu",
    show: o.Show = False,
    folder: o.Folder = None,
    threads: o.Threads = o.THREADS,
) -> None:
    """Microseconds per recorded operation, forward and backward, over bare NumPy."""
    carry_out("overhead", show, folder, threads, systems=systems, rounds=rounds, device=device)


@app.command()
def profile(
    cells: Annotated[o.Names, o.cells()] = "lstm,rnn",
    hidden: Annotated[o.Sizes, o.sizes("Hidden sizes H.")] = "128,256",
    batch: Annotated[int, Option(help="N.", min=1)] = 32,
    length: Annotated[int, Option(help="Time steps T.", min=1)] = 64,
    rounds: o.Rounds = 9,
    seconds: o.Seconds = 0.5,
    show: o.Show = False,
    folder: o.Folder = None,
    threads: o.Threads = o.THREADS,
) -> None:
    """A training step inside of `inspect.profile`, over the same step outside."""
    options = {"cells": cells, "hidden": hidden, "batch": batch, "length": length}
    carry_out("profile", show, folder, threads, **options, rounds=rounds, seconds=seconds)


@app.command()
def floor(
    cells: Annotated[o.Names, o.cells()] = "lstm,gru,rnn",
    layers: Annotated[o.Sizes, o.sizes("Layers L.")] = "1,2",
    hidden: Annotated[o.Sizes, o.sizes("Hidden sizes H.")] = "64,128,256,512",
    batch: Annotated[int, Option(help="N.", min=1)] = 50,
    length: Annotated[int, Option(help="Time steps T.", min=1)] = 50,
    rounds: o.Rounds = 5,
    seconds: o.Seconds = 0.4,
    show: o.Show = False,
    folder: o.Folder = None,
    threads: o.Threads = o.THREADS,
) -> None:
    """The training step's matrix products run alone, as a share of the step's time."""
    options = {"cells": cells, "layers": layers, "hidden": hidden, "batch": batch, "length": length}
    carry_out("floor", show, folder, threads, **options, rounds=rounds, seconds=seconds)


@app.command()
def memory(
    cells: Annotated[o.Names, o.cells()] = "lstm,gru,rnn",
    lengths: Annotated[o.Sizes, o.sizes("Time steps T.")] = "50,100,200,400,800",
    hidden: Annotated[int, Option(help="Hidden size H.", min=1)] = 256,
    layers: Annotated[int, Option(help="Layers L.", min=1)] = 1,
    batch: Annotated[int, Option(help="N.", min=1)] = 50,
    systems: Annotated[o.Names, o.names(SYSTEMS)] = "minigrad,torch",
    device: o.Device = "cpu",
    show: o.Show = False,
    folder: o.Folder = None,
    threads: o.Threads = o.THREADS,
) -> None:
    """Peak memory of one training step against T, beside what the equations need."""
    options = {"cells": cells, "lengths": lengths, "hidden": hidden, "layers": layers, "batch": batch}
    carry_out("memory", show, folder, threads, **options, systems=systems, device=device)


@app.command()
def sample(
    cells: Annotated[o.Names, o.cells()] = "rnn,gru,lstm",
    hidden: Annotated[o.Sizes, o.sizes("Hidden sizes H.")] = "128,512",
    streams: Annotated[o.Sizes, o.sizes("How many texts are drawn side by side.")] = "1,64",
    systems: Annotated[o.Names, o.names(SAMPLERS)] = EVERY["sampler"],
    rounds: o.Rounds = 7,
    seconds: o.Seconds = 0.3,
    device: o.Device = "cpu",
    show: o.Show = False,
    folder: o.Folder = None,
    threads: o.Threads = o.THREADS,
) -> None:
    """Characters per second when sampling one stream and many, beside PyTorch."""
    options = {"cells": cells, "hidden": hidden, "streams": streams, "systems": systems}
    carry_out("sample", show, folder, threads, **options, rounds=rounds, seconds=seconds, device=device)


@app.command()
def scaling(
    cells: Annotated[o.Names, o.cells()] = "rnn,lstm",
    rounds: o.Rounds = 5,
    show: o.Show = False,
    folder: o.Folder = None,
    threads: o.Threads = o.THREADS,
) -> None:
    """Time against T (to 10 000), N, H and L, with fitted exponents."""
    carry_out("scaling", show, folder, threads, cells=cells, rounds=rounds)


@app.command()
def writers(
    cells: Annotated[o.Names, o.cells()] = "lstm,gru,rnn",
    hidden: Annotated[o.Sizes, o.sizes("Hidden sizes H.")] = "64,128,256,512",
    batch: Annotated[int, Option(help="N.", min=1)] = 50,
    length: Annotated[int, Option(help="Time steps T.", min=1)] = 50,
    rounds: o.Rounds = 5,
    seconds: o.Seconds = 0.4,
    show: o.Show = False,
    folder: o.Folder = None,
    threads: o.Threads = o.THREADS,
) -> None:
    """The training step with and without kernels, by who writes them; and what compiling them costs."""
    options = {"cells": cells, "hidden": hidden, "batch": batch, "length": length}
    carry_out("writers", show, folder, threads, **options, rounds=rounds, seconds=seconds)


@app.command()
def quality(
    text: Annotated[
        o.TextFile | None, Argument(parser=o.TextFile, metavar="FILE", help="UTF-8 text, such as tinyshakespeare.txt.")
    ] = None,
    more: Annotated[list[str] | None, Argument(help="After --: more options of `models.char_lm train`.")] = None,
    presets: Annotated[o.Names, o.names(PRESETS, "preset")] = "fast,best",
    rounds: Annotated[int, Option(help="How often each is trained, from seed 0, 1, ...", min=1)] = 1,
    device: o.Device = "cpu",
    show: o.Show = False,
    folder: o.Folder = None,
    threads: o.Threads = o.THREADS,
) -> None:
    """Seconds and updates of training until a character model reaches a loss on held-out text."""
    if text is None and not show:
        raise typer.BadParameter("name a text to learn: python -m bench quality FILE")
    options = {"text": text, "presets": presets, "more": more or [], "rounds": rounds, "device": device}
    carry_out("quality", show, folder, threads, **options)


@app.command()
def device(
    minutes: Annotated[float, Option(help="For everything; what does not fit is left out, and named.", min=0)] = 8.0,
    parts: Annotated[o.Names, o.names(PARTS, "part")] = EVERY["part"],
    device: Annotated[str, Option(help="cuda or cuda:1; with cpu the command is tried out.")] = "cuda",
    show: o.Show = False,
    folder: o.Folder = None,
    threads: o.Threads = o.THREADS,
) -> None:
    """Everything about one GPU within a few minutes: its tests, and all measurements that ask for a device."""
    carry_out("device", show, folder, threads, minutes=minutes, parts=parts, device=device)


@app.command()
def report() -> None:
    """Write the tables and pictures of bench/README.md anew, from the JSON in bench/results/."""
    with clear_errors():
        rewrite()


def carry_out(
    name: str, show: bool, folder: Path | None, threads: int, resume: bool = False, /, **options: Any
) -> None:
    """Measure, unless only to show; then make table and picture from the JSON.

    The JSON is written after every row, so that a run that is broken off keeps what it has.
    """
    with clear_errors():
        module = importlib.import_module(f"bench.{name}")
        device = options.get("device", "cpu")
        file = record.titled(name, device, "cuda" if name == "device" else "cpu")
        if not show:
            namespace(device)  # raises if it cannot be used
            rows: list[dict[str, Any]] = []
            packages = getattr(module, "PACKAGES", ())  # whose versions its results depend on
            done = {"done": record.read(file, folder)["rows"]} if resume else {}
            for row in module.run(threads=threads, **options, **done):
                rows.append(row)
                record.write(file, rows, threads=threads, packages=packages, folder=folder, **options)
        document = record.read(file, folder)
        for table in module.table(document):
            console.print(table)
        figure = module.picture(document)
        if figure is not None:
            console.print(f"picture: {pictures.save(figure, file, folder)}", soft_wrap=True, markup=False)


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """What the user can put right is told in a line, without a traceback."""
    try:
        yield
    except (ValueError, OSError, ImportError, SystemLost, DeviceError) as error:
        Console(stderr=True, highlight=False).print(f"error: {error}", soft_wrap=True, markup=False)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    app()
