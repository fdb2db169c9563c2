"""Modules: named parameters in a tree, and what is done to all of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from ..backend import is_array, is_floating
from ..creation import tensor
from ..tape import Tensor, mark_written


def Parameter(data: Any, requires_grad: bool = True) -> Tensor:  # noqa: N802 - PyTorch's name
    """A Tensor that a Module lists among its parameters: the flag `is_parameter` is set, nothing else differs.

    >>> Parameter([0.5]).is_parameter
    True
    """
    parameter = data.detach() if isinstance(data, Tensor) else tensor(data)
    parameter.requires_grad = requires_grad
    parameter.is_parameter = True
    return parameter


class Module:
    """A part of a model: parameters and other modules as attributes, and a `forward`.

    Attributes that are Parameters or Modules are found by looking, in the order of assignment; nothing
    is registered, and `super().__init__()` may be left out.

    >>> from minigrad import nn
    >>> class Model(nn.Module):
    ...     def __init__(self):
    ...         self.layer = nn.Linear(2, 3)
    ...     def forward(self, x):
    ...         return self.layer(x).tanh()
    >>> [(name, p.shape) for name, p in Model().named_parameters()]
    [('layer.weight', (3, 2)), ('layer.bias', (3,))]
    """

    training: bool = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward method")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    # Walking the tree -----------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules among the attributes."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value
            elif isinstance(value, (list, tuple, set, dict)) and _holds_modules(value):
                raise TypeError(
                    f"{type(self).__name__}.{name} is a {type(value).__name__} that holds modules or parameters, which "
                    f"would not be found there. Write self.{name} = nn.ModuleList(...), or make each one an attribute"
                )

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it, each with its dotted name; a shared one at each of its places."""
        yield from self._walk(prefix, ())

    def _walk(self, prefix: str, above: tuple[Module, ...]) -> Iterator[tuple[str, Module]]:
        if any(self is module for module in above):
            raise ValueError(f"{type(above[0]).__name__} contains itself, as its {prefix}; a module cannot")
        yield prefix, self
        for name, child in self.named_children():
            yield from child._walk(f"{prefix}.{name}" if prefix else name, (*above, self))

    def _named_occurrences(self) -> Iterator[tuple[str, Tensor]]:
        """Every place at which a parameter stands; a shared one more than once."""
        for prefix, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Tensor) and value.is_parameter:
                    yield (f"{prefix}.{name}" if prefix else name), value

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Each parameter once, with its dotted name."""
        seen: set[int] = set()
        for name, parameter in self._named_occurrences():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def parameters(self) -> Iterator[Tensor]:
        """Each parameter once."""
        for _, parameter in self.named_parameters():
            yield parameter

    # What is done to all --------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Switch this module and all below to training (dropout drops), or with False to evaluation."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch this module and all below to evaluation."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradient of every parameter."""
        for parameter in self.parameters():
            parameter.grad = None

    def to(self, target: Any) -> Self:
        """Move every parameter to a device, or convert it to a floating dtype; in place.

        Raises:
            DeviceError: the device cannot be used.
            TypeError: the dtype is not a floating one.
        """
        for parameter in self.parameters():
            moved = parameter.detach().to(target)
            if not is_floating(moved.dtype):
                raise TypeError(f"parameters are floating-point, so {type(self).__name__}.to({target!r}) cannot be")
            parameter.data = moved.data
            parameter.grad = None if parameter.grad is None else parameter.grad.detach().to(target)
        return self

    # Saving and loading ---------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Tensor]:
        """Every parameter by its dotted name, detached: it shares the memory, not the graph."""
        return {name: parameter.detach() for name, parameter in self._named_occurrences()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy values into the parameters, keeping their dtype and device.

        Args:
            state_dict: names to Tensors or NumPy arrays, as `state_dict` gives them.

        Raises:
            KeyError: names are missing, or unknown to this module.
            TypeError: a value is no Tensor or array.
            ValueError: a shape is another one. Nothing is changed if anything is wrong.
        """
        own = dict(self._named_occurrences())
        missing, unknown = own.keys() - state_dict.keys(), state_dict.keys() - own.keys()
        if missing or unknown:
            told = [f"{what}: {', '.join(sorted(names))}" for what, names in
                    (("missing", missing), ("unknown", unknown)) if names]  # fmt: skip
            raise KeyError(f"this state dict is not of a {type(self).__name__} with these layers; {'; '.join(told)}")
        for name, value in state_dict.items():
            if not isinstance(value, Tensor) and not is_array(value):
                raise TypeError(f"a state dict holds Tensors or arrays, but {name} is a {type(value).__name__}")
        wrong = [
            f"{name} is {tuple(state_dict[name].shape)}, expected {parameter.shape}"
            for name, parameter in own.items()
            if tuple(state_dict[name].shape) != parameter.shape
        ]
        if wrong:
            raise ValueError(f"shapes in this state dict do not fit {type(self).__name__}: {'; '.join(wrong)}")
        for name, parameter in own.items():
            value = state_dict[name]
            value = value.detach() if isinstance(value, Tensor) else Tensor(value)
            parameter.data[...] = value.to(parameter.device).data
            mark_written(parameter)

    # Printing -------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """The options to show between the parentheses."""
        return ""

    def __repr__(self) -> str:
        children = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        if not children:
            return f"{type(self).__name__}({self.extra_repr()})"
        return f"{type(self).__name__}({self.extra_repr()}\n  " + "\n  ".join(children) + "\n)"


def _holds_modules(value: Any) -> bool:
    if isinstance(value, (list, tuple, set, dict)):
        return any(_holds_modules(part) for part in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, Module) or (isinstance(value, Tensor) and value.is_parameter)


def check_sizes(owner: object, **sizes: Any) -> None:
    """Raise ValueError if one of the sizes of a layer is no positive integer."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not hasattr(size, "__index__") or size < 1:
            raise ValueError(f"{type(owner).__name__}: expected {name} to be a positive integer, got {size!r}")


class ModuleList(Module):
    """Modules in a list, found by name "0", "1", ...

    >>> from minigrad import nn
    >>> len(nn.ModuleList([nn.Linear(1, 2), nn.Linear(2, 1)]))
    2
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        if not isinstance(module, Module):
            raise TypeError(f"{type(self).__name__} holds Modules, got {type(module).__name__}")
        setattr(self, str(len(self)), module)
        return self

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self.named_children())

    def __len__(self) -> int:
        return sum(1 for _ in self.named_children())

    def __getitem__(self, i: int) -> Module:
        return list(self)[i]


class Sequential(ModuleList):
    """Modules one after the other: each gets what the one before gave.

    Equation: y = fₙ(... f₂(f₁(x))).

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))(mg.zeros((3, 4))).shape
    (3, 2)
    """

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x
