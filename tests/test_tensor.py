"""What a Tensor shows and does besides arithmetic, which test_contract.py covers."""

import operator

import numpy as np
import pytest

import minigrad as mg


def test_repr_shows_values_dtype_device_gradient_and_operation(device):
    name = "cuda:0" if device == "cuda" else device
    x = mg.tensor([[1.0, 2.0]], requires_grad=True)
    assert repr(x) == f"tensor([[1., 2.]], dtype=float32, device='{name}', requires_grad=True)"
    assert repr(x + 1).endswith("requires_grad=True, op=add)")
    assert repr(mg.zeros((2, 0))) == f"tensor([], shape=(2, 0), dtype=float32, device='{name}')"
    assert f"{mg.tensor(2.5):.3f}" == "2.500"
    assert repr(mg.tensor(3)) == f"tensor(3, dtype=int64, device='{name}')"


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1, "int64"),
        (1.5, "float32"),
        (True, "bool"),
        ([[1, 2.5]], "float32"),
        ([], "float32"),
        (np.float64(2.0), "float64"),
        (np.ones(2), "float64"),
        ([np.float64(1.0)], "float64"),
        ([mg.ones(2, dtype=mg.float64), [0.0, 1.0]], "float64"),
        (np.ones(2, dtype=np.int32), "int32"),
        (np.array([True]), "bool"),
    ],
)
def test_dtypes_of_data(device, data, dtype):
    assert mg.tensor(data).dtype == dtype


def test_tensor_copies(device):
    array = np.ones(2)
    x = mg.tensor(array)
    array[0] = 5.0
    y = mg.tensor(x)
    x[1] = 7.0
    assert x.tolist() == [1.0, 7.0]
    assert y.tolist() == [1.0, 1.0]


def test_a_tensor_is_copied_where_it_lies(device):
    x = mg.ones(2)
    with mg.use_device("cpu"):
        assert mg.tensor(x).device == x.device
        assert mg.tensor(x, device="cpu").device == "cpu"


def test_creation(device):
    for make in (mg.zeros, mg.rand, mg.eye, lambda n, dtype: mg.full(n, 0.5, dtype=dtype)):
        assert make(2, dtype=None).dtype == mg.float32
    assert mg.zeros((2, 0)).shape == (2, 0)
    assert mg.ones(3).tolist() == [1.0, 1.0, 1.0]
    assert mg.full((2,), 2.5).tolist() == [2.5, 2.5]
    assert mg.arange(1, 7, 2).tolist() == [1, 3, 5]
    assert mg.arange(0.0, 1.0, 0.5).dtype == mg.float32
    assert mg.eye(2, 3).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert mg.linspace(0, 1, 5).tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert mg.linspace(0, 1, 4, endpoint=False, dtype=mg.float64).tolist() == [0.0, 0.25, 0.5, 0.75]
    assert mg.linspace(1, 2, 0).shape == (0,)


LIKE = [mg.zeros_like, mg.ones_like, lambda x, **o: mg.full_like(x, 0.5, **o), mg.rand_like, mg.randn_like]


@pytest.mark.parametrize("make", LIKE)
def test_creation_like_another(device, make):
    x = mg.ones((2, 3), dtype=mg.float64, requires_grad=True)
    with mg.use_device("cpu"):
        like = make(x)
    assert (like.shape, like.dtype, like.device, like.requires_grad) == (x.shape, x.dtype, x.device, False)
    other = make(x, dtype=mg.float32, device="cpu", requires_grad=True)
    assert (other.shape, other.dtype, other.device, other.requires_grad) == (x.shape, mg.float32, "cpu", True)


def test_values_like_another(device):
    x = mg.zeros((2, 2))
    assert mg.full_like(x, 0.5).tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert mg.full_like(mg.arange(2), 3).dtype == mg.int64
    assert mg.zeros_like(mg.ones(2)).tolist() == [0.0, 0.0]
    assert all(0 <= value < 1 for value in mg.rand_like(mg.zeros(100)).tolist())
    assert mg.randn_like(mg.zeros(1000)).std().item() == pytest.approx(1.0, abs=0.1)


