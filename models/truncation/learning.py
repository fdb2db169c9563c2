"""TBPTT(k1, k2) on a model of characters: the gradient that it gives, what is learned by it, what it costs.

T: time steps   N: streams   V: vocabulary
"""

from collections.abc import Iterator

import numpy as np

from minigrad import Tensor, nn, optim
from minigrad.nn import functional as F

from ..char_lm.model import CharLM
from ..common import costs
from ..common.experiments import Row

Pair = tuple[int, int]  # k1, k2
Sequence = tuple[Tensor, Tensor]  # ids (T, N), and those that follow them (T, N)
HIDDEN = "rnn.weight_hh_l0"
CLIP = 1.0


def losses(model: CharLM, sequence: Sequence, pair: Pair, state: object = None) -> Iterator[tuple[Tensor, int, object]]:
    """Of each turn: its loss in nats per symbol, of how many time steps that is, and the state after them."""
    (inputs, targets), (k1, k2) = sequence, pair
    for steps, logits, last in nn.utils.rnn.tbptt(model, inputs, state, k1=k1, k2=k2):
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets[steps].reshape(-1))
        yield loss, steps.stop - steps.start, last


def add_gradients(model: CharLM, sequence: Sequence, pair: Pair, state: object = None) -> object:
    """Add the turns' gradients of the mean loss to those of the parameters; gives the state after the sequence."""
    for loss, steps, last in losses(model, sequence, pair, state):
        (loss * (steps / len(sequence[0]))).backward()
        after = last
    return after


def gradient(model: CharLM, sequence: Sequence, pair: Pair) -> dict[str, np.ndarray]:
    """The sum of the turns' gradients of the mean loss of a sequence, without an update between them."""
    model.zero_grad()
    add_gradients(model, sequence, pair)
    found = {name: p.grad.to("cpu").numpy().astype(np.float64) for name, p in model.named_parameters()}
    model.zero_grad()
    return found


def compared(found: dict[str, np.ndarray], full: dict[str, np.ndarray]) -> Row:
    """How far a gradient is from the full one: ‖g_k - g‖ / ‖g‖, and the cosine of the angle between both."""
    g_k, g = (np.concatenate([each.ravel() for each in gradients.values()]) for gradients in (found, full))
    return {
        "error": float(np.linalg.norm(g_k - g) / np.linalg.norm(g)),
        "cosine": float(g_k @ g / (np.linalg.norm(g_k) * np.linalg.norm(g))),
        "error of W_hh": float(np.linalg.norm(found[HIDDEN] - full[HIDDEN]) / np.linalg.norm(full[HIDDEN])),
    }


def learn(model: CharLM, sequence: Sequence, pair: Pair, lr: float, every: int | None = None) -> int:
    """Read a sequence once and learn: AdamW, whose lr falls to 0 by half a cosine. Returns the number of updates.

    Args:
        every: time steps between updates; k1 if None. With more, the gradients of the turns between are added up.
    """
    steps = len(sequence[0])
    every = pair[0] if every is None else every
    updates = -(-steps // every)
    optimizer = optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99))
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=updates)

    def update() -> None:
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()

    if every == pair[0]:
        for loss, _, _ in losses(model, sequence, pair):
            loss.backward()
            update()
        return updates
    state: object = None
    for start in range(0, steps, every):
        part = (sequence[0][start : start + every], sequence[1][start : start + every])
        state = add_gradients(model, part, pair, state)
        update()
    return updates


def peak(model: CharLM, sequence: Sequence, pair: Pair) -> int | None:
    """The most memory that a turn takes which looks back k2 steps, in bytes, with the gradients that it makes."""
    turns = losses(model, sequence, pair)
    for _ in range(-(-pair[1] // pair[0]) - 1):  # the first windows are shorter
        next(turns)[0].backward()
    model.zero_grad()
    found = costs.peak(lambda: next(turns)[0].backward())
    model.zero_grad()
    return found
