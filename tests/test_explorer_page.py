"""The explorer's page in a real browser: opened as a file, used by mouse, by fingers, and by keys alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.inspect.drawing.look import BOXES
from minigrad.inspect.exploring.explorer import Explorer, explorer
from minigrad.inspect.shown import short

from .browser import ActionChains, Keys, Page, ScrollOrigin, browser, needs_browser
from .helpers import host
from .test_explorer import spelling

pytestmark = needs_browser


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """The page of the README's LSTM, and the gradients of backward()."""
    mg.manual_seed(0)
    loss, model = spelling()
    path = tmp_path_factory.mktemp("pages") / "graph.html"
    explorer(loss, path, model)
    loss.backward()
    return path, {name: host(p.grad) for name, p in model.named_parameters()}


@pytest.fixture
def page(driver: Any, hello: tuple[Path, dict[str, np.ndarray]]) -> Iterator[Page]:
    found = Page(driver).open(hello[0])
    yield found
    assert found.complaints() == []


def without_shape(text: str) -> str:
    return text.partition(") ")[2] if text.startswith("(") else text


def test_it_opens_and_shows_something(page: Page) -> None:
    assert len(page.colours()) > 10
    assert page.run("return explorer.boxes.length") == 75
    assert "Everything is computed" in page.text("story")
    assert page.run("return performance.getEntriesByType('resource').length") == 0


def test_the_slider_adds_up_a_gradient(page: Page, hello: tuple[Path, dict[str, np.ndarray]]) -> None:
    page.search("lstm.weight_hh_l0")
    assert page.selected() == "lstm.weight_hh_l0"
    assert page.text("gradient") == "nothing yet"
    norms = page.run(
        "const slider = document.getElementById('step'), seen = [];"
        "for (let k = 0; k <= Number(slider.max); k++) {"
        "  slider.value = k; slider.dispatchEvent(new Event('input'));"
        "  seen.push(document.getElementById('norm').textContent);"
        "} return seen"
    )
    seen = list(dict.fromkeys(norms))
    assert len(norms) == 67
    gradient = hello[1]["lstm.weight_hh_l0"]
    assert len(seen) == 4  # nothing, then three sums; what the first time step sends is 0, as its state is
    assert page.text("gradient") == without_shape(short(gradient))
    assert float(seen[-1].split()[1]) == pytest.approx(np.linalg.norm(gradient), rel=1e-3)
    assert page.run("return document.querySelectorAll('#contributions tbody tr:not(.future)').length") == 4
    assert page.run("return document.querySelectorAll('#growth rect[opacity=\"1\"]').length") == 4
    page.go(-1000)
    assert "Nothing is computed yet" in page.text("story")
    assert page.text("gradient") == "nothing yet"


def test_each_step_says_what_is_sent_to_whom(page: Page) -> None:
    page.go(1)
    assert page.text("story").startswith("Backward 1 of 66: ") and "mean(" in page.text("story")
    assert "has received 1; it sends" in page.text("story")
    page.search("sigmoid step 3")
    assert "σ(" in str(page.selected())
    assert page.text("formula").splitlines()[1] == "dy/dx = y (1 - y)"
    name = str(page.selected()).split(" = ")[0]
    assert f"g ⊙ {name} ⊙ (1 − {name})" in page.text("sent")


def test_search_goes_from_hit_to_hit(page: Page) -> None:
    page.keys("/", "tanh step 2", Keys.ENTER)
    assert page.text("hits") == "1 of 2"
    first = page.selected()
    page.keys(Keys.ENTER)
    assert page.text("hits") == "2 of 2" and page.selected() != first
    page.keys(Keys.ENTER)
    assert page.selected() == first
    page.keys(Keys.ESCAPE, "/", "(64, 16)")
    assert page.text("hits") == "1 hit"
    page.keys(Keys.ESCAPE, "/", "nothing of this name")
    assert page.text("hits") == "no hits"


