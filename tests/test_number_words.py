"""Numbers from English to Korean: the data, encoder and decoder, teacher forcing, beam search, the command line.

T: words   T': syllables, and the end   N: pairs   V: syllables, and the end   H: hidden size
"""

import itertools
import math
import re

import numpy as np
import pytest
from num2words import num2words

import minigrad as mg
from minigrad import nn, optim
from minigrad.nn import functional as F
from models.common import curves, saved
from models.common.errors import UserError
from models.number_words import data, pictures
from models.number_words.data import END, PAD, Pair
from models.number_words.model import Options, Translator
from models.number_words.program import PROGRAM, Settings, Translation
from models.number_words.search import search
from tests.programs import good, run

from .strict import strict

LEARNED, HELD_OUT = data.load()
TWO = Options(words=("a", "b", "c"), syllables=("가", "나"), longest=3, hidden=5, embedding=4)


def tiny(cell="gru", device="cpu", seed=0):
    """A model of two syllables that is unsure of everything, but not by the same amount."""
    mg.manual_seed(seed)
    model = Translator(Options(**(vars(TWO) | {"cell": cell}))).eval()
    for p in model.parameters():
        p.data *= 3
    return model.to(device)


# Data -------------------------------------------------------------------------------------------------


def test_every_number_is_learned_or_held_out():
    assert (len(LEARNED), len(HELD_OUT)) == (data.LEARNED, 2000)
    assert sorted(pair.number for pair in LEARNED + HELD_OUT) == list(range(10_001))
    assert data.load.__wrapped__() == (LEARNED, HELD_OUT)
    assert {0, 10_000} <= {pair.number for pair in LEARNED[:2]}


def test_the_first_few_that_are_learned_have_every_symbol():
    for of, few in (("words", LEARNED[:300]), ("syllables", LEARNED[:300])):
        known = {symbol for pair in few for symbol in getattr(pair, of)}
        assert known == {symbol for pair in LEARNED + HELD_OUT for symbol in getattr(pair, of)}
    assert len(known) == 14


# Sino-Korean numerals by their rule: each digit before its unit, and no 일 before one.
DIGITS, UNITS = "영일이삼사오육칠팔구", ("", "십", "백", "천", "만")


def in_korean(number):
    digits = [int(digit) for digit in str(number)][::-1]
    said = [DIGITS[d] * (d > 1 or not unit) + unit for d, unit in zip(digits, UNITS, strict=False) if d]
    return "".join(said[::-1]) or DIGITS[0]


def test_the_answers_are_the_numbers():
    assert all(pair.syllables == in_korean(pair.number) for pair in LEARNED + HELD_OUT)


def test_pairs_as_numbers():
    pairs = [Pair(1, ["b"], "나"), Pair(2, ["c", "a"], "나가")]
    batch = data.encode(pairs, TWO.words, TWO.syllables)
    assert batch.words.tolist() == [[1, 2], [0, 0]] and batch.lengths == [1, 2]
    assert batch.inputs.tolist() == [[3, 3], [2, 2], [END, 1]]
    assert batch.targets.tolist() == [[2, 2], [END, 1], [PAD, END]]


@pytest.mark.parametrize("text", ["241", "Two Hundred Forty-One", "two-hundred and forty one", " 2,41 "])
def test_a_number_is_read_however_it_is_written(text):
    assert data.read(text) == ["two", "hundred", "forty", "one"]


