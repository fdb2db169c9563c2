"""What the optimizers share: groups of parameters with their options, a state per parameter, and the loop."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Self

from ..backend import Array, ArrayNamespace, is_array, namespace_of
from ..graph import Tensor, mark_written
from ..mode import enable_grad
from .options import OF_PYTORCH, SCHEDULED, check_name, check_number, did_you_mean, plain
from .state import check_fit, laid_out, loaded


class Optimizer:
    """Steps parameters along their gradients.

    The options `weight_decay` and `maximize` are obeyed here, for all: g ← -g with maximize;
    g ← g + weight_decay p, unless the decay is decoupled from the gradient.

    A subclass gives `_update`, which changes the arrays of one parameter in place, and names what its state holds.

    Attributes:
        defaults: the options of a group that says nothing else.
        param_groups: dicts with "params" and the options for these; change `lr` here, or with a schedule.
        state: what is remembered of each parameter, by parameter: arrays on its device, and the count "step".

    One of your own:

    >>> import minigrad as mg
    >>> from minigrad import optim
    >>> class SignDescent(optim.Optimizer):
    ...     def __init__(self, params, lr=0.1):
    ...         super().__init__(params, {"lr": lr})
    ...     def _update(self, xp, p, g, state, group):
    ...         xp.subtract(p, group["lr"] * xp.sign(g), out=p)
    >>> p = mg.tensor([1.0, -1.0], requires_grad=True)
    >>> (p * p).sum().backward()
    >>> SignDescent([p], lr=0.5).step()
    >>> p.tolist()
    [0.5, -0.5]
    """

    turns_by_itself: ClassVar[bool] = False  # `_update` does what maximize and weight_decay say, in its one kernel
    always: ClassVar[tuple[str, ...]] = ()  # what every state holds, once there is one
    sometimes: ClassVar[tuple[str, ...]] = ()  # what it holds besides, under some options

    def __new__(cls, *_: Any, **options: Any) -> Self:
        known = list(inspect.signature(cls.__init__).parameters)[1:]
        for name in options:
            if name not in known:
                hint = did_you_mean(name, tuple(known))
                raise TypeError(f"{cls.__name__}: there is no option {name}{hint}; expected one of {', '.join(known)}")
        return super().__new__(cls)

    def __init__(self, params: Iterable[Tensor] | Iterable[dict[str, Any]], defaults: dict[str, Any]) -> None:
        given = self._listed(params)
        if not given:
            raise ValueError(f"{type(self).__name__}: expected at least one parameter, got none")
        self.defaults = plain(defaults)
        self._check_first(self.defaults)
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        self._has_stepped = False  # here, or before the state was saved
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    # Groups ---------------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Go on with further parameters, which may have options of their own.

        Args:
            param_group: "params", a Tensor or several, and options; those not named are the defaults. Further
                names ("name": "encoder") are notes of your own, kept and saved with the rest.

        Raises:
            TypeError: it is no dict, or what it lists are no Tensors.
            ValueError: an option is misspelled or makes no sense, or a parameter cannot be optimized or is
                in a group already. Nothing is changed then.

        >>> import minigrad as mg
        >>> from minigrad import optim
        >>> optimizer = optim.SGD([mg.ones(2, requires_grad=True)], lr=0.1)
        >>> optimizer.add_param_group({"params": mg.ones(3, requires_grad=True), "lr": 0.01})
        >>> [group["lr"] for group in optimizer.param_groups]
        [0.1, 0.01]
        """
        name = type(self).__name__
        if not isinstance(param_group, dict):
            raise TypeError(
                f'{name}: expected a group to be a dict with "params" and options, got {type(param_group).__name__}'
            )
        if "params" not in param_group:
            raise ValueError(f'{name}: expected "params" in every group, got only {list(param_group)}')
        params = param_group["params"]
        group = self.defaults | plain(param_group)
        group["params"] = [params] if isinstance(params, Tensor) else self._listed(params)
        self._check_first(group)
        seen = {id(p) for other in self.param_groups for p in other["params"]}
        for p in group["params"]:
            if not isinstance(p, Tensor):
                raise TypeError(f"{name}: expected Tensors to optimize, got {type(p).__name__}")
            if not (p.is_leaf and p.requires_grad):
                raise ValueError(
                    f"{name}: can only optimize leaf tensors that require a gradient; leave out the others"
                )
            if id(p) in seen:
                raise ValueError(f"{name}: a parameter is given more than once")
            seen.add(id(p))
        self.param_groups.append(group)

    def _listed(self, params: Any) -> list[Any]:
        came = "one Tensor; write [parameter]" if isinstance(params, Tensor) else None
        if isinstance(params, (set, frozenset)):
            came = "a set, whose order changes from run to run; use a list"
        elif not isinstance(params, Iterable):
            came = f"{type(params).__name__}; of a module, pass module.parameters()"
        if came:
            raise TypeError(f"{type(self).__name__}: expected an iterable of parameters, got {came}")
        return list(params)

    def _check(self, group: dict[str, Any]) -> None:
        """Raise if an option of a group is misspelled or makes no sense."""
        caller = type(self).__name__
        for name, value in group.items():
            if name in self.defaults or name in SCHEDULED:
                if name != "betas":  # whose class looks at them
                    check_number(caller, name, value)
            elif name != "params":
                check_name(caller, name, self.defaults)

    def _check_first(self, group: dict[str, Any]) -> None:
        """What is asked of a group when it is made: besides, that its learning rate is 0 or more."""
        self._check(group)
        if group["lr"] < 0:
            raise ValueError(f"{type(self).__name__}: expected lr to be 0 or more, got {group['lr']}")

    def _all(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    # Steps ----------------------------------------------------------------------------------------

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget every parameter's gradient; with set_to_none=False, replace it by zeros."""
        for p in self._all():
            if set_to_none or p.grad is None:
                p.grad = None
            else:
                xp = namespace_of(p.grad.data)
                xp.make_current()
                p.grad = Tensor(xp.zeros_like(p.grad.data))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient by one step.

        Args:
            closure: called first, with recording on: zeroes the gradients, computes the loss, calls
                `backward` and returns the loss.

        Returns:
            What the closure returned, or None.

        Raises:
            TypeError, ValueError: the closure is no function, or an option of a group makes no sense by now.
            RuntimeError: the data of a parameter was moved to another device, converted or replaced, and does not
                fit its gradient or its state any more. No parameter is changed then.

        >>> import minigrad as mg
        >>> from minigrad import optim
        >>> p = mg.tensor([1.0], requires_grad=True)
        >>> optimizer = optim.SGD([p], lr=0.25)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = (p * p).sum()
        ...     loss.backward()
        ...     return loss
        >>> [optimizer.step(closure).item() for _ in range(3)]
        [1.0, 0.25, 0.0625]
        """
        loss = None
        if closure is not None:
            if not callable(closure):
                raise TypeError(
                    f"{type(self).__name__}: expected closure to be a function that computes the loss, got "
                    f"{type(closure).__name__}; after loss.backward(), write optimizer.step()"
                )
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            group.update(plain(group))
            self._check(group)
        steps = [(p, p.grad, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        for p, gradient, _ in steps:
            check_fit(type(self).__name__, p, gradient, self.state.get(p, {}), self.always + self.sometimes)
        for p, gradient, group in steps:
            x, g = p.data, gradient.data
            xp = namespace_of(x)
            xp.make_current()
            if not self.turns_by_itself:
                g = xp.asarray(turned(x, g, group.get("weight_decay"), *turning(group)))
            self._update(xp, x, g, self.state.setdefault(p, {}), group)
            mark_written(p)
        self._has_stepped = True
        return loss

    def _update(self, xp: ArrayNamespace, p: Array, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change p and the state in place; g, which may be somebody else's, is only read.

        A state's arrays are made when they are first needed. With `out=`, 0-d arrays stay arrays.
        """
        raise NotImplementedError(f"{type(self).__name__} has no _update method")

    # Saving and loading ---------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The options and the state, with a number for each parameter.

        Returns:
            {"state": {number: {name: Tensor or number}}, "param_groups": [{option: value, "params": numbers}]}, the
            layout and names of `torch.optim`. The Tensors are detached and share the memory: copy what is kept
            while training goes on.

        A file takes names with Tensors, and strings: this is how model, optimizer and schedule go into one, and how
        training goes on from it.

        >>> import json, tempfile
        >>> import minigrad as mg
        >>> def begin():
        ...     model = mg.nn.Linear(2, 1)
        ...     optimizer = mg.optim.Adam(model.parameters(), lr=0.1)
        ...     return model, optimizer, mg.optim.lr_scheduler.StepLR(optimizer, step_size=10)
        >>> def save(path, model, optimizer, schedule):
        ...     saved = optimizer.state_dict()
        ...     tensors = {f"model.{name}": x for name, x in model.state_dict().items()}
        ...     for i, state in saved["state"].items():
        ...         tensors |= {f"optimizer.{i}.{key}": mg.tensor(x) for key, x in state.items()}
        ...     texts = {"param_groups": saved["param_groups"], "schedule": schedule.state_dict()}
        ...     mg.io.save(path, tensors, {name: json.dumps(x) for name, x in texts.items()})
        >>> def load(path, model, optimizer, schedule):
        ...     weights, states = {}, {}
        ...     for name, x in mg.io.load(path).items():
        ...         what, _, rest = name.partition(".")
        ...         if what == "model":
        ...             weights[rest] = x
        ...         else:
        ...             i, key = rest.split(".")
        ...             states.setdefault(int(i), {})[key] = x
        ...     texts = {name: json.loads(text) for name, text in mg.io.load_metadata(path).items()}
        ...     model.load_state_dict(weights)
        ...     optimizer.load_state_dict({"state": states, "param_groups": texts["param_groups"]})
        ...     schedule.load_state_dict(texts["schedule"])
        >>> model, optimizer, schedule = begin()
        >>> model(mg.ones((1, 2))).sum().backward()
        >>> optimizer.step()
        >>> schedule.step()
        >>> again = begin()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(f"{folder}/checkpoint.safetensors", model, optimizer, schedule)
        ...     load(f"{folder}/checkpoint.safetensors", *again)
        >>> again[1].state[again[0].weight]["step"], again[2].last_epoch
        (1, 1)
        """
        numbers = {p: i for i, p in enumerate(self._all())}
        return {
            "state": {
                numbers[p]: {name: Tensor(value) if is_array(value) else value for name, value in state.items()}
                for p, state in self.state.items()
                if p in numbers
            },
            "param_groups": [group | {"params": [numbers[p] for p in group["params"]]} for group in self.param_groups],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over options and state, copied to the dtypes and devices of the parameters.

        Args:
            state_dict: as `state_dict` gives it, of an optimizer with as many parameters in as many groups, in
                the same order. One of `torch.optim` fits when its tensors are made Tensors or NumPy arrays.

        Raises:
            TypeError: it is no such dict, or a value is no Tensor, array or number.
            ValueError: groups, shapes or names do not fit. Nothing is changed if anything is wrong.

        >>> import minigrad as mg
        >>> from minigrad import optim
        >>> p = mg.ones(2, requires_grad=True)
        >>> saved = optim.SGD([p], lr=0.5, momentum=0.9).state_dict()
        >>> optimizer = optim.SGD([p])
        >>> optimizer.load_state_dict(saved)
        >>> optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]
        (0.5, 0.9)
        """
        name = type(self).__name__
        saved, states = laid_out(name, state_dict)
        sizes, expected = (
            [len(group["params"]) for group in saved],
            [len(group["params"]) for group in self.param_groups],
        )
        if sizes != expected:
            raise ValueError(f"{name}: expected a state of groups of {expected} parameters, got one of {sizes}")
        groups = []
        for own, group in zip(self.param_groups, saved, strict=True):
            options = {key: value for key, value in group.items() if key != "params" and key not in OF_PYTORCH}
            groups.append(own | plain(copy.deepcopy(options)))
            self._check(groups[-1])
        owners = dict(zip((number for group in saved for number in group["params"]), self._all(), strict=True))
        unknown = states.keys() - owners.keys()
        if unknown:
            raise ValueError(f"{name}: this state dict has a state of {sorted(unknown, key=str)}, which no group lists")
        state = {
            owners[i]: loaded(name, i, owners[i], values, self.always, self.sometimes) for i, values in states.items()
        }
        for own, group in zip(self.param_groups, groups, strict=True):
            own.update(group)
        self.state, self._has_stepped = state, True

    # Printing -------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {name}: {value}" for name, value in sorted(group.items()) if name != "params"]
        return "\n".join([*lines, ")"])


def turning(group: dict[str, Any]) -> tuple[bool, bool]:
    """Whether a group adds a weight decay to gradients, and whether it turns them round."""
    decays = bool(group.get("weight_decay")) and not group.get("decoupled_weight_decay")
    return decays, bool(group.get("maximize"))


def turned(p: Any, g: Any, weight_decay: Any, decays: bool, maximizes: bool) -> Any:
    """The gradient that is stepped along. Formulas begin with it."""
    if maximizes:
        g = -g
    return g + weight_decay * p if decays else g


def zeros_of(xp: ArrayNamespace, state: dict[str, Any], name: str, p: Array) -> Array:
    """An array of the state, zeros like the parameter when it is first asked for."""
    if name not in state:
        state[name] = xp.zeros_like(p)
    return state[name]