def test_a_click_selects(page: Page) -> None:
    page.search("output.weight")
    page.keys(Keys.ESCAPE)
    assert page.selected() is None
    x, y = page.run(
        "const b = explorer.boxes.find(b => explorer.values[b.out[0]].name === 'output.weight');"
        "return [explorer.toScreenX(b.x + b.w / 2) - explorer.camera.width / 2,"
        "explorer.toScreenY(b.y + b.h / 2) - explorer.camera.height / 2]"
    )
    canvas = page.driver.find_element("id", "graph")
    ActionChains(page.driver, duration=0).move_to_element_with_offset(canvas, round(x), round(y)).click().perform()
    assert page.selected() == "output.weight"
    assert page.run("return document.querySelectorAll('#details figure').length") == 2  # histogram and picture
    page.driver.find_element("css selector", "#details .links button").click()
    assert "linear" in page.text("details") and page.selected() != "output.weight"


def test_mouse_and_fingers_move_the_view(page: Page) -> None:
    where = "return [explorer.camera.x, explorer.camera.y, explorer.camera.scale]"
    canvas = page.driver.find_element("id", "graph")
    x, y, scale = page.run(where)
    mouse = ActionChains(page.driver, duration=0)
    mouse.move_to_element(canvas).click_and_hold().move_by_offset(-50, -30).release().perform()
    assert page.run(where) == pytest.approx([x + 50 / scale, y + 30 / scale, scale])
    ActionChains(page.driver).scroll_from_origin(ScrollOrigin.from_element(canvas, 40, 20), 0, -100).perform()
    page.calm()
    after = page.run(where)
    assert after[2] > 1.1 * scale
    for now, before, offset in zip(after[:2], (x + 50 / scale, y + 30 / scale), (40, 20), strict=True):
        assert now + offset / after[2] == pytest.approx(before + offset / scale, abs=2)  # what the mouse is over
    for kind, apart in (("touchStart", 60), ("touchMove", 90), ("touchMove", 120), ("touchEnd", 0)):
        points = [{"x": 400 - apart, "y": 300, "id": 0}, {"x": 400 + apart, "y": 300, "id": 1}] if apart else []
        page.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    page.calm()
    assert page.run(where)[2] == pytest.approx(after[2] * 120 / 60, rel=0.35)
    page.keys("0")
    page.calm()
    assert page.run(where)[2] < scale


def test_all_of_it_by_keys(page: Page) -> None:
    page.prefer(reduced_motion="reduce")
    page.run("document.getElementById('graph').focus()")
    page.keys(Keys.ARROW_UP)
    assert page.run("return explorer.marked.focused !== null") and page.selected() is None
    page.keys(Keys.ENTER)
    first = page.selected()
    page.keys(Keys.ARROW_UP, Keys.ENTER)
    assert page.selected() not in (None, first)
    page.search("mean")
    page.keys("i")
    assert "surprisal" in page.text("details")
    page.keys("i", "i", "n")
    assert page.run("return explorer.marked.selected.kind") == "parameter"
    page.keys("u")
    assert page.run("return explorer.marked.selected.label") == "linear"
    page.keys("b", "b", "b")
    assert "surprisal" in page.text("details")
    scale = page.run("return explorer.camera.scale")
    page.keys("+")
    assert page.run("return explorer.camera.scale") > scale
    page.keys(".", ".", ",")
    assert page.run("return explorer.sweep.step") == 1
    assert page.text("gradient") == "[0.25 0.25 0.25 0.25]"
    assert page.text("said") == page.text("story")
    page.keys(Keys.END)
    assert page.run("return explorer.sweep.step") == 66
    page.keys(" ")  # plays from where gradients begin
    page.wait("explorer.sweep.step > 0 && explorer.sweep.step < 66")
    page.keys(" ")
    stopped = page.run("return explorer.sweep.step")
    assert page.run("return document.getElementById('play').getAttribute('aria-label')") == "Play"
    assert page.run("return explorer.sweep.playing") is None and stopped < 66
    page.prefer()


