"""A loss that contains the norm of a gradient, as in WGAN-GP, trains through every recurrent layer.

T: time steps   N: batch   D: input size   H: hidden size
"""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import minigrad as mg
from minigrad import nn, optim
from minigrad.graph import Node
from minigrad.nn.utils import rnn
from minigrad.testing import Sequences, gradcheck
from minigrad.testing import strategies as mst

from .helpers import host, on
from .test_equations import KINDS
from .test_recurrent_properties import stay_clear_of_bends

pytestmark = pytest.mark.fusing

T, N, D, H = 3, 2, 2, 2
the_three = pytest.mark.parametrize("kind", ["rnn-tanh", "lstm", "gru"])


class Critic(nn.Module):
    """A number for each sequence: (T, N, D) -> (N,)"""

    def __init__(self, layer: Any, width: int) -> None:
        self.layer, self.output = layer, mg.testing.seeded(nn.Linear, width, 1)

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        return self.output(self.layer(x)[0][-1]).squeeze(-1)


def critic_of(kind: str, hidden: int = H, seed: int = 0) -> Critic:
    _, make, _, options = KINDS[kind]
    return Critic(mg.testing.seeded(make, D, hidden, **options, seed=seed), hidden)


def penalty(critic: Any, x: mg.Tensor) -> mg.Tensor:
    """mean (|∂critic(x)/∂x| - 1)²: Gulrajani et al. 2017, arXiv 1704.00028"""
    (slope,) = mg.grad(critic(x).sum(), x, create_graph=True)
    return ((mg.sqrt((slope * slope).sum(axis=(0, 2))) - 1) ** 2).mean()


def real_and_false(device: str, batch: int = N) -> tuple[mg.Tensor, mg.Tensor]:
    rng = np.random.default_rng(3)
    return on(device, rng.normal(size=(T, batch, D)) + 1), on(device, rng.normal(size=(T, batch, D)) - 1)


def wgan_loss(critic: Any, real: mg.Tensor, false: mg.Tensor, weight: float = 10.0) -> mg.Tensor:
    between = (0.5 * (real + false)).requires_grad_()
    return critic(false).mean() - critic(real).mean() + weight * penalty(critic, between)


@the_three
def test_every_entry_of_the_gradient_of_the_loss(kind: str, device: str) -> None:
    critic, (real, false) = critic_of(kind), real_and_false(device)
    assert gradcheck(lambda *_: wgan_loss(critic, real, false), dict(critic.named_parameters()))


@given(mst.modules(), mst.sequences())
def test_the_gradient_of_a_norm_of_a_gradient(device: str, layer: Any, sequences: Sequences) -> None:
    """Of any layer over any sequences, with respect to the input and every parameter."""
    input, state = sequences.of(layer)
    x = input.data if sequences.form == "packed" else input
    leaves = {"input": x, **dict(layer.named_parameters())}

    def outputs() -> mg.Tensor:
        mg.manual_seed(1)
        output, _ = layer(input, state)
        return output.data if isinstance(output, rnn.PackedSequence) else output

    def norms(*_: mg.Tensor) -> list[mg.Tensor]:
        found = mg.grad((outputs() ** 2).sum(), list(leaves.values()), create_graph=True, allow_unused=True)
        return [mg.sqrt((g * g).sum() + 1e-3) for g in found if g is not None]

    stay_clear_of_bends(outputs)
    assert gradcheck(norms, leaves, fast_mode=True)


@the_three
def test_pytorch_finds_the_same(kind: str, device: str) -> None:
    torch = pytest.importorskip("torch")
    critic, (real, false) = critic_of(kind, hidden=5), real_and_false(device)
    loss = wgan_loss(critic, real, false)
    loss.backward()
    layer = getattr(torch.nn, type(critic.layer).__name__)(D, 5, dtype=torch.float64)
    output = torch.nn.Linear(5, 1, dtype=torch.float64)
    for theirs, ours in ((layer, critic.layer), (output, critic.output)):
        theirs.load_state_dict({name: torch.from_numpy(host(x).copy()) for name, x in ours.state_dict().items()})

    def score(x: Any) -> Any:
        return output(layer(x)[0][-1]).squeeze(-1)

    a, b = (torch.from_numpy(host(x)) for x in (real, false))
    between = (0.5 * (a + b)).requires_grad_()
    (slope,) = torch.autograd.grad(score(between).sum(), between, create_graph=True)
    expected = score(b).mean() - score(a).mean() + 10 * ((slope.square().sum((0, 2)).sqrt() - 1) ** 2).mean()
    expected.backward()
    np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-12)
    for theirs, ours in ((layer, critic.layer), (output, critic.output)):
        for name, parameter in theirs.named_parameters():
            if parameter.grad is None:  # of the last bias, which no difference of scores depends on
                assert name == "bias"
                continue
            found = host(ours.get_parameter(name).grad)
            np.testing.assert_allclose(found, parameter.grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=name)


@the_three
def test_it_trains(kind: str, device: str) -> None:
    """The critic learns to tell real from false, with a slope of about 1 in between; no graph stays behind."""
    critic, (real, false) = critic_of(kind, hidden=6), real_and_false(device, batch=8)
    optimizer = optim.Adam(critic.parameters(), lr=0.05)
    between = (0.5 * (real + false)).requires_grad_()
    first, graphs = wgan_loss(critic, real, false).item(), []
    assert penalty(critic, between).item() > 0.5
    gc.collect()
    for step in range(30):
        optimizer.zero_grad()
        wgan_loss(critic, real, false).backward()
        optimizer.step()
        if step % 10 == 0:
            graphs.append(sum(type(each) is Node for each in gc.get_objects()))
    assert wgan_loss(critic, real, false).item() < first - 5
    assert penalty(critic, between).item() < 0.1
    assert critic(real).mean().item() > critic(false).mean().item() + 1
    assert len(set(graphs)) == 1
