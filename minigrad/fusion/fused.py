"""`fuse`: a function of elementwise primitives as one kernel forward and one backward, and one node on the tape."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, overload

from .. import tape
from ..backend import ArrayNamespace, cpu, is_array, namespace_of, python_scalar
from ..graph import Tensor
from ..messages import type_name
from ..mode import mode
from ..tape import as_tensor, by_hand, record
from . import c_kernel, cuda_kernel, numpy_writer
from .expression import BOOL, Unfit, dummy
from .gradient import recorded_gradients
from .program import Plan, Program, aligned
from .setting import setting, writer_name
from .trace import Traced

MOST_PLANS = 256  # of one function: sizes, strides and dtypes that it has met

WRITERS: dict[str, Any] = {"c": c_kernel, "cuda": cuda_kernel, "numpy": numpy_writer}


class Fused:
    """A function that runs as one kernel: what `fuse` gives."""

    __name__: str  # the function's

    def __init__(self, function: Callable[..., Any], fallback: bool) -> None:
        functools.update_wrapper(self, function)
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.function, self.fallback = function, fallback
        self.primitive = by_hand(self.__name__, self._derivative)
        self.primitive.runs_program, self.primitive.takes_none = False, True
        self.primitive.opened = lambda node: _again(node.parameters["plan"], node.inputs)
        self._plans: dict[Any, Any] = {}
        self._last: Any = None

    def __repr__(self) -> str:
        return f"<fused {self.__name__}>"

    def __reduce__(self) -> str:
        name: str = getattr(self, "__qualname__")  # noqa: B009 - copied and pickled by name, as functions are
        return name

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        if keywords:
            try:
                bound = inspect.signature(self.function).bind(*args, **keywords)
            except TypeError:
                return self.function(*args, **keywords)  # Python's own words
            bound.apply_defaults()  # those in between
            if bound.kwargs:
                raise TypeError(f"{self.__name__}: a fused function has no keyword-only parameters, got {bound.kwargs}")
            args = bound.args
        if not setting.is_on or tape.watcher is not None:
            return self.function(*args)
        key: list[Any] = []
        arrays: list[Any] = []  # by slot
        scalars: list[float] = []
        kind, needs_grad = None, False
        for x in args:
            a, number = None, 0.0
            if type(x) is Tensor:
                a = aligned(x._data)
                kind = kind or type(a)
                needs_grad = needs_grad or x._requires_grad
                key.append((a.shape, a.strides, a.dtype))
            elif type(x) is float:
                number = x
                key.append(float)
            elif isinstance(x, Traced):
                return self.function(*args)  # part of a larger kernel
            elif is_array(x):
                return self(*(as_tensor(x, self.__name__) if is_array(x) else x for x in args))
            elif python_scalar(x) is not x:
                return self(*map(python_scalar, args))
            else:
                key.append(_as_key(x))
            arrays.append(a)
            scalars.append(number)
        if kind is None or any(a is not None and type(a) is not kind for a in arrays):
            return self.function(*args)  # numbers alone; or of several devices, which the first operation will refuse
        xp = namespace_of(next(a for a in arrays if a is not None))
        if not xp.on_host and any(a is not None and namespace_of(a) is not xp for a in arrays):
            return self.function(*args)  # of two GPUs, which the first operation will refuse too
        plan = self._plan_for(key, arrays, args, xp)
        if plan is None:
            return self.function(*args)
        needs_grad = needs_grad and mode.recording
        if needs_grad:
            wanted = tuple(k for k, x in enumerate(args) if type(x) is Tensor and x._requires_grad)
            if not self._can_record(plan, wanted):
                return self.function(*args)
        xp.make_current()
        outputs = [Tensor(y) for y in plan.forward(arrays, scalars)]
        if needs_grad:
            record(self.primitive, {"plan": plan, "scalars": scalars, "wanted": wanted}, args, outputs, xp)
            for y, sources in zip(outputs, plan.program.sources, strict=True):
                if sources.isdisjoint(wanted):
                    y._requires_grad, y._source = False, None
        return tuple(outputs) if plan.program.gives_many else outputs[0]

    def _can_record(self, plan: Plan, wanted: tuple[int, ...]) -> bool:
        try:
            return plan.can_record(wanted)
        except Unfit as error:
            if self.fallback:
                return False
            raise Unfit(f"fuse({self.__name__}): {error}") from None

    def _plan_for(self, key: list[Any], arrays: list[Any], args: Sequence[Any], xp: ArrayNamespace) -> Plan | None:
        """The kernels for arguments like these; None if there can be none, and the function is to run as it is."""
        name = writer_name(xp)
        whole_key = (name, xp, *key)
        try:
            found = self._plans.get(whole_key, self)
        except TypeError as error:
            raise TypeError(f"{self.__name__}: expected Tensors and numbers as arguments ({error})") from None
        if found is not self:
            plan: Plan | None = found
            return plan
        specs: list[Any] = [
            float if type(x) is float else x if a is None else a for a, x in zip(arrays, args, strict=True)
        ]
        plan = None
        try:
            plan = Plan(self._traced(specs, xp.device, args), xp, WRITERS[name])
        except Unfit as error:
            if not self.fallback:
                raise Unfit(f"fuse({self.__name__}): {error}") from error.__cause__
        if len(self._plans) >= MOST_PLANS:
            self._plans.pop(next(iter(self._plans)), None)  # another thread may have been faster
        self._plans[whole_key] = plan
        if plan is not None:
            self._last = _outlines(specs)
        return plan

    def _traced(self, specs: Sequence[Any], device: str, args: Sequence[Any]) -> Program:
        try:
            return Program(self.function, self.__name__, specs, device)
        except Unfit:
            raise
        except Exception as error:
            if args:
                self.function(*args)  # if something is wrong with it, it says so itself
            raise Unfit(str(error) if args else f"{error}; give arguments to write it for") from error

    def source(self, writer: str = "c", *args: Any, backward: bool = False) -> str:
        """The text of the kernel.

        Args:
            writer: "c", "cuda" or "numpy".
            args: arguments of the shapes and dtypes to write it for; without any, those of the last call that needed
                a new kernel, and before any call float32 matrices (64, 64).
            backward: the kernel of the gradients of all arguments, instead of the function's own.

        Raises:
            ValueError: there is no such writer.
            TypeError: no kernel can be written for the function.
        """
        if writer not in WRITERS:
            raise ValueError(f'{self.__name__}.source: expected "c", "cuda" or "numpy", got {writer!r}')
        specs: Any = [x._data if type(x) is Tensor else float if type(x) is float else x for x in args] or self._last
        if specs is None:
            specs = [dummy((64, 64), cpu.dtype("float32"))] * len(inspect.signature(self.function).parameters)
        specs = _outlines(specs)
        try:
            program = self._traced(specs, "cpu", args)
            nests = program.forward()
            if backward:
                floats = [k for k, term in program.arguments.items() if term.expr.dtype != BOOL]
                nests, _ = program.backward([t.expr.dtype != BOOL for t in program.outputs], floats)
            text: str = WRITERS[writer].source(nests)
        except Unfit as error:
            raise Unfit(f"fuse({self.__name__}): {error}") from error.__cause__
        return text

    def _derivative(
        self,
        xp: Any,
        gs: list[Any],
        ys: Any,
        xs: list[Any],
        *,
        plan: Plan,
        scalars: list[float],
        wanted: tuple[int, ...],
    ) -> list[Any]:
        """The gradients of all arguments: from the kernel, or recorded, from the function itself."""
        if any(type(x) is Tensor for x in xs):
            return recorded_gradients(lambda: _again(plan, xs), xs, gs)
        arrays = [aligned(x) if is_array(x) else None for x in xs]
        found: list[Any] = [None] * len(xs)
        for slot, g in zip(wanted, plan.backward(arrays, scalars, gs, wanted), strict=True):
            found[slot] = g
        return found


def _again(plan: Plan, xs: Sequence[Any]) -> list[Tensor]:
    """The outputs, computed one operation after the other."""
    return plan.program.tracer.again(dict(enumerate(xs)), plan.program.outputs)


def _outlines(specs: Sequence[Any]) -> list[Any]:
    """The same, with a dummy for each array: nobody's memory is held."""
    return [dummy(x.shape, x.dtype, x.strides) if hasattr(x, "strides") else x for x in specs]


