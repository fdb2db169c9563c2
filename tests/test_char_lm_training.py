"""Training the character model: what an update does, and going on as if nothing had been between."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from models.char_lm import checkpoint, evaluation, fitting
from models.char_lm.averaging import Average
from models.char_lm.model import CharLM
from models.char_lm.settings import Settings
from models.char_lm.training import Trainer
from models.common.errors import UserError
from tests.characters import CELLS, SENTENCE, small


def trainer_of(model, text, device="cpu", **settings):
    usual = {"batch": 4, "seq": 20, "lr": 0.02}
    return Trainer(model.to(device), [model.vocabulary.encode(text)], Settings(**(usual | settings)), device)


@pytest.mark.parametrize("cell", CELLS)
def test_training_learns_a_sentence_by_heart(device, cell):
    model, vocabulary = small(cell)
    trainer = trainer_of(model, SENTENCE * 30, device, updates=60, lr=0.05)
    losses = [trainer.step()[0].item() for _ in range(60)]
    assert losses[-1] < 0.5 < 2.0 < losses[0]
    assert evaluation.evaluate(model, [vocabulary.encode(SENTENCE * 30)], device) < 0.7


def test_training_is_deterministic():
    def run():
        model, _ = small(dropout=0.3)
        trainer = trainer_of(model, SENTENCE * 30, updates=20)
        for _ in range(20):
            trainer.step()
        return {name: p.tolist() for name, p in model.state_dict().items()}

    assert run() == run()


def test_training_carries_the_state_and_resets_it_at_the_wrap(monkeypatch):
    model, _ = small()
    seen, forward = [], CharLM.forward
    monkeypatch.setattr(
        CharLM, "forward", lambda self, ids, state=None: seen.append(state) or forward(self, ids, state)
    )
    trainer = trainer_of(model, (SENTENCE * 3)[:121], batch=2)  # 2 streams of 60: three chunks an epoch
    for _ in range(7):
        trainer.step()
    assert [state is None for state in seen] == [True, False, False, True, False, False, True]
    assert not any(part.requires_grad for state in seen if state for part in state)


def test_the_learning_rate_rises_and_falls():
    trainer = trainer_of(small()[0], SENTENCE * 30, updates=100, warmup=9, lr=0.5)
    rates = []
    for _ in range(100):
        trainer.step()
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == rates[9] < 0.5
    assert rates[50] == pytest.approx(0.25)
    assert all(a > b for a, b in itertools.pairwise(rates[9:]))
    assert trainer.lr == 0


def test_matrices_decay_and_biases_do_not():
    model, _ = small()
    groups = trainer_of(model, SENTENCE * 30, weight_decay=0.3).optimizer.param_groups
    assert [(g["weight_decay"], {p.ndim for p in g["params"]}) for g in groups] == [(0.3, {2}), (0.0, {1})]
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))


# The average of the weights -----------------------------------------------------------------------


def test_the_average_follows_the_weights(device):
    with mg.use_device(device):
        model = nn.Linear(1, 1, bias=False)
        average, expected = Average(model, 0.5), model.weight.item()
        for n, value in enumerate([1.0, 2.0, -3.0, 0.5, 4.0, 1.5, 2.5, 0.25, 3.0, 1.0], start=1):
            model.weight.data[...] = value
            average.update()
            decay = min(0.5, (1 + n) / (10 + n))
            expected = decay * expected + (1 - decay) * value
        with average.instead():
            assert model.weight.item() == pytest.approx(expected, rel=1e-6)
        assert model.weight.item() == 1.0
        with pytest.raises(RuntimeError), average.instead():
            raise RuntimeError
        assert model.weight.item() == 1.0


def test_no_average_is_the_weights_themselves():
    model = nn.Linear(2, 2)
    average = Average(model, 0.0)
    average.update()
    before = model.weight.data
    with average.instead():
        assert model.weight.data is before
    assert not average.values


# Going on -----------------------------------------------------------------------------------------


def all_of(trainer):
    """Everything that the next update depends on, bit by bit, as a file has it."""
    found = trainer.checkpoint({})
    weights = {name: p.numpy().tobytes() for name, p in found.model.state_dict().items()}
    arrays = {name: array.tobytes() for name, array in found.arrays.items()}
    return weights, arrays, json.loads(json.dumps(found.about))


@given(
    st.sampled_from(CELLS),
    st.integers(0, 9),
    st.fixed_dictionaries(
        {
            "layers": st.integers(1, 2),
            "embedding": st.sampled_from([0, 5]),
            "dropout": st.sampled_from([0.0, 0.4]),
            "dropout_input": st.sampled_from([0.0, 0.3]),
        }
    ),
    st.fixed_dictionaries(
        {"average": st.sampled_from([0.0, 0.9]), "warmup": st.integers(0, 5), "weight_decay": st.sampled_from([0, 0.1])}
    ),
)
def test_k_updates_and_the_rest_are_all_updates(tmp_path_factory, cell, k, options, settings):
    """Bit for bit, through a file, at every place of an epoch, which has three chunks."""
    text = (SENTENCE * 3)[:121]
    given_all = {"batch": 2, "updates": 9, **settings}
    straight = trainer_of(small(cell, **options)[0], text, **given_all)
    losses = [straight.step()[0].item() for _ in range(9)]

    first = trainer_of(small(cell, **options)[0], text, **given_all)
    found = [first.step()[0].item() for _ in range(k)]
    path = tmp_path_factory.mktemp("run") / "last.safetensors"
    checkpoint.save(path, first.checkpoint({}))
    again = trainer_of(small(cell, **options)[0], text, **given_all)
    mg.manual_seed(99)  # another process
    mg.rand(7)
    again.restore(checkpoint.load(path))
    found += [again.step()[0].item() for _ in range(9 - k)]
    assert found == losses
    assert all_of(again) == all_of(straight)


def test_a_checkpoint_that_cannot_be_gone_on_with():
    whole = trainer_of(small()[0], SENTENCE * 30, average=0.5)
    whole.step()
    for break_it in (
        lambda c: c.about.clear(),
        lambda c: c.about["progress"].pop("groups"),
        lambda c: c.about["progress"].update(groups=3),
        lambda c: c.about["progress"].update(rng={"device": "cpu", "state": {}}),
        lambda c: c.arrays.update({"optimizer.99.exp_avg": np.zeros(3)}),
        lambda c: c.arrays.update({"optimizer.0.exp_avg": np.zeros(3)}),
        lambda c: c.arrays.update({"average.weight": np.zeros(3)}),
        lambda c: c.arrays.update({"optimizer.x.y": np.zeros(3)}),
        lambda c: c.arrays.pop("state.1") is c.arrays.pop("state.0"),
        lambda c: c.arrays.pop("optimizer.3.exp_avg") is c.arrays.pop("optimizer.3.exp_avg_sq"),
        lambda c: c.arrays.pop("average.output.bias"),
    ):
        found = whole.checkpoint({})
        break_it(found)
        with pytest.raises(UserError, match="this checkpoint cannot be gone on with"):
            trainer_of(small()[0], SENTENCE * 30, average=0.5).restore(found)


def test_training_goes_on_on_another_device(device, tmp_path):
    """Without dropout, whose numbers are another device's own."""
    straight = trainer_of(small()[0], SENTENCE * 30)
    losses = [straight.step()[0].item() for _ in range(6)]
    first = trainer_of(small()[0], SENTENCE * 30, device)
    found = [first.step()[0].item() for _ in range(3)]
    checkpoint.save(tmp_path / "last.safetensors", first.checkpoint({}))
    again = trainer_of(small()[0], SENTENCE * 30)
    again.restore(checkpoint.load(tmp_path / "last.safetensors"))
    assert found + [again.step()[0].item() for _ in range(3)] == pytest.approx(losses, rel=1e-4)


