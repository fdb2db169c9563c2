"""The character model on a device: what makes the host wait, what is copied, what is launched, what is held.

T: time steps   N: streams
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import minigrad as mg
from minigrad import nn, optim
from minigrad.nn import functional as F
from models.char_lm import checkpoint, evaluation, fitting, sampling
from models.char_lm.model import CharLM, Options
from models.char_lm.program import app
from models.char_lm.settings import Settings
from models.char_lm.training import Trainer
from models.char_lm.vocabulary import Vocabulary
from models.common.choice import Choice, choose
from models.common.errors import UserError

from .characters import sample_batch
from .counters import Counts
from .strict import strict

CELLS = ["rnn", "lstm", "gru"]
SENTENCE = "the quick brown fox jumps over the lazy dog. "
TEXT = Vocabulary(SENTENCE).encode(SENTENCE * 6).astype(np.int64)  # 270 characters


def small(cell: str = "lstm", **options: Any) -> CharLM:
    """A model on the default device, with all there is to it unless told otherwise."""
    mg.manual_seed(0)
    usual = {"hidden": 8, "embedding": 4, "layers": 2, "dropout": 0.2}
    return CharLM(Options(Vocabulary(SENTENCE).characters, cell, **(usual | options)))


def fit(model: CharLM, pause_at: int, folder: Path, report: Callable[..., None], **settings: Any) -> None:
    """A run's first updates on TEXT."""
    usual = {"batch": 2, "seq": 10, "eval_every": 1000, "save_every": 1000}
    device = mg.default_device()
    trainer = Trainer(model, [TEXT], Settings(**(usual | settings)), device)
    fitting.Fit(trainer, [TEXT[:20]], folder, {}, lambda *a, **k: None, report).go(pause_at)


def waits(before: Counts) -> Counts:
    """What the host waited for or copied since; launches aside."""
    return (strict.counts() - before)._replace(launches=0)


# Nothing is read, waited for or copied but what is meant to be ----------------------------------------


@pytest.mark.parametrize("embedding", [0, 4], ids=["one-hot", "embedded"])
@pytest.mark.parametrize("cell", CELLS)
def test_training_reads_the_loss_every_few_updates_and_nothing_else(cell: str, embedding: int, tmp_path: Path) -> None:
    """Three epochs with carried state, dropout, clipping and a schedule; the text goes to the device once."""
    with mg.use_device("strict"):
        model, looks, before = small(cell, embedding=embedding), [], strict.counts()

        def look(update: int, **news: float) -> None:
            looks.append((update, waits(before)))

        fit(model, 25, tmp_path, look, clip=0.1)
    assert looks == [(10, Counts(reads=1, uploads=1)), (20, Counts(reads=2, uploads=1)), (25, Counts(3, uploads=1))]


@pytest.mark.parametrize("cell", CELLS)
def test_evaluation_copies_the_text_once_and_reads_once(cell: str) -> None:
    with mg.use_device("strict"):
        model, before = small(cell), strict.counts()
        evaluation.evaluate(model, [TEXT], "strict", steps=20)
        assert waits(before) == Counts(reads=1, uploads=1)


@pytest.mark.parametrize("choice", [{"temperature": 0}, {"temperature": 0.7}, {"top_k": 9, "top_p": 0.8}], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_sampling_reads_some_characters_at_a_time(cell: str, choice: dict[str, Any]) -> None:
    model = small(cell)
    length = 2 * sampling.READ_EVERY + 5
    options: Any = {"prime": "the ", "seed": 5, **choice}
    text = "".join(sampling.sample(model, length, **options))
    model.to("strict")
    before, seen = strict.counts(), []
    for k, character in enumerate(sampling.sample(model, length, device="strict", **options)):
        seen.append(character)
        assert waits(before) == Counts(reads=k // sampling.READ_EVERY + 1, uploads=1)  # the prime
    assert "".join(seen) == text  # as on the CPU
    assert waits(before).reads == 3


@pytest.mark.parametrize("guesses", [None, 2])
def test_sampling_side_by_side_waits_no_more_often(guesses: int | None) -> None:
    """The prime is copied once for all; their random numbers and what was drawn, every few symbols."""
    model = small().to("strict")
    before, length = strict.counts(), 2 * sampling.READ_EVERY + 5
    found = sample_batch(model, length, 3, prime="the ", choice=Choice(0.7, 9, 0.8), guesses=guesses, device="strict")
    assert [len(one.text) for one in found] == [length] * 3
    assert waits(before) == Counts(reads=3, uploads=1 + 3)


def test_sampling_on_the_cpu_gives_each_character_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, steps, step = small(), [], CharLM.step
    monkeypatch.setattr(CharLM, "step", lambda self, *given: steps.append(1) or step(self, *given))
    for k, _ in enumerate(sampling.sample(model, 6, prime="t")):
        assert len(steps) == k


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0, 1.0])
def test_a_model_without_numbers_says_so_on_every_device(device: str, temperature: float, number: float) -> None:
    model = small()
    nn.init.constant_(model.output.bias, number)
    with pytest.raises(UserError, match="its training must have diverged"):
        list(sampling.sample(model, 3, prime="a", temperature=temperature, device=device))