def test_what_is_made_in_order_can_get_a_gradient(device):
    for x in (mg.arange(3.0, requires_grad=True), mg.linspace(0, 1, 3, requires_grad=True)):
        (x * x).sum().backward()
        assert x.grad.tolist() == (2 * x.detach()).tolist()
    assert mg.eye(2, requires_grad=True).requires_grad


def test_random_numbers_repeat_with_the_seed(device):
    def draw():
        mg.manual_seed(7)
        return mg.rand((3,)).tolist(), mg.randn((3,), dtype=mg.float64).tolist()

    first = draw()
    assert first == draw()
    mg.manual_seed(8)
    assert mg.rand((3,)).tolist() != first[0]
    assert all(0 <= value < 1 for value in mg.rand((1000,)).tolist())


BINARY = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.lt, operator.le,
          operator.gt, operator.ge, operator.eq, operator.ne]  # fmt: skip


@pytest.mark.parametrize("act", BINARY, ids=lambda act: act.__name__)
def test_operators(device, act):
    """Between tensors; test_interop.py has arrays and numbers on either side."""
    a, b = np.array([1.0, 2.0], dtype=np.float32), np.array([2.0, 2.0], dtype=np.float32)
    result, expected = act(mg.tensor(a), mg.tensor(b)), act(a, b)
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(result.to("cpu").numpy(), expected, rtol=1e-6)


def test_boolean_operators(device):
    x = mg.tensor([1.0, -1.0, 2.0])
    assert ((x > 0) & (x < 2)).tolist() == [True, False, False]
    assert ((x < 0) | (x > 1)).tolist() == [False, True, True]
    assert (~(x > 0)).tolist() == [False, True, False]


def test_python_protocols(device):
    x = mg.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert len(x) == 2
    assert [row.tolist() for row in x] == x.tolist()
    assert float(x[0, 0]) == 1.0
    assert int(x[1, 1]) == 4
    assert bool(mg.tensor(True))
    assert len({x, x, x[0]}) == 2  # tensors are told apart by identity
    assert (x == None, x != None) == (False, True)  # noqa: E711
    with pytest.raises(TypeError, match="0-d tensor has no length"):
        len(x[0, 0])


def test_augmented_assignment_rebinds(device):
    x = y = mg.ones(2)
    x += 1
    assert (x.tolist(), y.tolist()) == ([2.0, 2.0], [1.0, 1.0])


def test_numpy_interoperability():
    x = mg.tensor([1.0, 2.0])
    assert x.numpy() is x.data
    assert np.asarray(x) is x.data
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    with pytest.raises(TypeError, match="requires no gradient"):
        np.asarray(mg.ones(2, requires_grad=True))


def test_conversions(device):
    x = mg.tensor([1.5, -2.5], requires_grad=True)
    assert x.to(mg.float32) is x
    assert x.to("cpu").device == "cpu"
    y = x.to(mg.float64)
    assert y.dtype == mg.float64
    (y * y).sum().backward()
    assert x.grad.dtype == mg.float32
    assert x.grad.tolist() == [3.0, -5.0]
    assert x.detach().to(mg.int64).tolist() == [1, -2]


def test_a_device_and_a_dtype_in_any_order(device):
    x = mg.ones(2)
    for y in (
        x.to("cpu", mg.float64),
        x.to(mg.float64, "cpu"),
        x.to("cpu", dtype=mg.float64),
        x.to(mg.float64, device="cpu"),
        x.to(device="cpu", dtype="float64"),
        x.to("float64", "cpu"),
        x.to(np.dtype(np.float64)).to(device="cpu"),
    ):
        assert (y.device, y.dtype) == ("cpu", mg.float64)
    assert x.to(device=x.device, dtype=x.dtype) is x
    assert x.to("bool").dtype == mg.bool_
    assert x.to(bool).dtype == mg.bool_


def test_moving_between_devices_is_differentiable(device):
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    home = x.to("cpu")
    y = (home * 3).to(device)
    (y * x).sum().backward()
    assert x.grad.tolist() == [6.0, 12.0]
    assert x.grad.device == x.device


