"""Text drawn from the character model: which symbols, how often, and how likely; prime texts and stop strings.

V: vocabulary   N: samples side by side
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F
from models.char_lm import evaluation, sampling
from models.char_lm.model import CharLM, Options
from models.char_lm.sampling import gather, pieces, sample
from models.char_lm.unfolding import Unfolding
from models.char_lm.vocabulary import Vocabulary
from models.common.choice import Choice, choose
from models.common.errors import UserError
from tests.characters import CELLS, SENTENCE, sample_batch, small


def expecting(p, unit="char"):
    """A model that expects symbols with the probabilities p, whatever it has read."""
    characters = "".join(chr(ord("a") + k) for k in range(len(p))) if unit == "char" else ""
    model = CharLM(Options(characters, "rnn", hidden=2, embedding=2, unit=unit))
    nn.init.zeros_(model.output.weight)
    bias = np.full(256, -np.inf, np.float32) if unit == "byte" else np.zeros(len(p), np.float32)
    with np.errstate(divide="ignore"):
        bias[: len(p)] = np.log(p)
    model.load_state_dict(model.state_dict() | {"output.bias": bias})
    return model


def whole(model, text):
    """The logits (T, V) of a model that reads a text at once."""
    ids = model.vocabulary.encode(text).astype(np.int64)
    with mg.no_grad():
        return model.eval()(mg.tensor(ids.reshape(-1, 1)))[0].squeeze(1)


def written(model, length=30, **options):
    return "".join(sample(model, length, **({"prime": "the"} | options)))


# Which symbol -------------------------------------------------------------------------------------------


def test_sampling_repeats_with_the_seed(device):
    model, vocabulary = small()

    def text(**options):
        return written(model, device=device, **options)

    assert text(seed=1) == text(seed=1) != text(seed=2)
    assert set(text(seed=1)) <= set(vocabulary.characters)
    assert text(temperature=0, seed=1) == text(temperature=0, seed=2) == text(temperature=1e-6, seed=3)


@pytest.mark.parametrize("cell", CELLS)
def test_temperature_0_takes_the_likeliest_of_what_the_model_expects(cell):
    model, vocabulary = small(cell)
    text = "the" + written(model, 40, temperature=0)
    assert text[3:] == vocabulary.decode(whole(model, text).numpy().argmax(axis=-1)[2:-1])


@pytest.mark.parametrize("seed", range(3))
def test_the_ends_of_top_k_and_top_p(device, seed):
    """top-k 1 and a small top-p leave the likeliest symbol alone; all symbols, and the share 1, are as none."""
    model, vocabulary = small()
    likeliest, drawn = (written(model, temperature=t, seed=seed, device=device) for t in (0, 1.0))
    assert written(model, top_k=1, seed=seed, device=device) == likeliest
    assert written(model, top_p=1e-9, seed=seed, device=device) == likeliest
    for top_k in (0, len(vocabulary), 10**6):
        assert written(model, top_k=top_k, top_p=1.0, seed=seed, device=device) == drawn
    assert written(model, top_k=5, top_p=0.7, seed=seed, device=device) not in (likeliest, drawn)


# Logits that are often equal, next to each other, far apart, or those of what is impossible.
LOGITS = st.lists(
    st.sampled_from([0.0, 1.0, 1.0, 2.0, -3.0, 8.0, -math.inf]) | st.floats(-5, 5, width=32), min_size=1, max_size=12
).filter(lambda xs: max(xs) > -math.inf)


def allowed(xs, choice):
    """The numbers that may be drawn, by the definition: one after another, the likeliest first."""
    scaled = np.array(xs, np.float32).astype(np.float64)
    p = np.exp((scaled - scaled.max()) / choice.temperature)
    order = sorted(range(len(xs)), key=lambda i: (-xs[i], i))[: choice.top_k or None]
    whole, before, kept = sum(p[i] for i in order), 0.0, set()
    for i in order:
        if choice.top_p < 1 and kept and before >= choice.top_p * whole:
            break
        kept.add(i)
        before += p[i]
    return {i for i in kept if p[i] > 0}, p


@given(
    LOGITS,
    st.sampled_from([0.3, 1.0, 2.5]),
    st.integers(0, 13),
    st.sampled_from([1e-9, 0.1, 0.317, 0.5, 0.777, 0.9, 1.0]),
)
def test_nothing_else_is_ever_drawn(device, xs, temperature, top_k, top_p):
    """And everything within the set is: with the shares that it has there."""
    choice = Choice(temperature, top_k, top_p)
    us = (np.arange(200) + 0.5) / 200
    logits = mg.tensor(np.array([xs] * len(us), np.float32))
    with np.errstate(all="ignore"):
        drawn = choose(logits, choice, mg.tensor(us[:, None])).tolist()
    # Where a sum meets the share to the last bits, rounding says whether one more symbol is in.
    least, p = allowed(xs, Choice(temperature, top_k, top_p * (1 - 1e-9) if top_p < 1 else 1.0))
    most, _ = allowed(xs, Choice(temperature, top_k, min(top_p * (1 + 1e-9), 1.0)))
    assert set(drawn) <= most
    kept = most if set(drawn) - least else least
    shares = np.array([p[i] if i in kept else 0.0 for i in range(len(xs))])
    counted = np.bincount(drawn, minlength=len(xs)) / len(us)
    np.testing.assert_allclose(counted, shares / shares.sum(), atol=1 / 200 + 1e-9)


def test_ties_go_to_the_smaller_number(device):
    logits = mg.tensor(np.float32([[1, 2, 2, 1, 2, 1]] * 4))
    us = mg.tensor(np.array([[0.0], [0.4], [0.6], [0.99]]))
    assert choose(logits, Choice(top_k=1), us).tolist() == [1, 1, 1, 1]
    assert choose(logits, Choice(top_k=2), us).tolist() == [1, 1, 2, 2]
    assert choose(logits, Choice(1e-3, top_p=0.5), us).tolist() == [1, 1, 2, 2]  # a third each: two reach the half
    assert choose(mg.zeros((4, 4)), Choice(top_p=0.5), us).tolist() == [0, 0, 1, 1]  # two are the half itself
    assert choose(logits, Choice(top_k=4, top_p=1.0), us).tolist() == [0, 1, 2, 4]
    assert choose(logits, Choice(0, top_k=3), 0.9).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("options", "squared"),
    [
        ({}, [0.4, 0.3, 0.2, 0.1]),
        ({"temperature": 0.5}, [0.16, 0.09, 0.04, 0.01]),
        ({"top_k": 2}, [0.4, 0.3, 0, 0]),
        ({"top_p": 0.8}, [0.4, 0.3, 0.2, 0]),
        ({"top_k": 3, "top_p": 0.7}, [0.4, 0.3, 0, 0]),  # of 0.9, the share 0.7 is 0.63
    ],
)
def test_how_often_each_symbol_is_drawn(options, squared):
    """χ² of 1000 draws: above 16.3 for one in a thousand seeds."""
    text = written(expecting([0.4, 0.3, 0.2, 0.1]), 1000, prime="a", seed=7, **options)
    counts = np.array([text.count(character) for character in "abcd"])
    expected = np.array(squared) / sum(squared) * len(text)
    assert not counts[expected == 0].any()
    drawn = expected > 0
    assert ((counts - expected)[drawn] ** 2 / expected[drawn]).sum() < 16.3


# Side by side -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_a_sample_is_the_same_whatever_their_number(device, cell):
    model, _ = small(cell, layers=2)
    options = {"prime": "the ", "choice": Choice(0.8, 10, 0.9), "seed": 4, "device": device}
    texts = [one.text for one in sample_batch(model, 40, 3, **options)]
    assert len(set(texts)) == 3
    assert [one.text for one in sample_batch(model, 40, 2, **options)] == texts[:2]
    assert written(model, 40, prime="the ", temperature=0.8, top_k=10, top_p=0.9, seed=4, device=device) == texts[0]


def test_each_sample_has_its_own_stop():
    model, _ = small()
    free = [one.text for one in sample_batch(model, 60, 4, prime="the")]
    stopped = sample_batch(model, 60, 4, prime="the", stop=["a", "qu"])
    assert len({len(one.text) for one in stopped}) > 1
    for text, one in zip(free, stopped, strict=True):
        ends = [text.index(stop) for stop in ("a", "qu") if stop in text]
        assert one.text == text[: min(ends, default=None)]
        assert one.stop == ((text[min(ends) :].startswith("qu") and "qu") or "a" if ends else None)
        assert "".join(piece.symbol for piece in one.pieces) == one.text + (one.stop or "")


# How likely ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 3])
def test_log_probabilities_are_those_of_the_model_itself(device, samples):
    model, vocabulary = small("gru")
    found = sample_batch(model, 40, samples, prime="the", choice=Choice(0.5, 9, 0.9), guesses=3, device=device)
    for one in found:
        logp = F.log_softmax(whole(model, "the" + one.text).astype(mg.float64), dim=-1)[2:-1].to("cpu").numpy()
        drawn = [logp[t, i] for t, i in enumerate(vocabulary.encode(one.text))]
        np.testing.assert_allclose([piece.logprob for piece in one.pieces], drawn, rtol=1e-4)
        assert one.logprob == pytest.approx(sum(drawn), rel=1e-5)
        for piece, row in zip(one.pieces, logp, strict=True):
            best = np.argsort(-row)[:3]
            assert [symbol for symbol, _ in piece.guesses] == [vocabulary.characters[i] for i in best]
            np.testing.assert_allclose([value for _, value in piece.guesses], row[best], rtol=1e-4)


def test_the_sum_of_log_probabilities_is_what_evaluation_gives():
    model, vocabulary = small()
    (one,) = sample_batch(model, 50, 1, prime="t", guesses=0)
    nats = evaluation.evaluate(model, [vocabulary.encode("t" + one.text)])
    assert one.logprob == pytest.approx(-50 * nats, rel=1e-5)
    assert all(piece.guesses == () for piece in one.pieces)


# Text ---------------------------------------------------------------------------------------------------


def unfold(symbols, stops=(), unit="char"):
    text = Unfolding(Vocabulary("abc", unit), stops)
    parts = []
    for number in symbols:
        parts.append(text.add(number))
        if text.stop is not None:
            break
    return parts, "".join(parts) + text.end(), text.stop


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_stop_strings(text, stops):
    """The text ends before the stop string that is completed first; nothing of it is ever given out."""
    parts, found, stop = unfold(Vocabulary("abc").encode(text).tolist(), stops)
    ended = next((n for n in range(len(text) + 1) for s in stops if text[:n].endswith(s)), None)
    if ended is None:
        assert (found, stop) == (text, None)
    else:
        longest = max((s for s in stops if text[:ended].endswith(s)), key=len)
        assert (found, stop) == (text[: ended - len(longest)], longest)
    for n in range(len(parts)):  # what is held back may be the beginning of a stop string, and is no longer than that
        held = text[: n + 1].removeprefix("".join(parts[: n + 1]))
        assert (stop is not None and n == len(parts) - 1) or held == "" or any(s.startswith(held) for s in stops)


@given(st.binary(max_size=30) | st.text(max_size=10).map(lambda text: text.encode("utf-8", "ignore")))
def test_bytes_become_whole_characters(raw):
    parts, found, _ = unfold(raw, unit="byte")
    assert "".join(parts) == found
    decoded = raw.decode("utf-8", "replace")
    assert found in (decoded, decoded.removesuffix("\ufffd"))  # but for a character that the end cuts
    assert unfold("é☃🎈".encode(), unit="byte")[0] == ["", "é", "", "", "☃", "", "", "", "🎈"]


@given(st.text("ab☃é", min_size=1, max_size=12), st.text("ab☃é", min_size=1, max_size=3))
def test_stop_strings_of_bytes(text, stop):
    _, found, stopped = unfold(text.encode(), [stop], unit="byte")
    assert found == text.split(stop)[0]
    assert stopped == (stop if stop in text else None)


def test_invalid_bytes_and_stop_strings_in_a_model_of_bytes(device):
    model = expecting([0.0] * 255 + [1.0], "byte")
    assert written(model, 3, prime="☃", device=device) == "\ufffd" * 3
    assert written(model, 9, prime="☃", stop=["\ufffd\ufffd"], device=device) == ""
    (one,) = sample_batch(model, 2, 1, prime="☃", guesses=1, device=device)
    assert [piece.symbol for piece in one.pieces] == [255, 255]
    assert one.pieces[0].guesses == ((255, 0.0),)
    cut = expecting([0.0] * 0xC3 + [1.0], "byte")
    assert written(cut, 1, device=device) == ""  # the first half of a character


def test_what_may_begin_a_stop_string_is_given_out_at_the_end():
    model = expecting([1.0])
    assert written(model, 5, prime="a", stop=["aaaaaaa"]) == "aaaaa"
    assert list(sample(model, 5, prime="a", stop="aaaaaa")) == ["aaaaa"]  # one string, held back to the end


def test_a_long_prime_is_read_in_parts(monkeypatch):
    model, _ = small()
    text = written(model, prime=SENTENCE)
    monkeypatch.setattr(sampling, "STEPS", 7)
    assert written(model, prime=SENTENCE) == text


def test_nothing_is_drawn_of_length_0():
    assert list(sample(small()[0], 0, prime="a")) == []
    (one,) = sample_batch(small()[0], 0, 1, prime="a", guesses=1)
    assert (one.text, one.stop, one.logprob) == ("", None, 0.0)


def test_unknown_characters_in_the_prime():
    model, _ = small()
    assert written(model, prime="THEthe", unknown="skip") == written(model)
    rare = CharLM(Options("ab\ufffd", hidden=4, embedding=4))
    assert written(rare, prime="aéb", unknown="replace") == written(rare, prime="a\ufffdb")


# Mistakes -----------------------------------------------------------------------------------------------

MISTAKES = [
    ({"prime": "THE"}, "'T' at position 0 is not in the vocabulary"),
    ({"prime": ""}, "the prime text is empty"),
    ({"prime": "É", "unknown": "skip"}, "the prime text has no character that the model knows"),
    ({"prime": "a\udcff"}, "the character '.udcff' at position 1 is not in the vocabulary"),
    ({"prime": "THE", "unknown": "replace"}, "there is no U.FFFD in the vocabulary"),
    ({"unknown": "ignore"}, "there is no policy 'ignore' for unknown characters"),
    ({"temperature": -1.0}, "the temperature must be 0 or more, got -1.0"),
    ({"temperature": math.nan}, "the temperature must be 0 or more, got nan"),
    ({"temperature": math.inf}, "the temperature must be 0 or more, got inf"),
    ({"top_k": -1}, "top-k must be 1 or more, or 0 for all symbols, got -1"),
    ({"top_p": 0.0}, "top-p must be above 0 and at most 1, got 0.0"),
    ({"top_p": 1.5}, "top-p must be above 0 and at most 1, got 1.5"),
    ({"top_p": math.nan}, "top-p must be above 0 and at most 1, got nan"),
    ({"stop": [""]}, "a stop string is empty"),
    ({"stop": ""}, "a stop string is empty"),
    ({"seed": -1}, "the seed must be 0 or more, got -1"),
    ({"length": -1}, "the length must be 0 or more, got -1"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES)
def test_sampling_with_wrong_options(options, message):
    with pytest.raises(UserError, match=message):  # at once, not with the first symbol
        sample(small()[0], **({"prime": "a", "length": 5} | options))


def test_batches_with_wrong_options():
    model, _ = small()
    with pytest.raises(UserError, match="the number of samples must be 1 or more, got 0"):
        pieces(model, 5, 0, prime="a")
    with pytest.raises(UserError, match="the number of guesses must be 0 or more, got -1"):
        pieces(model, 5, prime="a", guesses=-1)


@pytest.mark.parametrize("options", [{}, {"choice": Choice(0)}, {"choice": Choice(1.0, 3, 0.5)}, {"guesses": 2}])
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_model_without_numbers_says_so(device, options, number):
    model, _ = small()
    nn.init.constant_(model.output.bias, number)
    for samples in (1, 3):
        with pytest.raises(UserError, match="its training must have diverged"):
            gather(pieces(model, 3, samples, prime="a", device=device, **options), samples)