# A run --------------------------------------------------------------------------------------------


def fit_of(model, folder, events, text=SENTENCE * 30, **settings):
    trainer = trainer_of(model, text, **({"updates": 40, "eval_every": 20} | settings))
    held_out = [model.vocabulary.encode(SENTENCE)]
    return fitting.Fit(
        trainer, held_out, folder, {}, lambda event, **facts: events.append((event, facts)), lambda *a, **k: None
    )


def test_a_run_keeps_the_best_weights(tmp_path):
    events = []
    fit = fit_of(small()[0], tmp_path, events, average=0.5, updates=60)
    assert fit.go() == "done"
    nats = [facts["nats"] for event, facts in events if event == "validation"]
    assert len(nats) == 3
    assert fit.best["nats"] == min(nats)
    best = checkpoint.load(tmp_path).model
    found = evaluation.estimate(best, fit.held_out)
    assert found == pytest.approx(min(nats), rel=1e-6)
    last = checkpoint.load(tmp_path / checkpoint.LAST)
    assert last.about["update"] == 60
    assert "progress" not in checkpoint.load(tmp_path / checkpoint.BEST).about


def test_a_run_stops_early(tmp_path, monkeypatch):
    heard = iter([3.0, 2.0, 2.5, 2.0, 2.1, 1.0])
    monkeypatch.setattr(evaluation, "estimate", lambda *a: next(heard))
    fit = fit_of(small()[0], tmp_path, [], updates=1000, eval_every=1, patience=3)
    assert fit.go() == "no better after 3 looks at the held-out text"
    assert fit.trainer.updates == 5
    assert fit.best["update"] == 2


