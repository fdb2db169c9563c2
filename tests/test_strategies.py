"""The strategies of `minigrad.testing`: what they promise, what they reach, and that failures can be pasted."""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad
import minigrad as mg
from minigrad.backend import namespace
from minigrad.ops import registry
from minigrad.ops.primitive import Domain, elementwise, reduction
from minigrad.testing import Application, GradcheckError, gradcheck, gradgradcheck, laid_out
from minigrad.testing import strategies as mst
from minigrad.testing.application import LAYOUTS, as_code, layout_of

from .cases import CASES, on_device
from .draws import CALLS, applications
from .helpers import close, host, listed

FLOATS = ("float64", "float32", "float16")
SHRINKING = settings(phases=[Phase.generate, Phase.shrink], database=None, derandomize=True, deadline=None)


def seen(strategy: st.SearchStrategy[Any], count: int = 200) -> list[Any]:
    """What a strategy draws, many times over."""
    found: list[Any] = []

    @settings(max_examples=count, phases=[Phase.generate], database=None, derandomize=True, deadline=None)
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


def assert_reached(values: list[Any], **conditions: Callable[[Any], bool]) -> None:
    """Each condition holds for one value at least; hypothesis draws none twice."""
    assert not [name for name, condition in conditions.items() if not any(map(condition, values))]


def same(x: Any, y: Any) -> None:
    """The same values in the same memory layout; parts of tuples, lists and dicts one by one."""
    assert type(x) is type(y)
    if isinstance(x, np.ndarray):
        assert (x.dtype, x.shape, x.flags.writeable) == (y.dtype, y.shape, y.flags.writeable)
        assert x.strides == y.strides or not x.size  # those of nothing are NumPy's whim
        assert np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
        assert x.dtype.kind != "f" or np.array_equal(np.signbit(x) & ~np.isnan(x), np.signbit(y) & ~np.isnan(y))
    elif isinstance(x, dict):
        same(list(x.items()), list(y.items()))
    elif isinstance(x, (list, tuple)):
        assert len(x) == len(y)
        for a, b in zip(x, y, strict=True):
            same(a, b)
    else:
        assert x == y or (x != x and y != y)


# Every primitive ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
def test_what_is_drawn_for_a_primitive_is_valid(name: str, data: st.DataObject) -> None:
    application = data.draw(applications(name))
    parameters = {key: on_device(value, "cpu") for key, value in application.parameters.items()}
    reference = CASES[name].reference(*application.inputs, **parameters)
    for device in ("cpu", "strict"):
        found = listed(application(*application.tensors(device)))
        for y, value in zip(found, reference if isinstance(reference, list) else [reference], strict=True):
            close(y, value)
            assert y.device == (device if name != "to_device" else "cpu")


def test_calls_are_of_primitives_that_there_are() -> None:
    assert set(CALLS) <= set(CASES)


@pytest.mark.parametrize("name", CALLS)
def test_every_parameter_varies(name: str) -> None:
    """Drawn with two values at least, and left out where it may be; `mode` and `dtype` have one that can be checked."""
    drawn = [application.parameters for application in seen(applications(name), 100)]
    for parameter, p in registry[name].__signature__.parameters.items():
        if parameter in registry[name].parameters:
            values = {repr(parameters.get(parameter, "left out")) for parameters in drawn}
            single = parameter in ("dtype", "device", "source")
            assert len(values) > 1 or single, (parameter, values)
            assert (p.default is not p.empty) == any(parameter not in parameters for parameters in drawn), parameter


@given(data=st.data(), dtype=mst.dtypes(half=True), name=st.sampled_from(["multiply", "max", "where", "log"]))
def test_applications_of_a_dtype(data: st.DataObject, dtype: Any, name: str) -> None:
    application = data.draw(applications(name, dtype=dtype, layouts=["reversed"]))
    for x, domain in zip(application.inputs, registry[name].domains, strict=True):
        assert x.dtype == (np.bool_ if domain.dtype == "bool" else dtype)
        same(x, laid_out(x, "reversed", read_only=not x.flags.writeable))


# Shapes and axes ------------------------------------------------------------------------------------


