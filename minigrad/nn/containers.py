"""Modules in a list, in a row, and by name."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, overload

from .module import Module, check_module


class ModuleList(Module):
    """Modules in a list, found by name "0", "1", ...; it has a list's methods, and no forward of its own.

    >>> from minigrad import nn
    >>> layers = nn.ModuleList([nn.Linear(1, 2), nn.Tanh()])
    >>> layers.append(nn.Linear(2, 1))[-1]
    Linear(2, 1, bias=True)
    >>> len(layers), len(layers[1:])
    (3, 2)
    >>> [name for name, _ in layers.named_parameters()]
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        return self.extend([module])

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end."""
        return self._hold([*self, *self._checked(modules)])

    def insert(self, index: int, module: Module) -> None:
        """Put a module before the one at `index`; those after it move up by one name."""
        modules = list(self)
        modules.insert(index, *self._checked([module]))
        self._hold(modules)

    def pop(self, index: int = -1) -> Module:
        """Take out the module at `index`, the last by default, and return it."""
        module = list(self)[self._position(index)]
        del self[index]
        return module

    def _checked(self, modules: Iterable[Module]) -> list[Module]:
        if isinstance(modules, Module) and not isinstance(modules, ModuleList):
            raise TypeError(f"{type(self).__name__}: expected modules in a list, got one {type(modules).__name__}")
        checked = list(modules)
        for module in checked:
            check_module(self, module)
        return checked

    def _hold(self, modules: Iterable[Module]) -> Self:
        """Hold these modules, and no others, by name "0", "1", ..."""
        for name in self._names():
            delattr(self, name)
        for i, module in enumerate(modules):
            setattr(self, str(i), module)
        return self

    def _names(self) -> list[str]:
        return [name for name, _ in self._own_children()]

    def _position(self, index: Any) -> int:
        """An index from the front; IndexError if there is no such place."""
        i = operator.index(index)
        if not -len(self) <= i < len(self):
            raise IndexError(f"{type(self).__name__} holds {len(self)} modules, there is no index {i}")
        return i % len(self)

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self._own_children())

    def __len__(self) -> int:
        return len(self._names())

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Module | Self:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return list(self)[self._position(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        (module,) = self._checked([module])
        setattr(self, self._names()[self._position(index)], module)

    def __delitem__(self, index: int | slice) -> None:
        modules = list(self)
        del modules[index if isinstance(index, slice) else self._position(index)]
        self._hold(modules)


class Sequential(ModuleList):
    """Modules one after the other: each gets what the one before gave.

    Equation: y = fₙ(... f₂(f₁(x))). The modules are arguments, or the values of one mapping, which names them.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))(mg.zeros((3, 4))).shape
    (3, 2)
    >>> list(nn.Sequential({"hidden": nn.Linear(4, 8), "act": nn.Tanh()}).state_dict())
    ['hidden.weight', 'hidden.bias']
    """

    def __init__(self, *modules: Any) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            super().__init__(modules)

    def forward(self, x: Any) -> Any:
        """What the last module gives, of what the one before it gave, and so on."""
        for module in self:
            x = module(x)
        return x

    def extend(self, modules: Iterable[Module]) -> Self:
        for module in self._checked(modules):
            number = len(self)
            while hasattr(self, str(number)):  # a slice keeps its names, which may begin at 1
                number += 1
            setattr(self, str(number), module)
        return self

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Module | Self:
        if isinstance(index, slice):  # under the names they have
            return type(self)(dict(list(self._own_children())[index]))
        return super().__getitem__(index)


class ModuleDict(Module):
    """Modules by name, in the order in which they came; it has a dict's methods, and no forward of its own.

    Raises:
        KeyError: a name has a dot, or is an attribute of every module ("forward", "keys", ...).

    >>> from minigrad import nn
    >>> heads = nn.ModuleDict({"tags": nn.Linear(8, 5)})
    >>> heads["words"] = nn.Linear(8, 100)
    >>> list(heads), "words" in heads
    (['tags', 'words'], True)
    >>> [name for name, _ in heads.named_parameters()]
    ['tags.weight', 'tags.bias', 'words.weight', 'words.bias']
    """

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()) -> None:
        self.update(modules)

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add modules, from a mapping or from pairs (name, module); those whose names are there are replaced."""
        pairs = list(modules.items() if isinstance(modules, (Mapping, ModuleDict)) else modules)
        for pair in pairs:
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise TypeError(
                    f"{type(self).__name__}: expected modules by name, as a mapping or as pairs (name, module), got "
                    f"{type(pair).__name__} among them; write ModuleDict({{name: module}}), or use ModuleList"
                )
        for name, module in pairs:
            self._check_name(name, self.keys())
            check_module(self, module)
        for name, module in pairs:
            setattr(self, name, module)

    def keys(self) -> list[str]:
        """The names."""
        return [name for name, _ in self._own_children()]

    def values(self) -> list[Module]:
        """The modules."""
        return [module for _, module in self._own_children()]

    def items(self) -> list[tuple[str, Module]]:
        """The names with their modules."""
        return list(self._own_children())

    def pop(self, name: str) -> Module:
        """Take out the module of a name and return it."""
        module = self[name]
        delattr(self, name)
        return module

    def clear(self) -> None:
        """Take out every module."""
        for name in self.keys():
            delattr(self, name)

    def __getitem__(self, name: str) -> Module:
        modules = dict(self._own_children())
        if name not in modules:
            raise KeyError(f"{type(self).__name__} has no module {name!r}; it has {', '.join(modules) or 'none'}")
        return modules[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.update({name: module})

    def __delitem__(self, name: str) -> None:
        self.pop(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.keys()
