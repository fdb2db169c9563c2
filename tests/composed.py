"""The table of the functions that are composed of primitives: indexing, einsum, derivatives; as in `layers.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg

from .methods import joined
from .proofs import Array, Call, Draws, Line, Shape, call

# Indices ------------------------------------------------------------------------------------------


def part(d: Draws, n: int, count: int) -> Any:
    """An index along an axis of n, an array among them of `count` entries, or fewer that broadcast."""
    kind = d.of("slice", "integer", "array", "list", "mask")
    if kind == "slice":
        return slice(d.of(None, 1, -2), d.of(None, n - 1, -1), d.of(None, 2, -1, -2))
    if kind == "integer":
        return d.axis(n)
    if kind == "mask":
        return np.isin(np.arange(n), d.order(n)[:count])
    ids = d.ids((count,), 2 * n) - n
    return ids if kind == "array" else ids.tolist()


def index(d: Draws, shape: Shape) -> Any:
    """A mixture of slices, integers, arrays, lists, masks, new axes and an ellipsis."""
    parts: list[Any] = []
    count, axis = d.of(1, 2), 0
    while axis < len(shape) and d.choose(6) < 5:
        if d.choose(4) == 3:
            parts.append(None)
        elif axis + 1 < len(shape) and d.choose(4) == 3:
            inner = shape[axis : axis + 2]
            parts.append(np.isin(np.arange(inner[0] * inner[1]), d.order(inner[0] * inner[1])[:count]).reshape(inner))
            axis += 2
        else:
            parts.append(part(d, shape[axis], count))
            axis += 1
    if d.flag():
        parts.insert(d.choose(len(parts) + 1) if axis == len(shape) else len(parts), Ellipsis)
    return parts[0] if len(parts) == 1 and d.flag() else tuple(parts)


def indexed(d: Draws) -> Call:
    x = d.x()
    return call(x, index(d, x.shape))


def taken(d: Draws) -> Call:
    x = d.x(d.shape(least=1))
    axis = d.axis(x.ndim, None)
    n = x.size if axis is None else x.shape[axis]
    ids = d.ids(d.shape(most=2), 2 * n) - n
    return call(x, d.of(ids, ids.tolist()), axis=axis)


def taken_along(d: Draws) -> Call:
    x = d.x(d.shape(least=1))
    axis = d.axis(x.ndim, -1, None)
    if axis is None:
        return call(x, d.ids((d.of(1, 2, 4),), 2 * x.size) - x.size, axis=None)
    shape = [d.of(n, 1) for n in x.shape]
    shape[axis] = d.of(1, 2, 4)
    ids = d.ids(tuple(shape), 2 * x.shape[axis]) - x.shape[axis]
    return call(x, d.of(ids, ids.tolist()), axis=axis)


INDICES = {
    "Tensor.__getitem__": Line(indexed),
    "Tensor.take mg.take": Line(taken),
    "mg.take_along_axis": Line(taken_along),
}

# Sums of products ---------------------------------------------------------------------------------


def einsum(d: Draws) -> Call:
    """Random labels: shared, alone, twice in one operand; an ellipsis that broadcasts; an output, or none."""
    sizes = {label: d.of(1, 2, 3) for label in "iJk"}
    dotted, dots = d.flag(), d.shape(most=2, largest=2)
    terms, shapes = [], []
    for _ in range(d.of(1, 2, 3)):
        labels = "".join(d.of(*sizes) for _ in range(d.choose(4)))
        under = joined(d, dots) if dotted else ()
        cut = d.choose(len(labels) + 1)
        terms.append(labels[:cut] + "..." * dotted + labels[cut:])
        shapes.append((*(sizes[s] for s in labels[:cut]), *under, *(sizes[s] for s in labels[cut:])))
    present = sorted(set("".join(terms)) - {"."})
    output = "".join(present[i] for i in d.order(len(present))[: d.choose(len(present) + 1)])
    cut = d.choose(len(output) + 1)
    arrow = d.of("", f"->{output[:cut]}{'...' * dotted}{output[cut:]}")
    return call(",".join(terms) + arrow, *(d.x(shape) for shape in shapes))


# Derivatives, differentiated ----------------------------------------------------------------------


def curve(x: Any) -> Any:
    return mg.tanh(x) * x.sum()


def height(x: Any) -> Any:
    return (mg.tanh(x) * x).sum()


def curves(x: Any, y: Any) -> Any:
    return x * mg.exp(y.sum() * 0.3), mg.sin(y) * x.mean()


def heights(x: Any, y: Any) -> Any:
    return mg.tanh(x).sum() * (y * y).sum()


def vector(d: Draws) -> Array:
    return d.x((d.of(1, 2, 3),), low=-1.5, high=1.5)


def products(one: Any, several: Any) -> Callable[[Draws], Call]:
    """A function of one input, or of several, and a vector like these; for one of one entry there may be none."""

    def drawn(d: Draws) -> Call:
        x, y = vector(d), vector(d)
        forms = (one, x, d.x(x.shape)), (several, (x, y), (d.x(x.shape), d.x(y.shape))), (height, vector(d)[:1], None)
        return call(*d.of(*forms), create_graph=True)

    return drawn


def whole(one: Any, several: Any) -> Callable[[Draws], Call]:
    return lambda d: call(*d.of((one, vector(d)), (several, (vector(d), vector(d)))), create_graph=True)


def slopes(d: Draws) -> Call:
    x, y = vector(d), vector(d)
    function, v = d.of((height, None), (curve, d.x(x.shape)))
    options = {"grad_outputs": v, "allow_unused": d.flag(), "retain_graph": d.of(None, True)}
    return call(function, x, y, **options)


def differentiated(function: Any, x: Any, y: Any, **options: Any) -> Any:
    return mg.grad(function(x), [x, y] if options["allow_unused"] else x, create_graph=True, **options)


def nested(pair: Any, *, scale: Any = 1.0) -> Any:
    return {"product": mg.tanh(pair[0]) * scale, "sum": pair[1].sum() * pair[0]}


def stored(d: Draws) -> Call:
    x, y = vector(d), vector(d)
    return d.of(call(curve, x), call(curves, x, y), call(nested, (x, y)), call(nested, (x, y), scale=d.x((1,))))


GRAPH = {"create_graph": "without it the result is cut off from the graph"}
TRANSFORMS = {
    "mg.einsum": Line(einsum),
    "mg.vjp": Line(products(curve, curves), GRAPH),
    "mg.jvp": Line(products(curve, curves), GRAPH),
    "mg.hvp": Line(products(height, heights), GRAPH),
    "mg.jacobian": Line(whole(curve, curves), GRAPH),
    "mg.hessian": Line(whole(height, heights), GRAPH),
    "mg.grad": Line(slopes, GRAPH, run=differentiated),
    "mg.checkpoint": Line(stored),
}

LINES = {name: line for table in (INDICES, TRANSFORMS) for names, line in table.items() for name in names.split()}

# What has no line ---------------------------------------------------------------------------------

WITHOUT = {
    "cuts from the graph": "mg.detach",
    "makes a tensor of something else": (
        "mg.arange mg.eye mg.from_dlpack mg.full mg.full_like mg.linspace mg.ones mg.ones_like mg.rand mg.rand_like "
        "mg.randn mg.randn_like mg.tensor mg.zeros mg.zeros_like"
    ),
    "sets or says how minigrad works": (
        "mg.cuda_is_available mg.default_device mg.detect_anomaly mg.enable_grad mg.get_num_threads "
        "mg.is_grad_enabled mg.manual_seed mg.no_grad mg.set_default_device mg.set_num_threads mg.synchronize "
        "mg.use_device mg.keep_freed_memory mg.matmul_precision mg.get_matmul_precision "
        "mg.get_rng_state mg.set_rng_state"
    ),
    "is a class": (
        "mg.AnomalyError mg.DeviceError mg.Tensor mg.bool_ mg.float16 mg.float32 mg.float64 mg.int32 mg.int64"
    ),
    "they have tests of their own: test_fuse*.py and test_scan*.py": """
        mg.fuse mg.fuse_backend mg.fusing mg.scan mg.scan_source""",
}
