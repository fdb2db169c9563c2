"""How hypothesis shows drawn values."""

from __future__ import annotations

from typing import TypeVar

from hypothesis.control import current_build_context
from hypothesis.vendor.pretty import IDKey

from ..application import as_code

Value = TypeVar("Value")


def pasteable(value: Value) -> Value:
    """The value, which hypothesis will show as code that makes it again; NumPy's own repr loses digits and strides."""
    printers = current_build_context().known_object_printers[IDKey(value)]
    printers.append(lambda found, printer, cycle: printer.text(as_code(found)))
    return value
