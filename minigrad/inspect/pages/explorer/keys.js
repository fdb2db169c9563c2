// Mouse, fingers and keys.

function setUpPointer() {
  const down = new Map();
  let moved = 0, apart = 0;
  const at = (event) => {
    const place = canvas.getBoundingClientRect();
    return { x: event.clientX - place.left, y: event.clientY - place.top };
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    down.set(event.pointerId, at(event));
    if (down.size === 1) moved = 0;
    apart = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = down.get(event.pointerId), now = at(event);
    if (!before) {
      const box = boxUnder(now.x, now.y);
      canvas.title = box ? `${titleOf(box)}\n${values[box.out[0]].text}` : "";
      canvas.style.cursor = box ? "pointer" : "";
      return;
    }
    down.set(event.pointerId, now);
    if (down.size === 1) {
      moved += Math.hypot(now.x - before.x, now.y - before.y);
      if (moved > 4) {
        canvas.classList.add("grabbed");
        pan(before.x - now.x, before.y - now.y);
      }
      return;
    }
    moved = Infinity;
    const [a, b] = [...down.values()], distance = Math.hypot(a.x - b.x, a.y - b.y);
    if (apart) zoom(distance / apart, (a.x + b.x) / 2, (a.y + b.y) / 2);
    apart = distance;
    pan((before.x - now.x) / 2, (before.y - now.y) / 2);
  });
  const up = (event) => {
    const place = down.get(event.pointerId);
    down.delete(event.pointerId);
    apart = 0;
    canvas.classList.remove("grabbed");
    if (event.type === "pointerup" && place && moved <= 4) select(boxUnder(place.x, place.y), { move: false });
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("dblclick", (event) => {
    const place = at(event), box = boxUnder(place.x, place.y);
    if (box) moveTo(box.x + box.w / 2, box.y + box.h / 2, Math.max(camera.scale, 1.2));
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const place = at(event), lines = event.deltaMode === 1 ? 16 : 1;
    zoom(Math.exp(-Math.max(-120, Math.min(120, event.deltaY * lines)) * (event.ctrlKey ? 0.01 : 0.0022)), place.x, place.y);
  }, { passive: false });
  canvas.addEventListener("focus", redraw);
  canvas.addEventListener("blur", redraw);
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Keys while the graph has the focus. */
function graphKey(event) {
  const arrow = ARROWS[event.key];
  if (arrow && event.shiftKey) pan(80 * arrow[0], 80 * arrow[1]);
  else if (arrow) {
    const from = marked.focused, next = from ? boxToward(from, ...arrow) : boxInTheMiddle();
    if (next) {
      marked.focused = next;
      bringIntoView(next);
      announce(titleOf(next));
    }
    redraw();
  } else if (event.key === "Enter") {
    marked.focused ??= boxInTheMiddle();
    select(marked.focused);
  } else if (event.key === "Escape") select(null);
  else return false;
  return true;
}

/** Keys that work everywhere but where one writes or chooses. */
const anywhere = {
  "+": () => zoom(1.3), "=": () => zoom(1.3), "-": () => zoom(1 / 1.3), "−": () => zoom(1 / 1.3), 0: showAll,
  " ": toggle, ",": () => walk(-1), ".": () => walk(1), Home: () => walk(-Infinity), End: () => walk(Infinity),
  "/": () => byId("query").focus(), "?": () => byId("help").showModal(), i: () => follow("i"), u: () => follow("u"), n: followNext, b: goBack,
  g: () => boxAt(sweep.step) && select(boxAt(sweep.step)), Escape: () => canvas.focus(),
};

function setUpKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
    const tag = event.target.tagName, type = event.target.type;
    if (type === "search") return;
    if (event.target === canvas && graphKey(event)) return event.preventDefault();
    if (tag === "SELECT" || (event.key === " " && ["BUTTON", "SUMMARY", "INPUT"].includes(tag) && type !== "range")) return;
    const act = anywhere[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}
