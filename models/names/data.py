"""Family names of twelve languages in Latin script, from the lists that Faker brings along.

Of the lists of Faker 40 there remain about 8,200 names, from some 330 French ones to 1,000 Polish ones: those of one
word, at most 1,000 of a language, for else a third of all would be Polish. Names that several languages share, about
250, are left out, since no letters decide them. A fifth is held out.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass
from zlib import crc32

from ..common.extras import import_extra

# The lists of each language: a locale of faker.providers.person, and the attribute of its Provider.
SOURCES = {
    "Croatian": (("hr_HR", "last_names"),),
    "Dutch": (("nl_NL", "last_names"),),
    "English": (("en_GB", "last_names"),),
    "Estonian": (("et_EE", "last_names_est"),),
    "Finnish": (("fi_FI", "last_names"),),
    "French": (("fr_FR", "last_names"),),
    "German": (("de_DE", "last_names"), ("de_AT", "last_names")),
    "Italian": (("it_IT", "last_names"),),
    "Polish": (("pl_PL", "male_last_names"), ("pl_PL", "unisex_last_names")),
    "Spanish": (("es_ES", "last_names"),),
    "Swedish": (("sv_SE", "last_names"),),
    "Zulu": (("zu_ZA", "last_names"),),
}
LANGUAGES = tuple(SOURCES)
MOST = 1000  # names of a language
FOLDS = 5  # one of them is held out


@dataclass(frozen=True)
class Names:
    """Names, and the language of each as its place in LANGUAGES."""

    names: tuple[str, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Found:
    """What is learned and its letters in order, what is held out, and how many names were of two languages."""

    learned: Names
    held_out: Names
    letters: str
    shared: int


def load() -> Found:
    """The names, divided: the same way each time, and each name the same way whatever others there are.

    Spellings of a name, Domínguez and Dominguez, Weiß and Weiss, are on the same side.

    Raises:
        ImportError: Faker is not installed.
    """
    lists = {language: _of(language) for language in LANGUAGES}
    count = Counter(name for names in lists.values() for name in names)
    chosen = []
    for label, names in enumerate(lists.values()):
        own = sorted((name for name in names if count[name] == 1), key=_drawn)
        chosen += [(name, label) for name in own[:MOST]]
    sides: tuple[list[tuple[str, int]], list[tuple[str, int]]] = ([], [])
    for name, label in sorted(chosen):
        sides[_drawn(without_accents(name.casefold())) % FOLDS == 0].append((name, label))
    learned, held_out = (Names(*zip(*side, strict=True)) for side in sides)
    letters = "".join(sorted(set("".join(learned.names))))
    return Found(learned, held_out, letters, sum(times > 1 for times in count.values()))


def _of(language: str) -> set[str]:
    names = (
        spelled(name)
        for locale, attribute in SOURCES[language]
        for name in getattr(import_extra(f"faker.providers.person.{locale}").Provider, attribute)
    )
    return {name for name in names if name.isalpha()}


def _drawn(name: str) -> int:
    """A number of 32 bits that looks random."""
    return crc32(name.encode())


def spelled(name: str) -> str:
    """A name as the model reads it: lower case, each letter one character with its accent.

    >>> spelled("Ślusarczyk"), spelled(" MU\u0308LLER ")
    ('ślusarczyk', 'müller')
    """
    return unicodedata.normalize("NFC", name.strip().lower())


def without_accents(name: str) -> str:
    """
    >>> without_accents("domínguez"), without_accents("łoś")
    ('dominguez', 'łos')
    """
    return "".join(c for c in unicodedata.normalize("NFD", name) if not unicodedata.combining(c))
