"""One application of a primitive, written down: its inputs and parameters, and the code that makes them again."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..backend import Array, cpu, default_device, is_array, is_floating, namespace, namespace_of
from ..graph import Tensor
from ..ops.primitive import Primitive, registry

LAYOUTS: Final = ("contiguous", "strided", "reversed", "transposed")
HERE: Final = "here"  # as a parameter: the name of the device that the inputs lie on


# Memory layouts -----------------------------------------------------------------------------------


def laid_out(array: Array, layout: str, *, read_only: bool = False) -> Array:
    """The same values on the same device, in memory of its own that is laid out in another way.

    Args:
        array: of any device.
        layout: "contiguous" (C order); "strided", every second entry along the last axis, with NaN (0 where the dtype
            has none) in between; "reversed", backwards in memory along every axis; "transposed" (Fortran order).
        read_only: forbid writing to it; only NumPy has that.

    Raises:
        TypeError: it is no array of a device; a Tensor's is `x.data`.
        ValueError: there is no such layout, or the device has no read-only arrays.

    >>> import minigrad as mg
    >>> x = mg.testing.laid_out(mg.zeros((2, 3), dtype=mg.float64).data, "reversed")
    >>> x.shape, x.strides
    ((2, 3), (-24, -8))
    """
    if layout not in LAYOUTS:
        raise ValueError(f"laid_out: expected a layout, one of {', '.join(LAYOUTS)}, got {layout!r}")
    if not is_array(array):
        cure = "pass its data, x.data" if isinstance(array, Tensor) else "make one with numpy.array"
        raise TypeError(f"laid_out: expected an array of NumPy or CuPy, got {type(array).__name__}; {cure}")
    xp = namespace_of(array)
    if read_only and xp is not cpu:
        raise ValueError(f"laid_out: expected an array of the CPU to make read-only, got one of {xp.device}")
    xp.make_current()
    view = _view(xp, array, layout) if array.ndim else array.copy()
    if read_only:
        view.flags.writeable = False
    return view


def _view(xp: Any, array: Array, layout: str) -> Array:
    if layout == "strided":
        gap = math.nan if is_floating(array.dtype) else 0
        wide = xp.full((*array.shape[:-1], 2 * array.shape[-1]), gap, dtype=array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if layout == "reversed":
        backwards = (slice(None, None, -1),) * array.ndim
        return array[backwards].copy()[backwards]
    if layout == "transposed":
        return xp.transpose(xp.transpose(array).copy())
    return array.copy()


def layout_of(array: Array) -> str:
    """The layout that a NumPy array came from; any strides that `laid_out` does not make count as contiguous."""
    for layout in LAYOUTS:
        if laid_out(array, layout).strides == array.strides:
            return layout
    return LAYOUTS[0]


# Values as code -----------------------------------------------------------------------------------


def as_code(value: Any) -> str:
    """An expression that makes `value` again, to the last digit, dtype and layout; it needs minigrad and numpy.

    `value` is an array of the CPU, a dtype, a number, a string, a slice, or any of these in lists, tuples and dicts.

    >>> import minigrad as mg
    >>> from minigrad.testing.application import as_code
    >>> as_code((slice(None, None, -1), mg.tensor([0.5, 0.1]).numpy()))
    '(slice(None, None, -1), numpy.array([0.5, 0.1], numpy.float32))'
    """
    if isinstance(value, cpu.ndarray):
        return _array_as_code(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(as_code, value))}{',' * (len(value) == 1)})"
    if isinstance(value, list):
        return f"[{', '.join(map(as_code, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_code(key)}: {as_code(part)}" for key, part in value.items()) + "}"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, cpu.dtype):
        return f"numpy.{value!r}"
    if isinstance(value, type):
        return value.__qualname__ if value.__module__ == "builtins" else f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, float) and not math.isfinite(value):
        return "numpy.nan" if math.isnan(value) else "numpy.inf" if value > 0 else "-numpy.inf"
    return repr(value)


def _array_as_code(array: Array) -> str:
    dtype = "" if array.dtype.name in ("float64", "int64", "bool") else f", numpy.{array.dtype.name}"
    if array.size:
        # The fewest digits that are this float16 or float32, and no other; tolist alone would show a double's.
        shortest = [float(str(entry)) if is_floating(array.dtype) else entry.item() for entry in array.ravel()]
        code = f"numpy.array({as_code(cpu.array(shortest, dtype=object).reshape(array.shape).tolist())}{dtype})"
    else:
        code = f"numpy.zeros({array.shape}, numpy.{array.dtype.name})"
    layout, read_only = layout_of(array), not array.flags.writeable
    if layout == LAYOUTS[0] and not read_only:
        return code
    return f'minigrad.testing.laid_out({code}, "{layout}"{", read_only=True" * read_only})'


def _name_as_code(primitive: Primitive[Any]) -> str:
    """One's own primitive by its module, which must be imported; minigrad's, and one inside a function, by its name."""
    module = primitive.__module__
    if module.partition(".")[0] != "minigrad" and getattr(sys.modules.get(module), primitive.name, None) is primitive:
        return primitive.name if module == "__main__" else f"{module}.{primitive.name}"
    return f'"{primitive.name}"'


# Applications -------------------------------------------------------------------------------------


def on_device(parameter: Any, device: str) -> Any:
    """A parameter as `device` takes it: index arrays moved there, HERE replaced by its name."""
    if isinstance(parameter, cpu.ndarray):
        return namespace(device).from_host(parameter)
    if isinstance(parameter, (tuple, list)):
        return type(parameter)(on_device(part, device) for part in parameter)
    return device if isinstance(parameter, str) and parameter == HERE else parameter


class Application:
    """A primitive, the inputs it is applied to, and its parameters: a function, and data for it.

    Called with Tensors, it applies the primitive to these, with its own parameters: `gradcheck(application,
    application.tensors())`. Its `repr` is code, and hypothesis prints it when a test fails; pasted behind
    `import minigrad, numpy`, and the import of whatever module it names, it makes the same again.

    Args:
        primitive: a primitive, or the name of one.
        inputs: one NumPy array per input; some may be views with other strides.
        parameters: by name; arrays among them are index arrays.

    Raises:
        TypeError: an input is no NumPy array, or there are too few or too many.
        ValueError: no primitive of that name is registered.

    >>> import minigrad as mg
    >>> x = mg.tensor([[1.0, 2.0]], dtype=mg.float64).numpy()
    >>> application = mg.testing.Application("sum", [x], {"axis": 1})
    >>> application
    minigrad.testing.Application("sum", [numpy.array([[1.0, 2.0]])], {"axis": 1})
    >>> application(*application.tensors()).tolist()
    [3.0]
    >>> mg.testing.gradcheck(application, application.tensors())
    True
    """

    def __init__(
        self,
        primitive: Primitive[Any] | str,
        inputs: Sequence[Array],
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.primitive = primitive_of(primitive, "Application")
        self.inputs = list(inputs)
        self.parameters = dict(parameters or {})
        for i, x in enumerate(self.inputs):
            if not isinstance(x, cpu.ndarray):
                raise TypeError(f"Application: expected NumPy arrays as inputs, got {type(x).__name__} as input {i}")
        expected = len(self.primitive.inputs)
        if not self.primitive.variadic and len(self.inputs) != expected:
            raise TypeError(
                f"Application: {self.primitive.name} takes {expected} inputs {self.primitive.inputs}, "
                f"got {len(self.inputs)}"
            )

    def __call__(self, *inputs: Any) -> Any:
        """The primitive applied to `inputs`, Tensors of one device; its parameters are moved there."""
        devices = [x.device for x in inputs if isinstance(x, Tensor)]
        device = devices[0] if devices else default_device()
        parameters = {name: on_device(value, device) for name, value in self.parameters.items()}
        return (
            self.primitive(inputs, **parameters) if self.primitive.variadic else self.primitive(*inputs, **parameters)
        )

    def tensors(self, device: str | None = None) -> list[Tensor]:
        """The inputs as new Tensors of `device` (the default device if None), each in the layout of its array.

        Those of a floating dtype that the primitive has a derivative for require a gradient.
        """
        xp = namespace(default_device() if device is None else device)
        vjps = self.primitive.vjps or (None,) * len(self.primitive.inputs)
        vjps = vjps * len(self.inputs) if self.primitive.variadic else vjps
        found = []
        for x, vjp in zip(self.inputs, vjps, strict=True):
            read_only = xp is cpu and not x.flags.writeable
            array = laid_out(xp.from_host(x.copy()), layout_of(x), read_only=read_only)
            found.append(Tensor(array, vjp is not None and is_floating(x.dtype)))
        return found

    def _parts(self) -> list[str]:
        parts = [_name_as_code(self.primitive), as_code(self.inputs)]
        return [*parts, as_code(self.parameters)] if self.parameters else parts

    def __repr__(self) -> str:
        return f"minigrad.testing.Application({', '.join(self._parts())})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """The same code for IPython and hypothesis, in lines if it is long."""
        if len(repr(self)) <= 100:
            printer.text(repr(self))
            return
        with printer.group(4, "minigrad.testing.Application("):
            for part in self._parts():
                printer.break_()
                printer.text(f"{part},")
        printer.break_()
        printer.text(")")


def primitive_of(primitive: Primitive[Any] | str, caller: str) -> Primitive[Any]:
    """A primitive from itself or from its name.

    Raises:
        TypeError: it is neither.
        ValueError: no primitive of that name is registered.
    """
    if isinstance(primitive, Primitive):
        return primitive
    if not isinstance(primitive, str):
        raise TypeError(f"{caller}: expected a primitive or the name of one, got {type(primitive).__name__}")
    if primitive not in registry:
        raise ValueError(
            f"{caller}: no primitive named {primitive!r} is registered; if it is your own, import its module first"
        )
    return registry[primitive]
