"""Everything public explains itself, with an example that runs."""

from __future__ import annotations

import doctest
import inspect
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any

import pytest

import minigrad as mg
from minigrad.ops import examples, registry
from minigrad.ops.primitive import Primitive
from minigrad.testing import strategies

from .table import README, with_table

MODULES = [
    mg,
    mg.nn,
    mg.nn.functional,
    mg.nn.init,
    mg.nn.utils,
    mg.nn.utils.rnn,
    mg.optim,
    mg.optim.lr_scheduler,
    mg.io,
    mg.testing,
    strategies,
]  # whose public names are looked at


def public(module: Any) -> Iterator[tuple[str, Any]]:
    """The functions, classes and primitives that a module offers, minigrad's own (its dtypes are NumPy's)."""
    own = [n for n, v in vars(module).items() if n[0] != "_" and getattr(v, "__module__", "") == module.__name__]
    for name in getattr(module, "__all__", own):
        value = getattr(module, name)
        explains = inspect.isfunction(value) or inspect.isclass(value) or isinstance(value, Primitive)
        if explains and value.__module__.startswith("minigrad"):
            yield f"{module.__name__}.{name}", value


PUBLIC = dict(pair for module in MODULES for pair in public(module))


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_an_example(name: str) -> None:
    assert ">>>" in (inspect.getdoc(PUBLIC[name]) or ""), f"{name} has no example in its docstring"


def test_a_tensors_methods_explain_themselves() -> None:
    for name in dir(mg.Tensor):
        assert name.startswith("_") or name == "is_parameter" or inspect.getdoc(getattr(mg.Tensor, name)), name


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_can_be_pasted(name: str) -> None:
    """It runs where nothing has been imported or defined before."""
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(PUBLIC[name]) or "", {}, name, None, None)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    assert runner.run(test, out=report.append).failed == 0, "".join(report)


def test_it_looks_at_something() -> None:
    assert {"minigrad.tanh", "minigrad.Tensor", "minigrad.no_grad", "minigrad.einsum"} <= set(PUBLIC)
    assert "minigrad.float32" not in PUBLIC


def test_a_primitive_says_what_it_is() -> None:
    """Its formula first, then what its kind shares, then the example, as `help` shows it."""
    for name in examples.EXAMPLES:
        lines = (registry[name].__doc__ or "").splitlines()
        assert lines[0] == lines[0].strip() != "", name
        assert "Raises:" in lines, name
        assert lines.index("Raises:") < lines.index(">>> import minigrad as mg"), name
    assert "dy/dx = 1 - y²" in (mg.Tensor.tanh.__doc__ or "")


def test_examples_are_run() -> None:
    """By the doctest module, which looks at `__test__`; a wrong one must fail."""
    found = doctest.DocTestFinder().find(examples)
    assert {test.name.rpartition(".")[2] for test in found if test.examples} == set(examples.EXAMPLES)
    wrong = doctest.DocTestParser().get_doctest(
        examples._example("sqrt").replace("2.0", "2.5"), {}, "wrong", None, None
    )
    report: list[str] = []
    assert doctest.DocTestRunner().run(wrong, out=report.append).failed == 1
    assert "[2.0, 3.0]" in "".join(report)


def test_the_table_of_primitives_is_up_to_date() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == with_table(text), "python -m tests.table brings tests/README.md up to date"
    old = text.replace("| `tanh` | elementwise | -3 to 3 |", "| `tanh` | elementwise | -4 to 4 |")
    assert old != text == with_table(old)


def test_every_file_of_tests_is_in_the_map() -> None:
    listed = re.findall(r"`([\w*]+\.py)`", README.read_text(encoding="utf-8"))
    for path in README.parent.glob("*.py"):
        assert path.name == "__init__.py" or any(fnmatch(path.name, pattern) for pattern in listed), path.name
    assert all(any(README.parent.glob(pattern)) for pattern in listed)
