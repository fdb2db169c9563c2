"""explorer: a computation as one HTML file, to zoom into and to play its backward pass step by step."""

from __future__ import annotations

import html
import os
from pathlib import Path
from typing import Any, Final

from ...messages import type_name
from ..computation import Computation, read
from ..drawing.layout import MOST
from ..drawing.look import BOXES
from ..explaining.telling import counted
from ..extras import extra
from ..page import template
from ..slow import slow_backward
from .page_data import as_json, page_data

PAGES: Final = Path(__file__).parents[1] / "pages" / "explorer"
SCRIPTS: Final = ("model", "sweep", "camera", "paint", "box", "panel", "search", "keys", "main")


class Explorer:
    """A page that `explorer` has written; in a notebook it shows itself.

    Attributes:
        path: where it is.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path, self._size = path, size

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"<explorer {self.path}, {self._size / 1e6:.2g} MB: open it in a browser>"

    def _repr_html_(self) -> str:
        page = html.escape(self.path.read_text(encoding="utf-8"), quote=True)
        return (
            f'<iframe srcdoc="{page}" sandbox="allow-scripts allow-forms" title="The computation as a graph" '
            'style="width: 100%; height: 720px; border: 1px solid #888"></iframe>'
        )


def explorer(loss: Any, path: str | os.PathLike[str], names: Any = None) -> Explorer:
    """Write an HTML file that shows how a tensor was computed, and how gradients go back from it.

    The file needs nothing but a browser. It shows the graph, to be zoomed and moved; of each node its formula, shape,
    values and gradient with histograms; and a slider plays the computation: forward operation by operation, then
    backward, each contribution on its way to the sum it goes into. Recurrent layers, fused functions and checkpoints
    are opened. The graph is left as it is: `loss.backward()` works afterwards as before.

    Args:
        loss: a scalar that was computed from tensors that need gradients; its graph not freed yet.
        path: the file to write, ending in .html; one that is there is replaced.
        names: what to call things: a module, or a mapping such as `locals()`; see `minigrad.inspect.computation.read`.

    Returns:
        What was written: `str(...)` is the path, and in a notebook the page shows itself.

    Raises:
        TypeError: the loss is no Tensor.
        RuntimeError: it is a leaf, no scalar, or its graph was freed.
        ValueError: the path does not end in .html, or the graph has more than 20 000 nodes.
        OSError: the file cannot be written.
        ImportError: the package Jinja2 is missing.

    >>> import pathlib, tempfile
    >>> import minigrad as mg
    >>> x = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> loss = (x * x).sum()
    >>> page = explorer(loss, pathlib.Path(tempfile.mkdtemp()) / "graph.html", names={"x": x, "loss": loss})
    >>> page.path.name
    'graph.html'
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f'explorer: expected a path such as "graph.html", got {type_name(path)}')
    file = Path(path)
    if file.suffix.lower() != ".html":
        raise ValueError(f"explorer: it writes HTML; expected a path that ends in .html, got {str(file)!r}")
    jinja2 = extra("jinja2", "explorer(...)")
    computation = read(loss, names, caller="explorer")
    _check_size(computation)
    text = _page(jinja2, computation).encode(errors="replace")  # of a name, half of a pair may be all there is
    try:
        file.write_bytes(text)
    except OSError as error:
        error.add_note(f"explorer: {str(file)!r} cannot be written; give a path in a folder that is there")
        raise
    return Explorer(file, len(text))


def _page(jinja2: Any, computation: Computation) -> str:
    data = as_json(page_data(computation, slow_backward(computation, caller="explorer")))
    trusted = jinja2.utils.markupsafe.Markup
    parts = [(PAGES / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    page: str = template("explorer/page.html").render(
        title=f"How {computation.result.name or 'the result'} was computed",
        about=counted(len(computation.operations), "operations"),
        colours=trusted(_colours()),
        style=trusted((PAGES / "style.css").read_text(encoding="utf-8")),
        script=trusted("\n".join(parts)),
        data=trusted(data),
    )
    return page


def _colours() -> str:
    """The colours of boxes: those of drawings."""
    light = [f"--{kind}: {look.fill}; --{kind}-edge: {look.line};" for kind, look in BOXES.items()]
    dark = [f"--{kind}: {look.dark_fill}; --{kind}-edge: {look.dark_line};" for kind, look in BOXES.items()]
    return f":root {{ {' '.join(light)} }}\n:root.dark {{ {' '.join(dark)} }}"


def _check_size(computation: Computation) -> None:
    boxes = len(computation.operations) + sum(x.maker is None and x.role != "number" for x in computation.values)
    if boxes > MOST:
        raise ValueError(
            f"explorer: this graph has {boxes} nodes, with kernels opened, and a page can show {MOST}. Give it a "
            "smaller computation: fewer time steps (a chunk of 50 shows what 500 would), a smaller batch does not "
            "help; or draw(loss), which folds repeated steps"
        )
