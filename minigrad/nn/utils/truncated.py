"""Truncated backpropagation through time: a sequence in windows, so that an update never waits for its end.

T: time steps   N: batch   *: whatever axes follow
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

from ...graph import Tensor
from ...messages import describe, type_name
from ...ops.shape import concatenate
from ...tape import as_tensor
from ...tensor import detach, map_tensors
from ..functional.checks import check_dim, check_integers
from ..module import Module
from .packed import PackedSequence

Recurrent = Callable[[Any, Any], Any]


def tbptt(
    module: Recurrent, input: Any, state: Any = None, *, k1: int, k2: int | None = None, dim: int = 0
) -> Iterator[tuple[slice, Tensor, Any]]:
    """Truncated backpropagation through time, TBPTT(k1, k2): an update every k1 steps, looking back k2 steps.

    Equation: for t = k1, 2 k1, ... a turn gives the last k1 steps of module(input[t - k2 : t], s), where s, the state
    before step t - k2, is held constant. The first windows begin with the sequence, and the last one ends with it, so
    it may have fewer new steps; the first new step of a window always looks back k2 - k1 steps, the others further.
    Shapes: input (T, *), or time along `dim`; output (k1, *) along the same axis; the state is the module's own.
    Cost: a turn computes k2 steps, so the whole T k2 / k1 of them; memory that of k2 steps.

    If k2 > k1 a window overlaps the last one. It is computed again, from the state that was found there, with the
    parameters as they are when the turn begins: the optimizer may have stepped in between. Its newest steps alone are
    given out, so each loss counts once. (It is two calls of the module, the second from where the next window will
    start; each draws its own masks of dropout.) What goes in is held constant from one turn to the next, also the first
    state; with none the module begins with its own, and learns it as long as a window reaches back so far.

    Args:
        module: (input, state) -> (output, state), such as an RNN, LSTM or GRU, or a model made of one.
        input: the sequence, a Tensor or an array; not computed from parameters, since every turn would go back through
            that: such a layer, an embedding for example, belongs into the module.
        state: the first state, or None for the module's own.
        k1: how many steps there are between updates.
        k2: how many steps a gradient goes back, at least k1; k1 if None, the usual loop with `mg.detach(state)`.
        dim: the axis of time; 1 for batch_first.

    Returns:
        an iterator over turns (steps, output, state): which steps are new, as a slice of time, for the targets; the
        output at these; and the state after them, detached. The last state begins the sequence that follows.

    Raises:
        ValueError: k1 < 1, k2 < k1, T = 0, there is no such dim, the module is bidirectional or has its time along
            the other dim, or the input was computed from something that learns; in a turn: the output has another T.
        TypeError: k1 or k2 is no integer, the module cannot be called, the input is packed or no Tensor; in a turn:
            the module does not give (output, state).
        UserWarning: a layer inside the module is bidirectional, or has its time along the other dim.

    Source: Williams and Peng 1990, "An efficient gradient-based algorithm for on-line training of recurrent network
    trajectories", whose BPTT(h; h') has h = k2, h' = k1; the names k1 and k2 are Sutskever's, 2013, section 2.8.6.

    >>> import minigrad as mg
    >>> from minigrad import nn, optim
    >>> from minigrad.nn.utils import rnn
    >>> lstm, x, targets = nn.LSTM(2, 3), mg.randn((7, 4, 2)), mg.zeros((7, 4, 3))      # (T, N, *)
    >>> optimizer = optim.SGD(lstm.parameters(), lr=0.1)
    >>> for steps, output, state in rnn.tbptt(lstm, x, k1=2, k2=5):
    ...     loss = nn.functional.mse_loss(output, targets[steps])
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     optimizer.step()
    ...     print((steps.start, steps.stop), output.shape)
    (0, 2) (2, 4, 3)
    (2, 4) (2, 4, 3)
    (4, 6) (2, 4, 3)
    (6, 7) (1, 4, 3)
    """
    if not callable(module):
        raise TypeError(f"tbptt: expected a module, (input, state) -> (output, state), got {type_name(module)}")
    k2 = k1 if k2 is None else k2
    check_integers("tbptt", k1=k1, k2=k2)
    if not 1 <= k1 <= k2:
        raise ValueError(
            f"tbptt: expected 1 <= k1 <= k2, an update every k1 steps that looks back k2 steps, got k1={k1}"
            + (f", k2={k2}" if k2 != k1 else "")
        )
    if isinstance(input, PackedSequence):
        raise TypeError(
            "tbptt: expected a Tensor, got a PackedSequence, whose sequences end at different steps; train on it as a "
            "whole, or cut the text into streams of one length"
        )
    x = as_tensor(input, "tbptt")
    check_dim("tbptt", x, dim)
    if x.requires_grad and x._source is not None:
        raise ValueError(
            f"tbptt: expected an input that nothing learns in, got {describe(x)} computed by "
            f"{x._source[0].primitive.name}: each turn would go back through that again; make it part of the module, "
            "or detach the input"
        )
    dim %= x.ndim
    _check_layer(module, x, dim)
    return _turns(module, x, map_tensors(Tensor.detach, state, "tbptt"), k1, k2, dim)


def _check_layer(module: Recurrent, x: Tensor, dim: int) -> None:
    """Raise if the module says of itself that it reads in another way; warn if a layer inside it does."""
    for path, layer in module.named_modules() if isinstance(module, Module) else [("", module)]:
        name = f"{type(layer).__name__}" + (f" {path!r}" if path else "")
        batch_first, wrong = getattr(layer, "batch_first", None), ""
        if getattr(layer, "bidirectional", False):
            wrong = (
                f"tbptt: expected a module of one direction, got a bidirectional {name}: it has to see the end of the "
                "sequence first, so train it on whole sequences"
            )
        elif isinstance(batch_first, bool) and x.ndim > (1 if path else 2) and dim != batch_first:
            time = f"the time of {name} with batch_first={batch_first}"
            wrong = f"tbptt: expected dim={int(batch_first)}, {time}, got dim={dim}"
        if wrong and not path:
            raise ValueError(wrong)
        if wrong:  # it may read another axis than that of time, or the module may exchange the two
            warnings.warn(wrong, stacklevel=3)


def _turns(module: Recurrent, x: Tensor, state: Any, k1: int, k2: int, dim: int) -> Iterator[tuple[slice, Tensor, Any]]:
    length, start = x.shape[dim], 0
    for new in range(0, length, k1):
        end = min(new + k1, length)
        following = min(max(0, new + 2 * k1 - k2), end)  # where the next window starts
        found, last, state = _window(module, x, state, (start, following, end), new, dim)
        start = following
        yield slice(new, end), found.pop(), last  # popped: the graph is the caller's alone, and goes with the output


def _window(
    module: Recurrent, x: Tensor, state: Any, bounds: tuple[int, int, int], new: int, dim: int
) -> tuple[list[Tensor], Any, Any]:
    """[the output from step `new` on], the state at the end, and that where the next window starts, both detached."""
    start, following, end = bounds
    outputs, last, kept = [], state, state
    for first, stop in ((start, following), (following, end)):
        if first < stop:
            output, last = _called(module, _steps(x, first, stop, dim), last, dim)
            if new < stop:
                outputs.append(_steps(output, new - first, stop - first, dim) if first < new else output)
        if stop == following:
            kept = detach(last)
    return [outputs[0] if len(outputs) == 1 else concatenate(outputs, axis=dim)], detach(last), kept


def _called(module: Recurrent, x: Tensor, state: Any, dim: int) -> tuple[Tensor, Any]:
    """(output, state) of the module, which must have as many steps as x."""
    result = module(x, state)
    if not isinstance(result, tuple) or len(result) != 2 or type(result[0]) is not Tensor:
        came = f"a tuple of {', '.join(map(type_name, result))}" if isinstance(result, tuple) else type_name(result)
        raise TypeError(f"tbptt: expected a module that gives (output, state), output a Tensor, got {came} from it")
    output = result[0]
    if output.ndim <= dim or output.shape[dim] != x.shape[dim]:
        raise ValueError(
            f"tbptt: expected an output with the {x.shape[dim]} steps of its input along dim {dim}, "
            f"got {describe(output)}; flatten it in the loss"
        )
    return output, result[1]


def _steps(x: Tensor, first: int, stop: int, dim: int) -> Tensor:
    """The steps from `first` to before `stop`."""
    return x[(*[slice(None)] * dim, slice(first, stop))]