# The model --------------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru(weights, of, x, h):
    """The equations of the cell, for one x (D,) and h (H,)."""
    parts = (weights[f"{of}.rnn.{name}_l0"] for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh"))
    w_x, b_x, w_h, b_h = parts
    (r_x, z_x, n_x), (r_h, z_h, n_h) = np.split(w_x @ x + b_x, 3), np.split(w_h @ h + b_h, 3)
    r, z = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
    return (1 - z) * np.tanh(n_x + r * n_h) + z * h


def by_hand(weights, words, inputs, forced):
    """logits (T', V) of one pair, step by step."""
    h = np.zeros(TWO.hidden)
    for word in words:
        h = gru(weights, "encoder", weights["encoder.embedding.weight"][word], h)
    logits = []
    for t, right in enumerate(inputs):
        fed = right if t == 0 or forced[t] else int(np.argmax(logits[-1]))
        h = gru(weights, "decoder", weights["decoder.embedding.weight"][fed], h)
        logits.append(weights["decoder.output.weight"] @ h + weights["decoder.output.bias"])
    return np.array(logits)


WORDS, LENGTHS = np.array([[0, 2, 1], [1, 0, 1], [0, 0, 2]]), [2, 1, 3]
INPUTS = np.array([[3, 3, 3], [1, 2, 2], [2, 0, 1]])


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_model_is_its_equations(device, share):
    """Sources of different lengths, and symbols fed by others or by itself."""
    model = tiny(device=device)
    weights = {name: x.to("cpu").numpy().astype(np.float64) for name, x in model.state_dict().items()}
    forced = np.random.default_rng(1).random(INPUTS.shape) < share
    with mg.no_grad():
        given = [mg.tensor(WORDS), LENGTHS, mg.tensor(INPUTS)]
        logits = model(*given, mg.tensor(forced)).to("cpu").numpy()
        at_once = model(*given).to("cpu").numpy()
    for n, length in enumerate(LENGTHS):
        expected = by_hand(weights, WORDS[:length, n], INPUTS[:, n], forced[:, n])
        np.testing.assert_allclose(logits[:, n], expected, rtol=1e-4, atol=1e-5)
    if share == 1:
        np.testing.assert_allclose(at_once, logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_other_cells_step_as_they_run(cell):
    model = tiny(cell)
    with mg.no_grad():
        given = [mg.tensor(WORDS), LENGTHS, mg.tensor(INPUTS)]
        stepped = model(*given, mg.tensor(np.ones(INPUTS.shape, bool)))
        np.testing.assert_allclose(stepped.numpy(), model(*given).numpy(), rtol=1e-4, atol=1e-5)
        alone = model(mg.tensor(WORDS[:1, 1:2]), [1], mg.tensor(INPUTS[:, 1:2]))  # without what others fill up
        np.testing.assert_allclose(alone.numpy()[:, 0], model(*given).numpy()[:, 1], rtol=1e-4, atol=1e-5)


# Teacher forcing --------------------------------------------------------------------------------------


def test_the_share_of_forced_symbols_decays(monkeypatch):
    task = Translation(Settings(teacher_forcing=0.9, teacher_forcing_end=0.1, hidden=4, batch=512), "cpu")
    fed = []
    forward = Translator.forward
    monkeypatch.setattr(Translator, "forward", lambda *given: fed.append(given[-1].numpy()) or forward(*given))
    for done in 0.0, 0.5, 1.0:
        task.advance(done)
        task.loss()
    assert [forced.mean() for forced in fed] == pytest.approx([0.9, 0.5, 0.1], abs=0.03)  # of some 4,000 coins each
    assert 0 < fed[1][3].mean() < 1  # by symbol, not by pair or step


def test_what_is_filled_up_costs_nothing_and_brings_no_gradient(device):
    """A pair alone, and beside one that is longer: the same loss, and the same gradient of it."""
    mg.manual_seed(0)
    task = Translation(Settings(hidden=4, embedding=3), device)
    short, long = [LEARNED[0]], max(LEARNED, key=lambda pair: len(pair.syllables))

    def cost(pairs):
        batch = task._encoded(pairs)
        targets = batch.targets.copy()
        targets[:, 1:] = PAD  # the other is only beside it
        logits = task._expected(batch)
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), mg.tensor(targets.ravel()), ignore_index=PAD)
        gradients = mg.grad(loss, list(task.model.parameters()))
        return loss.item(), [g.to("cpu").numpy() for g in gradients]

    (alone, g), (beside, h) = cost(short), cost([*short, long])
    assert alone == pytest.approx(beside, rel=1e-5)
    for a, b in zip(g, h, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("forcing", [1.0, 0.5])
def test_an_update_reads_nothing(forcing):
    with mg.use_device("strict"):
        task = Translation(Settings(teacher_forcing=forcing, hidden=4, batch=8), "strict")
        task.advance(0.0)
        before = strict.counts()
        task.loss().backward()
        assert (strict.counts() - before).reads == 0
        assert all(p.grad is not None for p in task.model.parameters())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small model, after some seconds."""
    folder = tmp_path_factory.mktemp("number_words") / "run"
    good("number_words", "train", "--hidden", 64, "--updates", 250, "--lr", 0.01, "--eval-every", 250, "--out", folder)
    return folder


def test_a_small_one_learns(trained):
    """Most of what it never saw, and almost all symbols: chance is one in 15 of these, counting one in 5."""
    figures = PROGRAM.load(trained)[1]["figures"]
    assert figures["exact"] > 0.8 and figures["beam"] > 0.8
    assert figures["symbols"] > 0.96 and figures["free_symbols"] > 0.96 and figures["nats"] < 0.2
    assert figures["gap"] == pytest.approx(figures["free_nats"] - figures["nats"])


def test_fed_its_own_symbols_alone_it_learns_too():
    mg.manual_seed(0)
    task = Translation(Settings(hidden=64, teacher_forcing=0.0, teacher_forcing_end=0.0), "cpu")
    task.advance(0.0)
    optimizer = optim.Adam(task.model.parameters(), lr=0.01)
    for _ in range(80):
        optimizer.zero_grad()
        task.loss().backward()
        nn.utils.clip_grad_norm_(task.model.parameters(), 1.0)
        optimizer.step()
    with mg.no_grad():
        assert task.glance()["free_nats"] < 0.9 < min(each["nats"] for each in task.references().values()) / 2


def test_counting_pairs_of_syllables_is_what_it_says():
    task = Translation(Settings(hidden=2), "cpu")
    after, total = {}, 0.0
    for pair in LEARNED:
        for a, b in itertools.pairwise(["start", *pair.syllables, "end"]):
            after.setdefault(a, dict.fromkeys([*"영일이삼사오육칠팔구십백천만", "end"], 1))[b] += 1
    symbols = 0
    for pair in HELD_OUT:
        for a, b in itertools.pairwise(["start", *pair.syllables, "end"]):
            total -= math.log(after[a][b] / sum(after[a].values()))
            symbols += 1
    (figures,) = task.references().values()
    assert figures["nats"] == pytest.approx(total / symbols)


# Beam search ------------------------------------------------------------------------------------------


def every_answer(model, words):
    """log p of each answer there is: those that end, and those that are cut."""
    size, longest = len(TWO.syllables) + 1, TWO.longest
    found = {}
    for length in range(longest + 2):
        for symbols in itertools.product(range(1, size), repeat=length):
            right = [*symbols, END][: longest + 1]
            inputs = np.array([size, *right[:-1]])[:, None]
            logits = model(mg.tensor(np.array(words)[:, None]), [len(words)], mg.tensor(inputs))
            logp = F.log_softmax(logits[:, 0].astype(mg.float64), dim=-1).to("cpu").numpy()
            found[symbols] = logp[np.arange(len(right)), right].sum()
    return sorted(found.items(), key=lambda each: -each[1])


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("seed", range(3))
def test_a_beam_that_leaves_nothing_out_finds_all_answers_in_order(device, cell, seed):
    model = tiny(cell, device, seed)
    with mg.no_grad():
        for n, found in enumerate(search(model, WORDS, LENGTHS, 31, device)):
            expected = every_answer(model, WORDS[: LENGTHS[n], n].tolist())
            assert len(found) == len(expected) == 31  # 1 + 2 + 4 + 8 that end, and 16 that are cut
            assert [tuple(one.symbols) for one in found] == [symbols for symbols, _ in expected]
            np.testing.assert_allclose([one.logprob for one in found], [p for _, p in expected], atol=1e-4)
            assert all(one.ended == (len(one.symbols) <= TWO.longest) for one in found)
            assert sum(math.exp(one.logprob) for one in found) == pytest.approx(1)


def plain_beam(model, words, width):
    """The textbook: lists, one text, one hypothesis after another."""
    beam = [((), 0.0, False)]
    for _ in range(TWO.longest + 1):
        longer = []
        for symbols, score, ended in beam:
            if ended:
                longer.append((symbols, score, True))
                continue
            inputs = np.array([len(TWO.syllables) + 1, *symbols])[:, None]
            logits = model(mg.tensor(np.array(words)[:, None]), [len(words)], mg.tensor(inputs))[-1, 0]
            for symbol, logp in enumerate(F.log_softmax(logits.astype(mg.float64), dim=-1).tolist()):
                more = () if symbol == END else (symbol,)
                longer.append((symbols + more, score + logp, symbol == END))
        beam = sorted(longer, key=lambda each: -each[1])[:width]
    return beam


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_a_narrow_beam_is_the_textbooks(width, seed):
    model = tiny(seed=seed)
    with mg.no_grad():
        for n, found in enumerate(search(model, WORDS, LENGTHS, width, "cpu")):
            expected = plain_beam(model, WORDS[: LENGTHS[n], n].tolist(), width)
            assert [(tuple(one.symbols), one.ended) for one in found] == [(s, ended) for s, _, ended in expected]
            np.testing.assert_allclose([one.logprob for one in found], [p for _, p, _ in expected], atol=1e-4)


def test_a_beam_of_one_is_greedy_and_a_wider_one_finds_what_is_likelier():
    better = 0
    for seed in range(12):
        model = tiny(seed=seed)
        with mg.no_grad():
            greedy = search(model, WORDS, LENGTHS, 1, "cpu")
            logits = model(mg.tensor(WORDS), LENGTHS, mg.tensor(np.full((4, 3), 3)), mg.tensor(np.zeros((4, 3), bool)))
            wide = search(model, WORDS, LENGTHS, 31, "cpu")
        for n, (one,) in enumerate(greedy):
            own = list(itertools.takewhile(bool, logits.argmax(-1).numpy()[:, n].tolist()))
            assert one.symbols == own
            better += wide[n][0].logprob > one.logprob + 1e-6
    assert better > 0


# The command line -------------------------------------------------------------------------------------


def test_predict_answers_and_says_what_is_right(trained):
    """Words that num2words writes, digits, and words that make no number."""
    asked = [num2words(pair.number) for pair in HELD_OUT[:5]] + [f"{pair.number:,}" for pair in HELD_OUT[5:10]]
    told = good("number_words", "predict", *asked, "one one", "--run", trained).splitlines()
    right = 0
    for text, pair, line in zip(asked, HELD_OUT, told[:10], strict=False):
        guess = line.removeprefix(f"{text}: ").split()[0]
        right += guess == pair.syllables
        verdict = "right" if guess == pair.syllables else f"wrong, it is {pair.syllables}"
        assert line == f"{text}: {guess} ({verdict})"
    assert right > 5
    assert re.fullmatch(r"one one: \S+", told[10])


def test_predict_lists_what_else_it_thought_of(trained):
    told = good("number_words", "predict", "241", "--run", trained, "--beam", 4, "--show", 3).splitlines()
    logprobs, answers = zip(*(line.split() for line in told[1:]), strict=True)
    assert told[0].startswith(f"241: {answers[0]} ") and len(set(answers)) == 3
    assert 0 >= float(logprobs[0]) >= float(logprobs[1]) >= float(logprobs[2])


def test_a_wrong_answer_is_told_with_the_right_one(tmp_path):
    model = Translation(Settings(hidden=2), "cpu").model
    for symbol, guess, told in ((1, "영영영영영영영영", "... without an end"), (END, "(nothing)", "")):
        model.decoder.output.bias.data[:] = 99 * np.eye(15)[symbol]
        saved.save(tmp_path / saved.MODEL, "number_words", model, model.options, {})
        lines = good("number_words", "predict", "241", "--run", tmp_path, "--show", 1).splitlines()
        assert lines[0] == f"241: {guess} (wrong, it is 이백사십일)"
        assert lines[1].split(maxsplit=1)[1] == f"{guess} {told}".strip()


MISTAKES = {
    "a word that is misspelt": (["fourty"], r"does not know the word 'fourty'; did you mean 'forty'\?"),
    "another word": (["plenty of", "xyz"], r"does not know the word 'plenty'; (did you mean|it knows zero, one, two)"),
    "nothing": ([""], "expected a number such as 241 or \"two hundred forty-one\", got ''"),
    "and": (["and"], "expected a number such as 241"),
    "too large a number": (["10001"], "there are numbers from 0 to 10,000, got 10,001"),
    "a negative number": (["--", "-5"], "there are numbers from 0 to 10,000, got -5"),
    "a fraction": (["1.5"], r"does not know the word '1\.5'"),
    "no number at all": ([], "name a number, in digits or in words"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_cannot_be_predicted(mistake, trained):
    given, pattern = MISTAKES[mistake]
    result = run("number_words", "predict", "--run", trained, *given)
    assert result.exit_code == 1 and re.search(pattern, result.output.replace("\n", " "))


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({"teacher_forcing": 1.5}, r"--teacher-forcing must be from 0, never, to 1, always; got 1\.5"),
        ({"teacher_forcing_end": -0.1}, "--teacher-forcing-end must be from 0"),
        ({"teacher_forcing_end": math.nan}, "--teacher-forcing-end must be from 0"),
        ({"learned": 9000}, "--learned must be from 1 to 8001, got 9000"),
    ],
)
def test_settings_that_cannot_be(options, pattern):
    with pytest.raises(UserError, match=pattern):
        Settings(**options)


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({"cell": "qrnn"}, "there is no cell 'qrnn'"),
        ({"hidden": 0}, "hidden must be from 1 to 4,096, got 0"),
        ({"longest": 0}, "longest must be from 1 to 64, got 0"),
        ({"words": ("a", "a")}, "words must be texts that all differ"),
        ({"syllables": ()}, "syllables must be texts that all differ"),
    ],
)
def test_models_that_cannot_be(options, pattern):
    with pytest.raises(UserError, match=pattern):
        Options(**(vars(TWO) | options))


# Pictures ---------------------------------------------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch):
    figures = []
    monkeypatch.setattr(curves, "save", lambda figure, path: figures.append(figure))
    return figures


def test_the_picture_of_the_gap(drawn, tmp_path):
    looks = {10: (2.0, 2.5, 0.5, 0.25), 20: (0.5, 0.75, 0.9, 0.8)}
    names = ("nats", "free_nats", "symbols", "free_symbols")
    records = [
        {"event": "validation", "update": update, **dict(zip(names, values, strict=True))}
        for update, values in looks.items()
    ]
    pictures.gap(records, tmp_path / "gap.png")
    costs, shares = drawn[0].axes
    assert [axes.get_ylabel() for axes in (costs, shares)] == ["nats per symbol", "symbols right, %"]
    assert {axes.get_xlabel() for axes in (costs, shares)} == {"updates"}
    for axes, expected in ((costs, [[2.0, 0.5], [2.5, 0.75]]), (shares, [[50, 90], [25, 80]])):
        np.testing.assert_allclose([line.get_ydata() for line in axes.lines], expected)
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert labels == ["fed the right symbols", "fed its own", "the gap"]


def test_the_picture_of_a_run_that_nobody_looked_at(tmp_path):
    pictures.gap([{"event": "start"}], tmp_path / "gap.png")
    assert (tmp_path / "gap.png").stat().st_size > 10_000


def test_the_picture_of_what_numbers_cost(drawn, tmp_path):
    numbers, nats = np.array([241, 299, 9_100, 10]), np.array([1.0, 3.0, 4.0, 0.5])
    pictures.costs(numbers, nats, np.array([True, True, False, True]), tmp_path / "costs.png")
    axes, bar = drawn[0].axes
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == (
        "hundreds", "thousands", "nats per number, mean",
    )  # fmt: skip
    image = np.asarray(axes.images[0].get_array().filled(np.nan))
    assert (image[0, 2], image[9, 1], image[0, 0]) == (2.0, 4.0, 0.5)
    assert np.isfinite(image).sum() == 3
    assert {text.get_position(): text.get_text() for text in axes.texts} == {(2, 0): "2", (0, 0): "1"}
    assert "wrong guesses (3)" in axes.get_title()
