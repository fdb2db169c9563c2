"""What every primitive promises: one clause each, tried on one application. `check_primitive` goes through them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..backend import Array, cpu, float16, float32, float64, is_floating, namespace, namespace_of
from ..engine import grad
from ..graph import Tensor
from ..mode import no_grad
from ..ops.primitive import Primitive
from .application import LAYOUTS, Application, laid_out, on_device
from .gradcheck import gradcheck, gradgradcheck, jvpcheck
from .numeric import GradcheckError, first_index, host


class Trial:
    """An application of a primitive, and where it takes place."""

    def __init__(
        self,
        primitive: Primitive[Any] | str,
        inputs: Sequence[Array | Tensor],
        parameters: Mapping[str, Any] | None,
        reference: Callable[..., Any] | None,
        device: str,
    ) -> None:
        arrays = [host(x) if isinstance(x, Tensor) else x for x in inputs]
        self.application = Application(primitive, arrays, parameters)
        self.primitive = self.application.primitive
        self.parameters = {name: on_device(value, "cpu") for name, value in self.application.parameters.items()}
        self.arrays = [x.astype(float64) if is_floating(x.dtype) else x for x in arrays]
        self.xp = namespace(device)
        self.reference = reference
        self.is_differentiable = bool(self.primitive.vjps) and any(is_floating(x.dtype) for x in arrays)

    def __call__(self, *xs: Any) -> list[Tensor]:
        """The outputs, for Tensors or numbers."""
        ys = self.application(*xs)
        return ys if self.primitive.multiple else [ys]

    def tensors(self, arrays: Sequence[Array] | None = None, alone: int | None = None) -> list[Tensor]:
        """Fresh inputs; the floating-point ones need a gradient, or one of them alone."""
        return [
            Tensor(self.xp.from_host(x.copy()), self.is_differentiable and is_floating(x.dtype) and alone in (None, i))
            for i, x in enumerate(self.arrays if arrays is None else arrays)
        ]

    def seeds(self, ys: list[Tensor]) -> list[Tensor]:
        """An incoming gradient for each output, all entries different."""
        return [
            Tensor(namespace_of(y.data).from_host(cpu.linspace(0.5, 2.0 + k, y.size).reshape(y.shape).astype(y.dtype)))
            for k, y in enumerate(ys)
        ]

    def gradients(
        self, xs: list[Any], *, seeds: list[Tensor] | None = None, create_graph: bool = False
    ) -> list[Tensor | None]:
        """Of the outputs, weighted by `seeds`, with respect to the inputs that need one."""
        ys = self(*xs)
        active = [x for x in xs if isinstance(x, Tensor) and x.requires_grad]
        weights = self.seeds(ys) if seeds is None else seeds
        pairs = [(y, g) for y, g in zip(ys, weights, strict=True) if y.requires_grad]
        if not pairs:
            return [None] * len(active)
        outputs, incoming = (list(part) for part in zip(*pairs, strict=True))
        return list(grad(outputs, active, incoming, create_graph=create_graph, allow_unused=True))


# Comparing --------------------------------------------------------------------------------------------


def _agree(found: Array, expected: Array, rtol: float, what: str) -> None:
    """Raise unless two arrays have one shape and the same entries to `rtol`, of an entry or of 1."""
    expected = cpu.asarray(expected)
    if found.shape != expected.shape:
        raise AssertionError(f"expected {what} of shape {expected.shape}, got {found.shape}")
    # NaN equals NaN here, and an infinity itself.
    near = cpu.isclose(found, expected, rtol=rtol, atol=rtol, equal_nan=True)
    if not near.all():
        at = first_index(~near)
        raise AssertionError(f"expected {what} to be {expected[at].item()!r} at index {at}, got {found[at].item()!r}")


def _agree_all(found: Sequence[Any], expected: Sequence[Any], rtol: float, what: str) -> None:
    for k, (x, y) in enumerate(zip(found, expected, strict=True)):
        if (x is None) != (y is None):
            raise AssertionError(f"expected {what} {k} in both cases or in neither")
        if x is not None:
            _agree(host(x), host(y), rtol, f"{what} {k}")


# The clauses ------------------------------------------------------------------------------------------


def _value(a: Trial) -> None:
    ys, again = a(*a.tensors()), a(*a.tensors())
    for k, (y, z) in enumerate(zip(ys, again, strict=True)):
        device = a.parameters.get("device", a.xp.device)
        if type(y) is not Tensor or y.device != device:
            raise AssertionError(f"expected output {k} as a Tensor on {device}, got {y!r}")
        if a.xp is cpu and host(y).tobytes() != host(z).tobytes():  # a GPU may add up in another order
            raise AssertionError(f"expected output {k} to be the same bits when computed again")
        if y.requires_grad != (a.is_differentiable and is_floating(y.dtype)):
            raise AssertionError(f"expected output {k} to need a gradient exactly if there are derivatives")
    if a.reference is not None:
        values = a.reference(*a.arrays, **a.parameters)
        expected = list(values) if isinstance(values, (list, tuple)) else [values]
        if len(ys) != len(expected):
            raise AssertionError(f"expected {len(expected)} outputs, got {len(ys)}")
        for k, (y, value) in enumerate(zip(ys, expected, strict=True)):
            _agree(host(y), value, 1e-11, f"output {k}")


def _shape(a: Trial) -> None:
    shapes = [x.shape for x in a.arrays]
    if a.primitive.kind == "elementwise":
        expected = cpu.broadcast_shapes(*shapes)
    elif a.primitive.kind == "reduction" and {"axis", "keepdims"} <= set(a.primitive.parameters):
        (shape,) = shapes
        axis = a.parameters.get("axis")
        axes = range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        reduced = {n % len(shape) for n in axes}
        sizes = [(1 if n in reduced else size, n in reduced) for n, size in enumerate(shape)]
        expected = tuple(size for size, gone in sizes if not gone or a.parameters.get("keepdims", False))
    else:
        return  # what the reference has said
    (y,) = a(*a.tensors())
    if y.shape != expected:
        raise AssertionError(f"expected an output of shape {expected}, got {y.shape}")


def _derivatives(a: Trial) -> None:
    """They can be computed, and recorded."""
    a.gradients(a.tensors())
    a.gradients(a.tensors(), create_graph=True)


def _vjp(a: Trial) -> None:
    if not a.is_differentiable:
        _check_constant(a)
        return
    try:
        _against_differences(gradcheck)(a)
    except GradcheckError as error:
        is_none = type(error.input) is int and not a.primitive.variadic and a.primitive.vjps[error.input] is None
        raise AssertionError(f"{error}{'; its derivative is declared None' if is_none else ''}") from error


def _check_constant(a: Trial) -> None:
    """What declares no derivative must not have one."""
    moved = [cpu.asarray(x + 1e-6) if is_floating(x.dtype) else x for x in a.arrays]
    for k, (y, z) in enumerate(zip(a(*a.tensors()), a(*a.tensors(moved)), strict=True)):
        if is_floating(y.dtype):
            what = f"output {k}, of a primitive that declares no derivative, where its inputs are a little larger"
            _agree(host(z), host(y), 1e-12, what)


def _against_differences(check: Callable[..., bool]) -> Callable[[Trial], None]:
    def clause(a: Trial) -> None:
        if a.is_differentiable and a(*a.tensors()):
            check(a, a.tensors())

    return clause


def _readings(a: Trial) -> None:
    computed, recorded = a.gradients(a.tensors()), a.gradients(a.tensors(), create_graph=True)
    _agree_all(recorded, computed, 1e-13, "the recorded gradient of input")


def _alone(a: Trial) -> None:
    active = [i for i, x in enumerate(a.tensors()) if x.requires_grad]
    for i, whole in zip(active, a.gradients(a.tensors()), strict=True):
        _agree_all(a.gradients(a.tensors(alone=i)), [whole], 1e-13, f"input {i}'s gradient, alone,")


def _untouched(a: Trial) -> None:
    xs = a.tensors()
    seeds = a.seeds(a(*a.tensors()))
    watched = {"input": xs, "incoming gradient": seeds}
    contents = {name: [host(x).tobytes() for x in tensors] for name, tensors in watched.items()}
    if a.xp is cpu:  # NumPy itself says who writes
        for x in (*xs, *seeds):
            x.data.flags.writeable = False
    for create_graph in (False, True):
        a.gradients(xs, seeds=seeds, create_graph=create_graph)
    for name, tensors in watched.items():
        for k, x in enumerate(tensors):
            if host(x).tobytes() != contents[name][k]:
                raise AssertionError(f"expected {name} {k} to be left as it is, but it was written to")


def _owned(a: Trial) -> None:
    xs = a.tensors()
    ys = a(*xs)
    seeds = a.seeds(ys)
    pairs = [(y, g) for y, g in zip(ys, seeds, strict=True) if y.requires_grad]
    if not pairs:
        return
    for y, g in pairs:
        y.backward(g, retain_graph=True)
    received = [x.grad for x in xs if x.grad is not None]
    others = [*xs, *ys, *seeds]
    contents = [host(x).tobytes() for x in (*others, *received)]
    for k, g in enumerate(received):
        g.data[...] = 7.0  # what is in .grad is the receiver's own to write to
        contents[len(others) + k] = host(g).tobytes()
        if [host(x).tobytes() for x in (*others, *received)] != contents:
            raise AssertionError(f"expected gradient {k} to be in memory of its own, but writing to it wrote elsewhere")


def _views(a: Trial) -> None:
    """An output that shares memory with an input shares its version too, and no other does."""
    for k in range(len(a(*a.tensors()))) if a.xp is cpu else ():
        for i, array in enumerate(a.arrays):
            xs = a.tensors()
            y = a(*xs)[k]
            if not (xs[i].requires_grad and y.requires_grad and array.size and y.size):
                continue
            saved = y.detach().requires_grad_()
            loss = (saved * saved).sum()
            with no_grad():
                xs[i][...] = 1.0
            try:
                loss.backward()
            except RuntimeError:
                is_noticed = True
            else:
                is_noticed = False
            if is_noticed != cpu.shares_memory(y.data, xs[i].data):
                raise AssertionError(
                    f"expected that a write to input {i} stops a backward pass that needs output {k} exactly if they "
                    f"share memory; it was {'stopped' if is_noticed else 'not stopped'}"
                )


def _dtype(a: Trial) -> None:
    if "dtype" in a.primitive.parameters or any(x.dtype.kind in "iu" for x in a.arrays):
        return  # it is the primitive's business to change it, or NumPy's rules are: integers make float64 of float32
    for dtype, rtol in ((float32, 1e-4), (float16, None)):
        narrow = [x.astype(dtype) if is_floating(x.dtype) else x for x in a.arrays]
        wide = [x.astype(float64) if is_floating(x.dtype) else x for x in narrow]
        xs, doubles = a.tensors(narrow), a.tensors(wide)
        for k, (y, z) in enumerate(zip(a(*xs), a(*doubles), strict=True)):
            expected = dtype if z.dtype == float64 else z.dtype
            if y.dtype != expected:
                raise AssertionError(f"expected output {k} to be {cpu.dtype(expected)}, got {y.dtype}")
            if rtol is not None:
                _agree(host(y), host(z), rtol, f"output {k} in {y.dtype}")
        for k, (g, h) in enumerate(zip(a.gradients(xs), a.gradients(doubles), strict=True)):
            if g is not None and h is not None:
                if g.dtype != dtype:
                    raise AssertionError(f"expected gradient {k} to be {cpu.dtype(dtype)}, got {g.dtype}")
                if rtol is not None:
                    _agree(host(g), host(h), 10 * rtol, f"gradient {k} in {g.dtype}")


def _strides(a: Trial) -> None:
    plain = a.tensors()
    values, slopes = a(*plain), a.gradients(plain)
    for i, x in enumerate(plain):
        for layout in LAYOUTS:
            strided = Tensor(laid_out(x.data, layout), x.requires_grad)
            xs = [strided if j == i else y for j, y in enumerate(a.tensors())]
            _agree_all(a(*xs), values, 1e-12, f"with input {i} {layout}, output")
            _agree_all(a.gradients(xs), slopes, 1e-12, f"with input {i} {layout}, gradient")


def _broadcasting(a: Trial) -> None:
    if a.primitive.kind != "elementwise":
        return
    _check_broadcast(a, a.arrays)
    for i, x in enumerate(a.arrays):
        if len(a.arrays) > 1 and x.ndim and x.shape[-1] > 1:  # and where this one is alone in having one column
            _check_broadcast(a, [y[..., :1] if j == i else y for j, y in enumerate(a.arrays)])


def _check_broadcast(a: Trial, arrays: Sequence[Array]) -> None:
    full = [x.copy() for x in cpu.broadcast_arrays(*arrays)]
    xs, wide = a.tensors(arrays), a.tensors(full)
    _agree_all(a(*xs), a(*wide), 1e-13, "output")
    active = [x for x in xs if x.requires_grad]
    for k, (x, g, whole) in enumerate(zip(active, a.gradients(xs), a.gradients(wide), strict=True)):
        if g is not None and whole is not None:
            _agree(host(g), _summed_to(host(whole), x.shape), 1e-12, f"gradient {k}")


def _summed_to(array: Array, shape: tuple[int, ...]) -> Array:
    """Entry by entry: each is added where broadcasting had taken it from."""
    places = cpu.broadcast_to(cpu.arange(math.prod(shape)).reshape(shape), array.shape)
    return cpu.bincount(places.ravel(), array.ravel(), math.prod(shape)).reshape(shape)


def _numbers(a: Trial) -> None:
    if a.primitive.kind != "elementwise" or len(a.arrays) < 2:
        return
    for i, array in enumerate(a.arrays):
        if array.size and is_floating(array.dtype):
            number = array.flat[0].item()
            mixed, plain = a.tensors(), a.tensors()
            xs = [number if j == i else x for j, x in enumerate(mixed)]
            zero_d = [Tensor(a.xp.from_host(cpu.asarray(number))) if j == i else x for j, x in enumerate(plain)]
            _agree_all(a(*xs), a(*zero_d), 1e-13, f"with a Python number as input {i}, output")
            _agree_all(a.gradients(xs), a.gradients(zero_d), 1e-13, f"with a Python number as input {i}, gradient")
            if not any(is_floating(x.dtype) for j, x in enumerate(a.arrays) if j != i):
                continue
            singles = a.tensors([x.astype(float32) if is_floating(x.dtype) else x for x in a.arrays])
            for y in a(*[number if j == i else x for j, x in enumerate(singles)]):
                if y.dtype == float64:
                    raise AssertionError(
                        f"expected float32 to stay float32 with a Python number as input {i}; it comes to the value as "
                        "it is, and a function of NumPy's makes a float64 of it: xp.asarray gives it a dtype"
                    )


def _zero_size(a: Trial) -> None:
    if a.primitive.kind == "elementwise":
        xs = a.tensors([cpu.zeros((0, 2), dtype=x.dtype) for x in a.arrays])
        shapes = {y.shape for y in (*a(*xs), *a.gradients(xs)) if y is not None}
        if shapes != {(0, 2)}:
            raise AssertionError(f"expected outputs and gradients of the shape (0, 2) of the inputs, got {shapes}")


def _bad_shapes(a: Trial) -> None:
    name, kind = a.primitive.name, a.primitive.kind
    arrays, wrong, expected = a.arrays, {}, ""
    if kind == "elementwise" and len(arrays) > 1:
        arrays = [cpu.zeros(2 + (i == 0), dtype=x.dtype) for i, x in enumerate(arrays)]
        expected = f"{name}: expected shapes that broadcast"
    elif kind == "reduction" and "axis" in a.primitive.parameters:
        wrong = {"axis": arrays[0].ndim + 1}
        expected = f"{name}: expected {'an axis' if arrays[0].ndim else 'no axis'}"
    if not expected:
        return  # nothing is wrong with any shape
    message = "nothing was raised"
    try:
        Application(a.primitive, arrays, a.parameters | wrong)(*a.tensors(arrays))
    except ValueError as error:
        message = str(error)
    if not message.startswith(expected):
        raise AssertionError(f"expected an error that begins with {expected!r}, but: {message}")


def _quietly(clause: Callable[[Trial], None]) -> Callable[[Trial], None]:
    """Without NumPy's warnings, where float16 overflows or entries are not of the domain."""

    def quiet(a: Trial) -> None:
        with cpu.errstate(all="ignore"):
            clause(a)

    return quiet


CLAUSES: dict[str, Callable[[Trial], None]] = {
    "value": _value,
    "shape": _shape,
    "derivatives": _derivatives,
    "untouched": _untouched,
    "vjp": _vjp,
    "double vjp": _against_differences(gradgradcheck),
    "jvp": _against_differences(jvpcheck),
    "readings": _readings,
    "alone": _alone,
    "owned": _owned,
    "views": _views,
    "dtype": _quietly(_dtype),
    "strides": _strides,
    "broadcasting": _broadcasting,
    "numbers": _numbers,
    "zero size": _zero_size,
    "bad shapes": _quietly(_bad_shapes),
}
