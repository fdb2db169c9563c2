"""How well the character model expects a text: exact, estimated, symbol by symbol, and on the command line."""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F
from models.char_lm import checkpoint, evaluation, surprise
from models.char_lm.model import CharLM, Options
from models.char_lm.text import open_text
from models.char_lm.vocabulary import Vocabulary
from models.common import console as common_console
from models.common import streams
from models.common.errors import UserError
from tests.characters import CELLS, SENTENCE, run, small

V = 5  # symbols of the made-up models


class Bigrams(nn.Module):
    """A model that expects a symbol by the one before alone, so it needs no state and no warming up."""

    vocabulary = range(V)

    def __init__(self) -> None:
        self.table = nn.Parameter(np.random.default_rng(0).normal(size=(V, V)))

    def forward(self, ids: mg.Tensor, state: Any = None) -> tuple[mg.Tensor, Any]:
        return mg.take(self.table, ids, axis=0), state

    def naive(self, pieces: list[np.ndarray]) -> float:
        expected = F.log_softmax(self.table.detach(), dim=-1).numpy()
        found = [-expected[a, b] for piece in pieces for a, b in itertools.pairwise(piece)]
        return float(np.mean(found))


class Slices:
    """Numbers that lie somewhere else: asked for slices, and for what is in one; nothing more."""

    def __init__(self, ids: np.ndarray, log: list[int]) -> None:
        self._ids, self._log = ids, log

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, places: slice) -> Slices:
        assert 0 <= places.start <= places.stop <= len(self)
        return Slices(self._ids[places], self._log)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        self._log.append(len(self))
        return self._ids.astype(np.uint8)


def pieces_of(*lengths: int) -> list[np.ndarray]:
    return [np.random.default_rng(n).integers(0, V, n).astype(np.uint8) for n in lengths]


# Exact ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_a_text_is_read_whole_with_its_state_carried(device: str, cell: str) -> None:
    model, vocabulary = small(cell, layers=2)
    ids = vocabulary.encode(SENTENCE)
    logits, _ = model(mg.tensor(ids[:-1].reshape(-1, 1).astype(np.int64)))
    whole = F.cross_entropy(logits.squeeze(1), mg.tensor(ids[1:].astype(np.int64))).item()
    for steps in (None, 1, 7, 44, 1000):
        assert evaluation.evaluate(model, [ids], device, steps) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_pieces_side_by_side_are_each_read_from_zeros(device: str, cell: str) -> None:
    model, vocabulary = small(cell)
    ids = vocabulary.encode(SENTENCE * 3)
    pieces = [ids[:30], ids[30:61], ids[61:62], ids[62:93], ids[93:]]
    alone = [evaluation.evaluate(model, [piece], device) * (len(piece) - 1) for piece in pieces if len(piece) > 1]
    expected = sum(alone) / sum(len(piece) - 1 for piece in pieces)
    assert evaluation.evaluate(model, pieces, device, steps=8) == pytest.approx(expected, rel=1e-5)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(1, 9), st.integers(1, 4), st.integers(1, 30))
def test_every_target_of_every_piece_counts_once(lengths: list[int], steps: int, together: int, upload: int) -> None:
    """However the pieces are read: rows at once, chunks, copies to the device."""
    model, pieces = Bigrams(), pieces_of(*lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "TOGETHER", together)
        patch.setattr(evaluation, "UPLOAD", upload)
        if max(lengths) < 2:
            with pytest.raises(UserError, match="nothing to judge: the text needs at least two symbols"):
                evaluation.evaluate(model, pieces, steps=steps)
        else:
            assert evaluation.evaluate(model, pieces, steps=steps) == pytest.approx(model.naive(pieces))


def test_numbers_that_lie_in_a_file_are_read_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "UPLOAD", 100)
    model, (ids,), log = Bigrams(), pieces_of(950), []
    assert evaluation.evaluate(model, [Slices(ids, log)], steps=10) == pytest.approx(model.naive([ids]))
    assert max(log) == 101
    assert sum(log) == 950 + 9
    assert evaluation.estimate(model, [Slices(ids, log)], limit=500) == pytest.approx(model.naive([ids[:500]]))


