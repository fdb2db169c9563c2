"""The colours of a drawing in SVG, for light and dark pages: what stands in its <style>."""

from __future__ import annotations

from typing import Final

from .look import BOXES, FRAMES, SAVED
from .shapes import LETTERS, SMALL

FONT: Final = "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
# On a light page and on a dark one: the page, text, small text, arrows, what a loop carries.
LIGHT: Final = ("#ffffff", "#1b1f24", "#4a525c", "#5b6573", "#8a3ffc")
DARK: Final = ("#16191d", "#e8eaed", "#b4bcc6", "#9aa5b1", "#be95ff")


def css() -> str:
    """The rules, all of them of the class minigrad: a page that the drawing is put into keeps its own."""
    light, dark = _colours(*LIGHT), _colours(*DARK)
    light += [
        f"text{{font:{LETTERS:g}px {FONT};text-anchor:middle}}",
        f".small,.title{{font-size:{SMALL:g}px}}",
        ".key,.title{text-anchor:start}",
        ".title{font-weight:600;paint-order:stroke;stroke-width:4px;stroke-linejoin:round}",
        ".arrow .line{fill:none;stroke-width:1.2}",
        ".carried .line{stroke-width:1.6}",
        ".loop .line{stroke-dasharray:5 3}",
        ".box>*,.sample>*{stroke-width:1.2}",
        ".box>text{stroke:none}",
        ".result>.edge{stroke-width:3}",
        ".kept{fill:none}",
        ".box>.kept,.sample>.kept{stroke-width:1.6}",
        ".sheet{fill:none;stroke-opacity:.55}",
    ]
    for kind, style in BOXES.items():
        light.append(f".{kind}>.edge{{fill:{style.fill};stroke:{style.line}}}")
        dark.append(f".{kind}>.edge{{fill:{style.dark_fill};stroke:{style.dark_line}}}")
    for kind, frame in FRAMES.items():
        light.append(f".{kind}>.frame{{fill-opacity:{0.02 if kind == 'round' else 0.05};stroke-opacity:.55}}")
        for rules, fill, line in ((light, frame.fill, frame.line), (dark, frame.dark_fill, frame.dark_line)):
            rules.append(f".{kind}>.frame{{fill:{fill};stroke:{line}}}")
            rules.append(f".{kind}>.sheet{{stroke:{line}}}")
            rules.append(f".{kind}.title{{fill:{line}}}")
    light.append(f".kept{{stroke:{SAVED.line}}}")
    dark.append(f".kept{{stroke:{SAVED.dark_line}}}")
    return "".join(map(_scoped, light)) + "@media (prefers-color-scheme:dark){" + "".join(map(_scoped, dark)) + "}"


def _colours(page: str, text: str, small: str, arrow: str, carried: str) -> list[str]:
    return [
        f".page{{fill:{page}}}",
        f"text{{fill:{text}}}",
        f".small{{fill:{small}}}",
        f".title{{stroke:{page}}}",
        f".arrow .line{{stroke:{arrow}}}",
        f".arrow .head{{fill:{arrow}}}",
        f".carried .line{{stroke:{carried}}}",
        f".carried .head{{fill:{carried}}}",
    ]


def _scoped(rule: str) -> str:
    selectors, braces, rest = rule.partition("{")
    return ",".join(f".minigrad {selector}" for selector in selectors.split(",")) + braces + rest