def test_writing_without_recording(device):
    x = mg.zeros((2, 2), requires_grad=True)
    with mg.no_grad():
        x[0] = mg.ones(2)
        x[1, 1] = 5.0
    assert x.tolist() == [[1.0, 1.0], [0.0, 5.0]]
    with pytest.raises(TypeError, match=r"\.data is an array"):
        x.data = [1.0]


def test_requires_grad_can_be_set_on_leaves(device):
    x = mg.ones(2)
    x.requires_grad = True
    y = x * 2
    assert y.requires_grad
    assert x.is_leaf
    assert not y.is_leaf
    with pytest.raises(RuntimeError, match="use x.detach"):
        y.requires_grad = False


def test_methods_follow_numpy(device):
    a = np.arange(6, dtype=np.float64).reshape(2, 3) + 0.5
    x = mg.tensor(a)
    for result, expected in [
        (x.sum(1), a.sum(1)),
        (x.mean(axis=0, keepdims=True), a.mean(axis=0, keepdims=True)),
        (x.var(ddof=1), a.var(ddof=1)),
        (x.max(-1), a.max(-1)),
        (x.argmax(1), a.argmax(1)),
        (x.std(axis=1, ddof=1), a.std(axis=1, ddof=1)),
        (x.cumsum(), a.cumsum()),
        (x.cumsum(axis=1), a.cumsum(axis=1)),
        ((x > 3).any(axis=0), (a > 3).any(axis=0)),
        ((x > 3).all(axis=1, keepdims=True), (a > 3).all(axis=1, keepdims=True)),
        (x.flatten(), a.flatten()),
        (x.T.ravel(), a.T.ravel()),
        (mg.tensor(2.5).flatten(), np.array([2.5])),
        (x.swapaxes(0, -1), a.swapaxes(0, -1)),
        (mg.swapaxes(x, 1, 1), a),
        (x.expand_dims(1), np.expand_dims(a, 1)),
        (x.expand_dims((0, -1)), np.expand_dims(a, (0, -1))),
        (x.broadcast_to(2, 2, 3), np.broadcast_to(a, (2, 2, 3))),
        (x.broadcast_to((2, 2, 3)), np.broadcast_to(a, (2, 2, 3))),
        (x.copy(), a),
        (x // 2, a // 2),
        (x % 2, a % 2),
        (7 // x, 7 // a),
        (7 % x, 7 % a),
        (x.clip(1.0, 3.0), a.clip(1.0, 3.0)),
        (x.T, a.T),
        (x.transpose(1, 0), a.T),
        (x.reshape(3, -1), a.reshape(3, -1)),
        (x.take([1, 0], axis=1), a.take([1, 0], axis=1)),
        (abs(-x), a),
        (x**2, a**2),
        (x**0.5, a**0.5),
        (2**x, 2**a),
        (mg.sum(x, 0), a.sum(0)),  # parameters may be positional, as in NumPy
        (x[[1, 0]], a[[1, 0]]),
        (x[..., None, ::-1], a[..., None, ::-1]),
    ]:
        np.testing.assert_allclose(result.to("cpu").numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["abs", "sign", "exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tanh"])
def test_mathematical_methods_are_numpys_functions(device, name):
    a = np.array([0.5, 1.5])
    np.testing.assert_allclose(getattr(mg.tensor(a), name)().to("cpu").numpy(), getattr(np, name)(a), rtol=1e-12)


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "relu", "exp", "copy"])
def test_a_method_is_the_primitive(device, name):
    x = mg.tensor([0.5, -1.5], requires_grad=True)
    y = getattr(x, name)()
    assert repr(y).endswith(f"op={name})")
    if hasattr(mg, name):
        assert y.tolist() == getattr(mg, name)(x).tolist()