def test_characters_are_drawn_as_often_as_they_are_expected(device: str) -> None:
    """The first i with p_0 + ... + p_i > u, at the edges too; and 0 of what is impossible."""
    p = np.array([[0.25, 0.0, 0.5, 0.25]])
    with np.errstate(divide="ignore"):
        logits = mg.tensor(np.log(p) + 3.0)
    for u, expected in [(0.0, 0), (0.2499, 0), (0.2501, 2), (0.7499, 2), (0.7501, 3), (1 - 2**-53, 3)]:
        assert choose(logits, Choice(1.0), u).tolist() == [expected]
    assert choose(mg.tensor([[1.0, 2.0, 2.0]]), Choice(0), 0.9).tolist() == [1]  # the first of the likeliest
    draws = [choose(logits, Choice(0.5), u).item() for u in np.random.default_rng(0).random(300)]
    squared = p[0] ** 2 / (p[0] ** 2).sum()
    np.testing.assert_allclose(np.bincount(draws, minlength=4) / len(draws), squared, atol=0.07)
    with np.errstate(over="ignore"):  # as in `sample`
        assert choose(mg.tensor([[0.0, 1.0]]), Choice(1e-320), 0.5).tolist() == [1]


def test_the_command_line_waits_for_nothing_else(tmp_path: Path) -> None:
    """Twenty updates, two ways of judging, 500 characters; parameters that were drawn by the host, and are saved."""
    (tmp_path / "text.txt").write_text(SENTENCE * 6)
    sizes = ["--hidden", "8", "--batch", "2", "--seq", "10", "--updates", "20", "--dropout", "0.1"]
    files = ["--data", str(tmp_path / "text.txt"), "--out", str(tmp_path / "run")]
    before = strict.counts()
    result = CliRunner().invoke(app, ["train", *files, *sizes, "--device", "strict"])
    assert result.exit_code == 0, result.output
    parameters = len(checkpoint.load(tmp_path / "run").model.state_dict())
    characters = -(-500 // sampling.READ_EVERY)
    best, last = parameters, parameters + 2 * parameters + 2  # Adam's moments, the carried state
    judged, moved = 1 + 1, 2 * parameters  # as it trains, and at its end; the model drawn, and the best one
    assert waits(before) == Counts(reads=2 + best + last + judged + characters, uploads=moved + 1 + 2 + 1)


# Memory -------------------------------------------------------------------------------------------------


def chunks(model: CharLM, count: int, detaches: bool = True) -> Iterator[None]:
    """Truncated backpropagation through time over so many chunks, T = 6 and N = 3; a stop after each.

    Without `detach` each chunk goes back to the first one, and the parameters, which that needs, stay as they are.
    """
    optimizer = optim.Adam(model.parameters())
    ids = mg.tensor(np.resize(TEXT, (6 * count + 1, 3)))
    state: Any = None
    for start in range(0, 6 * count, 6):
        state = mg.detach(state) if detaches else state
        logits, state = model(ids[start : start + 6], state)
        loss = F.cross_entropy(logits.reshape(18, -1), ids[start + 1 : start + 7].reshape(18))
        optimizer.zero_grad()
        loss.backward(retain_graph=not detaches)
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        if detaches:
            optimizer.step()
        yield


def held(model: CharLM, count: int, detaches: bool = True) -> list[tuple[int, int]]:
    """The bytes of all arrays after each chunk, and the most there were meanwhile."""
    found = []
    strict.forget_peak()
    for _ in chunks(model, count, detaches):
        found.append((strict.live, strict.peak))
        strict.forget_peak()
    return found


@pytest.mark.parametrize("cell", CELLS)
def test_chunks_leave_the_memory_flat(cell: str, without_collector: None) -> None:
    with mg.use_device("strict"):
        found = held(small(cell), 8)
    assert len(set(found[2:])) == 1


@pytest.mark.parametrize("cell", CELLS)
def test_without_detach_every_chunk_holds_more(cell: str, without_collector: None) -> None:
    with mg.use_device("strict"):
        (*_, before, last) = held(small(cell), 5, detaches=False)
    assert last[0] > before[0]
    assert last[1] > before[1]


@pytest.mark.parametrize("cell", CELLS)
def test_training_leaves_the_memory_flat(
    cell: str, without_collector: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The program's own loop, over the epochs too."""
    monkeypatch.setattr(fitting, "READ_EVERY", 1)
    live = []
    with mg.use_device("strict"):
        fit(small(cell), 25, tmp_path, lambda update, **_: live.append(strict.live), average=0.9)
    assert len(live) == 25
    assert len(set(live[2:])) == 1


# On a GPU -------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("cell", CELLS)
def test_the_pool_of_cupy_stays_as_it_is(cell: str, cupy: Any) -> None:
    pool, found = cupy.get_default_memory_pool(), []
    with mg.use_device("cuda"):
        model = small(cell)
        for _ in chunks(model, 8):
            mg.synchronize()
            found.append(pool.total_bytes())
        arrays = [x.data for p in model.parameters() for x in (p, p.grad) if x is not None]
    assert len(set(found[2:])) == 1
    assert all(isinstance(array.data.mem, cupy.cuda.memory.PooledMemory) for array in arrays)
    assert pool.used_bytes() >= sum(array.nbytes for array in arrays)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:cupyx.allow_synchronize")
@pytest.mark.parametrize("cell", CELLS)
def test_cupy_itself_sees_no_wait(cell: str, cupy: Any) -> None:
    import cupyx

    with mg.use_device("cuda"):
        steps = chunks(small(cell), 5)
        next(steps)  # what was copied to the device, was copied by now
        with cupyx.allow_synchronize(False):
            assert len(list(steps)) == 4


@pytest.mark.parametrize("cell", CELLS)
def test_a_model_from_a_device_goes_on_where_there_is_none(device: str, cell: str, tmp_path: Path) -> None:
    """Train, look at it, save it; and load it on the CPU, where it expects and writes the same."""
    model, news = small(cell, dropout=0.0), []
    fit(model, 12, tmp_path, lambda update, **news_of: news.append((update, news_of)), lr=0.02)
    assert [update for update, _ in news] == [10, 12]
    assert all(math.isfinite(p["loss"]) and p["gradient_norm"] > 0 for _, p in news)
    loss = evaluation.evaluate(model, [TEXT], device, steps=50)
    text = "".join(sampling.sample(model, 40, prime="the", temperature=0.5, seed=1, device=device))
    with mg.use_device("cpu"):
        loaded = checkpoint.load(tmp_path / checkpoint.LAST).model
        assert {p.device for p in loaded.parameters()} == {"cpu"}
        assert evaluation.evaluate(loaded, [TEXT], "cpu") == pytest.approx(loss, rel=1e-4)
        assert "".join(sampling.sample(loaded, 40, prime="the", temperature=0.5, seed=1)) == text


@pytest.mark.parametrize("cell", CELLS)
def test_training_reaches_the_same_on_every_device(device: str, cell: str, tmp_path: Path) -> None:
    """From the same weights, without dropout, which draws from the device's own generator."""
    with mg.use_device("cpu"):
        model = small(cell, dropout=0.0)
        twin = copy.deepcopy(model)
    losses = []
    for m, where in ((model, "cpu"), (twin.to(device), device)):
        with mg.use_device(where):
            fit(m, 12, tmp_path, lambda update, **news: losses.append(news["loss"]))
    assert losses[:2] == pytest.approx(losses[2:], rel=1e-3)


# Launches -------------------------------------------------------------------------------------------------

# Of the parts of a step, on a device without kernels: forward, and backward with the copy that is handed out.
PARTS = {
    "embedding": (lambda x, ids: F.embedding(ids, x), (2, None)),  # backward adds up by index, in its own way
    "dropout": (lambda x, ids: F.dropout(x, 0.5), (4, 2)),
    "linear": (lambda x, ids: F.linear(x, x, x[:, 0].detach()), (2, 3)),
    "negative log-likelihood": (lambda x, ids: F.nll_loss(x, ids), (12, 5)),
    "detach": (lambda x, ids: mg.detach((x, x))[0], (0, None)),
}


@pytest.mark.parametrize("name", PARTS)
def test_launches_of_the_parts_of_a_step(name: str) -> None:
    act, (forward, backward) = PARTS[name]
    with mg.use_device("strict"):
        x, ids = mg.randn((5, 5), requires_grad=True), mg.tensor([0, 4, 2, 2, 1])
        before = strict.counts()
        y = act(x, ids)
        assert strict.counts() - before == Counts(launches=forward)
        if backward is not None:
            g, before = mg.ones(y.shape), strict.counts()
            mg.grad(y, x, g)
            assert strict.counts() - before == Counts(launches=backward)


# Of a whole step where there are kernels, whatever T is: forward, backward, clipping, the optimizer's (7 parameters).
STEPS = {"rnn": [22, 26, 16, 7], "lstm": [24, 27, 16, 7], "gru": [21, 26, 16, 7]}


@pytest.mark.parametrize("cell", CELLS)
def test_launches_of_a_step_with_kernels(cell: str, emulated: list[Any]) -> None:
    with mg.use_device("strict"):
        model, state, found = small(cell, layers=1), None, []
        optimizer = optim.Adam(model.parameters())
        for steps in (24, 24, 40):  # at first kernels and the optimizer's state are made
            ids = mg.tensor(np.resize(TEXT, (steps + 1, 3)))
            counts = [strict.counts()]
            state = mg.detach(state)
            logits, state = model(ids[:-1], state)
            loss = F.cross_entropy(logits.reshape(3 * steps, -1), ids[1:].reshape(3 * steps))
            counts.append(strict.counts())
            optimizer.zero_grad()
            loss.backward()
            counts.append(strict.counts())
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            counts.append(strict.counts())
            optimizer.step()
            counts.append(strict.counts())
            found.append([b - a for a, b in itertools.pairwise(counts)])
    for step in found[1:]:
        assert all(counted._replace(launches=0) == Counts() for counted in step)
        assert [counted.launches for counted in step] == STEPS[cell]
