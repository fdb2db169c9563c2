"""Modules: named parameters in a tree, and what is done to all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Self, TypeVar

from ..backend import as_dtype, float16, float32, float64, is_floating, namespace
from ..conversion import is_device
from ..graph import RemovableHandle, Tensor, clock
from ..messages import type_name
from . import hooks, state
from .calls import note_call
from .hooks import Hook, call_with_hooks
from .parameter import is_parameter

Part = TypeVar("Part")


class Module:
    """A part of a model: parameters, buffers and other modules as attributes, and a `forward`.

    Attributes that are Parameters or Modules are found by looking, in the order of assignment; only
    buffers are registered, and `super().__init__()` may be left out.

    >>> import minigrad as mg
    >>> from minigrad import nn
    >>> class Model(nn.Module):
    ...     def __init__(self):
    ...         self.layer = nn.Linear(2, 3)
    ...         self.register_buffer("scale", mg.tensor(2.0))
    ...     def forward(self, x):
    ...         return self.scale * self.layer(x).tanh()
    >>> model = Model()
    >>> model(mg.zeros((5, 2))).shape
    (5, 3)
    >>> [(name, p.shape) for name, p in model.named_parameters()]
    [('layer.weight', (3, 2)), ('layer.bias', (3,))]
    >>> list(model.state_dict())
    ['scale', 'layer.weight', 'layer.bias']
    """

    training: bool = True
    # Made when they are first needed, because __init__ may not have run. The buffers: name -> whether it is saved.
    _persistent: Mapping[str, bool] = MappingProxyType({})
    _hooks: Mapping[int, Hook] = MappingProxyType({})

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes: yours to write. Call the module itself, `module(x)`, which also runs its hooks."""
        raise NotImplementedError(
            f"{type(self).__name__} has no forward method: define forward(self, ...), with this spelling"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        since = next(clock)
        output = call_with_hooks(self, args, kwargs) if self._hooks else self.forward(*args, **kwargs)
        note_call(self, since, output)
        return output

    # Attributes -----------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        before = vars(self).get(name)
        if before is not None and value is not None:
            self._check_replacement(name, before, value)
        object.__setattr__(self, name, value)

    def _check_replacement(self, name: str, before: Any, value: Any) -> None:
        """What has been a parameter must not silently become something that is neither trained nor saved."""
        here, came = f"{type(self).__name__}.{name}", type(value).__name__
        computed = isinstance(value, Tensor) and not value.is_leaf  # weight normalisation and the like
        if is_parameter(before) and not is_parameter(value) and not computed:
            raise TypeError(
                f"{here} is a Parameter and can be replaced by one or by None, not by {came}, which would be neither "
                f"trained nor saved. Write nn.Parameter(value); or, to change its entries, with minigrad.no_grad(): "
                f"{name}[...] = value; or delete it first"
            )
        if isinstance(before, Module) and not isinstance(value, Module):
            raise TypeError(f"{here} is a Module and can be replaced by one or by None, not by {came}; delete it first")
        if name in self._persistent and not isinstance(value, Tensor):
            raise TypeError(f"{here} is a buffer and can be replaced by a Tensor or by None, not by {came}")

    def _check_name(self, name: str, held: Any) -> None:
        """Raise unless `name` may be given to something that `held`, the names already in its place, may hold."""
        where = type(self).__name__
        if not isinstance(name, str):
            raise TypeError(f"{where}: expected a name, got {name!r} ({type(name).__name__})")
        if not name or "." in name:
            raise KeyError(f"{where}: expected a name without dots, which stand between modules, got {name!r}")
        if name not in held and hasattr(self, name):
            raise KeyError(f"{where} has an attribute {name!r} of its own; choose another name")

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Keep a Tensor that is no parameter as `self.<name>`: `to` moves it, `state_dict` saves it, nothing trains it.

        Args:
            persistent: whether it is in the state dict.

        Raises:
            TypeError: it is not a Tensor or None.
            KeyError: the name is taken, or has a dot.

        >>> import minigrad as mg
        >>> from minigrad import nn
        >>> module = nn.Module()
        >>> module.register_buffer("steps", mg.tensor(3))
        >>> module.steps.item(), list(module.state_dict())
        (3, ['steps'])
        """
        self._check_name(name, self._persistent)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"register_buffer: expected a Tensor or None as {name!r}, got {type(tensor).__name__}; "
                "make one with minigrad.tensor(...)"
            )
        vars(self).setdefault("_persistent", {})[name] = persistent
        vars(self)[name] = tensor

    def register_parameter(self, name: str, param: Tensor | None) -> None:
        """`self.<name> = param`, for a name that is computed.

        Raises:
            TypeError: it is not a Parameter or None.
            KeyError: the name is taken, or has a dot.

        >>> import minigrad as mg
        >>> from minigrad import nn
        >>> module = nn.Module()
        >>> module.register_parameter("scale", nn.Parameter(mg.ones(2)))
        >>> list(module.state_dict())
        ['scale']
        """
        self._check_name(name, self._own_parameters())
        if param is not None and not is_parameter(param):
            raise TypeError(
                f"register_parameter: expected a Parameter or None as {name!r}, got {type_name(param)}; write "
                "nn.Parameter(...)"
            )
        setattr(self, name, param)

    def add_module(self, name: str, module: Module | None) -> None:
        """`self.<name> = module`, for a name that is computed.

        Raises:
            TypeError: it is not a Module or None.
            KeyError: the name is taken, or has a dot.

        >>> from minigrad import nn
        >>> model = nn.Sequential(nn.Linear(1, 2))
        >>> model.add_module("act", nn.Tanh())
        >>> model.act
        Tanh()
        """
        self._check_name(name, dict(self._own_children()))
        if module is not None:
            check_module(self, module)
        setattr(self, name, module)

    def register_forward_pre_hook(self, hook: Callable[..., Any], *, with_kwargs: bool = False) -> RemovableHandle:
        """Call hook(module, args) before each forward; what it returns, unless None, takes the place of args.

        A value that is no tuple stands for the only argument. With `with_kwargs`, the hook gets (module, args,
        kwargs), and returns None or (args, kwargs).

        >>> import minigrad as mg
        >>> from minigrad import nn
        >>> layer = nn.ReLU()
        >>> handle = layer.register_forward_pre_hook(lambda module, args: -args[0])
        >>> layer(mg.tensor([-2.0, 3.0])).tolist()
        [2.0, 0.0]
        >>> handle.remove()
        """
        return hooks.register(self, Hook(hook, hooks.BEFORE, with_kwargs))

    def register_forward_hook(self, hook: Callable[..., Any], *, with_kwargs: bool = False) -> RemovableHandle:
        """Call hook(module, args, output) after each forward; what it returns, unless None, takes the output's place.

        With `with_kwargs`, the hook gets (module, args, kwargs, output).

        >>> import minigrad as mg
        >>> from minigrad import nn
        >>> layer, seen = nn.Linear(2, 3), []
        >>> with layer.register_forward_hook(lambda module, args, y: seen.append(y.shape)):
        ...     y = layer(mg.zeros((5, 2)))
        >>> seen
        [(5, 3)]
        """
        return hooks.register(self, Hook(hook, hooks.AFTER, with_kwargs))

    def register_full_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call hook(module, grad_input, grad_output) in every backward pass through this module.

        `grad_input` holds the gradients of the positional arguments, None where there is none; `grad_output` those of
        the Tensors in the output, in the order in which they stand. What the hook returns, unless None, goes
        on in the place of grad_input. If no argument needs a gradient, the hook is called as soon as the output's are
        known, with nothing but None for the arguments.

        Raises:
            TypeError: (in the backward pass) the hook gave something that is not like grad_input.

        >>> import minigrad as mg
        >>> from minigrad import nn
        >>> layer, x = nn.Tanh(), mg.zeros(2, requires_grad=True)
        >>> with layer.register_full_backward_hook(lambda module, grad_input, grad_output: (10 * grad_input[0],)):
        ...     layer(x).sum().backward()
        >>> x.grad.tolist()
        [10.0, 10.0]
        """
        return hooks.register(self, Hook(hook, hooks.BACKWARD))

    # Walking the tree -----------------------------------------------------------------------------

    def _own_children(self) -> Iterator[tuple[str, Module]]:
        """The modules among the attributes; a shared one under each of its names."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value
            elif isinstance(value, (list, tuple, set, dict)) and _holds_modules(value):
                raise TypeError(
                    f"{type(self).__name__}.{name} is a {type(value).__name__} that holds modules or parameters, which "
                    f"would not be found there. Write self.{name} = nn.ModuleList(...), or nn.ModuleDict(...), or make "
                    "each one an attribute"
                )

    def _own_parameters(self) -> dict[str, Tensor]:
        return {name: value for name, value in vars(self).items() if is_parameter(value)}

    def _own_buffers(self) -> dict[str, Tensor]:
        own = ((name, vars(self).get(name)) for name in self._persistent)
        return {name: value for name, value in own if isinstance(value, Tensor) and not value.is_parameter}

    def _walk(self, prefix: str, above: tuple[Module, ...] = ()) -> Iterator[tuple[str, Module]]:
        """This module and all below it, each with its dotted name; a shared one at each of its places."""
        if any(self is module for module in above):
            raise ValueError(f"{type(above[0]).__name__} contains itself, as its {prefix}; a module cannot")
        yield prefix, self
        for name, child in self._own_children():
            yield from child._walk(_joined(prefix, name), (*above, self))

    def named_modules(self, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """This module and all below it, each with its dotted name, under `prefix`; a shared one once, or at each place.

        Raises:
            ValueError: a module contains itself.

        >>> from minigrad import nn
        >>> [name for name, _ in nn.Sequential(nn.Linear(1, 2), nn.Tanh()).named_modules()]
        ['', '0', '1']
        """
        return _once(self._walk(prefix), remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules among the attributes, each once, with their names.

        >>> from minigrad import nn
        >>> list(nn.ModuleDict({"act": nn.Tanh()}).named_children())
        [('act', Tanh())]
        """
        return _once(self._own_children())

    def children(self) -> Iterator[Module]:
        """The modules among the attributes, each once."""
        return (child for _, child in self.named_children())

    def _named(
        self, own: Callable[[Module], Mapping[str, Tensor]], prefix: str, recurse: bool
    ) -> Iterator[tuple[str, Tensor]]:
        for path, module in self._walk(prefix) if recurse else [(prefix, self)]:
            for name, value in own(module).items():
                yield _joined(path, name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The parameters with their dotted names.

        Args:
            prefix: a name to put before each.
            recurse: whether to go into the modules below.
            remove_duplicate: whether a shared parameter comes once, under its first name, or under each.

        >>> from minigrad import nn
        >>> [name for name, _ in nn.Linear(2, 3).named_parameters("output")]
        ['output.weight', 'output.bias']
        """
        return _once(self._named(Module._own_parameters, prefix, recurse), remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Tensor]:
        """Each parameter once, a shared one too.

        >>> from minigrad import nn
        >>> layer = nn.Linear(2, 3)
        >>> sum(p.size for p in nn.Sequential(layer, layer).parameters())
        9
        """
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their dotted names; arguments as for `named_parameters`.

        >>> import minigrad as mg
        >>> from minigrad import nn
        >>> [name for name, _ in nn.CrossEntropyLoss(weight=mg.ones(3)).named_buffers()]
        ['weight']
        """
        return _once(self._named(Module._own_buffers, prefix, recurse), remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Each buffer once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module with a dotted name, such as "encoder.0"; "" is this one.

        Raises:
            AttributeError: there is none.

        >>> from minigrad import nn
        >>> nn.ModuleDict({"encoder": nn.Sequential(nn.Tanh())}).get_submodule("encoder.0")
        Tanh()
        """
        named = dict(self._walk(""))
        if target not in named:
            known = ", ".join(repr(name) for name in named if name)
            raise AttributeError(f"{type(self).__name__} has no module {target!r}; it has {known or 'none'}")
        return named[target]

    def get_parameter(self, target: str) -> Tensor:
        """The parameter with a dotted name, such as "encoder.0.weight".

        Raises:
            AttributeError: there is none.

        >>> from minigrad import nn
        >>> nn.Sequential(nn.Linear(2, 3)).get_parameter("0.weight").shape
        (3, 2)
        """
        return self._get(target, Module._own_parameters, "parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer with a dotted name.

        Raises:
            AttributeError: there is none.

        >>> import minigrad as mg
        >>> from minigrad import nn
        >>> nn.CrossEntropyLoss(weight=mg.ones(3)).get_buffer("weight").shape
        (3,)
        """
        return self._get(target, Module._own_buffers, "buffer")

    def _get(self, target: str, own: Callable[[Module], Mapping[str, Tensor]], kind: str) -> Tensor:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        found = own(module)
        if name not in found:
            known = ", ".join(map(repr, found)) or "none"
            raise AttributeError(f"{type(module).__name__} has no {kind} {name!r}; it has {known}")
        return found[name]

    # What is done to all --------------------------------------------------------------------------

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call fn on every module below, children before their parents, and on this one; to initialise, for example.

        >>> from minigrad import nn
        >>> def start(module):
        ...     if isinstance(module, nn.Linear):
        ...         nn.init.zeros_(module.bias)
        >>> nn.Sequential(nn.Linear(1, 2), nn.Tanh()).apply(start)[0].bias.tolist()
        [0.0, 0.0]
        """
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Self:
        """Switch this module and all below to training (dropout drops), or with False to evaluation.

        Raises:
            ValueError: the mode is not True or False.

        >>> from minigrad import nn
        >>> model = nn.Sequential(nn.Linear(1, 2), nn.Dropout(0.5)).train(False)
        >>> model[1].training
        False
        """
        if not isinstance(mode, bool):
            raise ValueError(
                f"train: expected True or False, got {mode!r:.40}; data go to the module itself, module(x)"
            )
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch this module and all below to evaluation.

        >>> from minigrad import nn
        >>> nn.Sequential(nn.Dropout(0.5)).eval()[0].training
        False
        """
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set whether the parameters get gradients: `requires_grad_(False)` freezes them.

        >>> from minigrad import nn
        >>> any(p.requires_grad for p in nn.Linear(2, 3).requires_grad_(False).parameters())
        False
        """
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self) -> None:
        """Forget the gradient of every parameter.

        >>> import minigrad as mg
        >>> from minigrad import nn
        >>> layer = nn.Linear(1, 1)
        >>> layer(mg.ones((1, 1))).sum().backward()
        >>> layer.zero_grad()
        >>> layer.weight.grad is None
        True
        """
        for parameter in self.parameters():
            parameter.grad = None

    def to(self, *targets: Any, device: str | None = None, dtype: Any = None) -> Self:
        """Move every parameter and buffer to a device, or convert those that are floating to a dtype; in place.

        Write to("cuda"), to(mg.float64), to("cuda", mg.float64), or name them: to(device=..., dtype=...).
        Buffers of integers and booleans keep their dtype. If anything is wrong, nothing has changed.

        Raises:
            DeviceError: the device cannot be used.
            TypeError: the dtype is not a floating one, or there are two devices or two dtypes.

        >>> import minigrad as mg
        >>> from minigrad import nn
        >>> nn.Linear(2, 3).to("cpu", mg.float64).weight.dtype
        dtype('float64')
        """
        where = type(self).__name__
        for target in targets:
            if is_device(target) and device is None:
                device = target
            elif not is_device(target) and dtype is None and target is not None:
                dtype = target
            else:
                raise TypeError(f"{where}.to: expected a device, a dtype, or one of each, got {targets}")
        if dtype is not None and not is_floating(dtype):
            raise TypeError(f"{where}.to: expected a floating-point dtype, as parameters have, got {as_dtype(dtype)}")
        device = None if device is None else namespace(device).device

        def moved(x: Tensor) -> Tensor:
            x = x.detach()
            x = x if device is None else x.to(device)
            return x.astype(dtype) if dtype is not None and is_floating(x.dtype) else x

        tensors = [*self.parameters(), *self.buffers()]
        found = [(x, moved(x), None if x.grad is None else moved(x.grad)) for x in tensors]
        for x, y, grad in found:
            if y.data is not x.data:  # else a backward pass that still needs x would think it changed
                x.data = y.data
            x.grad = grad
        return self

    def float(self) -> Self:
        """`to(minigrad.float32)`"""
        return self.to(float32)

    def double(self) -> Self:
        """`to(minigrad.float64)`"""
        return self.to(float64)

    def half(self) -> Self:
        """`to(minigrad.float16)`"""
        return self.to(float16)

    def cpu(self) -> Self:
        """`to("cpu")`"""
        return self.to("cpu")

    def cuda(self) -> Self:
        """`to("cuda")`"""
        return self.to("cuda")

    # Saving and loading ---------------------------------------------------------------------------

    def _saved(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        for path, module in self._walk(""):
            buffers = {name: x for name, x in module._own_buffers().items() if module._persistent[name]}
            for name, value in (module._own_parameters() | buffers).items():
                yield prefix + _joined(path, name), value

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """Every parameter and persistent buffer by its dotted name, detached: it shares the memory, not the graph.

        A tied tensor is there under each of its names. `prefix` is put before every name, as it is.

        >>> from minigrad import nn
        >>> list(nn.Linear(2, 3).state_dict(prefix="output."))
        ['output.weight', 'output.bias']
        """
        return {name: value.detach() for name, value in self._saved(prefix)}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> state.LoadResult:
        """Copy values into the parameters and buffers, keeping their dtype and device.

        Args:
            state_dict: names to Tensors or arrays, as `state_dict` gives them. Of the names of a tied
                tensor, one is enough.
            strict: whether all names must be the same; if not, what has the same name is loaded.

        Returns:
            (missing_keys, unexpected_keys): what was not found, and what was not used.

        Raises:
            KeyError: names are missing, or unknown to this module (if strict).
            TypeError: a value is no Tensor or array, or is floating-point where integers or booleans are, or
                the like. Other sizes of the same kind, such as float64 for float32, are converted.
            ValueError: a shape is another one, or tied tensors are to have different values.
                Nothing is changed if anything is wrong.

        >>> from minigrad import nn
        >>> model, other = nn.Linear(2, 3), nn.Linear(2, 3)
        >>> other.load_state_dict(model.state_dict())
        LoadResult(missing_keys=[], unexpected_keys=[])
        """
        return state.load(type(self).__name__, dict(self._saved()), state_dict, strict)

    # Printing -------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """The options to show between the parentheses."""
        return ""

    def __repr__(self) -> str:
        children = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self._own_children()]
        if not children:
            return f"{type(self).__name__}({self.extra_repr()})"
        return f"{type(self).__name__}({self.extra_repr()}\n  " + "\n  ".join(children) + "\n)"


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _once(named: Iterator[tuple[str, Part]], remove_duplicate: bool = True) -> Iterator[tuple[str, Part]]:
    """Each thing under its first name only."""
    seen: set[int] = set()
    for name, part in named:
        if not remove_duplicate or id(part) not in seen:
            seen.add(id(part))
            yield name, part


def _holds_modules(value: Any) -> bool:
    if isinstance(value, (list, tuple, set, dict)):
        return any(_holds_modules(part) for part in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, Module) or is_parameter(value)


def check_module(owner: Module, module: Any) -> None:
    """Raise TypeError if `module`, which `owner` is to hold, is not a Module."""
    if not isinstance(module, Module):
        came, where = type(module).__name__, type(owner).__name__
        if isinstance(module, type):
            came = f"the class {module.__name__}; call it, {module.__name__}(...)"
        elif isinstance(module, (list, tuple)) and where == "Sequential":
            came = f"{came}; write Sequential(*modules)"
        elif callable(module):
            came = f"{came}; write a Module whose forward calls it"
        raise TypeError(f"{where} holds Modules, got {came}")
