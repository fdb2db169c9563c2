"""The command `sample` of the character model, and sessions in which a person and the model write in turns."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import minigrad as mg
from models.char_lm import checkpoint
from models.char_lm.commands.sample import sample
from models.char_lm.conversation import HELP, Conversation, Manner
from models.char_lm.model import CharLM, Options
from models.char_lm.sampling import generator, read, write
from models.common.choice import Choice
from models.common.errors import UserError
from tests.characters import heed_signals, sample_batch, small

app = typer.Typer(add_completion=False)
app.command()(sample)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of a model of characters, and one of bytes."""
    path = tmp_path_factory.mktemp("runs")
    models = {"chars": small()[0], "bytes": CharLM(Options("", hidden=8, embedding=4, unit="byte"))}
    for name, model in models.items():
        (path / name).mkdir()
        checkpoint.save(path / name / checkpoint.BEST, checkpoint.Checkpoint(model))
    return path


def run(run, *arguments, **options):
    return CliRunner().invoke(app, ["--run", str(run), *map(str, arguments)], **options)


def drawn(length, prime="the", samples=1, **options):
    found = sample_batch(small()[0], length, samples, prime=prime, **({"choice": Choice(0.7)} | options))
    return [one.text for one in found]


# The command --------------------------------------------------------------------------------------------


def test_one_text(folder, tmp_path):
    (text,) = drawn(40)
    assert run(folder / "chars", "--prime", "the", "--length", 40).stdout == f"the{text}\n"
    assert run(folder / "chars" / checkpoint.BEST, "--prime", "the", "--length", 40).stdout == f"the{text}\n"
    (tmp_path / "prime.txt").write_bytes(b"\xef\xbb\xbfthe")
    assert run(folder / "chars", "--prime-file", tmp_path / "prime.txt", "--length", 40).stdout == f"the{text}\n"
    assert run(folder / "chars", "--prime-file", "-", "--length", 40, input="the").stdout == f"the{text}\n"
    assert run(folder / "chars", "--prime", "Tthe", "--unknown", "skip", "--length", 40).stdout == f"the{text}\n"
    stop = text[10:12]
    ended = run(folder / "chars", "--prime", "the", "--length", 40, "--stop", "?", "--stop", stop)
    assert ended.stdout == f"the{text[: text.index(stop)]}\n"
    assert run(folder / "chars", "--length", 9).stdout == drawn(9, " ")[0] + "\n"  # no new line is known: the first


def test_several_texts(folder):
    a, b = drawn(30, samples=2, seed=3)
    result = run(folder / "chars", "--prime", "the", "--length", 30, "--samples", 2, "--seed", 3)
    assert result.stdout == f"--- 1 of 2 ---\nthe{a}\n--- 2 of 2 ---\nthe{b}\n"


def test_texts_as_json(folder):
    a, b = drawn(30, samples=2, choice=Choice(1.0, 5, 0.9), stop=["e"])
    options = ["--temperature", 1, "--top-k", 5, "--top-p", 0.9, "--stop", "e", "--samples", 2, "--length", 30]
    found = json.loads(run(folder / "chars", "--prime", "the", "--json", *options).stdout)
    assert [one["text"] for one in found["samples"]] == [a, b]
    assert {name: found[name] for name in ("prime", "seed", "temperature", "top_k", "top_p", "stop")} == {
        "prime": "the", "seed": 0, "temperature": 1.0, "top_k": 5, "top_p": 0.9, "stop": ["e"],
    }  # fmt: skip
    full = json.loads(run(folder / "chars", "--json", "--logprobs", "--length", 4, "--guesses", 1).stdout)
    (one,) = full["samples"]
    assert full["prime"] == "" and len(one["logprobs"]) == one["symbols"] == 4
    assert one["total"] == pytest.approx(sum(symbol["logprob"] for symbol in one["logprobs"]))


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("unit", ["chars", "bytes"])
def test_log_probabilities_line_by_line(folder, samples, unit):
    options = ["--prime", "é" if unit == "bytes" else "the", "--length", 5, "--samples", samples, "--guesses", 2]
    result = run(folder / unit, "--logprobs", *options)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["sample"] for line in lines] == [k for k in range(samples) for _ in range(6)]
    for k in range(samples):
        *symbols, total = lines[6 * k : 6 * k + 6]
        assert total == {
            "sample": k, "total": pytest.approx(sum(s["logprob"] for s in symbols)), "symbols": 5, "stop": None,
        }  # fmt: skip
        for one in symbols:
            assert type(one["symbol"]) is (int if unit == "bytes" else str)
            assert len(one["guesses"]) == 2
            assert one["logprob"] <= one["guesses"][0][1] and one["guesses"][1][1] <= one["guesses"][0][1]


