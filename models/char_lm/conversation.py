"""A text that a person and a model write in turns."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..common.choice import Choice
from ..common.errors import UserError
from . import sampling
from .model import CharLM
from .unfolding import check_stops

HELP = """\
Type a text and Enter: the model goes on from all that was written so far. Enter alone lets it write more.
  text\\             a line that ends in \\ is followed by a new line: type on
  ::text            a text that begins with a colon
  :temperature 0.5  0 takes the likeliest symbol, 1 draws as learned     :top-k 5     the 5 likeliest; 0 for all
  :top-p 0.9        the likeliest that have 90% together; 1 for all      :length 200  symbols to write in a turn
  :stop TEXT        end a turn before TEXT; without TEXT, at the length  :seed 3      begin the random numbers anew
  :reset            forget the text, and begin the random numbers anew
  :help  :quit      Ctrl-C stops the model in its turn; Ctrl-D quits too"""


@dataclass(frozen=True)
class Manner:
    """How the model takes its turns."""

    choice: Choice = field(default_factory=Choice)
    length: int = 1000  # symbols in a turn
    seed: int = 0
    stop: tuple[str, ...] = ()
    unknown: str = "error"

    def __post_init__(self) -> None:
        for name, value in (("length", self.length), ("seed", self.seed)):
            if value < 0:
                raise UserError(f"the {name} must be 0 or more, got {value}")
        check_stops(self.stop)


class Conversation:
    """What was written so far, and how to go on.

    The model has read the text but for what it wrote in its last turn; that it reads with the next one, exactly as
    shown: without what a stop string or Ctrl-C cut off, though a device may have drawn it.
    """

    def __init__(self, model: CharLM, manner: Manner, device: str = "cpu") -> None:
        self.manner = manner
        self._model, self._device = model, device
        self.reset()

    def reset(self) -> None:
        """Forget the text, and begin the random numbers anew."""
        self._logits: Any = None
        self._state: Any = None
        self._unread = np.array([], np.int64)
        self._random = sampling.generator(self.manner.seed)

    def set(self, name: str, value: str) -> None:
        """Change a setting by its name in HELP; where the value is wrong, nothing changes."""
        s = self.manner
        try:
            if name in ("temperature", "top-p"):
                choice = replace(s.choice, **{name.replace("-", "_"): float(value)})
                self.manner = replace(s, choice=choice)
            elif name == "top-k":
                self.manner = replace(s, choice=replace(s.choice, top_k=int(value)))
            elif name == "stop":
                self.manner = replace(s, stop=(value,) if value else ())
            elif name in ("length", "seed"):
                self.manner = replace(s, **{name: int(value)})
            else:
                raise UserError(f"there is no command :{name}; :help lists them")
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f":{name} takes a number, got {value!r}") from error
        if name == "seed":
            self._random = sampling.generator(self.manner.seed)

    def turn(self, text: str, shown_too: bool = False) -> Iterator[str]:
        """Go on with `text`, which is shown too if asked for, and then with what the model writes, as it is drawn."""
        vocabulary, manner = self._model.vocabulary, self.manner
        if not text and self._logits is None:
            text = sampling.usual_prime(vocabulary)
        if text:
            given = sampling.encode_prime(vocabulary, text, manner.unknown).astype(np.int64)
            self._unread = np.concatenate([self._unread, given])
            if shown_too:
                yield vocabulary.decode(given)
        if len(self._unread):
            self._logits, self._state = sampling.read(self._model, self._unread, self._state, self._device)
            self._unread = self._unread[:0]
        shown: list[str] = []
        try:
            for piece in sampling.write(
                self._model, self._logits, self._state, manner.length, [self._random], manner.choice, manner.stop
            ):
                shown.append(piece.text)
                yield piece.text
        finally:
            self._unread = vocabulary.encode("".join(shown)).astype(np.int64)


def converse(
    conversation: Conversation,
    write: Callable[[Iterable[str]], None],
    tell: Callable[[str], None],
    first: str | None = None,
) -> None:
    """Take turns until the input ends: the model's texts are written as lines, remarks and errors told.

    Args:
        first: the text to begin with, before anything is asked for.
    """
    asks = sys.stdin.isatty()
    if asks:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - input() edits lines with it
        tell("Type a text, and the model goes on from it. :help tells more, :quit ends.")
    elif hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    while True:
        try:
            begin, first = first or "", None
            text = begin or _command(conversation, _ask("> " if asks else ""), tell)
            if text is not None:
                with contextlib.closing(conversation.turn(text, shown_too=bool(begin))) as parts:
                    write(parts)
        except EOFError:
            return
        except KeyboardInterrupt:
            write(())
            tell("(stopped; :quit or Ctrl-D ends the session)")
        except UserError as error:
            tell(f"error: {error}")


def _command(conversation: Conversation, line: str, tell: Callable[[str], None]) -> str | None:
    """The text that a line means, or None if it is a command, which is carried out."""
    if not line.startswith(":"):
        return line
    if line.startswith("::"):
        return line[1:]
    name, _, value = line[1:].partition(" ")
    if name == "quit":
        raise EOFError
    if name == "help":
        tell(HELP)
    elif name == "reset":
        conversation.reset()
    else:
        conversation.set(name, value)
    return None


def _ask(prompt: str) -> str:
    """A line, with those that a backslash at its end joins to it."""
    line = input(prompt)
    while line.endswith("\\"):
        line = line[:-1] + "\n" + input("... " if prompt else "")
    return line