def _as_key(x: Any) -> Any:
    """What tells an argument that is part of the kernel from others: of an object, such as a method's self, all that
    its attributes are."""
    if not hasattr(x, "__dict__") or callable(x):
        return type(x), x, repr(x)  # -0.0 is equal to 0.0
    plain = (int, float, str, tuple, cpu.generic)
    return type(x), id(x), *((k, repr(v) if isinstance(v, plain) else id(v)) for k, v in vars(x).items())


@overload
def fuse(function: Callable[..., Any], *, fallback: bool = False) -> Fused: ...
@overload
def fuse(*, fallback: bool = False) -> Callable[[Callable[..., Any]], Fused]: ...
def fuse(function: Callable[..., Any] | None = None, *, fallback: bool = False) -> Any:
    """A function of elementwise primitives as one kernel forward and one backward, and one node on the tape.

    The function is run once on stand-ins for each new combination of shapes, strides and dtypes; the kernels are
    written from what the primitives it applied are registered with. It takes Tensors and numbers (a float may differ
    from call to call; an int, a bool or a string is part of the kernel), uses elementwise primitives, and slices and
    views of its arguments (`split`, `x[:, :4]`, `transpose`), and returns a Tensor or a tuple of them. Arguments may
    have any strides and broadcast. What it does besides, printing or drawing random numbers, it would do once only,
    and a number that it finds outside, in a closure or a global name, stays what it was. Of an object, such as a
    method's self, it notices other attributes; change nothing deeper in it.

    Args:
        function: f(x, y, ...), of Tensors of float32, float64 or bool.
        fallback: where no kernel can be written, run the function as it is instead of raising.

    Returns:
        the fused function. `.source("c")` is the kernel's text.

    Raises:
        TypeError: (when it is called) the function does something that no kernel can be written for; the message names
            it. Subclass `Unfit`.

    >>> import minigrad as mg
    >>> @mg.fuse
    ... def swish(x):
    ...     return x * mg.sigmoid(x)
    >>> x = mg.tensor([0.0, 1.0], requires_grad=True)
    >>> swish(x).sum().backward()
    >>> x.grad
    tensor([0.5       , 0.92767054], dtype=float32, device='cpu')
    """
    if function is None:
        return functools.partial(fuse, fallback=fallback)
    if not callable(function):
        raise TypeError(f"fuse: expected a function, got {type_name(function)}; write fuse(f), not fuse(f(x))")
    return function if isinstance(function, Fused) else Fused(function, fallback)
