"""`explain`: a computation as a story, a primitive as its formulas, a module as its equations."""

from __future__ import annotations

import inspect
from typing import Any

from ...generators import generator_replays, replaying
from ...graph import Tensor
from ...messages import type_name
from ...nn.module import Module
from ...ops.primitive import Primitive, registry
from .modules import Block, blocks_of, equations_of_call, example_of
from .notation import Text
from .primitives import explain_primitive
from .sheet import Part, Row, Sheet
from .story import Story, tell
from .telling import Open


def explain(
    what: Any, *inputs: Any, names: Any = None, gradient: Any = None, open: Open = False, **parameters: Any
) -> Story | Sheet:
    """Tell what happened, or what something does, with the formulas of the code that runs.

    Of a computed tensor: the story of its computation, forward, then backward. Each line has the operation, its formula
    with the operands' names filled in, shape and value; on the way back the gradient that comes in, and what it
    contributes to whom (hooks are not run). Rounds of a loop, such as the time steps of an RNN, are told once, or as
    `open` says.

    Of a primitive: its kind, its formula and derivatives as read off its code, and what it saves. Of a module: its
    equations, read off the graph of a call; of a recurrent one, at a time step. A class is made small for it. A module
    runs for that, with its hooks: a Stateful layer goes on. Random generators stay where they are.

    Args:
        what: a Tensor that was computed and needs a gradient, not yet gone back through; a primitive, such as mg.tanh;
            a module, or the class of one; or any function of tensors, with inputs.
        *inputs: for a module or a function, an example of what it is called on; for a primitive, of what it is
            applied to. Without them an example is made, where it is known how.
        names: what to call tensors: a module, or a mapping such as locals().
        gradient: of the tensor, to start backward from; needed if it is no scalar.
        open: which rounds of loops to tell: False the first, True all, or their numbers, as in (0, -1).
        **parameters: of a primitive: axis=0.

    Returns:
        A Story or a Sheet: print it for text; `.markdown()`, with LaTeX; `.html()`, `.save("story.html")`. In Jupyter
        it shows itself. A story's `.opened(0, -1)` tells other rounds.

    Raises:
        TypeError: it is none of these, or needs example inputs.
        RuntimeError: the tensor is a leaf, needs no gradient, is no scalar, or its graph was freed.

    >>> import minigrad as mg
    >>> from minigrad.inspect import explain
    >>> x = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> y = (x * x).sum()
    >>> print(explain(y, names=locals()))                        # doctest: +NORMALIZE_WHITESPACE
    y = 5, computed by 2 operations from 1 input with a gradient
    <BLANKLINE>
    Given: inputs with a gradient
          x  (2,) [1 2]
    <BLANKLINE>
    Forward
           0  multiply   v1 = x²                    (2,) [1 4]
           1  sum        y = Σ(v1)                  5
    <BLANKLINE>
    Backward: g is the gradient that an operation receives for what it gave, → what it passes on
          it begins with the gradient 1 of y
           1  sum        g = ∂y                     1
                → v1: broadcast_to(g, (2,))         (2,) [1 1]
           0  multiply   g = ∂v1                    (2,) [1 1]
                → x: g ⊙ x                          (2,) [1 2]
                → x: g ⊙ x                          (2,) [1 2]
    <BLANKLINE>
    Gradients of the leaves, in the end
          x  (2,) [2 4]  (the sum of 2, both from 0)
    >>> print(explain(mg.tanh))
    tanh: an elementwise primitive, of minigrad.ops.elementwise
        stated    y = tanh x          dy/dx = 1 - y²
        computes  y = tanh(x)
        ∂L/∂x     g ⊙ (1 − y²)      (g is the incoming gradient, ∂L/∂y)
        saves     y, the output
        read on   x (2, 3)
    >>> print(explain(mg.nn.LSTM))                              # doctest: +ELLIPSIS
    LSTM(3, 4), made small to be explained
    <BLANKLINE>
      layer 0, at a time step t
        i, f, g, o = split(W_hh h_{t−1} + W_ih x_t + b_ih + b_hh, 4, axis=−1)
        c_t = σ(f) ⊙ c_{t−1} + σ(i) ⊙ tanh(g)
        h_t = σ(o) ⊙ tanh(c_t)
    ...
    """
    for word, given in (("names", names is not None), ("gradient", gradient is not None), ("open", open is not False)):
        if given and type(what) is not Tensor:
            raise TypeError(f"explain: {word} is for the story of a tensor; got {_described(what)}")
    primitive = _primitive_of(what)
    if primitive is not None:
        return explain_primitive(primitive, inputs, parameters)
    if parameters:
        raise TypeError(f"explain: {', '.join(parameters)} is for a primitive; got {_described(what)}")
    if isinstance(what, Module) or (isinstance(what, type) and issubclass(what, Module)):
        return _module_sheet(what, inputs)
    if callable(what) and not isinstance(what, type) and inputs:
        with replaying(generator_replays()):
            block = equations_of_call(what, inputs, ())
        return Sheet(f"{getattr(what, '__name__', type(what).__name__)}", _parts([block]))
    if type(what) is not Tensor:
        is_function = callable(what) and not isinstance(what, type)
        cure = "; give it an example of what it is called on: explain(function, x)" if is_function else ""
        raise TypeError(
            "explain: expected a Tensor that was computed (a loss), a primitive such as mg.tanh, a module or its "
            f"class, or a function with inputs, got {_described(what)}{cure}"
        )
    if inputs:
        raise TypeError("explain: a tensor's story takes no inputs; pass names=, gradient= or open= by name")
    return tell(what, names, gradient, open)


def _described(what: Any) -> str:
    return getattr(what, "__name__", None) or type_name(what)


def _primitive_of(what: Any) -> Primitive[Any] | None:
    """A primitive, or that behind a function or a method of its name."""
    if isinstance(what, Primitive):
        return what
    if not inspect.isroutine(what) or not str(getattr(what, "__module__", "")).startswith("minigrad"):
        return None
    found = registry.get(what.__name__)
    known = what.__module__.startswith(
        ("minigrad.ops", "minigrad.indexing", "minigrad.operators", "minigrad.subscripts")
    )
    return found if found is not None and known else None


def _module_sheet(what: Any, inputs: tuple[Any, ...]) -> Sheet:
    module, remark = what, ""
    with replaying(generator_replays()):
        if isinstance(what, type):
            module, remark = example_of(what), ", made small to be explained"
        parts = _parts(blocks_of(module, inputs))
    first, *rest = repr(module).splitlines() or [type(module).__name__]
    return Sheet(first.rstrip("(") * bool(rest) + first * (not rest) + remark, parts)


def _parts(blocks: list[Block]) -> list[Part]:
    parts = []
    for block in blocks:
        parts.append(Part(block.heading, tuple(Row("", line.said) for line in block.equations.lines)))
        shapes = {text: array.shape for text, array in block.equations.arrays.items()}
        known = dict(block.legend)
        rows = tuple(Row(text, _legend(text, known, shape), is_name=True) for text, shape in shapes.items())
        if rows:
            parts.append(Part("where", rows))
    return parts


def _legend(text: str, known: dict[str, str], shape: tuple[int, ...]) -> str:
    path = known.get(text, text)
    return f"{shape}" if path == text else f"{path} {shape}"


__all__ = ["Sheet", "Story", "Text", "explain"]
