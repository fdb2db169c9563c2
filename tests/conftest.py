"""What all tests share: how hard hypothesis tries, and the devices that one test body runs on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

import minigrad as mg

from . import strict as strict  # registers the device "strict"

# What deep finds stays in .hypothesis, and is tried first the next time.
_kept = DirectoryBasedExampleDatabase(Path(__file__).parents[1] / ".hypothesis" / "examples")

# The `device` fixture chooses a default device and a seed, which hypothesis may keep from example to example.
_common: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}
settings.register_profile("quick", max_examples=25, derandomize=True, **_common)
settings.register_profile("deep", max_examples=300, database=_kept, print_blob=True, **_common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(params=["cpu", "strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each device in turn, as the default device, with a fresh seed."""
    name: str = request.param
    if name == "cuda" and not mg.cuda_is_available():
        pytest.skip("needs a CUDA device and CuPy")
    with mg.use_device(name):
        mg.manual_seed(0)
        yield mg.default_device()
