"""Modules in lists, in rows and by name."""

import pytest

import minigrad as mg
from minigrad import nn


def names_of(container):
    return [name for name, _ in container.named_children()]


def test_module_list():
    layers = nn.ModuleList([nn.Tanh()]).append(nn.ReLU())
    assert [type(layer) for layer in layers] == [nn.Tanh, nn.ReLU]
    assert type(layers[-1]) is nn.ReLU
    with pytest.raises(TypeError, match="ModuleList holds Modules, got list"):
        layers.append([])
    with pytest.raises(NotImplementedError, match="ModuleList has no forward"):
        layers(1)


MODULES = [nn.Tanh(), nn.ReLU(), nn.Sigmoid(), nn.Softsign(), nn.SiLU()]
CHANGES = {
    "setting": lambda xs: xs.__setitem__(-1, MODULES[4]),
    "deleting": lambda xs: xs.__delitem__(1),
    "deleting some": lambda xs: xs.__delitem__(slice(0, 2)),
    "inserting": lambda xs: xs.insert(1, MODULES[4]),
    "inserting at the end": lambda xs: xs.insert(100, MODULES[4]),
    "extending": lambda xs: xs.extend([MODULES[3], MODULES[4]]),
    "popping": lambda xs: xs.pop(),
    "popping the first": lambda xs: xs.pop(0),
    "repeating": lambda xs: xs.append(xs[0]),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", [nn.ModuleList, nn.Sequential])
def test_a_module_list_changes_as_a_list_does(kind, change):
    modules = list(MODULES[:3])
    container = kind(modules) if kind is nn.ModuleList else kind(*modules)
    CHANGES[change](container)
    CHANGES[change](modules)
    assert list(container) == modules
    assert [name for name, _ in container.named_modules(remove_duplicate=False)][1:] == [
        str(i) for i in range(len(modules))
    ]


def test_slices():
    layers = nn.ModuleList(MODULES)
    assert list(layers[1:3]) == MODULES[1:3]
    assert names_of(layers[1:3]) == ["0", "1"]
    sequence = nn.Sequential(*MODULES)
    assert type(sequence[2:]) is nn.Sequential
    assert names_of(sequence[2:]) == ["2", "3", "4"]  # as in PyTorch
    assert names_of(sequence[2:].append(nn.Tanh())) == ["2", "3", "4", "5"]
    assert list(sequence[::-1]) == MODULES[::-1]


def test_sequential_with_names():
    model = nn.Sequential({"hidden": nn.Linear(2, 3), "act": nn.Tanh()})
    assert names_of(model) == ["hidden", "act"]
    assert model.hidden is model[0]
    assert model(mg.zeros((4, 2))).shape == (4, 3)
    model[1] = nn.ReLU()
    assert names_of(model) == ["hidden", "act"]
    assert nn.Sequential()(5) == 5


def test_module_dict():
    tanh, relu, linear = nn.Tanh(), nn.ReLU(), nn.Linear(1, 1)
    modules = nn.ModuleDict([("b", tanh), ("a", relu)])
    modules["c"] = linear
    assert (modules.keys(), modules.values()) == (["b", "a", "c"], [tanh, relu, linear])
    modules["b"] = relu  # stays where it was
    assert modules.items() == [("b", relu), ("a", relu), ("c", linear)]
    assert "a" in modules
    assert "d" not in modules
    assert modules.pop("a") is relu
    del modules["b"]
    assert list(modules) == ["c"]
    assert list(modules.state_dict()) == ["c.weight", "c.bias"]
    modules.update({"d": tanh})
    assert modules.d is modules["d"] is tanh
    modules.clear()
    assert len(modules) == 0
    assert list(nn.ModuleDict(nn.ModuleDict({"x": tanh}))) == ["x"]


def test_a_wrong_update_changes_nothing():
    modules = nn.ModuleDict({"a": nn.Tanh()})
    for wrong in ({"b": nn.Tanh(), "c.d": nn.Tanh()}, {"b": nn.Tanh(), "c": 3}, {"b": nn.Tanh(), "keys": nn.Tanh()}):
        with pytest.raises((KeyError, TypeError)):
            modules.update(wrong)
    assert list(modules) == ["a"]
    layers = nn.ModuleList([nn.Tanh()])
    with pytest.raises(TypeError):
        layers.extend([nn.Tanh(), 3])
    assert len(layers) == 1


def test_a_module_inside_itself():
    parent, child = nn.ModuleList(), nn.ModuleList()
    child.parent = parent
    parent.append(child)
    with pytest.raises(ValueError, match=r"ModuleList contains itself, as its 0.parent"):
        list(parent.parameters())
