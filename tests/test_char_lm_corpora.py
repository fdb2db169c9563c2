"""Texts from the web, from a server of our own; the command that shows what is kept."""

import functools
import gc
import hashlib
import http.server
import io
import os
import threading
import zipfile

import pytest
from typer.testing import CliRunner

from models.char_lm import corpora
from models.char_lm import ids as stored
from models.char_lm.program import app
from models.char_lm.text import open_text
from models.common.errors import UserError

from .texts import files_in, write


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """A server of the folder that it gives; what is in `cut` is sent by half."""
    folder = tmp_path / "web"
    folder.mkdir()
    cut = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def copyfile(self, source, outputfile):
            data = source.read()
            outputfile.write(data[: len(data) // 2] if cut else data)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "*")

    def add(name, content, *, member="", there=True, sha256=None):
        if there:
            write(folder / name, content)
        monkeypatch.setitem(
            corpora.CORPORA,
            "small",
            corpora.Corpus(
                f"http://127.0.0.1:{server.server_port}/{name}",
                sha256 or hashlib.sha256(content).hexdigest(),
                len(content),
                "for tests",
                member,
            ),
        )
        return folder / name

    add.cut, add.server = cut, server
    yield add
    server.shutdown()
    server.server_close()


def test_a_corpus_is_fetched_once(tmp_path, serve):
    at = serve("input.txt", ("né " * 1000).encode())
    cache = tmp_path / "cache"
    opened = open_text(corpus="small", cache=cache)
    assert opened.vocabulary.decode(opened.ids) == "né " * 1000
    assert opened.source == "small"
    at.unlink()
    assert open_text(corpus="small", cache=cache).fingerprint == opened.fingerprint
    assert len(files_in(cache)) == 1


def test_an_archive_is_unpacked_as_it_is_read(tmp_path, serve):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("other", "not this")
        packed.writestr("small", "né " * 1000)
    serve("small.zip", archive.getvalue(), member="small")
    opened = open_text(corpus="small", cache=tmp_path / "cache", block=7)
    assert opened.vocabulary.decode(opened.ids) == "né " * 1000
    assert opened.fingerprint == hashlib.sha256(("né " * 1000).encode()).hexdigest()
    assert files_in(tmp_path / "cache") == [corpora.CORPORA["small"].file]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pooch lets go of a broken connection
@pytest.mark.parametrize("mistake", ["checksum", "missing", "half", "nobody", "wrong file"])
def test_a_corpus_that_cannot_be_had(tmp_path, serve, mistake):
    sha256 = "0" * 64 if mistake == "checksum" else None
    serve("input.txt", b"abc" * 100_000, there=mistake != "missing", sha256=sha256)
    cache, corpus = tmp_path / "cache", corpora.CORPORA["small"]
    if mistake == "half":
        serve.cut.append(True)
    if mistake in ("nobody", "wrong file"):
        serve.server.shutdown()
        serve.server.server_close()
    if mistake == "wrong file":
        (cache / "corpora").mkdir(parents=True)
        write(cache / "corpora" / corpus.file, "something else")
    reason = {"checksum": "hash of downloaded file", "missing": "404", "half": "IncompleteRead"}
    with pytest.raises(
        UserError, match=rf"cannot be had from {corpus.url}: .*{reason.get(mistake, 'refused')}"
    ) as error:
        open_text(corpus="small", cache=cache)
    told = str(error.value)
    del error
    gc.collect()
    assert f"put it at {cache / 'corpora' / corpus.file}" in told
    assert f"it has 300000 bytes, SHA-256 {corpus.sha256}" in told
    assert ("what is there now has another checksum" in told) == (mistake == "wrong file")
    if mistake == "wrong file":
        assert (cache / "corpora" / corpus.file).read_text() == "something else"
    else:
        assert not files_in(cache)
    (cache / "corpora").mkdir(parents=True, exist_ok=True)
    write(cache / "corpora" / corpus.file, b"abc" * 100_000)  # what the error says to do
    if mistake != "checksum":
        assert len(open_text(corpus="small", cache=cache).ids) == 300_000


def test_a_corpus_that_nobody_knows():
    with pytest.raises(UserError, match=r"no corpus 'shakespeare'. There are: tinyshakespeare \(1 MB, 40 000 lines"):
        open_text(corpus="shakespeare")


def test_the_corpora():
    assert {"tinyshakespeare", "enwik8", "text8"} <= set(corpora.CORPORA)
    for corpus in corpora.CORPORA.values():
        assert len(bytes.fromhex(corpus.sha256)) == 32
        assert bool(corpus.member) == corpus.url.endswith(".zip")


# The command


def test_the_command_cache(tmp_path, monkeypatch, serve):
    monkeypatch.setattr(stored, "IN_MEMORY", 0)
    serve("input.txt", b"abc" * 1_000_000)
    open_text(corpus="small", cache=tmp_path / "cache")
    texts = tmp_path / "cache" / "texts"
    write(texts / "mine.txt", "not the cache's")
    write(texts / "writing-new", "another process is at it")
    os.utime(write(texts / "writing-old", "a process that was killed"), (0, 0))
    (kept,) = texts.glob("*.ids")

    def run(*arguments):
        result = CliRunner().invoke(app, ["cache", *arguments], env={"MINIGRAD_CACHE": str(tmp_path / "cache")})
        assert result.exit_code == 0, result.output
        return result.output

    shown = run()
    assert f"{texts}: 2 files, 3.0 MB\n" in shown
    assert f"{texts.parent / 'corpora'}: 1 file, 3.0 MB\n" in shown
    assert f"  {kept.name}  3.0 MB\n" in shown
    assert f"{corpora.CORPORA['small'].file}  3.0 MB\n" in shown
    assert "removed" not in shown and kept.exists()
    assert run("--clear").count("removed") == 3
    assert files_in(tmp_path / "cache") == ["mine.txt", "writing-new"]
    assert f"{texts}: 0 files, 0.0 MB" in run()


def test_a_cache_that_is_not_there(tmp_path):
    result = CliRunner().invoke(app, ["cache"], env={"MINIGRAD_CACHE": str(tmp_path / "none")})
    assert result.exit_code == 0 and result.output.count("0 files, 0.0 MB") == 2
    assert not (tmp_path / "none").exists()
