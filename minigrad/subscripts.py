"""einsum: subscripts as people write them, made into the explicit ones of its primitive."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_letters
from typing import Any

from .backend import namespace_of
from .graph import Tensor
from .ops import contraction, index, shape
from .tape import apply, as_tensor


def einsum(subscripts: str, *operands: Any) -> Tensor:
    """The sum of products that the subscripts describe, as `numpy.einsum`.

    Equation: "ij,jk->ik" is y[i, k] = Σⱼ x₀[i, j] x₁[j, k]: one label per axis of each operand; labels that
    do not stand behind the arrow are summed over.

    Without an arrow the output has the labels that occur once, in alphabetical order. A label twice in one
    operand is its diagonal. `...` stands for any further axes, which broadcast; the named ones do not. The
    order in which several operands are contracted is the array library's choice, by cost.

    Args:
        subscripts: letters, `...`, one comma between operands, and an arrow before the output's labels.
        operands: Tensors or arrays of one device.

    Raises:
        ValueError: subscripts and operands do not fit: the message names the label and the shapes.
        TypeError: something else than subscripts, Tensors and arrays was given.

    >>> import minigrad as mg
    >>> x, y = mg.tensor([[1.0, 2.0], [3.0, 4.0]]), mg.tensor([1.0, 10.0])
    >>> mg.einsum("ij,j->i", x, y).tolist()
    [21.0, 43.0]
    >>> mg.einsum("ii", x).item()
    5.0
    """
    if not isinstance(subscripts, str):
        raise TypeError(
            f'einsum: expected subscripts such as "ij,jk->ik", then the operands, got {type(subscripts).__name__} first'
        )
    xs = [as_tensor(x, "einsum") for x in operands]
    left, arrow, right = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    if not all(re.fullmatch(r"[A-Za-z]*(\.\.\.)?[A-Za-z]*", term) for term in [*terms, right]):
        raise ValueError(f"einsum: expected letters, ..., commas and one ->, got {subscripts!r}")
    if len(terms) != len(xs):
        raise ValueError(f"einsum: expected {len(terms)} operands for {subscripts!r}, got {_shapes(xs)}")

    depth = max(_axes_under_dots(term, x, subscripts) for term, x in zip(terms, xs, strict=True))
    dots = "".join(letter for letter in ascii_letters if letter not in subscripts)[:depth]
    labels = [_spelled_out(term, dots, x) for term, x in zip(terms, xs, strict=True)]
    sizes = _sizes(labels, xs, dots, subscripts)
    output = _output(right if arrow else None, left, dots, subscripts)
    for k, x in enumerate(xs):
        xs[k], labels[k] = _diagonal(*_without_broadcast_axes(x, labels[k], sizes))
    return apply(contraction.einsum, xs, {"subscripts": f"{','.join(labels)}->{output}"})


def _shapes(xs: Sequence[Tensor]) -> str:
    return ", ".join(str(x.shape) for x in xs) or "none"


def _axes_under_dots(term: str, x: Tensor, subscripts: str) -> int:
    """How many axes of an operand the ellipsis of its term stands for."""
    named = len(term.replace("...", ""))
    if x.ndim < named or (x.ndim > named and "..." not in term):
        least = "at least " if "..." in term else ""
        raise ValueError(f"einsum: expected {least}{named} axes for {term!r} of {subscripts!r}, got shape {x.shape}")
    return x.ndim - named


def _spelled_out(term: str, dots: str, x: Tensor) -> str:
    """One label for each axis: the axes under an ellipsis, counted from the last, get those of `dots`."""
    under = x.ndim - len(term.replace("...", ""))
    return term.replace("...", dots[len(dots) - under :])


def _sizes(labels: Sequence[str], xs: Sequence[Tensor], dots: str, subscripts: str) -> dict[str, int]:
    """The size of each label, on which all operands must agree; under an ellipsis, size 1 broadcasts."""
    sizes: dict[str, int] = {}
    for names, x in zip(labels, xs, strict=True):
        for label, size in zip(names, x.shape, strict=True):
            known = sizes.setdefault(label, size)
            if label in dots and known == 1:
                sizes[label] = size
            elif size != known and not (label in dots and size == 1):
                named = "an axis under ..." if label in dots else f"label {label!r}"
                raise ValueError(
                    f"einsum: expected one size per label, but {named} of {subscripts!r} has {known} and {size}; "
                    f"the operands' shapes are {_shapes(xs)}"
                )
    return sizes


def _output(right: str | None, left: str, dots: str, subscripts: str) -> str:
    """The output's labels: those given, or without an arrow the broadcast axes and every label that occurs once."""
    if right is None:
        return dots + "".join(sorted(label for label in set(left) - set(".,") if left.count(label) == 1))
    for label in right.replace("...", ""):
        if label not in left:
            raise ValueError(f"einsum: output label {label!r} of {subscripts!r} stands in no operand")
        if right.count(label) > 1:
            raise ValueError(f"einsum: output label {label!r} of {subscripts!r} stands there more than once")
    if dots and "..." not in right:
        raise ValueError(
            f"einsum: {subscripts!r} has {len(dots)} axes under ..., which the output lacks; write ->...{right}"
        )
    return right.replace("...", dots)


def _without_broadcast_axes(x: Tensor, labels: str, sizes: dict[str, int]) -> tuple[Tensor, str]:
    """Without the axes of size 1 that broadcast: an axis that is not there does so by itself."""
    stretched = tuple(a for a, label in enumerate(labels) if x.shape[a] != sizes[label])
    if not stretched:
        return x, labels
    kept = "".join(label for a, label in enumerate(labels) if a not in stretched)
    return apply(shape.squeeze, (x,), {"axis": stretched}), kept


def _diagonal(x: Tensor, labels: str) -> tuple[Tensor, str]:
    """The diagonal of x along the axes that share a label."""
    for label in dict.fromkeys(labels):
        axes = [a for a, other in enumerate(labels) if other == label]
        if len(axes) > 1:
            rest = [a for a in range(x.ndim) if a not in axes]
            xp = namespace_of(x._data)
            with xp.activate():
                along = xp.arange(x.shape[axes[0]])
            x = apply(shape.transpose, (x,), {"axes": (*axes, *rest)})
            x = apply(index.getitem, (x,), {"index": (along,) * len(axes)})
            labels = label + "".join(labels[a] for a in rest)
    return x, labels
