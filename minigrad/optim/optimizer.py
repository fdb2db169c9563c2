"""What the optimizers share: groups of parameters with their options, a state per parameter, and the loop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..backend import Array, ArrayNamespace, namespace_of, python_scalar
from ..tape import Tensor, mark_written


class Optimizer:
    """Steps parameters along their gradients.

    A subclass gives `_update`, which changes the arrays of one parameter in place.

    Attributes:
        param_groups: dicts with "params" and the options for these; change `lr` here, or with a schedule.
    """

    def __init__(self, params: Iterable[Tensor] | Iterable[dict[str, Any]], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                f"{type(self).__name__}: expected an iterable of parameters, got one Tensor; write [parameter]"
            )
        if not isinstance(params, Iterable):
            raise TypeError(
                f"{type(self).__name__}: expected an iterable of parameters, got {type(params).__name__}; "
                "of a module, pass module.parameters()"
            )
        given = list(params)
        if not given:
            raise ValueError(f"{type(self).__name__}: expected at least one parameter, got none")
        groups: list[dict[str, Any]] = given if isinstance(given[0], dict) else [{"params": given}]  # type: ignore
        self.param_groups = [
            {name: python_scalar(value) for name, value in (defaults | group).items()} | {"params": self._listed(group)}
            for group in groups
        ]
        self.state: dict[int, dict[str, Any]] = {}  # by id of the parameter, which param_groups keeps alive
        for group in self.param_groups:
            self._check(group)
        seen: set[int] = set()
        for p in (p for group in self.param_groups for p in group["params"]):
            if not isinstance(p, Tensor):
                raise TypeError(f"{type(self).__name__}: expected Tensors to optimize, got {type(p).__name__}")
            if not (p.is_leaf and p.requires_grad):
                raise ValueError(f"{type(self).__name__}: can only optimize leaf tensors that require a gradient")
            if id(p) in seen:
                raise ValueError(f"{type(self).__name__}: a parameter is given more than once")
            seen.add(id(p))

    def _listed(self, group: dict[str, Any]) -> list[Tensor]:
        if "params" not in group:
            raise ValueError(f'{type(self).__name__}: expected "params" in every group, got only {sorted(group)}')
        return [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])

    def _check(self, group: dict[str, Any]) -> None:
        """Raise ValueError if an option of a group makes no sense; all numbers must be 0 or more."""
        if not isinstance(group["lr"], (int, float)):
            raise TypeError(f"{type(self).__name__}: expected lr to be a number, got {type(group['lr']).__name__}")
        for name, value in group.items():
            if isinstance(value, (int, float)) and not value >= 0:
                raise ValueError(f"{type(self).__name__}: expected {name} to be 0 or more, got {value}")

    def zero_grad(self) -> None:
        """Forget every parameter's gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def step(self) -> None:
        """Change every parameter that has a gradient by one step."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    xp = namespace_of(p.data)
                    state = self.state.setdefault(id(p), {})
                    self._update(xp, p.data, p.grad.data, state, group)
                    mark_written(p)

    def _update(self, xp: ArrayNamespace, p: Array, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        raise NotImplementedError
