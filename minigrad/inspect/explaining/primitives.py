"""Primitives explained: what the registry knows of each, and the formulas that its code computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ...backend import cpu, float32, float64, is_array
from ...graph import Tensor
from ...mode import no_grad
from ...ops.primitive import Domain, Primitive, registry
from ...tape import apply
from ..shown import stated
from .formulas import (
    Formula,
    derivative_formulas,
    gradient_name,
    input_names,
    numbered,
    output_name,
    parameter_on_host,
    value_formula,
)
from .notation import Text, text
from .sheet import Part, Row, Sheet
from .tree import NUMBERS, constant

Shape = tuple[int, ...]
Example = tuple[Sequence[Shape], Mapping[str, Any]]
ROWS: Final = cpu.asarray([1, 0, 1])
WINDOWS: Final = {"stride": (1,), "dilation": (1,)}

# On which shapes, and with which parameters, a primitive is read where those of its kind do not do.
EXAMPLES: Final[dict[str, Example]] = {
    "add_along_axis": ([(2, 1)], {"indices": cpu.asarray([[1], [0]]), "axis": 1, "shape": (2, 3)}),
    "add_to_windows": ([(3,)], {"which": ROWS, "shape": (4,), "size": (2,), **WINDOWS}),
    "add_windows": ([(2, 3)], {"shape": (4,), **WINDOWS}),
    "all": ([(2, 3)], {"axis": 1}),
    "any": ([(2, 3)], {"axis": 1}),
    "astype": ([(2, 3)], {"dtype": float32}),
    "broadcast_to": ([(3,)], {"shape": (2, 3)}),
    "clip": ([(2, 3)], {"min": -1.0, "max": 1.0}),
    "einsum": ([(2, 3), (3, 4)], {"subscripts": "ij,jk->ik"}),
    "expand_dims": ([(2, 3)], {"axis": 0}),
    "getitem": ([(2, 3)], {"index": (slice(None), 1)}),
    "linear": ([(4, 3), (2, 3), (2,)], {}),
    "matmul": ([(2, 3), (3, 4)], {}),
    "outer_sum": ([(4, 3), (4, 2)], {}),
    "pad": ([(2, 3)], {"pad_width": 1}),
    "reshape": ([(2, 3)], {"shape": (3, 2)}),
    "scatter_add": ([(2,)], {"index": (slice(None), 1), "shape": (2, 3)}),
    "segment_sum": ([(3, 2)], {"indices": ROWS, "size": 4}),
    "split": ([(6, 2)], {"sections": 3}),
    "squeeze": ([(2, 1)], {}),
    "sum_to": ([(2, 3)], {"shape": (3,)}),
    "surprisal": ([(3, 4)], {"classes": cpu.asarray([1, 3, 1])}),
    "surprisal_gradient": ([(3,), (3, 4)], {"classes": cpu.asarray([1, 3, 1])}),
    "take": ([(4, 2)], {"indices": ROWS, "axis": 0}),
    "take_along_axis": ([(2, 3)], {"indices": cpu.asarray([[1], [0]]), "axis": 1}),
    "take_from_windows": ([(4,)], {"which": ROWS, "size": (2,), **WINDOWS}),
    "to_device": ([(2, 3)], {"device": "cpu", "source": "cpu"}),
    "windows": ([(4,)], {"size": (2,), **WINDOWS}),
}
TRIED: Final = ((2, 3), (3,), (2, 2), ())  # shapes of all inputs, for a primitive that is in no table


class Like:
    """A shape and a dtype."""

    def __init__(self, shape: Shape, dtype: Any) -> None:
        self.shape, self.dtype = shape, dtype


def explain_primitive(primitive: Primitive[Any], inputs: Sequence[Any], parameters: Mapping[str, Any]) -> Sheet:
    """What a primitive is, computes and passes back.

    Args:
        inputs: tensors, arrays or numbers whose shapes the formulas are read on; small ones if there are none.
        parameters: as the primitive takes them.

    Raises:
        TypeError: nothing says on which shapes it can be read; it has no such parameter.
        ValueError: the inputs do not fit it.
    """
    unknown = [key for key in parameters if key not in primitive.parameters]
    if unknown:
        known = ", ".join(primitive.parameters) or "none"
        raise TypeError(f"explain: {primitive.name} has no parameter {unknown[0]}; its parameters: {known}")
    given, parameters = _chosen(primitive, inputs, parameters)
    names, output, g = input_names(primitive, len(given)), output_name(primitive), gradient_name(primitive)
    value = value_formula(primitive, given, parameters)
    results = [numbered(output, k) for k in range(len(value.results))] if primitive.multiple else [output]
    rows = [
        *([Row("stated", stated(primitive))] if stated(primitive) else []),
        _row("computes", results, value),
        *_gradients(primitive, names, derivative_formulas(primitive, given, parameters), output, g),
        Row("saves", _saved(primitive)),
        *_domains(primitive),
        Row("read on", _read_on(names, given, parameters)),
    ]
    return Sheet(f"{primitive.name}: {_kind(primitive)}", [Part("", tuple(rows))])


def _kind(primitive: Primitive[Any]) -> str:
    article = "an" if primitive.kind[0] in "aeiou" else "a"
    return f"{article} {primitive.kind} primitive, of {primitive.__module__}"


def _row(label: str, left: Sequence[str], formula: Formula) -> Row:
    if not formula.is_readable:
        instead = "what its docstring states" if formula.stated else "?"
        return Row(label, instead, f"its code cannot be read: {formula.reason}")

    def said(notation: Text) -> str:
        shown = ", ".join(formula.said(notation, place=k) for k in range(len(formula.results)))
        return f"{', '.join(map(notation.name, left))} = {shown}" if left else shown

    return Row(label, said)


def _gradients(
    primitive: Primitive[Any], names: Sequence[str], formulas: Sequence[Formula | None], output: str, g: str
) -> list[Row]:
    remark = f"{g} is the incoming gradient, ∂L/∂{output}"
    if primitive.multiple:
        remark = f"{g}₀, {g}₁, ... are the incoming gradients of {output}₀, {output}₁, ..."
    rows = []
    for x, formula in zip(names, formulas, strict=True):
        label = f"∂L/∂{x}"
        if formula is None:
            rows.append(Row(label, "none: no gradient flows through it"))
            continue
        row = _row(label, (), formula)
        rows.append(Row(label, row.said, row.remark or remark))
        remark = ""
    return rows


def _saved(primitive: Primitive[Any]) -> str:
    if primitive.saves_for_other:
        first, second = primitive.inputs[:2]
        said = [f"{first} if {second} needs a gradient, {second} if {first} does"]
        said += [x for x, kept in list(zip(primitive.inputs, primitive.saves_inputs, strict=True))[2:] if kept]
    else:
        said = [x for x, kept in zip(primitive.inputs, primitive.saves_inputs, strict=True) if kept]
    if primitive.saves_output:
        said.append(f"{output_name(primitive)}, the output")
    return "; ".join(said) or "nothing but shapes"


def _domains(primitive: Primitive[Any]) -> list[Row]:
    if all(domain == Domain(-3.0, 3.0) for domain in primitive.domains):
        return []
    return [Row(f"domain of {x}", _domain(d)) for x, d in zip(primitive.inputs, primitive.domains, strict=True)]


def _domain(domain: Domain) -> str:
    if domain.dtype == "bool":
        return "true or false"
    said = f"tried from {domain.low:g} to {domain.high:g}"
    if domain.kinks:
        said += f", without {', '.join(f'{kink:g}' for kink in domain.kinks)}, where it has no derivative"
    return said + ", no two entries equal" * domain.distinct


def _read_on(names: Sequence[str], given: Sequence[Any], parameters: Mapping[str, Any]) -> str:
    shown = [f"{k} {x}" if type(x) in NUMBERS else f"{k} {x.shape}" for k, x in zip(names, given, strict=True)]
    for key, value in parameter_on_host(list(parameters.items())):
        if key == "index":
            shown.append(f"index=[{text.index(constant(value))}]")
        else:
            shown.append(f"{key}={value.tolist() if is_array(value) else getattr(value, '__name__', value)}")
    return ", ".join(shown)


# Examples -----------------------------------------------------------------------------------------


def _chosen(
    primitive: Primitive[Any], inputs: Sequence[Any], parameters: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """What to read the formulas on: what was given, or else an example."""
    if inputs:
        given = inputs[0] if primitive.variadic and isinstance(inputs[0], (tuple, list)) else inputs
        if not primitive.variadic and len(given) != len(primitive.inputs):
            raise TypeError(
                f"explain: {primitive.name} takes the inputs {', '.join(primitive.inputs)}, got {len(given)}"
            )
        with no_grad():
            apply(primitive, list(given), dict(parameters))  # which says what is wrong with them
        return [x._data if type(x) is Tensor else x for x in given], dict(parameters)
    if primitive.name in EXAMPLES and registry.get(primitive.name) is primitive:
        shapes, usual = EXAMPLES[primitive.name]
        return _likes(primitive, shapes), {**usual, **parameters}
    count = 2 if primitive.variadic else len(primitive.inputs)
    usual = {"axis": 1} if primitive.kind == "reduction" and "axis" in primitive.parameters else {}
    for tried in ({**usual, **parameters}, dict(parameters)):
        for shape in TRIED:
            given = _likes(primitive, [shape] * count)
            if _works(primitive, given, tried):
                return given, tried
    raise TypeError(
        f"explain: cannot guess what {primitive.name}{primitive.__signature__} is applied to; give an example, "
        f"explain({primitive.name}, {', '.join(primitive.inputs)}, parameter=...)"
    )


def _likes(primitive: Primitive[Any], shapes: Sequence[Shape]) -> list[Any]:
    domains = list(primitive.domains) * len(shapes) if primitive.variadic else primitive.domains
    return [Like(s, bool if d.dtype == "bool" else float64) for s, d in zip(shapes, domains, strict=True)]


def _works(primitive: Primitive[Any], given: Sequence[Any], parameters: Mapping[str, Any]) -> bool:
    arrays = [cpu.ones(x.shape, dtype=x.dtype) for x in given]
    try:
        primitive.value(cpu, *([arrays] if primitive.variadic else arrays), **parameters)
    except Exception:  # whatever a formula says of shapes that are not for it
        return False
    return True
