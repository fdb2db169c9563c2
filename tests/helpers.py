"""From arrays and lines of `cases` to Tensors on a device, and back to NumPy for comparing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.backend import namespace
from minigrad.ops import registry
from minigrad.ops.primitive import Primitive

from .cases import Draw, differentiable_inputs, inputs_for, on_device


def tensors(primitive: Primitive[Any], arrays: Any, device: str) -> list[mg.Tensor]:
    needs_grad = [bool(differentiable_inputs(primitive)) and a.dtype.kind == "f" for a in arrays]
    return [mg.tensor(a, device=device, requires_grad=r) for a, r in zip(arrays, needs_grad, strict=True)]


def function(primitive: Primitive[Any], draw: Draw, device: str) -> Callable[..., Any]:
    """The primitive with a draw's parameters, as a function of its inputs."""
    parameters = {name: on_device(value, device) for name, value in draw.parameters.items()}
    return lambda *xs: primitive(xs, **parameters) if primitive.variadic else primitive(*xs, **parameters)


def prepared(name: str, draw: Draw, device: str, seed: int = 0, dtype: Any = np.float64) -> Any:
    primitive = registry[name]
    arrays = inputs_for(primitive, draw.shapes, seed, dtype)
    return function(primitive, draw, device), tensors(primitive, arrays, device), arrays


def listed(ys: Any) -> list[mg.Tensor]:
    return ys if isinstance(ys, list) else [ys]


def far() -> str:
    """A device whose memory is not the host's: the default one, unless that is the CPU."""
    return "strict" if mg.default_device() == "cpu" else mg.default_device()


def leaf(*values: float) -> mg.Tensor:
    """A float64 vector that needs a gradient, on the default device."""
    return mg.tensor(list(values), dtype=mg.float64, requires_grad=True)


def on(device: str, array: np.ndarray[Any, Any], requires_grad: bool = False) -> mg.Tensor:
    return mg.tensor(array, device=device, requires_grad=requires_grad)


def host(x: mg.Tensor) -> np.ndarray[Any, Any]:
    return namespace(x.device).to_host(x.data)


def seeds_like(ys: list[mg.Tensor]) -> list[mg.Tensor]:
    """An incoming gradient for each output, all entries different."""
    return [
        mg.tensor(np.linspace(0.5, 2.0, y.size, dtype=y.dtype).reshape(y.shape), dtype=y.dtype, device=y.device)
        for y in ys
    ]


def close(found: mg.Tensor, expected: Any, rtol: float = 1e-11) -> None:
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(host(found), expected, rtol=rtol, atol=rtol)


def assert_same(found: dict[str, mg.Tensor], expected: dict[str, np.ndarray[Any, Any]]) -> None:
    for name, x in found.items():
        assert x.dtype == expected[name].dtype, name
        assert x.shape == expected[name].shape, name
        np.testing.assert_allclose(host(x), expected[name], rtol=1e-10, atol=1e-10, err_msg=name)