@pytest.mark.parametrize(
    ("source", "destination"), [(0, -1), (-1, 0), (1, 1), ((0, 1), (-1, -2)), ([2, 0], [0, 1]), ((), ())]
)
def test_moveaxis(device, source, destination):
    a = np.arange(24.0).reshape(2, 3, 4)
    y = mg.moveaxis(mg.tensor(a, requires_grad=True), source, destination)
    np.testing.assert_array_equal(y.detach().to("cpu").numpy(), np.moveaxis(a, source, destination))
    assert y.requires_grad


MISTAKES = {
    "sizes one by one": (lambda: mg.zeros(2, 3), TypeError, r"zeros: expected one shape, such as zeros\(\(2, 3\)\)"),
    "a dtype by position": (lambda: mg.rand((2, 3), mg.float64), TypeError, r"rand: .*the rest by name \(dtype="),
    "no shape": (lambda: mg.zeros(), TypeError, r"zeros\(\) missing 1 required positional argument: 'shape'"),
    "integers that need a gradient": (lambda: mg.arange(3, requires_grad=True), TypeError, r"only floating-point"),
    "a negative number of entries": (lambda: mg.linspace(0, 1, -1), ValueError, r"linspace: expected .* got -1"),
    "an unknown keyword": (lambda: mg.ones(2).sum(foo=1), TypeError, r"Tensor.sum\(\) got an unexpected keyword"),
    "too many arguments": (
        lambda: mg.ones(1, requires_grad=True).backward(1, 2, 3),
        TypeError,
        r"Tensor.backward\(\) takes from 1 to 2 positional",
    ),
    "too many arguments of a method": (lambda: mg.ones(2).tanh(1), TypeError, r"Tensor.tanh\(\) takes 1 positional"),
    "too few arguments": (lambda: mg.ones(2).swapaxes(0), TypeError, r"Tensor.swapaxes\(\) missing 1 required"),
    "a word for a dtype": (lambda: mg.ones(2).to("float"), TypeError, r"to: expected .* minigrad.float64, got 'float'"),
    "a short dtype": (lambda: mg.ones(2).to("f4"), TypeError, r"to: expected .* minigrad.float32, got 'f4'"),
    "a word for a device": (lambda: mg.ones(2).to("gpu"), mg.DeviceError, r"unknown device 'gpu'; expected one of"),
    "two devices": (
        lambda: mg.ones(2).to("cpu", device="cpu"),
        TypeError,
        r"to: expected a device, a dtype, or one of",
    ),
    "two dtypes": (lambda: mg.ones(2).to(mg.float32, mg.float64), TypeError, r"to: expected a device, a dtype, or one"),
    "nowhere": (lambda: mg.ones(2).to(), TypeError, r"to: expected a device, a dtype, or one of each, got \[\]"),
    "swapaxes": (lambda: mg.ones((2, 3)).swapaxes(0, 2), ValueError, r"swapaxes: expected axes from -2 to 1 .* got 2"),
    "moveaxis": (
        lambda: mg.moveaxis(mg.ones((2, 3)), 0.5, 1),
        ValueError,
        r"moveaxis: expected axes from -2 to 1 .* 0.5",
    ),
    "moveaxis twice": (lambda: mg.moveaxis(mg.ones((2, 3)), (0, 0), (0, 1)), ValueError, r"moveaxis: .* none twice"),
    "moveaxis to fewer": (lambda: mg.moveaxis(mg.ones((2, 3)), (0, 1), 0), ValueError, r"one destination for each"),
    "an attribute that is none": (lambda: setattr(mg.ones(2), "shape", (1, 2)), AttributeError, r"'Tensor' object"),
    "an update of a leaf": (
        mg.no_grad()(lambda: mg.ones(2, requires_grad=True).__imod__(2)),
        RuntimeError,
        r"leaves x as it was",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message(device, mistake):
    act, error, message = MISTAKES[mistake]
    with pytest.raises(error, match=message):
        act()


def test_recording_is_switched_by_a_bare_decorator(device):
    @mg.no_grad
    def quiet(x):
        return x * 2

    @mg.enable_grad
    def loud(x):
        return x * 2

    x = mg.ones(2, requires_grad=True)
    assert not quiet(x).requires_grad
    with mg.no_grad():
        assert loud(x).requires_grad
