"""Reading a formula on symbols: the namespaces it is given, one run of it, and the proof of what was read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ...backend import Array, cpu
from ...ops.primitive import Absent, registry
from .looking import looking
from .symbols import Symbol, Unreadable, expression_of, plain
from .tree import Expression, constant, evaluate, name

# Shorter ways of the array library to what the formula says next: they answer that they are not there.
DECLINED: Final = {
    "logsumexp": None,
    "matmul_add": None,
    "surprisal": None,
    "surprisal_gradient": None,
    "add_rows": False,
}
ROUNDINGS: Final = 64


class Values:
    """The array library, as a primitive's value sees it: NumPy's names, computed on the host."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def __getattr__(self, attribute: str) -> Any:
        if attribute in DECLINED:
            return lambda *_, **__: DECLINED[attribute]
        found = getattr(cpu, attribute)
        if not callable(found) or isinstance(found, type):
            return found
        return lambda *args, **options: self._reader.note(attribute, found, args, options)

    def add_at(self, out: Symbol, index: Any, values: Any) -> None:
        out.write("added", index, values)
        cpu.add_at(out.array, plain(index), plain(values))

    def asarray(self, x: Any, dtype: Any = None) -> Any:
        if type(x) is Symbol:
            return x if dtype is None else x.astype(dtype)
        return self._reader.note("asarray", cpu.asarray, (x,), {} if dtype is None else {"dtype": dtype})

    def einsum(self, subscripts: str, *xs: Any, **_: Any) -> Any:
        def function(xs: Any, subscripts: str) -> Any:
            return cpu.einsum(subscripts, *xs, optimize=True)

        return self._reader.note("einsum", function, (list(xs),), {"subscripts": subscripts})


class Derivatives:
    """The registry, as a derivative formula sees it: its names, and operators."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def __getattr__(self, attribute: str) -> Any:
        primitive = registry.get(attribute)
        if primitive is None:
            raise AttributeError(f"a derivative used xp.{attribute}, but no primitive of that name is registered")

        def compute(*inputs: Any, **parameters: Any) -> Any:
            return primitive.value(cpu, *inputs, **parameters)

        return lambda *args, **options: self._reader.note(attribute, compute, args, options)


class Reader:
    """One run of a formula on symbols: what it gives, and what its author called the parts."""

    def __init__(self) -> None:
        self.values, self.derivatives = Values(self), Derivatives(self)
        self.inputs: dict[str, Any] = {}
        self.names: dict[Expression, str] = {}

    def symbol(self, text: str, array: Any) -> Symbol:
        """A symbol for something that has a name in the formula."""
        self.inputs[text] = array
        return Symbol(self, array, name(text, array))

    def note(self, op: str, function: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """Compute, and note what was computed of what."""
        out = options.get("out")
        options = {k: v for k, v in options.items() if k != "out"}
        found = function(*map(plain, args), **{k: plain(v) for k, v in options.items()})
        args, options = _by_name(op, list(args), options)
        inputs = tuple(map(expression_of, args))
        given = {k: expression_of(v) for k, v in options.items()}
        if isinstance(found, (list, tuple)) and found and all(hasattr(part, "dtype") for part in found):
            whole = Expression(op, inputs, given)
            items = [Expression("item", (whole,), value=k, shape=x.shape, dtype=x.dtype) for k, x in enumerate(found)]
            return [Symbol(self, x, item) for x, item in zip(found, items, strict=True)]
        if not hasattr(found, "dtype"):
            return found
        symbol = Symbol(self, found, Expression(op, inputs, given, shape=found.shape, dtype=found.dtype))
        return symbol if out is None else out.become(symbol)

    def run(self, formula: Callable[..., Any], *args: Any, **parameters: Any) -> list[Expression]:
        """What a formula gives on symbols, proved; a formula that gives a list gives one expression per entry.

        Raises:
            Unreadable: no expression can say what it does; the message says why.
        """
        try:
            with looking(self._look_at_locals):
                found = formula(*args, **parameters)
        except Unreadable:
            raise
        except Exception as error:  # whatever a formula does that a symbol cannot take
            raise Unreadable(f"on symbols it raises {type(error).__name__}: {error}") from error
        several = isinstance(found, (list, tuple))
        results = [x if type(x) is Symbol else Symbol(self, x, constant(x)) for x in (found if several else [found])]
        self._prove(results)
        return [x.expression for x in results]

    def _look_at_locals(self, frame: Any, event: str, result: Any) -> None:
        """The names that the author of a formula gave to its parts; those of the outermost function win."""
        if event == "return" and frame.f_globals.get("__package__") != __package__:
            for text, value in frame.f_locals.items():
                if type(value) is Symbol and text not in self.inputs and text.isidentifier():
                    self.names[value.expression] = text

    def _prove(self, results: Sequence[Symbol]) -> None:
        for symbol in results:
            if isinstance(symbol.array, Absent):
                continue
            if not _agree(cpu.asarray(evaluate(symbol.expression, self.inputs)), cpu.asarray(symbol.array)):
                raise Unreadable("what was read off does not compute what it computes")


def _agree(x: Array, y: Array) -> bool:
    """Whether they are the same, or differ by the rounding of one product of matrices that another has computed."""
    if x.shape != y.shape or x.dtype != y.dtype or x.dtype.kind != "f":
        return bool(cpu.array_equal(x, y))
    finite = cpu.abs(y[cpu.isfinite(y)])
    largest = float(finite.max()) if finite.size else 0.0
    return bool(cpu.allclose(x, y, rtol=0.0, atol=ROUNDINGS * float(cpu.finfo(y.dtype).eps) * largest, equal_nan=True))


def _by_name(op: str, args: list[Any], options: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Parameters that came by position, under the names that the registry has for them; None of them left out."""
    primitive = registry.get(op)
    if primitive is not None and len(args) > len(primitive.inputs):
        count = len(primitive.inputs)
        options = dict(zip(primitive.parameters, args[count:], strict=False)) | options
        args = args[:count]
    return args, {k: v for k, v in options.items() if v is not None}
