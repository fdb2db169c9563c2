"""What a Tensor becomes: an array of another library, a Python number, a copy, another dtype, on another device."""

from __future__ import annotations

import copy
from typing import Any

from .backend import Array, as_dtype, copied, cpu, namespace, namespace_of
from .graph import Tensor, storage_of
from .operators import Operators, hang
from .ops import elementwise
from .tape import apply


class Conversions(Operators):
    """The methods of Tensor that hand it on in another form."""

    # Out of minigrad ------------------------------------------------------------------------------

    def numpy(self: Any) -> Any:
        """The NumPy array itself, not a copy. What is written to it, a backward pass does not notice.

        Raises:
            TypeError: the tensor is on a GPU, or it requires a gradient.

        >>> import minigrad as mg
        >>> mg.tensor([1.0, 2.0]).numpy()
        array([1., 2.], dtype=float32)
        """
        if self._requires_grad:
            raise TypeError("numpy: expected a tensor that requires no gradient; use x.detach().numpy()")
        if type(self._data) is not cpu.array_type:
            raise TypeError(f'numpy: expected a tensor on the CPU, got one on {self.device}; use x.to("cpu").numpy()')
        return self._data

    def __array__(self: Any, dtype: Any = None, copy: bool | None = None) -> Any:
        return cpu.array(self.numpy(), dtype=dtype, copy=copy)

    def __dlpack__(self: Any, **options: Any) -> Any:
        if self._requires_grad:
            raise BufferError("__dlpack__: expected a tensor that requires no gradient; use x.detach()")
        return self._data.__dlpack__(**options)

    def __dlpack_device__(self: Any) -> Any:
        return self._data.__dlpack_device__()

    # Copies ---------------------------------------------------------------------------------------

    def __copy__(self: Any) -> Tensor:
        """Another tensor with the same memory, at the same place in the graph."""
        twin = Tensor(self._data, self._requires_grad, storage_of(self))
        twin._source, twin.grad, twin.is_parameter = self._source, self.grad, self.is_parameter
        return twin

    def __deepcopy__(self: Any, memo: dict[int, Any]) -> Tensor:
        """A leaf with memory of its own, and a copy of the gradient."""
        self._must_be_leaf("copy.deepcopy")
        twin = Tensor(copied(self._data), self._requires_grad)
        memo[id(self)] = twin
        twin.grad, twin.is_parameter = copy.deepcopy(self.grad, memo), self.is_parameter
        return twin

    def __reduce__(self: Any) -> Any:
        self._must_be_leaf("pickle")
        return _unpickled, (self._data, self._requires_grad, self.grad, self.is_parameter)

    def _must_be_leaf(self: Any, caller: str) -> None:
        if self._source is not None:
            raise RuntimeError(
                f"{caller}: expected a tensor that was made, got one that {self._source[0].primitive.name} computed, "
                "with a graph behind it. Use x.detach(), or x.copy() for a copy through which gradients flow"
            )

    # As a Python number ---------------------------------------------------------------------------

    def item(self: Any) -> Any:
        """The only entry, as a Python number; waits for the device.

        Raises:
            ValueError: there is more than one entry, or none.

        >>> import minigrad as mg
        >>> mg.tensor([[2.5]]).item()
        2.5
        """
        if self.size != 1:
            raise ValueError(f"item: expected a tensor of one entry, got shape {self.shape}; use tolist()")
        return namespace_of(self._data).to_host(self._data).item()

    def tolist(self: Any) -> Any:
        """The entries as (nested lists of) Python numbers; waits for the device.

        >>> import minigrad as mg
        >>> mg.eye(2).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
        """
        return namespace_of(self._data).to_host(self._data).tolist()

    def __format__(self: Any, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)

    def __float__(self: Any) -> float:
        return float(self.item())

    def __int__(self: Any) -> int:
        return int(self.item())

    def __bool__(self: Any) -> bool:
        return bool(self.item())

    # Moving and converting ------------------------------------------------------------------------

    def to(self: Any, *targets: Any, device: str | None = None, dtype: Any = None) -> Tensor:
        """This tensor on another device, with another dtype, or both; itself if nothing changes.

        Args:
            targets: a device name ("cpu", "cuda", "cuda:1"), a dtype, or both in either order.
            device, dtype: the same by name.

        Raises:
            DeviceError: the device cannot be used.
            TypeError: something else was given, or two devices or dtypes.

        >>> import minigrad as mg
        >>> mg.ones(2).to("cpu", mg.float64)
        tensor([1., 1.], dtype=float64, device='cpu')
        """
        devices = [] if device is None else [device]
        dtypes = [] if dtype is None else [dtype]
        for target in targets:
            (devices if is_device(target) else dtypes).append(target)
        if not 0 < len(devices) + len(dtypes) <= 2 or len(devices) > 1 or len(dtypes) > 1:
            raise TypeError(f"to: expected a device, a dtype, or one of each, got {[*devices, *dtypes]}")
        x = self.astype(dtypes[0]) if dtypes else self
        there = namespace(devices[0]).device if devices else x.device
        return x if there == x.device else apply(elementwise.to_device, (x,), {"device": there, "source": x.device})

    def astype(self: Any, dtype: Any) -> Tensor:
        """This tensor with another dtype; itself if it has it already. No gradient flows through integers.

        Raises:
            TypeError: there is no such dtype.

        >>> import minigrad as mg
        >>> mg.tensor([1.7, -1.7]).astype(mg.int64).tolist()
        [1, -1]
        """
        if dtype is None:
            raise TypeError("astype: expected a dtype such as minigrad.float32, got None")
        x: Tensor = self
        dtype = as_dtype(dtype)
        return x if dtype == x.dtype else apply(elementwise.astype, (x,), {"dtype": dtype})


def is_device(target: Any) -> bool:
    """Whether a target of `to` is a device, or else a dtype."""
    if not isinstance(target, str):
        return False
    try:
        name = as_dtype(target).name
    except TypeError:
        return True
    if name != target:  # "float", "f4": NumPy has a meaning for these that other libraries do not share
        raise TypeError(f'to: expected a device such as "cpu" or a dtype such as minigrad.{name}, got {target!r}')
    return False


def _unpickled(data: Array, requires_grad: bool, grad: Tensor | None, is_parameter: bool) -> Tensor:
    tensor = Tensor(data, requires_grad)
    tensor.grad, tensor.is_parameter = grad, is_parameter
    return tensor


hang(Conversions)