def test_a_loss_that_is_no_number_stops_a_run_and_leaves_its_checkpoints(tmp_path):
    events = []
    fit = fit_of(small()[0], tmp_path, events, updates=100)
    fit.go(pause_at=20)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    nn.init.constant_(fit.trainer.model.output.bias, math.nan)
    with pytest.raises(
        UserError, match=r"the loss is nan .* at update 30.*as it was; go on .*--resume .*--lr, such as"
    ):
        fit.go()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert events[-1][0] == "end"


def test_an_explosion_stops_a_run_unless_it_is_told_not_to(tmp_path):
    for guard, exploded in ((1.5, True), (0, False)):
        model, _ = small()
        fit = fit_of(model, tmp_path, [], updates=10, eval_every=100, guard=guard, lr=1e-9)
        nn.init.constant_(model.output.bias, 0.0)
        model.output.bias.data[0] = 100.0
        if exploded:
            with pytest.raises(
                UserError, match=r"the loss exploded to .*, over 1.5 times that of guessing \(--guard\)"
            ):
                fit.go()
        else:
            assert fit.go() == "done"


@pytest.mark.parametrize(
    ("given_options", "message"),
    [
        ({"lr": 0}, "--lr must be positive, got 0"),
        ({"clip": math.nan}, "--clip must be positive, got nan"),
        ({"average": 1.0}, r"--average must be in \[0, 1\), got 1.0"),
        ({"weight_decay": -1.0}, "--weight-decay must be 0 or more"),
        ({"guard": math.inf}, "--guard must be 0 or more"),
        ({"cell": "qrnn"}, "there is no cell 'qrnn'; choose one of rnn, lstm, gru"),
        ({"split": "half"}, "there is no split 'half'; choose one of contiguous, streams"),
        ({"unit": "word"}, "there is no unit 'word'; choose one of char, byte"),
        ({"data": ["a"], "corpus": "b"}, "--data and --corpus both name a text"),
        ({"one_hot": True, "embedding": 3}, "leave --embedding out"),
    ],
)
def test_settings_that_cannot_be(given_options, message):
    with pytest.raises(UserError, match=message):
        Settings(**given_options)