def test_shapes() -> None:
    found = seen(mst.shapes())
    assert {n for shape in found for n in shape} == {0, 1, 2, 3}
    conditions = {f"ndim_{n}": lambda shape, n=n: len(shape) == n for n in range(4)}
    assert_reached(found, empty=lambda s: 0 in s, unequal=lambda s: len({*s} - {0, 1}) == 2, **conditions)
    assert sum(0 in shape for shape in found) < len(found) / 3
    found = seen(mst.shapes(min_dims=2, max_dims=4, min_side=2, max_side=5))
    assert {len(shape) for shape in found} == {2, 3, 4}
    assert {n for shape in found for n in shape} == {2, 3, 4, 5}
    assert set(seen(mst.shapes(max_dims=1, max_side=0))) == {(), (0,)}


@given(st.integers(1, 3).flatmap(lambda n: st.tuples(st.just(n), mst.broadcastable_shapes(n))))
def test_broadcastable_shapes_broadcast(drawn: Any) -> None:
    n, shapes = drawn
    assert len(shapes) == n
    assert len(np.broadcast_shapes(*shapes)) <= 3


def test_broadcastable_shapes_reach_every_way_of_broadcasting() -> None:
    assert_reached(
        seen(mst.broadcastable_shapes(2)),
        equal=lambda pair: pair[0] == pair[1] != (),
        first_has_fewer_axes=lambda pair: len(pair[0]) < len(pair[1]),
        second_has_fewer_axes=lambda pair: len(pair[1]) < len(pair[0]),
        stretched=lambda pair: len(pair[0]) == len(pair[1]) and pair[0] != pair[1],
        both=lambda pair: np.broadcast_shapes(*pair) not in pair,
        empty=lambda pair: 0 in np.broadcast_shapes(*pair),
        empty_against_one=lambda pair: any(
            {m, n} == {0, 1} for m, n in zip(pair[0][::-1], pair[1][::-1], strict=False)
        ),
    )


@given(st.integers(0, 3).flatmap(lambda ndim: st.tuples(st.just(ndim), mst.axes(ndim))))
def test_axes_are_axes(drawn: Any) -> None:
    ndim, axis = drawn
    named = () if axis is None else axis if isinstance(axis, tuple) else (axis,)
    assert all(-ndim <= a < ndim for a in named)
    assert len({a % ndim for a in named}) == len(named)


def test_axes_reach_every_kind() -> None:
    assert_reached(
        seen(mst.axes(3)),
        none=lambda axis: axis is None,
        integer=lambda axis: isinstance(axis, int) and axis >= 0,
        negative=lambda axis: isinstance(axis, int) and axis < 0,
        nothing=lambda axis: axis == (),
        several=lambda axis: isinstance(axis, tuple) and len(axis) > 1,
        every=lambda axis: isinstance(axis, tuple) and len(axis) == 3,
        out_of_order=lambda axis: isinstance(axis, tuple) and list(axis) != sorted(axis, key=lambda a: a % 3),
        of_both_signs=lambda axis: isinstance(axis, tuple) and len({a < 0 for a in axis}) == 2,
    )
    assert set(seen(mst.axes(2, none=False, tuples=False, negative=False))) == {0, 1}
    assert set(seen(mst.axes(2, none=False, integers=False, negative=False, min_size=2))) == {(0, 1), (1, 0)}
    assert set(seen(mst.axes(0))) == {None, ()}


# Indices --------------------------------------------------------------------------------------------


@given(data=st.data(), shape=mst.shapes())
def test_indices_are_in_range(data: st.DataObject, shape: Any, device: str) -> None:
    """NumPy takes them, and a Tensor gives the same."""
    index = data.draw(mst.indices(shape))
    x = np.arange(math.prod(shape), dtype=float).reshape(shape)
    found = mg.tensor(x, device=device)[on_device(index, device)]
    np.testing.assert_array_equal(host(found), x[index])


