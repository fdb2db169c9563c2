"""`fuse`: a function of elementwise primitives as one kernel forward and one backward, and one node on the tape."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, overload

from .. import tape
from ..backend import Array, ArrayNamespace, cpu, is_array, namespace_of, python_scalar
from ..goal import place_of
from ..graph import Tensor, tick
from ..messages import type_name
from ..mode import enable_grad, mode
from ..sweep import sweep
from ..tape import as_tensor, by_hand, record
from . import c_kernel, cuda_kernel, numpy_writer
from .compiler import CompileError
from .expression import BOOL, Unfit, dummy, is_float
from .gradient import flowing_from, gradients
from .nest import Nest, Store, are_tiles, whole
from .setting import note_failure, setting, writer_name
from .trace import Term, Traced, Tracer

MOST_PLANS = 256  # of one function: sizes, strides and dtypes that it has met

WRITERS: dict[str, Any] = {"c": c_kernel, "cuda": cuda_kernel, "numpy": numpy_writer}


class Program:
    """A function traced for arguments of certain shapes, strides and dtypes: what it computes, as nests."""

    def __init__(self, function: Callable[..., Any], name: str, specs: Sequence[Any], device: str) -> None:
        """specs: an array (or what has its shape, dtype and strides) per Tensor, `float`, or a value that stays."""
        with enable_grad():
            self.tracer = tracer = Tracer(name, device)
        self.arguments: dict[int, Term] = {}  # by slot
        given: list[Any] = []
        for slot, spec in enumerate(specs):
            if hasattr(spec, "strides"):
                self.arguments[slot] = term = tracer.argument(slot, spec.shape, spec.dtype, spec.strides)
                given.append(tracer.traced(term))
            else:
                given.append(tracer.traced(tracer.number(slot)) if spec is float else spec)
        self.slots = len(specs)
        with enable_grad():
            value = function(*given)
        self.gives_many = isinstance(value, (tuple, list))
        self.outputs = [self._output(y) for y in (value if self.gives_many else [value])]
        flows = flowing_from(tracer)
        self.sources = [flows[term] for term in self.outputs]  # the arguments to which gradients of an output flow
        unknown = [t for t in tracer.terms if t.primitive is not None and not t.primitive.is_declared]
        self.no_derivative = frozenset(slot for t in unknown for slot in flows[t])  # arguments to which they cannot

    def _output(self, y: Any) -> Term:
        if type(y) is not Traced or y.tracer is not self.tracer or y.term.expr.dtype is None:
            raise Unfit(
                f"it returns {type_name(y)}, where a Tensor that it has computed was expected, or a tuple of them"
            )
        return y.term

    def forward(self) -> list[Nest]:
        """Slots: the arguments, then the outputs."""
        by_shape: dict[Any, list[Store]] = {}
        for k, term in enumerate(self.outputs):
            store = Store(self.slots + k, dummy(term.expr.shape, term.expr.dtype), whole, term.expr)
            by_shape.setdefault(term.expr.shape, []).append(store)
        return [Nest(shape, stores) for shape, stores in by_shape.items()]

    def backward(self, arrived: Sequence[bool], wanted: Sequence[int]) -> tuple[list[Nest], list[str | None]]:
        """Slots: the arguments, a gradient for each output, a gradient for each of the wanted arguments.

        Args:
            arrived: for each output, whether there is a gradient of it.
            wanted: the arguments whose gradient is wanted.

        Returns:
            the nests, and what each of the wanted gradients has to be at first: "zeros" or "empty", or None if nothing
            flows to it.
        """
        tracer = self.tracer
        parts = {slot: [t for t in tracer.terms if t.primitive is None and t.expr.slot == slot] for slot in wanted}
        contributions: list[tuple[Any, Term, Any]] = []  # shape of the loops, part of an argument, what it receives
        shapes = dict.fromkeys(t.expr.shape for t, came in zip(self.outputs, arrived, strict=True) if came)
        for shape in shapes:
            starts = []
            for k, (term, came) in enumerate(zip(self.outputs, arrived, strict=True)):
                if came and term.expr.shape == shape:
                    slot = self.slots + k
                    starts.append((term, tracer.graph.load(slot, dummy(shape, term.expr.dtype), whole)))
            found = gradients(tracer, starts, [t for slot in wanted for t in parts[slot]])
            contributions += [(shape, term, g) for term, g in found.items()]
        nests: dict[Any, list[Store]] = {}
        apart: list[Nest] = []  # those that may not run beside others: they write to the same places
        at_first: list[str | None] = []
        for k, slot in enumerate(wanted):
            target = self.slots + len(self.outputs) + k
            mine = [(shape, term, g) for shape, term, g in contributions if term.expr.slot == slot]
            target_place = self.arguments[slot].laid_out
            tiles = are_tiles(target_place, [(term.laid_out, shape) for shape, term, _ in mine])
            at_first.append(None if not mine else "empty" if tiles == "all" else "zeros")
            for shape, term, g in mine:
                store = Store(target, term.laid_out, term.view, g, adds=tiles == "overlap")
                if tiles == "overlap" and len(mine) > 1:
                    apart.append(Nest(shape, [store]))
                else:
                    nests.setdefault(shape, []).append(store)
        return [Nest(shape, stores) for shape, stores in nests.items()] + apart, at_first


class Plan:
    """A program with its kernels, for one device."""

    def __init__(self, program: Program, xp: ArrayNamespace, writer: Any) -> None:
        self.program, self.xp, self.writer = program, xp, writer
        self.run = self._kernel(program.forward())
        self.shapes = [(t.expr.shape, t.expr.dtype) for t in program.outputs]
        self._backward: dict[Any, tuple[Any, list[str | None]]] = {}
        self._can_record: dict[tuple[int, ...], bool] = {}

    def _kernel(self, nests: Sequence[Nest]) -> Any:
        try:
            return self.writer.Kernel(nests)
        except CompileError as error:
            note_failure(error)
            return numpy_writer.Kernel(nests)

    def can_record(self, wanted: tuple[int, ...]) -> bool:
        """Whether gradients flow to the wanted arguments; if not, the operations themselves say why.

        Raises:
            Unfit: a derivative formula is none that a kernel can be written from.
        """
        found = self._can_record.get(wanted)
        if found is None:
            found = self.program.no_derivative.isdisjoint(wanted)
            if found:
                self.program.backward([is_float(dtype) for _, dtype in self.shapes], wanted)
            self._can_record[wanted] = found
        return found

    def forward(self, arrays: list[Any], scalars: Sequence[float]) -> list[Array]:
        outputs = [self.xp.empty(shape, dtype=dtype) for shape, dtype in self.shapes]
        self.run([*arrays, *outputs], scalars)
        return outputs

    def backward(
        self, arrays: list[Any], scalars: Sequence[float], gs: Sequence[Any], wanted: tuple[int, ...]
    ) -> list[Any]:
        """The gradients of the wanted arguments; None where nothing flows."""
        arrived = tuple(g is not None for g in gs)
        found = self._backward.get((arrived, wanted))
        if found is None:
            nests, at_first = self.program.backward(arrived, wanted)
            found = self._backward[arrived, wanted] = (self._kernel(nests), at_first)
        kernel, at_first = found
        xp = self.xp
        gs = [g if g is None else _in_c_order(xp, g) for g in gs]
        made = [
            getattr(xp, how)(arrays[slot].shape, dtype=arrays[slot].dtype) if how else None
            for slot, how in zip(wanted, at_first, strict=True)
        ]
        kernel([*arrays, *gs, *made], scalars)
        return made


def _in_c_order(xp: ArrayNamespace, g: Array) -> Array:
    return _aligned(xp.ascontiguousarray(g).reshape(g.shape))


def _aligned(a: Array) -> Array:
    """An array, or its copy if entries lie at odd addresses, as in a mapped file, or as a field among others."""
    is_ours = type(a) is cpu.array_type  # CuPy has no such flag
    return a.copy() if is_ours and not a.flags.aligned else a


class Fused:
    """A function that runs as one kernel: what `fuse` gives."""

    __name__: str  # the function's

    def __init__(self, function: Callable[..., Any], fallback: bool) -> None:
        functools.update_wrapper(self, function)
        self.function, self.fallback = function, fallback
        self.primitive = by_hand(self.__name__, self._derivative)
        self.primitive.runs_program, self.primitive.takes_none = False, True
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
                a = _aligned(x._data)
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
                key.append((type(x), x, *_constants(x)))
            arrays.append(a)
            scalars.append(number)
        if kind is None or any(a is not None and type(a) is not kind for a in arrays):
            return self.function(*args)  # numbers alone; or of several devices, which the first operation will refuse
        xp = namespace_of(next(a for a in arrays if a is not None))
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
        specs = [float if type(x) is float else x if a is None else a for a, x in zip(arrays, args, strict=True)]
        plan = None
        try:
            plan = Plan(self._traced(specs, xp.device, args), xp, WRITERS[name])
        except Unfit as error:
            if not self.fallback:
                raise Unfit(f"fuse({self.__name__}): {error}") from error.__cause__
        if len(self._plans) >= MOST_PLANS:
            self._plans.pop(next(iter(self._plans)), None)  # another thread may have been faster
        self._plans[whole_key] = plan
        self._last = specs
        return plan

    def _traced(self, specs: Sequence[Any], device: str, args: Sequence[Any]) -> Program:
        try:
            return self._program(specs, device)
        except Unfit:
            raise
        except Exception as error:
            if args:
                self.function(*args)  # if something is wrong with it, it says so itself
            raise Unfit(str(error) if args else f"{error}; give arguments to write it for") from error

    def _program(self, specs: Sequence[Any], device: str) -> Program:
        return Program(self.function, self.__name__, specs, device)

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
        specs = [x if not hasattr(x, "strides") else dummy(x.shape, x.dtype, x.strides) for x in specs]
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
            tracer, outputs = plan.program.tracer, plan.program.outputs
            return recorded_gradients(lambda: tracer.again(dict(enumerate(xs)), outputs), xs, gs)
        arrays = [_aligned(x) if is_array(x) else None for x in xs]
        found: list[Any] = [None] * len(xs)
        for slot, g in zip(wanted, plan.backward(arrays, scalars, gs, wanted), strict=True):
            found[slot] = g
        return found


def _constants(x: Any) -> list[Any]:
    """What a kernel may have been made with of an object, such as the self of a method."""
    return [v for v in vars(x).values() if type(v) in (int, float, bool, str)] if hasattr(x, "__dict__") else []


def recorded_gradients(function: Callable[[], Sequence[Tensor]], xs: Sequence[Any], gs: Sequence[Any]) -> list[Any]:
    """The gradients of Tensors xs with a graph of their own: what a function makes of them is recorded and swept."""
    since = tick()
    with enable_grad():
        ys = function()
    pairs = [(y, g) for y, g in zip(ys, gs, strict=True) if g is not None and y._requires_grad]
    sources: dict[Any, Any] = {}
    for k, x in enumerate(xs):
        if type(x) is Tensor and x._requires_grad:
            edge = x._source or x
            place = place_of(edge) if isinstance(edge, tuple) else id(edge)
            sources.setdefault(place, (k, edge))  # one that was passed twice gets its gradient once
    places = [k for k, _ in sources.values()]
    edges = [edge for _, edge in sources.values()]
    found = sweep(
        [y for y, _ in pairs], [g for _, g in pairs], edges, create_graph=True, retain_graph=True, since=since
    )
    results: list[Any] = [None] * len(xs)
    for k, (_, g, _) in zip(places, found, strict=True):
        results[k] = g
    return results


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
    and of an object, such as a method's self, it knows the numbers and strings that are its attributes; change nothing
    deeper in it.

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