def test_a_model_of_bytes_writes_utf8(folder, tmp_path):
    written = run(folder / "bytes", "--prime", "é☃", "--length", 60)
    assert written.exit_code == 0
    assert written.stdout.startswith("é☃")
    (prime := tmp_path / "prime.bin").write_bytes(b"\xffA")  # no UTF-8
    one, other = (run(folder / "bytes", *given, "--length", 60).stdout for given in (
        ["--prime-file", prime], ["--prime", "\udcffA"],  # as the command line gives such a byte
    ))  # fmt: skip
    assert one == other != ""
    assert one.startswith("\ufffdA")


def test_a_terminal_that_cannot_show_a_character(folder):
    result = subprocess.run(
        [*PROGRAM, "--run", folder / "bytes", "--prime", "☃", "--length", "0"],
        env=ENVIRONMENT | {"PYTHONIOENCODING": "ascii"}, capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    assert result.stdout.split() == [rb"\u2603"]


MISTAKES = [
    (["--prime", "a", "--prime-file", "b"], "--prime and --prime-file were both given; choose one"),
    (["--prime", ""], "the prime text is empty"),
    (["--prime-file", "-"], "the standard input is empty"),
    (["--prime-file", "none.txt"], "error: none.txt: No such file or directory"),
    (["--prime", "THE"], "'T' at position 0 is not in the vocabulary"),
    (["--top-k", "-1"], "top-k must be 1 or more, or 0 for all symbols, got -1"),
    (["--top-p", "0"], "top-p must be above 0 and at most 1, got 0.0"),
    (["--temperature", "-1"], "the temperature must be 0 or more"),
    (["--stop", ""], "a stop string is empty"),
    (["--device", "gpu"], "unknown device 'gpu'"),
    (["--interactive", "--json"], "--interactive writes one text"),
    (["--interactive", "--samples", "2"], "--interactive writes one text"),
    (["--interactive", "--prime-file", "-"], "--interactive reads the standard input itself"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES)
def test_mistakes_are_told_in_a_line(folder, options, message):
    result = run(folder / "chars", *options)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output and result.stdout == ""


def test_files_that_are_no_prime_text(folder, tmp_path):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    for name, message in [
        ("empty.txt", "empty.txt is empty; the model needs at least one symbol"),
        ("latin.txt", "latin.txt is not UTF-8 text: byte 0xe9 at offset 3"),
    ]:
        result = run(folder / "chars", "--prime-file", tmp_path / name)
        assert result.exit_code == 1 and message in result.stderr
    assert "holds no trained model" in run(tmp_path, "--prime", "a").stderr


# Turns --------------------------------------------------------------------------------------------------


def continued(texts, **options):
    """What the model writes after each of some texts, when it reads everything written so far in one piece."""
    random, so_far, found = generator(0), "", []
    with mg.use_device("cpu"):
        model, vocabulary = small()
        for text in texts:
            logits, state = read(model, vocabulary.encode(so_far + text))
            drawn = write(model, logits, state, 20, [random], Choice(0.7), **options)
            found.append("".join(piece.text for piece in drawn))
            so_far += text + found[-1]
    return found


@pytest.mark.parametrize("stop", [(), ("e", "th")])
def test_a_session_goes_on_from_all_that_was_written(device, stop):
    texts = ["the quick", " fox", "", "dog. "]
    session = Conversation(small()[0].to(device), Manner(Choice(0.7), length=20, stop=stop), device)
    assert ["".join(session.turn(text)) for text in texts] == continued(texts, stop=stop)


def test_a_turn_that_is_cut_short_counts_as_far_as_it_was_shown(device):
    session, other = (Conversation(small()[0].to(device), Manner(Choice(0), length=40), device) for _ in range(2))
    turn = session.turn("the")
    shown = "".join(next(turn) for _ in range(7))
    turn.close()
    assert "".join(session.turn(" fox")) == "".join(other.turn("the" + shown + " fox"))


def test_an_unknown_character_loses_nothing():
    session, other = (Conversation(small()[0], Manner(Choice(0.7), length=20)) for _ in range(2))
    for one in (session, other):
        list(one.turn("the"))
    with pytest.raises(UserError, match="'T' at position 1"):
        list(session.turn("aTHE"))
    assert list(session.turn("fox")) == list(other.turn("fox"))


def session_of(folder, lines, *options):
    return run(folder / "chars", "--interactive", "--length", 20, *options, input="".join(f"{s}\n" for s in lines))


def test_turns_through_a_pipe(folder):
    result = session_of(folder, ["the quick", " fox", "", "dog. "])
    assert result.exit_code == 0
    assert result.stdout.splitlines() == continued(["the quick", " fox", "", "dog. "])
    assert result.stderr == ""
    begun = session_of(folder, [" fox"], "--prime", "the quick").stdout.splitlines()
    assert begun == [a + b for a, b in zip(["the quick", ""], continued(["the quick", " fox"]), strict=True)]


def test_a_session_that_begins_with_unknown_characters(folder):
    skipped = session_of(folder, [], "--prime", "THEthe", "--unknown", "skip")
    assert skipped.stdout.splitlines() == ["the" + drawn(20)[0]]
    refused = session_of(folder, ["the"], "--prime", "THE")
    assert refused.stdout.splitlines() == drawn(20)
    assert refused.stderr.startswith("error: the character 'T' at position 0")


def test_commands_of_a_session(folder):
    lines = [
        "the", ":reset", "the", ":seed 1", ":reset", ":length 5", "the", ":temperature 0", ":reset", "the",
        ":temperature 2", ":top-k 1", ":reset", "the", ":top-k 0", ":top-p 1e-9", ":reset", "the",
        ":top-p 1", ":length 20", ":stop q", ":seed 0", ":reset", "the", ":stop", ":temperature 0.7", ":reset", "the",
        ":help", ":quit", "the",
    ]  # fmt: skip
    result = session_of(folder, lines)
    (text,), (other,), (likeliest,) = drawn(20), drawn(5, seed=1), drawn(5, choice=Choice(0))
    (stopped,) = drawn(20, choice=Choice(2.0), stop=["q"])
    assert result.stdout.splitlines() == [text, text, other, *[likeliest] * 3, stopped, text]
    assert result.stderr == HELP + "\n"


def test_mistakes_in_a_session_change_nothing(folder):
    wrong = [
        (":temperature x", ":temperature takes a number, got 'x'"),
        (":temperature -1", "the temperature must be 0 or more, got -1.0"),
        (":temperature", ":temperature takes a number, got ''"),
        (":top-k -1", "top-k must be 1 or more"),
        (":top-p 0", "top-p must be above 0"),
        (":length -1", "the length must be 0 or more"),
        (":length 1.5", ":length takes a number, got '1.5'"),
        (":seed -1", "the seed must be 0 or more, got -1"),
        (":speed 3", "there is no command :speed; :help lists them"),
        ("THE", "the character 'T' at position 0"),
        ("::T", "the character ':' at position 0"),
    ]
    result = session_of(folder, [*(line for line, _ in wrong), "the"])
    assert result.stdout.splitlines() == drawn(20)
    for told, (_, message) in zip(result.stderr.splitlines(), wrong, strict=True):
        assert told.startswith(f"error: {message}")


def test_new_lines_and_colons_are_typed(tmp_path):
    model = CharLM(Options("\n:abc", hidden=4, embedding=4))
    checkpoint.save(tmp_path / "model.safetensors", checkpoint.Checkpoint(model))
    options = ["--interactive", "--length", 9, "--temperature", 0]
    result = run(tmp_path / "model.safetensors", *options, input="::ab\\\n\\\nc\n")
    (one,) = sample_batch(model, 9, 1, prime=":ab\n\nc", choice=Choice(0))
    assert result.stdout == one.text + "\n"


# Signals and pipes --------------------------------------------------------------------------------------

PROGRAM = [
    sys.executable, "-c", "import typer; from models.char_lm.commands.sample import sample; typer.run(sample)",
]  # fmt: skip
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONUTF8": "1"}


@pytest.mark.skipif(os.name == "nt", reason="a process cannot be sent Ctrl-C")
def test_ctrl_c_stops_the_turn_and_not_the_session(folder):
    options = ["--run", folder / "chars", "--interactive", "--length", "1000000000"]
    with subprocess.Popen(
        [*PROGRAM, *options], env=ENVIRONMENT, text=True, preexec_fn=heed_signals,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        process.stdin.write("the\n")
        process.stdin.flush()
        assert process.stdout.read(50)
        process.send_signal(signal.SIGINT)
        out, told = process.communicate(":length 20\n:temperature 0\n fox\n", timeout=60)
    assert process.returncode == 0
    assert "(stopped; :quit or Ctrl-D ends the session)" in told
    *_, last = out.splitlines()
    assert len(last) == 20 and "Traceback" not in told


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")
def test_a_reader_that_goes_away_ends_it_quietly(folder):
    options = ["--run", folder / "chars", "--length", "1000000000"]
    with subprocess.Popen(
        [*PROGRAM, *options], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert len(process.stdout.read(50)) == 50
        process.stdout.close()
        assert process.stderr.read() == b""
        process.wait(60)