def parts(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


def holds(condition: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda index: any(condition(part) for part in parts(index))


def array_with(condition: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return holds(lambda part: isinstance(part, np.ndarray) and part.dtype == np.int64 and bool(condition(part)))


MASK = holds(lambda part: isinstance(part, np.ndarray) and part.dtype == np.bool_)
ARRAY = array_with(lambda part: True)
ARRAYS = {
    "array": ARRAY,
    "repeated": array_with(lambda a: 0 < len(set(a.ravel().tolist())) < a.size),
    "negative": array_with(lambda a: np.any(a < 0)),
    "of_nothing": array_with(lambda a: a.size == 0),
    "without_axes": array_with(lambda a: a.ndim == 0),
    "with_two_axes": array_with(lambda a: a.ndim == 2),
    "several_arrays": lambda index: sum(isinstance(part, np.ndarray) for part in parts(index)) > 1,
    "arrays_that_broadcast": lambda index: len({p.shape for p in parts(index) if isinstance(p, np.ndarray)}) > 1,
}
BASIC = {
    "integer": holds(lambda part: type(part) is int and part >= 0),
    "negative_integer": holds(lambda part: type(part) is int and part < 0),
    "slice": holds(lambda part: isinstance(part, slice)),
    "backwards": holds(lambda part: isinstance(part, slice) and (part.step or 1) < 0),
    "every_second": holds(lambda part: isinstance(part, slice) and abs(part.step or 1) > 1),
    "new_axis": holds(lambda part: part is None),
    "dots": holds(lambda part: part is Ellipsis),
    "dots_in_front": lambda index: len(parts(index)) > 1 and parts(index)[0] is Ellipsis,
    "dots_inside": lambda index: any(part is Ellipsis for part in parts(index)[1:-1]),
    "empty": lambda index: isinstance(index, tuple) and np.zeros((3, 2, 3))[index].size == 0,
    "no_tuple": lambda index: not isinstance(index, tuple),
    "fewer_than_axes": lambda index: isinstance(index, tuple) and len(index) < 3,
}


def test_indices_reach_every_kind() -> None:
    shape = (3, 2, 3)
    basic = seen(mst.indices(shape, kinds=["basic"]))
    assert_reached(basic, **BASIC)
    assert not any(map(ARRAY, basic)) and not any(map(MASK, basic))
    advanced = seen(mst.indices(shape, kinds=["advanced"]))
    assert_reached(advanced, **ARRAYS)
    assert all(ARRAY(index) for index in advanced)
    assert not any(isinstance(part, (int, slice, np.bool_)) or part is None for i in advanced for part in parts(i))
    boolean = seen(mst.indices(shape, kinds=["boolean"]))
    assert all(MASK(index) for index in boolean)
    assert_reached(
        boolean,
        of_every_axis=holds(lambda part: np.ndim(part) == 3),
        of_one_axis=holds(lambda part: np.ndim(part) == 1),
        of_the_last_axes=lambda index: parts(index)[0] is Ellipsis,
        all_false=lambda index: not np.ones(shape)[index].size,
    )
    mixed = seen(mst.indices(shape, kinds=["mixed"]))
    assert not any(map(ARRAY, mixed)) and not any(map(MASK, mixed))
    mixed = seen(mst.indices(shape, kinds=["advanced", "mixed"]))
    assert not any(map(MASK, mixed))
    assert_reached(
        mixed,
        **ARRAYS,
        array_beside_slice=lambda index: ARRAY(index) and BASIC["slice"](index),
        array_beside_integer=lambda index: ARRAY(index) and BASIC["integer"](index),
        array_beside_new_axis=lambda index: ARRAY(index) and BASIC["new_axis"](index),
    )
    mixed = seen(mst.indices(shape, kinds=["boolean", "advanced", "mixed"]))
    assert_reached(
        mixed,
        mask_beside_slice=lambda index: MASK(index) and BASIC["slice"](index),
        mask_beside_integer=lambda index: MASK(index) and BASIC["integer"](index),
        mask_beside_array=lambda index: MASK(index) and ARRAY(index),
    )
    assert_reached(seen(mst.indices(shape)), mask=MASK, array=ARRAY, slice=BASIC["slice"], dots=BASIC["dots"])


@pytest.mark.parametrize("shape", [(0,), (0, 2), (2, 0)])
def test_indices_of_nothing(shape: Any) -> None:
    for index in seen(mst.indices(shape), 100):
        assert np.zeros(shape)[index].size == 0 or index is None


# Arrays ---------------------------------------------------------------------------------------------

DOMAINS = sorted({d for p in registry.values() if p.__module__.startswith("minigrad.") for d in p.domains}, key=str)
OTHERS = [Domain(0.0, 0.01), Domain(5.0, math.inf), Domain(-math.inf, math.inf, kinks=(0.0,)), Domain(-1e-3, 1e-3)]


@pytest.mark.parametrize("domain", DOMAINS + OTHERS, ids=str)
@given(data=st.data())
def test_arrays_keep_to_their_domain(domain: Domain, data: st.DataObject) -> None:
    x = data.draw(mst.arrays(mst.shapes(), domain))
    if domain.dtype == "bool":
        assert x.dtype == np.bool_
        return
    entries = np.sort(x.ravel())
    assert np.all((domain.low < entries) & (entries < domain.high))
    assert all(np.all(abs(entries - kink) > 0.0499) for kink in domain.kinks)
    assert entries.size < 2 or np.diff(entries).min() > (0.0499 if domain.distinct else 0)
    assert domain in OTHERS or all(len(repr(abs(entry))) <= len("0.25") for entry in entries.tolist())


@given(data=st.data(), name=st.sampled_from(["maximum", "minimum"]))
def test_entries_of_several_inputs_that_must_be_distinct(data: st.DataObject, name: str) -> None:
    application = data.draw(applications(name))
    entries = np.sort(np.concatenate([x.ravel() for x in application.inputs]))
    assert entries.size < 2 or np.diff(entries).min() > 0.0499


def test_arrays_are_generic_and_shrink_to_simple_numbers() -> None:
    found = seen(mst.arrays((3,)))
    assert_reached(
        found,
        negative=lambda x: np.any(x < 0),
        large=lambda x: np.any(abs(x) > 2),
        fractions=lambda x: np.any(x != np.round(x)),
        irregular=lambda x: not np.isclose(x[2] - x[1], x[1] - x[0]),
    )
    assert len({entry for x in found for entry in x.tolist()}) > 100
    assert simplest(mst.arrays((3,))).tolist() == [1.0, -1.0, 2.0]
    assert simplest(mst.arrays((2,), Domain(0.3, 0.9))).tolist() == [0.4, 0.5]
    ties = seen(mst.arrays((3,), unique=False), 100)
    assert_reached(ties, equal=lambda x: len(set(x)) < 3, different=lambda x: len(set(x)) > 1)
    bools = seen(mst.arrays((2,), registry["logical_not"].domains[0], mg.float32), 100)
    assert {tuple(x.tolist()) for x in bools} == {(a, b) for a in (True, False) for b in (True, False)}


def simplest(strategy: st.SearchStrategy[Any]) -> Any:
    """What examples shrink to if every one of them fails."""
    found: list[Any] = []

    @SHRINKING
    @given(strategy)
    def fail(value: Any) -> None:
        found.append(value)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    return found[-1]


def test_dtypes() -> None:
    assert set(seen(mst.dtypes(), 30)) == {mg.float64, mg.float32}
    assert set(seen(mst.dtypes(half=True), 30)) == {mg.float64, mg.float32, mg.float16}
    assert {x.dtype.name for x in seen(mst.arrays((1,), dtype=mst.dtypes(half=True)), 30)} == set(FLOATS)


# Layouts --------------------------------------------------------------------------------------------


def test_views_have_the_same_values_in_every_layout() -> None:
    array = np.arange(6.0).reshape(2, 3)
    found = seen(mst.views(array), 100)
    for x in found:
        np.testing.assert_array_equal(x, array)
        assert not np.shares_memory(x, array)
    layouts = {(layout_of(x), x.flags.writeable) for x in found}
    assert layouts == {(layout, writeable) for layout in LAYOUTS for writeable in (True, False)}
    strides = {layout_of(x): x.strides for x in found}
    assert strides == {
        "contiguous": (24, 8),
        "strided": (48, 16),
        "reversed": (-24, -8),
        "transposed": (8, 16),
    }
    assert all(x.flags.writeable for x in seen(mst.views(array, read_only=False), 50))
    assert {x.shape for x in seen(mst.views(mst.arrays(mst.shapes(min_dims=1, max_dims=1))))} == {
        (0,),
        (1,),
        (2,),
        (3,),
    }


@pytest.mark.parametrize("dtype", [*FLOATS, "int32", "bool"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (1, 2), (2, 0, 3), (2, 3, 2)], ids=str)
def test_laying_out(shape: Any, layout: str, dtype: str, device: str) -> None:
    xp, array = namespace(device), np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    found = laid_out(xp.from_host(array), layout)
    assert type(found) is xp.array_type
    assert (found.dtype, found.shape) == (array.dtype, shape)
    np.testing.assert_array_equal(xp.to_host(found), array)
    if array.size > 1 and array.ndim > 1 and min(shape) > 1:
        assert layout_of(laid_out(array, layout)) == layout
        assert found.strides == laid_out(array, layout).strides


@given(data=st.data())
def test_tensors_lie_as_their_arrays(data: st.DataObject, device: str) -> None:
    application = data.draw(applications("multiply"))
    for x, array in zip(application.tensors(device), application.inputs, strict=True):
        assert x.device == device
        assert x.data.strides == array.strides
        assert x.requires_grad
        np.testing.assert_array_equal(host(x), array)
        if device == "cpu":
            assert x.data.flags.writeable is array.flags.writeable
            assert not np.shares_memory(x.data, array)


def test_only_inputs_with_a_derivative_require_a_gradient() -> None:
    x = np.array([1.0, 2.0])
    assert [t.requires_grad for t in Application("where", [x > 1, x, x]).tensors()] == [False, True, True]
    assert [t.requires_grad for t in Application("concatenate", [x, x]).tensors()] == [True, True]
    assert [t.requires_grad for t in Application("concatenate", [x, x > 1]).tensors()] == [True, False]
    assert [t.requires_grad for t in Application("less", [x, x]).tensors()] == [False, False]


# Values as code -------------------------------------------------------------------------------------

ANYTHING = st.sampled_from([*FLOATS, "int64", "int32", "uint8", "bool"]).flatmap(
    lambda dtype: hnp.arrays(dtype, mst.shapes())  # infinities, NaN, -0.0 and subnormal numbers
)


@given(mst.views(ANYTHING))
def test_arrays_as_code(array: Any) -> None:
    same(eval(as_code(array), {"numpy": np, "minigrad": minigrad}), array)


@given(data=st.data(), name=st.sampled_from(sorted(CASES)), dtype=mst.dtypes(half=True))
def test_applications_as_code(data: st.DataObject, name: str, dtype: Any) -> None:
    application = data.draw(applications(name, dtype=dtype))
    again = eval(repr(application), {"numpy": np, "minigrad": minigrad})
    assert again.primitive is application.primitive
    same(again.inputs, application.inputs)
    same(again.parameters, application.parameters)


@pytest.mark.parametrize(
    "value",
    [math.inf, -math.inf, math.nan, -0.5, "a'\"b\n", None, Ellipsis, slice(None, 2, -1), (), (1,), [1, (2.0,)]]
    + [np.float32, np.dtype("float16"), float, {"a": [True]}],
    ids=str,
)
def test_values_as_code(value: Any) -> None:
    same(eval(as_code(value), {"numpy": np}), value)


# Failures that can be pasted ---------------------------------------------------------------------------

WRONG = """
from minigrad.ops.primitive import INPUTS, elementwise

@elementwise(saves=INPUTS, domain=(0.3, 3.0))
def skewed(xp, x, y):
    return x * y * y

skewed.derivatives(lambda xp, g, out, x, y: g * y * y, lambda xp, g, out, x, y: 2.002 * g * x * y)
"""


def failure(test: Any, error: type[Exception]) -> tuple[str, str]:
    """What a property's failure says, and the call that hypothesis prints, cut out of its notes."""
    with pytest.raises(error) as caught:
        test()
    notes = "\n".join(caught.value.__notes__)
    return str(caught.value), notes[notes.index(f"{test.__name__}(") : notes.index("\n)") + 2]


def pasted(code: str, name: str, function: Callable[..., None]) -> None:
    """The printed call where nothing is known but its function, numpy and minigrad."""
    exec(code, {"numpy": np, "minigrad": minigrad, name: function})


def test_a_failing_application_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into a new interpreter, which imports what the code names, and sees the same error."""
    (tmp_path / "skewed_rules.py").write_text(WRONG)
    monkeypatch.syspath_prepend(tmp_path)
    skewed = importlib.import_module("skewed_rules").skewed

    def check(application: Application) -> None:
        gradcheck(application, application.tensors())

    said, code = failure(SHRINKING(given(application=mst.applications(skewed))(check)), GradcheckError)
    assert "skewed_rules.skewed," in code
    assert "numpy.array(1.0)" in code  # shrunken
    with pytest.raises(GradcheckError) as again:
        pasted("import skewed_rules\n" + code, "check", check)
    assert str(again.value) == said
    program = f"""
import minigrad, numpy, skewed_rules

def check(application):
    minigrad.testing.gradcheck(application, application.tensors())

{code}
"""
    run = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True)
    assert run.returncode == 1
    assert run.stderr.decode().strip().endswith(f"GradcheckError: {said}")


def test_a_failing_array_view_and_index_can_be_pasted() -> None:
    """Their strides, digits, dtypes and index arrays matter to the failure."""

    def check(x: Any, view: Any, index: Any) -> None:
        if (
            view.strides[0] < 0
            and x.dtype == np.float32
            and x[0] not in (1.0, 2.0, -1.0)
            and x[1] % 0.5
            and MASK(index)
        ):
            raise RuntimeError(f"{x.dtype} {x.tobytes()!r} {view.strides} {view.flags.writeable} {index!r}")

    drawn = given(
        x=mst.arrays((2,), Domain(-3.0, 3.0), mst.dtypes()),
        view=mst.views(mst.arrays((3, 2))),
        index=mst.indices((2, 3)),
    )
    said, code = failure(settings(SHRINKING, max_examples=2000)(drawn(check)), RuntimeError)
    assert "numpy.float32" in code and '"reversed"' in code and "numpy.array([" in code
    with pytest.raises(RuntimeError) as again:
        pasted(code, "check", check)
    assert str(again.value) == said


def test_values_drawn_inside_a_test_can_be_pasted() -> None:
    @settings(SHRINKING, phases=list(Phase), max_examples=5)  # with hypothesis's explanations, which are comments
    @given(st.data())
    def check(data: st.DataObject) -> None:
        data.draw(mst.arrays((1,), dtype=mg.float32))
        data.draw(mst.applications("log"))
        raise RuntimeError

    with pytest.raises(RuntimeError) as caught:
        check()
    printed = "\n".join(caught.value.__notes__)
    assert "Draw 1: numpy.array([1.0], numpy.float32)" in printed
    assert 'Draw 2: minigrad.testing.Application("log", [numpy.array(1.0)])' in printed


# One's own primitives ----------------------------------------------------------------------------------


def test_applications_of_ones_own_primitives(device: str) -> None:
    @elementwise(saves=("x", "y"), domain=[(0.5, 2.0), Domain(-1.0, 1.0, kinks=(0.0,))])
    def weighed(xp: Any, x: Any, y: Any) -> Any:
        return xp.sqrt(x) * xp.absolute(y)

    weighed.derivatives(
        lambda xp, g, out, x, y: g * xp.absolute(y) / (2 * xp.sqrt(x)),
        lambda xp, g, out, x, y: g * xp.sqrt(x) * xp.sign(y),
    )

    @reduction(saves="x", domain=(-2.0, 2.0))
    def energy(xp: Any, x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
        return xp.sum(x * x, axis=axis, keepdims=keepdims)

    energy.derivatives(
        lambda xp, g, y, x, *, axis=None, keepdims=False: (
            2 * x * (xp.reshape(g, shape=xp.sum(x, axis=axis, keepdims=True).shape) if axis != () else g)
        )
    )

    @given(st.sampled_from([weighed, energy]).flatmap(mst.applications))
    def check(application: Application) -> None:
        xs = application.tensors(device)
        gradcheck(application, xs)
        gradgradcheck(application, xs)

    check()
    assert any(isinstance(a.parameters.get("axis"), tuple) for a in seen(mst.applications(energy), 100))


# Mistakes ---------------------------------------------------------------------------------------------

X = np.array([1.0, 2.0])
MISTAKES = [
    (
        lambda: Application("tnah", [X]),
        ValueError,
        "Application: no primitive named 'tnah' is registered; if it is your",
    ),
    (lambda: Application(np.tanh, [X]), TypeError, "Application: expected a primitive or the name of one, got ufunc"),
    (lambda: Application("add", [X]), TypeError, r"Application: add takes 2 inputs \('x', 'y'\), got 1"),
    (lambda: Application("tanh", [mg.ones(2)]), TypeError, "expected NumPy arrays as inputs, got Tensor as input 0"),
    (lambda: laid_out(X, "fortran"), ValueError, "laid_out: expected a layout, one of contiguous, .*, got 'fortran'"),
    (
        lambda: laid_out(mg.ones(2, device="strict").data, "strided", read_only=True),
        ValueError,
        "laid_out: expected an array of the CPU to make read-only, got one of strict",
    ),
    (
        lambda: seen(mst.applications("matmul"), 1),
        TypeError,
        r"parameters of matmul\(x, y\) do not follow .*pass calls=",
    ),
    (lambda: seen(mst.applications("astype"), 1), TypeError, r"parameters of astype\(.*\) do not .*pass calls="),
    (lambda: seen(mst.applications("tnah"), 1), ValueError, "applications: no primitive named 'tnah'"),
    (
        lambda: seen(mst.shapes(min_dims=4), 1),
        ValueError,
        "shapes: expected 0 <= min_dims <= max_dims .*got 4, 3 and 0, 3",
    ),
    (
        lambda: seen(mst.axes(0, none=False, tuples=False), 1),
        ValueError,
        "axes: nothing to draw for 0 axes; allow none",
    ),
    (lambda: seen(mst.indices((2,), kinds=["fancy"]), 1), ValueError, "indices: expected .* basic, .*, got .'fancy'."),
    (lambda: seen(mst.indices((2,), kinds=[]), 1), ValueError, r"indices: expected some of the kinds .*, got \[\]"),
    (
        lambda: seen(mst.arrays((2,), Domain(1.0, 1.0)), 1),
        ValueError,
        "arrays: expected a domain with room for 2 different",
    ),
    (
        lambda: seen(mst.arrays((2,), [0.0, 1.0]), 1),
        TypeError,
        r"arrays: expected a Domain, or a tuple \(low, high\), got \[0.0, 1.0\]",
    ),
    (
        lambda: seen(mst.arrays((2,), (math.nan, 1.0)), 1),
        ValueError,
        "Domain: expected numbers as its ends, got nan and 1.0",
    ),
    (lambda: laid_out([1, 2], "strided"), TypeError, "laid_out: expected an array of NumPy .*got list; make one with"),
    (lambda: laid_out(mg.ones(2), "strided"), TypeError, "laid_out: expected an array .*got Tensor; .* x.data"),
    (
        lambda: seen(mst.broadcastable_shapes(-1), 1),
        ValueError,
        "broadcastable_shapes: expected n, the number of shapes, of at least 0, got -1",
    ),
    (lambda: seen(mst.axes(-1), 1), ValueError, "axes: expected ndim, a number of axes, of at least 0, got -1"),
    (lambda: seen(mst.axes((2, 3)), 1), ValueError, r"axes: expected ndim, .*, got \(2, 3\)"),
    (lambda: seen(mst.axes(2, min_size=-1), 1), ValueError, "axes: expected min_size, .* of at least 0, got -1"),
    (
        lambda: seen(mst.axes(2, none=False, integers=False, min_size=3), 1),
        ValueError,
        "axes: nothing to draw for 2 axes; lower min_size=3, allow none=True, or draw arrays with more axes",
    ),
    (
        lambda: seen(mst.applications("exp", [(((2,),), {})]), 1),
        TypeError,
        "applications: expected calls= as a strategy of .*, got list; hypothesis.strategies.sampled_from makes",
    ),
    (
        lambda: seen(mst.applications("add", st.just((((2,),), {}))), 1),
        TypeError,
        r"applications: add takes 2 inputs \('x', 'y'\), got 1 shapes: \(\(2,\),\)",
    ),
    (
        lambda: seen(mst.applications("exp", st.just(((2,), {}))), 1),
        TypeError,
        r"applications: expected calls= to give a shape for each input and a dict .*, got \(\(2,\), {}\)",
    ),
    (lambda: seen(mst.applications("exp", st.just((2, {}))), 1), TypeError, r"a shape for each .*, got \(2, {}\)"),
    (lambda: seen(mst.applications("exp", st.just(((2,),))), 1), TypeError, r"a shape for each .*, got \(\(2,\),\)"),
    (lambda: mg.testing.strategy, AttributeError, "module 'minigrad.testing' has no attribute 'strategy'"),
]


def test_a_domain_may_be_a_tuple() -> None:
    assert all(((x > 0.0) & (x < 1.0)).all() for x in seen(mst.arrays((3,), (0.0, 1.0)), 20))
    assert all((abs(x - 0.5) > 0.01).all() for x in seen(mst.arrays((3,), (0.0, 1.0, (0.5,))), 20))


def test_the_strategies_are_imported_when_asked_for() -> None:
    program = """
import sys
import minigrad as mg
assert "hypothesis" not in sys.modules
assert "applications" in mg.testing.strategies.__all__ and "hypothesis" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[1])


@pytest.mark.parametrize(("mistake", "error", "message"), MISTAKES, ids=[message for _, _, message in MISTAKES])
def test_mistakes(mistake: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mistake()


def test_without_hypothesis(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("minigrad.testing.strategies")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(
        ImportError, match=r"strategies needs hypothesis: pip install hypothesis \(minigrad's extra test\)"
    ):
        importlib.import_module("minigrad.testing.strategies")