def test_the_size_of_a_chunk_is_bounded() -> None:
    """By what each symbol takes, and by the guesses where there are many symbols to choose from."""
    rows = [(ids, 0) for ids in pieces_of(*[9000] * 50)]
    for number, symbols, steps in [(50, 65, 81), (1, 65, 4096), (50, 10_000, 16), (50, 1_000_000, 1)]:
        inputs, targets = next(evaluation.chunks(rows[:number], symbols, "cpu"))
        assert inputs.shape == targets.shape == (steps, number)


@pytest.mark.parametrize("training", [True, False])
def test_a_model_is_left_as_it_was(training: bool) -> None:
    model, vocabulary = small(dropout=0.9)
    model.train(training)
    ids = vocabulary.encode(SENTENCE)
    assert evaluation.evaluate(model, [ids]) == evaluation.evaluate(model, [ids])  # without dropout
    assert model.training is training
    assert model.dropout.training is training


def test_an_untrained_model_is_near_uniform() -> None:
    model, vocabulary = small()
    loss = evaluation.evaluate(model, [vocabulary.encode(SENTENCE)])
    assert loss == pytest.approx(math.log(len(vocabulary)), rel=0.1)


# Estimates -----------------------------------------------------------------------------------------------


@given(st.integers(2, 9000), st.integers(1, 40))
def test_rows_count_each_target_once_and_are_warmed_up(length: int, most: int) -> None:
    rows = evaluation._cut(np.arange(length), most)
    counted = [place for ids, warm in rows for place in ids[1:][warm:].tolist()]
    assert counted == list(range(1, length))
    assert 1 <= len(rows) <= most
    assert rows[0][1] == 0
    assert all(warm == evaluation.WARM_UP for _, warm in rows[1:])
    assert all(len(ids) - 1 >= 2 * warm for ids, warm in rows)


