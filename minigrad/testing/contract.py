"""The contract that every primitive keeps: `check_primitive` holds one to all its clauses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..backend import Array, default_device
from ..graph import Tensor
from ..messages import type_name
from ..ops.primitive import Primitive
from .clauses import CLAUSES, Trial


class ContractError(AssertionError):
    """A primitive breaks a promise that every primitive makes.

    Attributes:
        clause: which promise.

    >>> import minigrad as mg
    >>> try:
    ...     mg.testing.check_primitive(mg.exp, [mg.ones(2).numpy()], reference=lambda x: 3 * x)
    ... except mg.testing.ContractError as error:
    ...     print(error.clause)
    value
    """

    def __init__(self, clause: str, message: str) -> None:
        super().__init__(message)
        self.clause = clause


def check_primitive(
    primitive: Primitive[Any] | str,
    inputs: Sequence[Array | Tensor],
    parameters: Mapping[str, Any] | None = None,
    *,
    reference: Callable[..., Any] | None = None,
    device: str | None = None,
) -> bool:
    """Hold a primitive, at these inputs, to everything that a primitive promises.

    The clauses: its *value* is that of the reference, and the same when computed again; the *shape* follows from its
    kind; *derivatives* can be computed and recorded; inputs and incoming gradients are not written to (*untouched*);
    gradients, gradients of gradients and `jvp` agree with central differences (*vjp*, *double vjp*, *jvp*), and an
    input without a derivative does not move a floating-point output; derivatives computed on arrays equal those
    recorded on the tape (*readings*); each input alone gets the gradient that it gets among others (*alone*); a
    gradient is its receiver's own memory (*owned*); an output that is a view of an input is known to be one (*views*);
    the *dtype* is kept, unless integers take part; memory with other *strides* makes no difference; an elementwise
    primitive keeps the rules of *broadcasting*, Python *numbers* and *zero size*; and *bad shapes* or axes get an
    error that names the operation. Only what these inputs show can be found: draw them with `strategies.applications`.

    Args:
        primitive: one of minigrad's or your own, or its name.
        inputs: NumPy arrays or Tensors, inside its domain. Floating-point ones are taken as float64.
        parameters: its keywords; NumPy arrays among them are moved to the device.
        reference: the same function of NumPy arrays, written independently: `reference(*inputs, **parameters)`.
        device: where to run; the default device if None.

    Returns:
        True.

    Raises:
        ContractError: a clause is broken; the message names it, with what was expected and what came.
        TypeError: the inputs are not a list of real arrays, one for each input of the primitive.

    >>> import minigrad as mg
    >>> import numpy as np
    >>> x, y = np.array([[0.5, -1.0]]), np.array([[2.0], [0.3]])
    >>> mg.testing.check_primitive(mg.logaddexp, [x, y], reference=lambda x, y: np.log(np.exp(x) + np.exp(y)))
    True
    """
    if not isinstance(inputs, (list, tuple)):
        raise TypeError(f"check_primitive: expected a list of inputs, got {type_name(inputs)}")
    for i, x in enumerate(inputs):
        if getattr(getattr(x, "dtype", None), "kind", "") not in tuple("fiub"):
            came = x.dtype if hasattr(x, "dtype") else type_name(x)
            raise TypeError(f"check_primitive: expected arrays of real numbers or Tensors, got {came} as input {i}")
    trial = Trial(primitive, inputs, parameters, reference, device or default_device())
    for clause, check in CLAUSES.items():
        try:
            check(trial)
        except Exception as error:  # whatever stops a clause breaks it
            message = f"{trial.primitive.name}, {clause}: {error}\nCame: {trial.application}, on {trial.xp.device}"
            raise ContractError(clause, message) from error
    return True
