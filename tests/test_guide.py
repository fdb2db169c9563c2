"""The reading guide, minigrad/README.md: what it names exists, and its tables are true. (pytest runs its examples.)"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import inspect, nn, optim
from minigrad.nn import functional as F
from minigrad.nn.utils import rnn
from minigrad.testing import strategies as mst

PACKAGE = Path(mg.__file__).parent
ROOT = PACKAGE.parent
GUIDE = (PACKAGE / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(.*?)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
PROSE = re.sub(r"^```.*?^```$", "", GUIDE, flags=re.MULTILINE | re.DOTALL)
SPANS = re.findall(r"`([^`]+)`", PROSE)
NAMESPACES = {"mg": mg, "nn": nn, "F": F, "optim": optim, "rnn": rnn, "mst": mst, "inspect": inspect}
READ_IN_ORDER = re.findall(r"^\| \d+ \| \[`(.+?)`\]\((.+?)\) \| (\d+) \| (.+) \|$", PROSE, re.MULTILINE)


def section(title: str) -> str:
    return GUIDE.split(f"\n## {title}\n")[1].split("\n## ")[0]


# What runs ----------------------------------------------------------------------------------------


def test_every_block_is_run() -> None:
    """By doctest, which sees an example in each, and nothing else that looks like a program."""
    assert len(BLOCKS) > 20
    assert GUIDE.count("```") == 2 * len(BLOCKS)
    for language, text in BLOCKS:
        assert language == "python" and text.startswith(">>> "), text
        assert text.endswith("\n\n"), f"a blank line ends what doctest expects:\n{text}"
        assert "doctest: +SKIP" not in text


# What is named ------------------------------------------------------------------------------------


def is_path(span: str) -> bool:
    return re.fullmatch(r"[\w./-]+\.(py|md|toml|h|cuh|c)|[\w./-]+/", span) is not None


def test_every_file_named_is_there() -> None:
    paths = [span for span in SPANS if is_path(span)]
    assert len(set(paths)) > 60
    missing = [path for path in paths if not ((PACKAGE / path).exists() or (ROOT / path).exists())]
    assert not missing


def test_every_name_is_there() -> None:
    """mg.grad, nn.RNN, rnn.tbptt: also inside of longer pieces of code."""
    named = [
        m for span in SPANS for m in re.findall(r"(?<![\w.])(mg|nn|F|optim|rnn|mst|inspect)((?:\.[A-Za-z_]\w*)+)", span)
    ]
    assert {"grad", "fuse", "detach"} <= {path[1:] for _, path in named}
    for namespace, path in named:
        found: Any = NAMESPACES[namespace]
        for name in path[1:].split("."):
            if name == "py":  # inspect.py, a file
                break
            assert hasattr(found, name), f"{namespace}{path}"
            found = getattr(found, name)


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", PROSE)
    assert len(links) > 20
    for link in links:
        path, _, anchor = link.partition("#")
        assert "://" not in link, link
        target = PACKAGE / path if path else PACKAGE / "README.md"
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


# The reading order --------------------------------------------------------------------------------


def core() -> set[str]:
    """Every file of the engine: of minigrad/ itself, its formulas and its kernels."""
    found = [path for folder in ("", "ops", "fusion") for path in (PACKAGE / folder).glob("*.py")]
    return {path.relative_to(PACKAGE).as_posix() for path in found if path.name != "__init__.py"}


def test_the_reading_order_leaves_no_file_out() -> None:
    named = {span for span in re.findall(r"`([^`]+)`", section("The core, in reading order")) if is_path(span)}
    assert len(core()) > 60
    assert not core() - named, "say in the guide when to read them"


@pytest.mark.parametrize(("name", "link", "lines", "text"), READ_IN_ORDER, ids=[row[0] for row in READ_IN_ORDER])
def test_a_row_of_the_reading_order(name: str, link: str, lines: str, text: str) -> None:
    """Its length is right to a sixth, and what to look for is in the file."""
    assert name == link
    source = (PACKAGE / name).read_text(encoding="utf-8")
    count = source.count("\n")
    assert abs(int(lines) - count) <= max(10, count / 6), f"{name} has {count} lines"
    for span in re.findall(r"`([^`]+)`", text):
        assert all(re.search(rf"\b{part}\b", source) for part in span.split(".")), f"{span} is not in {name}"


def test_the_rows_are_found() -> None:
    assert [row[0] for row in READ_IN_ORDER[:4]] == ["ops/primitive.py", "ops/elementwise.py", "graph.py", "tape.py"]
    assert len(READ_IN_ORDER) == len(re.findall(r"^\| \d+ \|", PROSE, re.MULTILINE))


# PyTorch ------------------------------------------------------------------------------------------

PAIRS = re.findall(
    r"^\| `([^`]+)`(?: \(.+?\))? \| `([^`]+)`(?: \(.+?\))? \|$", section("From PyTorch to minigrad"), re.MULTILINE
)
X, INDICES, K = (
    np.array([[0.5, -1.0, 2.0], [3.0, 0.25, -2.0]], dtype=np.float32),
    np.array([[2], [0]]),
    np.array([1, 1, 0]),
)


def arrays(found: Any) -> list[np.ndarray]:
    """What either side gave: an array, a number, or several."""
    parts = found if isinstance(found, (list, tuple)) else [found]
    return [np.asarray(part.detach().numpy() if hasattr(part, "detach") else part) for part in parts]


def ours(expression: str) -> list[np.ndarray]:
    x = mg.tensor(X, requires_grad=True)
    return arrays(eval(expression, {"mg": mg, "F": F, "x": x, "i": mg.tensor(INDICES), "k": mg.tensor(K)}))


def test_the_table_for_pytorch_is_read() -> None:
    table = [line for line in section("From PyTorch to minigrad").splitlines() if line.startswith("| `")]
    assert len(PAIRS) == len(table) > 20


@pytest.mark.parametrize(("theirs", "mine"), PAIRS, ids=[mine for _, mine in PAIRS])
def test_a_row_of_the_table_for_pytorch(theirs: str, mine: str) -> None:
    """Ours can be computed, and is what PyTorch computes, where it is installed."""
    found = ours(mine)
    torch = pytest.importorskip("torch")
    tensors = {"x": torch.tensor(X, requires_grad=True), "i": torch.tensor(INDICES), "k": torch.tensor(K)}
    expected = arrays(eval(theirs, {"torch": torch, **tensors}))
    assert len(found) == len(expected) > 0
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=2e-6)


def ported() -> str:
    """The last block of the guide, a training loop, as a program."""
    lines = [line for line in BLOCKS[-1][1].splitlines() if line[:3] in (">>>", "...")]
    return "\n".join(line[4:] for line in lines)


def of_pytorch(program: str) -> str:
    """The same with the lines that stand in comments."""
    return re.sub(r"^( *)\S.*# torch: (.+)$", r"\1\2", program, flags=re.MULTILINE)


def test_the_ported_loop_is_pytorchs() -> None:
    """Without the comments it is PyTorch's program, and with the same first weights it loses the same."""
    program, theirs = ported(), of_pytorch(ported())
    assert program.count("# torch:") >= 6
    assert "mg." not in theirs and "# torch" not in theirs
    torch = pytest.importorskip("torch")
    mine: dict[str, Any] = {}
    exec(program.partition("optimizer =")[0], mine)
    weights = {name: torch.tensor(p.detach().numpy().copy()) for name, p in mine["model"].state_dict().items()}
    exec(program, mine)  # with the same seed, so the same weights again
    start, found, rest = theirs.partition("optimizer =")
    other: dict[str, Any] = {"weights": weights}
    exec(start + "model.load_state_dict(weights)\n" + found + rest, other)
    np.testing.assert_allclose(mine["losses"], other["losses"], rtol=2e-3)
    assert mine["losses"][:5] == pytest.approx(other["losses"][:5], rel=1e-5)
    assert mine["guesses"].tolist() == other["guesses"].tolist()