@given(st.lists(st.integers(2, 2000), min_size=1, max_size=5), st.integers(10, 3000))
def test_an_estimate_without_memory_is_exact(lengths: list[int], limit: int) -> None:
    """Of all pieces, up to the limit."""
    model, pieces = Bigrams(), pieces_of(*lengths)
    read = [piece[: limit // len(pieces)] for piece in pieces]
    assert evaluation.estimate(model, pieces, limit=limit) == pytest.approx(model.naive(read))


@pytest.mark.parametrize("cell", CELLS)
def test_an_estimate_is_near(device: str, cell: str) -> None:
    model, vocabulary = small(cell)
    nn.init.normal_(model.output.weight, std=2.0)  # so that the state matters
    ids = vocabulary.encode(SENTENCE * 30)
    exact = evaluation.evaluate(model, [ids], device)
    assert evaluation.estimate(model, [ids], device) == pytest.approx(exact, abs=0.002)
    pieces = streams.split(ids, "streams").held_out
    assert evaluation.estimate(model, pieces, device) == pytest.approx(evaluation.evaluate(model, pieces, device))


# Symbol by symbol ----------------------------------------------------------------------------------------


def test_surprises_are_the_parts_of_the_loss(device: str) -> None:
    """Of one piece of a text: places, what was before, nats, the likeliest and its probability."""
    model, vocabulary = small(layers=2)
    ids, places = vocabulary.encode(SENTENCE * 3), range(50, 101)
    parts = list(surprise.surprises(model, ids, places, device))
    found = {f: np.concatenate([getattr(p, f) for p in parts]) for f in ("places", "before", "symbols", "nats")}
    assert found["places"].tolist() == list(range(51, 101))
    assert (found["before"] == ids[50:100]).all() and (found["symbols"] == ids[51:101]).all()
    whole = evaluation.evaluate(model, [ids[50:101]], device)
    assert found["nats"].mean() == pytest.approx(whole, rel=1e-5)
    with mg.no_grad():
        logits, _ = model(mg.tensor(ids[50:100].reshape(-1, 1).astype(np.int64)))
        p = F.softmax(logits.squeeze(1), dim=-1).to("cpu").numpy()
    np.testing.assert_allclose(np.exp(-found["nats"]), p[range(50), ids[51:101]], rtol=1e-4)
    np.testing.assert_allclose(np.concatenate([part.certainty for part in parts]), p.max(axis=1), rtol=1e-4)
    assert np.concatenate([part.guesses for part in parts]).tolist() == p.argmax(axis=1).tolist()


def part(vocabulary: Vocabulary, text: str, nats: list[float]) -> surprise.Surprises:
    """A text as if it had these nats, but for its first symbol; the likeliest is always symbol 0."""
    ids = vocabulary.encode(text).astype(np.int64)
    zeros = np.zeros(len(nats))
    return surprise.Surprises(np.arange(1, len(ids)), ids[:-1], ids[1:], np.array(nats), zeros.astype(int), zeros + 0.5)


def test_a_summary_counts_by_size_and_kind() -> None:
    text = "ab c!\n\nd"
    vocabulary = Vocabulary(text)
    summary = surprise.Summary(vocabulary, 2)
    summary.add(part(vocabulary, text[:4], [0.05, 0.1, 3.0]))
    summary.add(part(vocabulary, text[3:], [9.0, 0.05, 0.7, 3.0]))
    assert summary.by_size.tolist() == [[2, 1, 1, 0, 2, 1], [0.1, 0.1, 0.7, 0, 6, 9]]
    assert summary.by_kind[0].tolist() == [2, 1, 2, 2]  # c d, b, space !, two new lines
    assert summary.by_kind[1] == pytest.approx([6, 0.05, 9.1, 0.75])
    assert summary.least[:, 0].tolist() == [0.05, 0.05] and summary.least[:, 1].tolist() == [1, 2]
    assert summary.most[:, 0].tolist() == [9.0, 3.0] and summary.most[1, 1] == 3
    told = list(summary.lines())
    assert told[1].split() == ["below", "0.1", "28.6%", "0.6%", "0.050"]
    assert told[4].split() == ["1", "to", "2", "0.0%", "0.0%", "-"]
    assert told[-1].split() == ["new", "line", "28.6%", "4.7%", "0.375"]


def test_places_are_shown_in_a_line() -> None:
    text = "ab\tc\nd☃"
    vocabulary = Vocabulary(text)
    ids = vocabulary.encode(text)
    rows = np.array([[2.0, 4, 0, 0.25], [0.5, 6, 6, 1.0]])
    new_line, last = surprise.shown(rows, ids, vocabulary, left=3, right=9)
    assert (new_line.left, new_line.symbol, new_line.right) == ("b\\tc", "\\n", "d☃")
    assert (new_line.position, new_line.likeliest, new_line.certainty) == (4, "\\t", 0.25)
    assert (last.left, last.symbol, last.right) == ("c\\nd", "☃", "")


# The command line ----------------------------------------------------------------------------------------

TEXT = "Sein oder nicht sein,\ndas ist hier die Frage: ☃ und Grüße. " * 40


def good(*arguments: object) -> Any:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder of a run that says it was trained on text.txt by the split "contiguous"."""
    return made(tmp_path)


def made(folder: Path, unit: str = "char", **settings: Any) -> Path:
    path = folder / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    text = open_text([path], unit=unit, **{k: v for k, v in settings.items() if k == "min_count"})
    mg.manual_seed(1)
    model = CharLM(Options(text.vocabulary.characters, hidden=8, embedding=4, unit=unit))
    settings = {"data": [str(path)], "corpus": None, "split": "contiguous", **settings}
    about = {"settings": settings, "text": {"source": str(path), "fingerprint": text.fingerprint}}
    (folder / "run").mkdir()
    checkpoint.save(folder / "run" / checkpoint.BEST, checkpoint.Checkpoint(model, about))
    return folder / "run"


def test_by_default_a_run_is_judged_by_what_it_held_out(trained: Path) -> None:
    result = json.loads(good("eval", "--run", trained, "--json").stdout)
    model = checkpoint.load(trained).model
    held_out = streams.split(model.vocabulary.encode(TEXT)).held_out
    assert result["nats"] == pytest.approx(evaluation.evaluate(model, held_out))
    assert (result["split"], result["symbols"], result["learned"]) == ("contiguous", len(TEXT) // 10 - 1, False)
    assert result["bits"] == pytest.approx(result["nats"] / math.log(2))
    assert result["perplexity"] == pytest.approx(math.exp(result["nats"]))
    counted = TEXT[-len(held_out[0]) + 1 :]
    ratio = len(counted) / len(counted.encode())
    assert ratio < 1
    assert result["bits_per_byte"] == pytest.approx(result["bits"] * ratio)
    assert result["bits_per_character"] == result["bits"]
    told = good("eval", "--run", trained).stdout
    assert f"{result['nats']:.4f} nats ({result['bits']:.4f} bits) per character" in told
    assert "the last 10%, in one piece" in told


def test_bytes_and_characters_compare(tmp_path: Path) -> None:
    result = json.loads(good("eval", "--run", made(tmp_path, "byte"), "--split", "whole", "--json").stdout)
    raw = TEXT.encode()
    assert result["symbols"] == len(raw) - 1
    assert result["bits_per_byte"] == result["bits"]
    assert result["bits_per_character"] == pytest.approx(result["bits"] * (len(raw) - 1) / (len(TEXT) - 1))
    assert "bits per character" in good("eval", "--run", tmp_path / "run").stdout


def test_another_split_was_learned_in_part(trained: Path) -> None:
    for split in ("whole", "streams"):
        result = good("eval", "--run", trained, "--split", split, "--json")
        assert "warning: the model was trained by the split 'contiguous', so it has learned some" in result.stderr
        assert json.loads(result.stdout)["learned"] is True
    assert "warning" not in good("eval", "--run", trained, "--split", "contiguous").stderr


def test_another_text_is_judged_whole(trained: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("die Frage ist: nicht sein?", encoding="utf-8")
    assert "the character '?' at position 25" in run("eval", "--run", trained, "--data", other).output
    result = good("eval", "--run", trained, "--data", other, "--unknown", "skip", "--json")
    assert not result.stderr
    told = json.loads(result.stdout)
    assert (told["split"], told["symbols"], told["skipped"], told["learned"]) == ("whole", 24, 1, False)
    shown = good("eval", "--run", trained, "--data", other, "--unknown", "skip").stdout
    assert "1 characters left out" in shown
    same = good("eval", "--run", trained, "--data", tmp_path / "text.txt", "--json")  # known by its content
    assert json.loads(same.stdout)["split"] == "contiguous"


def test_a_text_that_has_changed(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT[:-50], encoding="utf-8")
    result = good("eval", "--run", trained, "--json")
    assert "text.txt has changed since the model was trained on it" in result.stderr
    assert json.loads(result.stdout)["split"] == "whole"


def test_characters_that_training_replaced_are_replaced(tmp_path: Path) -> None:
    result = json.loads(good("eval", "--run", made(tmp_path, min_count=41), "--split", "whole", "--json").stdout)
    assert result["replaced"] == sum(count for count in Counter(TEXT).values() if count < 41) > 0


def test_line_ends_that_training_took_away_are_taken_away(tmp_path: Path) -> None:
    path = made(tmp_path, newline="unix")
    (tmp_path / "other.txt").write_text("sein\r\noder", encoding="utf-8", newline="")
    result = json.loads(good("eval", "--run", path, "--data", tmp_path / "other.txt", "--json").stdout)
    assert result["symbols"] == len("sein\noder") - 1


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_each_symbol_to_a_file(trained: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    result = json.loads(good("eval", "--run", trained, "--split", "streams", "--surprise", path, "--json").stdout)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file)) if suffix == ".csv" else [json.loads(line) for line in file]
    places = streams.split(range(len(TEXT)), "streams").held_out
    assert [int(row["position"]) for row in rows] == [at for place in places for at in place[1:]]
    assert all(TEXT[int(row["position"])] == row["symbol"] for row in rows)
    assert np.mean([float(row["nats"]) for row in rows]) == pytest.approx(result["nats"], rel=1e-4)
    assert {row["likeliest"] for row in rows} <= set(TEXT)
    assert all(-math.log(float(row["probability"])) <= float(row["nats"]) + 1e-4 for row in rows)
    plain = json.loads(good("eval", "--run", trained, "--split", "streams", "--json").stdout)
    assert plain["nats"] == pytest.approx(result["nats"])


def test_places_are_shown_with_the_text_around(trained: Path) -> None:
    told = good("eval", "--run", trained, "--show", 3).stdout
    certain, surprising = told.split("most certain")[1].split("most surprising")
    rows = [line for part in (certain, surprising) for line in part.splitlines() if "[" in line]
    assert len(rows) == 6
    for row in rows:
        position = int(row.split()[0].replace(",", ""))
        shown = TEXT[position].replace("\n", "\\n")
        assert f"[{shown}]" in row
    nats = [float(row.split()[1]) for row in rows]
    assert nats == sorted(nats[:3]) + sorted(nats[3:], reverse=True)
    assert "first of a word" in told and "of the loss" in told


def test_colours_are_for_terminals(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in good("eval", "--run", trained, "--show", 1).stdout
    monkeypatch.setattr(common_console, "console", Console(force_terminal=True, color_system="standard"))
    assert "\x1b[30;42m" in good("eval", "--run", trained, "--show", 1).stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "random"], "there is no split 'random'; choose one of whole, contiguous, streams"),
        (["--surprise", "rows.txt"], "writes rows to a file named .csv or .jsonl, got rows.txt"),
        (["--show", "3", "--json"], "--show is for readers and --json for programs"),
        (["--data", "none.txt"], "there is no text file none.txt"),
        (["--device", "gpu"], "unknown device 'gpu'"),
        (["--run", "nothing"], "nothing"),
    ],
)
def test_mistakes(trained: Path, options: list[str], message: str) -> None:
    result = run("eval", *([] if "--run" in options else ["--run", trained]), *options)
    assert result.exit_code == 1
    assert message in result.output.replace("\n", " ")
    assert "Traceback" not in result.output


def test_a_text_too_short_to_judge(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("S")
    for extra in ([], ["--show", 1]):
        result = run("eval", "--run", trained, "--data", tmp_path / "one.txt", *extra)
        assert result.exit_code == 1
        assert "nothing to judge: the text needs at least two symbols" in result.output


def test_a_model_that_says_nothing_of_its_text(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "m.safetensors", checkpoint.Checkpoint(small()[0]))
    result = run("eval", "--run", tmp_path / "m.safetensors")
    assert result.exit_code == 1
    assert "name a text with --data FILE or --corpus NAME" in result.output
    (tmp_path / "text.txt").write_text(SENTENCE)
    assert json.loads(
        good("eval", "--run", tmp_path / "m.safetensors", "--data", tmp_path / "text.txt", "--json").stdout
    )["symbols"] == len(SENTENCE) - 1  # fmt: skip


def test_a_model_without_numbers(tmp_path: Path) -> None:
    model, _ = small()
    nn.init.constant_(model.output.weight, 1e38)
    nn.init.constant_(model.rnn.bias_ih_l0, 50.0)
    checkpoint.save(tmp_path / "m.safetensors", checkpoint.Checkpoint(model))
    (tmp_path / "text.txt").write_text(SENTENCE)
    for extra in ([], ["--show", 1]):
        result = run("eval", "--run", tmp_path / "m.safetensors", "--data", tmp_path / "text.txt", *extra)
        assert result.exit_code == 1
        assert "the model gives no numbers; its training must have diverged" in result.output
