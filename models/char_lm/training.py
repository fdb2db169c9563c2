"""Truncated backpropagation through time, with all its state in one place, so that it can be saved and gone on with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn, optim
from minigrad.nn import functional as F

from ..common.errors import UserError
from ..common.streams import Streams
from .averaging import Average
from .checkpoint import Checkpoint
from .model import CharLM
from .settings import Settings


class Trainer:
    """A model in training.

    Everything that the next update depends on is in here and in the device's random generator: weights, optimizer,
    carried state, average, and the number of updates so far, which gives the place in the text and in the schedule.
    `checkpoint` gives it, `restore` takes it over.
    """

    def __init__(self, model: CharLM, pieces: Any, settings: Settings, device: str = "cpu") -> None:
        self.model, self.settings, self.device = model, settings, device
        self.streams = Streams(pieces, settings.batch, settings.seq, device)
        matrices = [p for p in model.parameters() if p.ndim > 1]
        biases = [p for p in model.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": biases, "weight_decay": 0.0}]
        self.optimizer = optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.99))
        self.average = Average(model, settings.average)
        self.state: Any = None  # of the recurrent layers, after the last chunk
        self.updates = 0

    @property
    def lr(self) -> float:
        """The next update's learning rate: a rise, times half a cosine down to 0."""
        rise = min(1.0, (self.updates + 1) / (self.settings.warmup + 1))
        done = min(1.0, self.updates / self.settings.updates)
        return self.settings.lr * rise * (1 + math.cos(math.pi * done)) / 2

    def step(self) -> tuple[mg.Tensor, mg.Tensor]:
        """One update on the next chunk: its loss in nats per symbol, and the gradient's norm. Nothing is read."""
        self.model.train()
        number = self.updates % self.streams.chunks
        if number == 0:
            self.state = None  # an epoch begins: the streams start over, what came before does not fit
        inputs, targets = self.streams.chunk(number)
        self.state = mg.detach(self.state)  # carried, but no gradient flows into the chunk before: truncated BPTT
        logits, self.state = self.model(inputs, self.state)
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))

        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        self.optimizer.step()
        self.average.update()
        self.updates += 1
        return loss.detach(), norm

    # Saving and going on --------------------------------------------------------------------------

    def checkpoint(self, about: dict[str, Any]) -> Checkpoint:
        """All that is needed to go on, and `about` for others to read."""
        optimizer = self.optimizer.state_dict()
        arrays = {f"average.{name}": a.to("cpu").numpy() for name, a in self.average.values.items()}
        for number, values in optimizer["state"].items():
            arrays |= {f"optimizer.{number}.{name}": _host(value) for name, value in values.items()}
        arrays |= {f"state.{number}": _host(part) for number, part in enumerate(_parts(self.state))}
        progress = {
            "updates": self.updates,
            "averaged": self.average.updates,
            "groups": optimizer["param_groups"],
            "rng": {"device": self.device, "state": mg.get_rng_state(self.device)},
        }
        return Checkpoint(self.model, about | {"progress": progress}, arrays)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of the same settings; on another kind of device, with other random numbers.

        Raises:
            UserError: the checkpoint does not hold what is needed.
        """
        try:
            progress, arrays = checkpoint.about["progress"], checkpoint.arrays
            self.model.load_state_dict(checkpoint.model.state_dict())
            states: dict[int, dict[str, Any]] = {}
            state: dict[int, mg.Tensor] = {}
            for name, array in arrays.items():
                kind, _, rest = name.partition(".")
                if kind == "average":
                    self.average.values[rest][...] = mg.tensor(array, device=self.device)
                elif kind == "optimizer":
                    number, _, what = rest.partition(".")
                    states.setdefault(int(number), {})[what] = array
                elif kind == "state":
                    state[int(rest)] = mg.tensor(array, device=self.device)
            self.optimizer.load_state_dict({"state": states, "param_groups": progress["groups"]})
            parts = tuple(state[number] for number in sorted(state))
            self.state = None if not parts else parts if self.model.options.cell == "lstm" else parts[0]
            self.updates, self.average.updates = int(progress["updates"]), int(progress["averaged"])
            learned = sum(len(group["params"]) for group in self.optimizer.param_groups)
            averaged = {name for name in arrays if name.startswith("average.")}
            if len(averaged) < len(self.average.values) or (self.updates and (not parts or len(states) < learned)):
                raise ValueError("arrays of it are missing")
            if progress["rng"]["device"].partition(":")[0] == self.device.partition(":")[0]:
                mg.set_rng_state(progress["rng"]["state"], self.device)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UserError(f"this checkpoint cannot be gone on with: {type(error).__name__}: {error}") from error


def _parts(state: Any) -> tuple[Any, ...]:
    return () if state is None else state if isinstance(state, tuple) else (state,)


def _host(value: Any) -> np.ndarray:
    return value.detach().to("cpu").numpy() if isinstance(value, mg.Tensor) else np.asarray(value)