def test_tab_leads_through_everything_and_out_again(page: Page) -> None:
    page.run("document.body.focus()")
    seen = []
    for _ in range(40):
        page.keys(Keys.TAB)
        seen.append(page.run("return document.activeElement.id || document.activeElement.tagName"))
        if seen.count("query") == 2:
            break
    wanted = "query colouring theme graph zoom-in play step speed follow SUMMARY"
    assert set(wanted.split()) <= set(seen)
    assert seen.count("query") == 2  # round and round: no place holds the focus
    unnamed = (
        "return [...document.querySelectorAll('button, input, select, canvas, dialog')].filter(e =>"
        "!(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.textContent.trim() ||"
        "e.labels?.length || e.getAttribute('aria-hidden'))).map(e => e.outerHTML)"
    )
    assert page.run(unnamed) == []
    page.search("surprisal")
    ids = page.run("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_all_nodes_stand_in_a_list(page: Page) -> None:
    page.driver.find_element("css selector", "#list summary").click()
    page.wait("document.querySelectorAll('#rows tbody tr').length === explorer.boxes.length")
    rows = page.run("return [...document.querySelectorAll('#rows tbody tr')].map(row => row.innerText)")
    (row,) = [row for row in rows if row.startswith("lstm.weight_hh")]
    assert "(64, 16)" in row
    page.run("document.querySelector('#rows tbody button').click()")
    assert page.selected() is not None


def test_it_works_inside_of_a_notebook(page: Page, hello: tuple[Path, dict[str, np.ndarray]], tmp_path: Path) -> None:
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<!DOCTYPE html><p>A cell</p>{Explorer(hello[0], 0)._repr_html_()}", encoding="utf-8")
    page.driver.get(notebook.as_uri())
    page.driver.switch_to.frame(0)
    page.wait("document.documentElement.dataset.ready === 'yes'")
    page.driver.find_element("id", "query").send_keys("lstm.weight_hh", Keys.ENTER)
    assert page.selected() == "lstm.weight_hh_l0"
    page.driver.find_element("id", "last").click()
    assert page.text("story").startswith("Backward 66 of 66")
    page.driver.switch_to.default_content()


def test_light_and_dark(page: Page, hello: tuple[Path, dict[str, np.ndarray]]) -> None:
    assert sum(page.colours()[0]) > 600
    page.driver.find_element("id", "theme").click()
    page.calm()
    assert sum(page.colours()[0]) < 150
    assert page.contrast() > 7
    page.prefer(color_scheme="dark")
    page.open(hello[0])
    assert sum(page.colours()[0]) < 150
    page.prefer(color_scheme="light")
    page.calm()
    assert sum(page.colours()[0]) > 600  # it follows the system, until somebody chooses
    assert page.contrast() > 7
    page.prefer()


def colour_by(page: Page, what: str) -> None:
    page.run(
        "const choice = document.getElementById('colouring');"
        "choice.value = arguments[0]; choice.dispatchEvent(new Event('change'))",
        what,
    )


def test_colour_by_gradient_changes_with_the_sweep(page: Page) -> None:
    colour_by(page, "gradient")
    page.calm()
    before = page.colours()
    page.go(66)
    page.calm()
    assert len([c for c in page.colours() if c not in before]) > 5
    assert "|∇|" in page.text("legend")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_in_a_box_can_be_read(page: Page, scheme: str) -> None:
    page.prefer(color_scheme=scheme)
    page.driver.find_element("id", "follow").click()
    page.run("Object.assign(explorer.camera, {x: explorer.boxes.at(-1).x - 100, scale: 0.75})")
    found = []
    for colouring in ("role", "gradient", "module"):
        colour_by(page, colouring)
        for step, y in ((-66, 0), (-30, 300), (0, 900), (66, 0), (66, 300), (66, 900)):
            page.go(step)
            page.run("explorer.camera.y = arguments[0]", y)
            found += page.contrasts()
    page.prefer()
    assert len(found) > 60 and min(found) >= 4.5


def test_boxes_look_as_in_drawings(page: Page) -> None:
    read = (
        "const style = getComputedStyle(document.documentElement);"
        "return ['', '-edge'].map(end => style.getPropertyValue('--' + arguments[0] + end))"
    )
    for dark in (False, True):
        for kind, look in BOXES.items():
            assert page.run(read, kind) == ([look.dark_fill, look.dark_line] if dark else [look.fill, look.line])
        page.driver.find_element("id", "theme").click()
    forms = page.run(
        "return [...document.querySelectorAll('#legend li')].slice(0, 4).map(li => {"
        "const form = li.querySelector('svg').firstChild, points = form.getAttribute('points');"
        "return [li.textContent, points ? points.split(' ').length / 2 : form.localName]; })"
    )
    assert forms == [["operation", "rect"], ["parameter", 6], ["data", 4], ["result", "rect"]]


def test_a_low_window_scrolls_instead_of_hiding_the_graph(page: Page) -> None:
    size = {"width": 720, "height": 360, "deviceScaleFactor": 1, "mobile": False}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.wait("innerHeight === 360 && document.getElementById('graph').getBoundingClientRect().height > 150")
    assert page.run("return document.documentElement.scrollHeight > 500")
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_names_do_no_harm_and_nan_survives(driver: Any, tmp_path: Path) -> None:
    name = "</script><script>document.title = 'harmed'</script><img src=x onerror=\"document.title='harmed'\">"
    x = mg.tensor([-1.0, 4.0, 9.0, math.inf], requires_grad=True)
    with np.errstate(all="ignore"):
        loss = mg.sqrt(x).sum()
        page = Page(driver).open(explorer(loss, tmp_path / "harm.html", {name: x, "loss": loss}).path)
    page.search("input")
    assert page.selected() == name and driver.title == "How loss was computed"
    page.keys(Keys.END)
    assert page.text("gradient") == "[nan 0.25 0.167 0]" and page.text("norm") == "norm nan"
    assert driver.find_elements("css selector", "img") == [] and page.complaints() == []


def test_what_comes_to_nothing_and_what_is_not_finite(driver: Any, tmp_path: Path) -> None:
    x = mg.tensor([[math.nan] * 5, [1.0] * 5, [2.0] * 5], requires_grad=True)
    first, _, _ = mg.split(x, 3)
    explorer((first * 2.0).sum(), tmp_path / "graph.html", names={"x": x})
    page = Page(driver).open(tmp_path / "graph.html")
    page.keys(Keys.END)
    page.search("split")
    rows = page.run("return [...document.querySelectorAll('#outputs tbody tr')].map(row => row.lastChild.textContent)")
    assert rows[0].endswith("(1/1)") and rows[1:] == ["none: nothing uses it"] * 2
    page.search("x")
    assert "violet not finite" in page.text("details")
    page.keys("0")
    page.calm()
    buttons = page.run("return document.getElementById('zoom').getBoundingClientRect().right")
    left, right = page.run("return [0, 1].map(k => explorer.toScreenX(explorer.boxes[0].x + k * explorer.boxes[0].w))")
    assert left > buttons and right < 1300 - 380
    assert page.complaints() == []


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    h, w = mg.zeros((2, 3)), mg.tensor(np.eye(3) / 2, requires_grad=True)
    for _ in range(1250):
        h = mg.tanh(h @ w + 1.0) * 0.5
    path = tmp_path_factory.mktemp("pages") / "large.html"
    explorer(h.sum(), path, {"w": w})
    return path


def test_five_thousand_nodes(driver: Any, large: Path) -> None:
    page = Page(driver).open(large)
    assert page.run("return explorer.boxes.length") > 5000
    page.keys("0")
    page.calm()
    assert len(page.colours()) > 3
    page.search("step 700")
    assert page.run("return explorer.camera.scale") >= 0.7
    page.keys(Keys.END)
    page.keys("/", "w", Keys.ENTER)
    assert page.text("hits").startswith("1 of ") and page.selected() == "w"
    assert page.run("return document.querySelectorAll('#contributions tbody tr').length") < 40
    assert page.complaints() == []
