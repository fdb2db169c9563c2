"""Every primitive, on every device: its value, its derivatives, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

import minigrad as mg
from minigrad.backend import namespace
from minigrad.ops import registry
from minigrad.ops.primitive import Primitive
from minigrad.testing import gradcheck, gradgradcheck

from .cases import CASES, Draw, domains_of, inputs_for, on_device

SEEDS = range(max(1, settings.default.max_examples // 25))  # one in the quick profile, more in a deeper one
NO_DERIVATIVE = [name for name, primitive in registry.items() if not primitive.vjps]
DIFFERENTIABLE = [name for name, primitive in registry.items() if primitive.vjps]
ELEMENTWISE = [name for name, p in registry.items() if p.kind == "elementwise" and not p.parameters]


def lines(names: Any) -> Any:
    """A test body for each draw of each primitive named."""
    drawn = [(name, draw) for name in names for draw in CASES[name].draws]
    return pytest.mark.parametrize(("name", "draw"), drawn, ids=[f"{name} {draw}" for name, draw in drawn])


def tensors(primitive: Primitive[Any], arrays: Any, device: str) -> list[mg.Tensor]:
    needs_grad = [bool(primitive.vjps) and a.dtype.kind == "f" for a in arrays]
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


def host(x: mg.Tensor) -> np.ndarray[Any, Any]:
    return namespace(x.device).to_host(x.data)


def seeds_like(ys: list[mg.Tensor]) -> list[mg.Tensor]:
    """An incoming gradient for each output, all entries different."""
    return [
        mg.tensor(np.linspace(0.5, 2.0, y.size, dtype=y.dtype).reshape(y.shape), dtype=y.dtype, device=y.device)
        for y in ys
    ]


def gradients(f: Callable[..., Any], xs: list[mg.Tensor], **options: Any) -> list[mg.Tensor]:
    ys = listed(f(*xs))
    active = [x for x in xs if x.requires_grad]
    return list(mg.grad(ys, active, seeds_like(ys), **options)) if ys else []


def close(found: mg.Tensor, expected: Any, rtol: float = 1e-11) -> None:
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(host(found), expected, rtol=rtol, atol=rtol)


def test_every_primitive_has_a_line() -> None:
    assert set(CASES) == set(registry)


# Values and derivatives -----------------------------------------------------------------------------


@lines(CASES)
def test_value(name: str, draw: Draw, device: str) -> None:
    f, xs, arrays = prepared(name, draw, device)
    reference = CASES[name].reference(*arrays, **{k: on_device(v, "cpu") for k, v in draw.parameters.items()})
    expected = reference if isinstance(reference, list) else [reference]
    for y, value in zip(listed(f(*xs)), expected, strict=True):
        close(y, value)
        assert y.requires_grad is bool(registry[name].vjps)


@lines(DIFFERENTIABLE)
def test_gradients(name: str, draw: Draw, device: str) -> None:
    for seed in SEEDS:
        f, xs, _ = prepared(name, draw, device, seed)
        if listed(f(*xs)):
            gradcheck(f, xs)
            gradgradcheck(f, xs)


@lines(DIFFERENTIABLE)
def test_gradient_shapes(name: str, draw: Draw, device: str) -> None:
    """Also of zero size, where a numeric difference has nothing to say."""
    f, xs, _ = prepared(name, draw, device)
    found = gradients(f, xs)
    assert [g.shape for g in found] == [x.shape for x in xs if x.requires_grad][: len(found)]
    assert {g.device for g in found} <= {device}


@lines(NO_DERIVATIVE)
def test_no_derivative(name: str, draw: Draw, device: str) -> None:
    _, xs, arrays = prepared(name, draw, device)
    xs = [mg.tensor(a, device=device, requires_grad=a.dtype.kind == "f") for a in arrays]
    assert not any(y.requires_grad for y in listed(function(registry[name], draw, device)(*xs)))


@lines(CASES)
def test_float32_stays_float32(name: str, draw: Draw, device: str) -> None:
    f, xs, arrays = prepared(name, draw, device, dtype=np.float32)
    exact = function(registry[name], draw, device)(*tensors(registry[name], arrays, device))
    in_double = [a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays]
    doubles = tensors(registry[name], in_double, device)
    for y, z in zip(listed(f(*xs)), listed(f(*doubles)), strict=True):
        if name != "astype":
            assert y.dtype == (np.float32 if z.dtype == np.float64 else z.dtype)
        close(y, host(z), rtol=1e-5)
    assert len(listed(exact)) == len(listed(f(*doubles)))
    if registry[name].vjps:
        for g, h in zip(gradients(f, xs), gradients(f, doubles), strict=True):
            assert g.dtype == np.float32
            close(g, host(h), rtol=1e-4)


@lines(DIFFERENTIABLE)
def test_the_two_readings_agree(name: str, draw: Draw, device: str) -> None:
    """Backward on arrays, and backward recorded for a second derivative, are one formula."""
    f, xs, _ = prepared(name, draw, device)
    for computed, recorded in zip(gradients(f, xs), gradients(f, xs, create_graph=True), strict=True):
        close(recorded, host(computed), rtol=1e-13)
        assert recorded.dtype == computed.dtype


@lines(DIFFERENTIABLE)
def test_inputs_and_gradient_are_not_written_to(name: str, draw: Draw, device: str) -> None:
    f, xs, arrays = prepared(name, draw, device)
    ys = listed(f(*xs))
    grads = seeds_like(ys)
    before = [host(g).copy() for g in grads]
    if device == "cpu":
        for tensor in (*xs, *ys, *grads):
            tensor.data.flags.writeable = False
    if ys:
        first = mg.grad(ys, [x for x in xs if x.requires_grad], grads, retain_graph=True)
        kept = [host(g).copy() for g in first]
        for g in first:  # what is given out is the receiver's own to write to
            g.data[...] = 7.0
        second = mg.grad(ys, [x for x in xs if x.requires_grad], grads)
        for g, expected in zip(second, kept, strict=True):
            close(g, expected, rtol=0)
    for tensor, expected in zip((*xs, *grads), (*arrays, *before), strict=True):
        np.testing.assert_array_equal(host(tensor), expected)


# The forms an input comes in -------------------------------------------------------------------------


def disguises(array: np.ndarray[Any, Any], device: str) -> Iterator[Any]:
    """The array again, with other strides: transposed, reversed, every second entry, repeated by stride 0."""
    xp = namespace(device)
    yield xp.transpose(xp.from_host(np.ascontiguousarray(array.T)))
    if array.ndim:
        yield xp.from_host(np.ascontiguousarray(array[::-1]))[::-1]
        yield xp.from_host(np.repeat(array, 2, axis=-1))[..., ::2]


@lines([name for name in CASES if registry[name].inputs])
def test_strided_inputs(name: str, draw: Draw, device: str) -> None:
    f, xs, arrays = prepared(name, draw, device)
    expected = [host(y) for y in listed(f(*xs))]
    slopes = [host(g) for g in gradients(f, xs)] if registry[name].vjps else []
    for strided in zip(*(disguises(a, device) for a in arrays), strict=False):
        again = [mg.Tensor(a, x.requires_grad) for a, x in zip(strided, xs, strict=True)]
        for y, value in zip(listed(f(*again)), expected, strict=True):
            close(y, value)
        for g, value in zip(gradients(f, again) if slopes else [], slopes, strict=True):
            close(g, value)


@pytest.mark.parametrize("name", ELEMENTWISE)
@given(data=st.data())
def test_broadcasting(name: str, data: st.DataObject, device: str) -> None:
    """Any shapes that broadcast, axes of size 0 and 1 included."""
    primitive = registry[name]
    shapes = mutually_broadcastable_shapes(num_shapes=len(primitive.inputs), min_side=0, max_dims=3, max_side=3)
    draw = Draw(data.draw(shapes).input_shapes)
    f, xs, arrays = prepared(name, draw, device, data.draw(st.integers(0, 2**32 - 1)))
    y = f(*xs)
    close(y, CASES[name].reference(*arrays))
    if y.requires_grad:
        found = gradients(f, xs)
        assert [g.shape for g in found] == [x.shape for x in xs if x.requires_grad]
        if device == "cpu" and y.size < 10:  # the other devices have had the same formula in test_gradients
            gradcheck(f, xs)


SCALARS = [(name, place) for name in ELEMENTWISE for place in range(len(registry[name].inputs) if len(registry[name].inputs) > 1 else 0)]


@pytest.mark.parametrize(("name", "place"), SCALARS)
def test_python_numbers_as_operands(name: str, place: int, device: str) -> None:
    """They stay raw: float32 stays float32, and the gradient of the others is right."""
    primitive = registry[name]
    arrays = inputs_for(primitive, [() if i == place else (2, 3) for i in range(len(primitive.inputs))])
    number = arrays[place].item()

    def f(*others: mg.Tensor) -> mg.Tensor:
        return primitive(*others[:place], number, *others[place:])  # type: ignore[no-any-return]

    xs = tensors(primitive, arrays[:place] + arrays[place + 1 :], device)
    close(f(*xs), CASES[name].reference(*arrays))
    assert f(*(x.astype(mg.float32) for x in xs)).dtype in (np.float32, np.bool_)
    if primitive.vjps:
        gradcheck(f, xs)
        gradgradcheck(f, xs)


# Memory shared with an input --------------------------------------------------------------------------


@lines([name for name in DIFFERENTIABLE if name != "to_device"])
def test_a_write_to_an_input_is_noticed_through_its_views_and_only_there(name: str, draw: Draw) -> None:
    """A backward pass over data that has changed since must raise; over a copy of it, it must not."""
    f, xs, _ = prepared(name, draw, "cpu")
    for i, y in enumerate(listed(f(*xs))):
        for x in xs:
            if x.requires_grad and x.size and y.size:
                saved = listed(f(*xs))[i].detach()
                saved.requires_grad = True
                loss = (saved * saved).sum()
                with mg.no_grad():
                    x[...] = x.detach() * 1.0
                if np.shares_memory(saved.data, x.data):
                    with pytest.raises(RuntimeError, match="has been written to"):
                        loss.backward()
                else:
                    loss.backward()


# Where formulas are easily wrong ------------------------------------------------------------------------


@pytest.mark.parametrize("f", [mg.max, mg.min])
def test_ties_share_the_gradient_equally(f: Any, device: str) -> None:
    x = mg.tensor([[2.0, 2.0, 1.0], [5.0, 5.0, 5.0]], requires_grad=True)
    (g,) = mg.grad(f(x, axis=1).sum(), x)
    close(g, [[0.5, 0.5, 0.0], [1 / 3] * 3] if f is mg.max else [[0.0, 0.0, 1.0], [1 / 3] * 3], rtol=1e-6)


@pytest.mark.parametrize("f", [mg.maximum, mg.minimum])
def test_equal_entries_share_the_gradient_equally(f: Any, device: str) -> None:
    x, y = mg.tensor([1.0, 2.0], requires_grad=True), mg.tensor([1.0, 2.0], requires_grad=True)
    for g in mg.grad(f(x, y).sum(), [x, y]):
        close(g, [0.5, 0.5])


@pytest.mark.parametrize(
    ("f", "at", "expected"),
    [
        (mg.relu, 0.0, 0.0),
        (mg.absolute, 0.0, 0.0),
        (mg.sign, 0.0, 0.0),
        (lambda x: mg.clip(x, -1.0, 1.0), 1.0, 1.0),
        (lambda x: x**0, 0.0, 0.0),
        (lambda x: x**1, 0.0, 1.0),
        (lambda x: x**2, 0.0, 0.0),
        (lambda x: x**3, -2.0, 12.0),
        (lambda x: 2.0**x, 0.0, np.log(2.0)),
        (lambda x: 0.0**x, 2.0, 0.0),
        (mg.sigmoid, -1000.0, 0.0),
        (mg.sigmoid, 1000.0, 0.0),
        (mg.softplus, 1000.0, 1.0),
        (mg.softplus, -1000.0, 0.0),
        (mg.tanh, 1000.0, 0.0),
        (lambda x: mg.logsumexp(mg.stack([x, x - 1000.0])), 1000.0, 1.0),
        (lambda x: mg.logsumexp(mg.stack([x * 0 - np.inf, x])), 3.0, 1.0),
    ],
)
def test_gradient_at_a_kink_or_an_extreme(f: Any, at: float, expected: float, device: str) -> None:
    x = mg.tensor(at, dtype=mg.float64, requires_grad=True)
    (g,) = mg.grad(f(x), x)
    close(g, expected)


@pytest.mark.parametrize("k", [2, 3, -1])
def test_powers_of_negative_numbers(k: int, device: str) -> None:
    x = mg.tensor([-1.5, 0.7], dtype=mg.float64, requires_grad=True)
    gradcheck(lambda x: x**k, x)
    gradgradcheck(lambda x: x**k, x)


@pytest.mark.parametrize("name", [n for n in ELEMENTWISE if n in NO_DERIVATIVE and "logical" not in n])
def test_comparing_equal_entries(name: str, device: str) -> None:
    x = mg.tensor([1.0, 2.0, 3.0])
    y = mg.tensor([1.0, 3.0, 2.0])
    found = registry[name](x, y)
    assert found.dtype == np.bool_
    close(found, CASES[name].reference(host(x), host(y)))


def test_outputs_nobody_used_contribute_zeros(device: str) -> None:
    x = mg.tensor(np.arange(6.0), dtype=mg.float64, device=device, requires_grad=True)
    for create_graph in (False, True):
        _, middle, _ = mg.split(x, [2, 4])
        (g,) = mg.grad((middle * middle).sum(), x, create_graph=create_graph)
        close(g, [0, 0, 4, 6, 0, 0])
        (g,) = mg.grad(mg.unstack(x)[5] * 3, x, create_graph=create_graph)
        close(g, [0, 0, 0, 0, 0, 3])


def test_an_index_out_of_range(device: str) -> None:
    """Raises on the CPU. A GPU, which would have to be waited for, wraps it silently: index modulo size."""
    x = mg.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    index = mg.tensor([4])
    if device == "cpu":
        for f in (lambda: x[index], lambda: mg.take(x, index, 0)):
            with pytest.raises(IndexError, match=r"(getitem|take): expected .* range|from -3 to 2"):
                f()
    else:
        assert x[index].tolist() == mg.take(x, index, 0).tolist() == [[3.0, 4.0]]


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin"])
def test_the_largest_of_nothing(name: str, device: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected at least one entry"):
        registry[name](mg.zeros((2, 0)), axis=1)


# The proofs prove ---------------------------------------------------------------------------------------


def with_derivatives(*vjps: Any) -> Primitive[Any]:
    """sin(x) y, outside the registry, with derivatives that may be wrong."""

    def mutant(xp: Any, x: Any, y: Any) -> Any:
        return xp.sin(x) * y

    primitive: Primitive[Any] = Primitive(
        mutant, "elementwise", saves="all inputs", domain=(-3.0, 3.0), explain_shapes=None
    )
    primitive.derivatives(*vjps)
    return primitive


def by_x(xp: Any, g: Any, out: Any, x: Any, y: Any) -> Any:
    return g * (xp.cos(x) * y)


def by_y(xp: Any, g: Any, out: Any, x: Any, y: Any) -> Any:
    return g * xp.sin(x)


@pytest.mark.parametrize(
    ("vjps", "caught"),
    [
        ((by_x, by_y), False),
        ((lambda *a: by_x(*a) * 1.001, by_y), True),
        ((by_x, lambda *a: by_y(*a) * 0.999), True),
        ((by_x, None), True),
        ((None, by_y), True),
        ((by_y, by_x), True),
        ((lambda *a: -by_x(*a), by_y), True),
    ],
)
def test_a_wrong_derivative_is_caught(vjps: Any, caught: bool, device: str) -> None:
    primitive = with_derivatives(*vjps)
    xs = tensors(primitive, inputs_for(primitive, [(2, 3), (3,)]), device)
    if caught:
        with pytest.raises(AssertionError, match="analytic"):
            gradcheck(primitive, xs)
    else:
        gradcheck(primitive, xs)
        gradgradcheck(primitive, xs)
    assert "mutant" not in registry


def test_a_wrong_second_derivative_is_caught(device: str) -> None:
    """The first derivative is right, but hides from the recorder that it depends on x."""

    def detached(xp: Any, g: Any, out: Any, x: Any, y: Any) -> Any:
        return g * xp.sin(x.detach() if isinstance(x, mg.Tensor) else x)

    primitive = with_derivatives(by_x, detached)
    xs = tensors(primitive, inputs_for(primitive, [(2,), (2,)]), device)
    gradcheck(primitive, xs)
    with pytest.raises(AssertionError, match="analytic"):
        gradgradcheck(primitive, xs)


def test_domains_are_kept() -> None:
    for name, primitive in registry.items():
        for draw in CASES[name].draws:
            arrays = inputs_for(primitive, draw.shapes)
            entries = np.concatenate([a.ravel() for a in arrays]) if arrays else np.zeros(0)
            for domain, x in zip(domains_of(primitive, len(arrays)), arrays, strict=True):
                assert (x.dtype == np.bool_) == (domain.dtype == "bool")
                assert np.all((x >= domain.low) & (x <= domain.high))
                assert all(np.all(abs(x - kink) > 0.0499) for kink in domain.kinks)
                assert not domain.distinct or entries.size < 2 or np.diff(np.sort(entries)).min() > 0.0499
