"""What errors say: which operation, what was expected, what came, what to do."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from .backend import cpu, namespace_of
from .ops.primitive import Primitive


def describe(x: Any) -> str:
    """An operand in an error message: its shape, dtype and device."""
    data = getattr(x, "_data", None)  # of a Tensor
    return repr(x) if data is None else f"{tuple(data.shape)} {data.dtype} on {namespace_of(data).device}"


def type_name(x: Any) -> str:
    """What something is, in an error message: its class, with the package of one that another package defines.

    >>> type_name([1]), type_name(range)
    ('list', 'type')
    """
    kind = type(x)
    package = kind.__module__.partition(".")[0]
    ours = package in ("builtins", "__main__", "numpy", __name__.partition(".")[0])
    return kind.__name__ if ours else f"{package}.{kind.__name__}"


def how_to_make(x: Any) -> str:
    """What to do about something that should have been a Tensor, in an error message."""
    if hasattr(x, "__dlpack__"):  # of PyTorch, JAX, ...
        return "write minigrad.from_dlpack(x), which shares its memory"
    if hasattr(x, "batch_sizes"):
        return "of a packed batch p give p.data, and pack what comes back: dataclasses.replace(p, data=...)"
    if isinstance(x, tuple) and x and hasattr(x[0], "_data"):
        return "an RNN, LSTM or GRU gives (output, state): pass on the output, y[0]"
    return "make one with minigrad.tensor(...)"


def mixed_devices(primitive: Primitive[Any], inputs: Sequence[Any]) -> RuntimeError:
    named = (
        f"{name} {describe(x)}"
        for name, x in zip(input_names(primitive, inputs), inputs, strict=True)
        if hasattr(x, "_data")
    )
    return RuntimeError(
        f"{primitive.name}: expected tensors of one device, got {', '.join(named)}. "
        'Nothing is moved by itself: move one with .to(device), for example x.to("cpu")'
    )


def input_names(primitive: Primitive[Any], inputs: Sequence[Any]) -> Sequence[str]:
    if primitive.variadic:
        return [f"{primitive.inputs[0]}[{i}]" for i in range(len(inputs))]
    return primitive.inputs


def explained(
    primitive: Primitive[Any], inputs: Sequence[Any], parameters: dict[str, Any], error: Exception
) -> Exception:
    """An exception of the same family that says which operation, what was expected and what came."""
    shapes = [tuple(getattr(x, "_data", cpu.asarray(0)).shape) for x in inputs]
    named = zip(input_names(primitive, inputs), inputs, strict=False)
    came = ", ".join(f"{name} {describe(x)}" for name, x in itertools.islice(named, 8))
    given = "".join(f", {name}={value!r}" for name, value in parameters.items() if not hasattr(value, "dtype"))
    try:
        expected = primitive.explain_shapes and primitive.explain_shapes(*shapes, **parameters)
    except Exception:  # the rule met parameters it cannot even read: the library's words must do
        expected = None
    kind: type[Exception] = ValueError
    if isinstance(error, IndexError) and not isinstance(error, ValueError):  # AxisError is both
        kind = IndexError
    elif isinstance(error, (TypeError, AttributeError, NotImplementedError)) and not expected:
        family = (TypeError, AttributeError, NotImplementedError)
        kind = next(known for known in family if isinstance(error, known))
    if expected:
        words = f" ({error})" if isinstance(error, TypeError) else ""
        return kind(f"{primitive.name}: expected {expected}. Came: {came}{given}{words}")
    return kind(f"{primitive.name}: {error}. Came: {came}{given}")


# What other libraries call things: the names that people type first, and what is meant.
ELSEWHERE = {
    "view": "x.reshape(...)",
    "unsqueeze": "x.expand_dims(axis)",
    "permute": "x.transpose(...)",
    "t": "x.T",
    "numel": "x.size",
    "dim": "x.ndim",
    "chunk": "x.split(sections, axis)",
    "gather": "minigrad.take_along_axis(x, indices, axis)",
    "index_select": "x.take(indices, axis)",
    "masked_fill": "minigrad.where(mask, value, x)",
    "cat": "minigrad.concatenate([x, ...], axis)",
    "repeat": "minigrad.concatenate([x] * n, axis), or minigrad.broadcast_to",
    "expand": "x.broadcast_to(shape)",
    "float": "x.astype(minigrad.float32)",
    "double": "x.astype(minigrad.float64)",
    "half": "x.astype(minigrad.float16)",
    "long": "x.astype(minigrad.int64)",
    "int": "x.astype(minigrad.int32)",
    "bool": "x.astype(minigrad.bool_)",
    "cpu": 'x.to("cpu")',
    "cuda": 'x.to("cuda")',
    "is_cuda": "x.device",
    "contiguous": "x itself: layout is no concern here",
    "detach_": "x = x.detach()",
    "zero_": "x[...] = 0",
    "add_": "x = x + y, or under no_grad x[...] = x + y",
    "mul_": "x = x * y, or under no_grad x[...] = x * y",
    "norm": "minigrad.sqrt((x * x).sum())",
    "pow": "x**y",
    "softmax": "nn.functional.softmax(x, dim)",
    "matmul": "x @ y",
}
