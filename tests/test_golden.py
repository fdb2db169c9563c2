"""The golden files hold what their cases say."""

from __future__ import annotations

import pytest

from .golden import make


@pytest.mark.parametrize("family", make.FAMILIES)
def test_golden_files_hold_the_cases(family: str) -> None:
    cases = make.FAMILIES[family][1]
    assert make.read(family).keys() == cases.keys(), "run python -m tests.golden.make"
