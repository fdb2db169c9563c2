"""Every primitive, on every device: its value, its derivatives, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

import minigrad as mg
from minigrad.backend import namespace
from minigrad.ops import registry
from minigrad.testing import gradcheck, gradgradcheck

from .cases import CASES, Draw, differentiable_inputs, domains_of, inputs_for, on_device, with_formulas
from .helpers import close, function, gradients, host, listed, prepared, seeds_like, tensors

SEEDS = range(max(1, settings.default.max_examples // 25))  # one in the quick profile, more in a deeper one
DIFFERENTIABLE = [name for name in CASES if differentiable_inputs(registry[name])]
NO_DERIVATIVE = [name for name in CASES if name not in DIFFERENTIABLE]
ELEMENTWISE = [name for name, p in registry.items() if p.kind == "elementwise" and not p.parameters]


def lines(names: Any) -> Any:
    """A test body for each draw of each primitive named."""
    drawn = [(name, draw) for name in names for draw in CASES[name].draws]
    return pytest.mark.parametrize(("name", "draw"), drawn, ids=[f"{name} {draw}" for name, draw in drawn])


def test_every_primitive_has_a_line() -> None:
    assert set(CASES) == {name for name, p in registry.items() if p.__module__.startswith("minigrad.")}


@pytest.mark.parametrize("name", CASES)
def test_exactly_what_must_have_a_derivative_has_one(name: str) -> None:
    assert with_formulas(registry[name]) == differentiable_inputs(registry[name])


# Values and derivatives -----------------------------------------------------------------------------


@lines(CASES)
def test_value(name: str, draw: Draw, device: str) -> None:
    f, xs, arrays = prepared(name, draw, device)
    reference = CASES[name].reference(*arrays, **{k: on_device(v, "cpu") for k, v in draw.parameters.items()})
    expected = reference if isinstance(reference, list) else [reference]
    for y, value in zip(listed(f(*xs)), expected, strict=True):
        close(y, value)
        assert y.requires_grad is (name in DIFFERENTIABLE)


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
    in_double = [a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays]
    doubles = tensors(registry[name], in_double, device)
    for y, z in zip(listed(f(*xs)), listed(f(*doubles)), strict=True):
        if name != "astype":
            assert y.dtype == (np.float32 if z.dtype == np.float64 else z.dtype)
        close(y, host(z), rtol=1e-5)
    if name in DIFFERENTIABLE:
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
    """The array again, with other strides: transposed, reversed, every second entry."""
    xp = namespace(device)
    yield xp.transpose(xp.from_host(array.T.copy()))
    yield xp.from_host(array[::-1].copy())[::-1] if array.ndim else xp.from_host(array)
    yield xp.from_host(np.repeat(array, 2, axis=-1))[..., ::2] if array.ndim else xp.from_host(array)


@lines(CASES)
def test_strided_inputs(name: str, draw: Draw, device: str) -> None:
    f, xs, arrays = prepared(name, draw, device)
    expected = [host(y) for y in listed(f(*xs))]
    slopes = [host(g) for g in gradients(f, xs)] if name in DIFFERENTIABLE else []
    for strided in zip(*(disguises(a, device) for a in arrays), strict=True):
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


SCALARS = [
    (name, i) for name in ELEMENTWISE for i in range(len(registry[name].inputs)) if len(registry[name].inputs) > 1
]


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
    if name in DIFFERENTIABLE:
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


# The lines themselves ------------------------------------------------------------------------------


def test_domains_are_kept() -> None:
    for name, case in CASES.items():
        primitive = registry[name]
        for draw in case.draws:
            arrays = inputs_for(primitive, draw.shapes)
            entries = np.concatenate([a.ravel() for a in arrays]) if arrays else np.zeros(0)
            for domain, x in zip(domains_of(primitive, len(arrays)), arrays, strict=True):
                assert (x.dtype == np.bool_) == (domain.dtype == "bool")
                assert np.all((x >= domain.low) & (x <= domain.high))
                assert all(np.all(abs(x - kink) > 0.0499) for kink in domain.kinks)
                assert not domain.distinct or entries.size < 2 or np.diff(np.sort(entries)).min() > 0.0499
