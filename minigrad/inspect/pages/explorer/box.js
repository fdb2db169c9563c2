// One box as it is seen from near, the marks around it, and gradients on their way.

const SANS = 'system-ui, "Segoe UI", "DejaVu Sans", sans-serif';
const MONO = 'ui-monospace, "DejaVu Sans Mono", Menlo, monospace';
const withoutShape = (text) => text.replace(/^\([\d, ]*\),? /, "");

/** Values in the width of a box: a number, a few of them, or from where to where they go; that some are not finite comes first. */
function inBrief({ text, bins }) {
  if (!bins) return withoutShape(text).replace(/, mean [^,]*/, "");
  const [low, high, , strange] = bins;
  if (strange) return `${strange} not finite`;
  return low === high ? "all " + rough(low) : `${rough(low)} … ${rough(high)}`;
}

const rough = (x) => (Math.abs(x) >= 1e5 || (x && Math.abs(x) < 1e-3) ? x.toExponential(1).replace("e+", "e") : String(Number(x.toPrecision(3))));

/** The name of a box in its width: a long path loses its first parts, which the frames around it say. */
function heading(box, room, size) {
  const value = values[box.out[0]];
  if (box.kind === "operation") return value.name ? `${value.name} = ${box.label}` : box.label;
  pen.font = `600 ${size}px ${SANS}`;
  let name = nameOf(value);
  while (name.includes(".") && pen.measureText(name).width > room) name = name.slice(name.indexOf(".") + 1);
  return name;
}

function paintBox(box) {
  const { x, y, w, h } = box, kind = kindOf(box), undone = sweep.step < box.made;
  pen.beginPath();
  outline(kind, x, y, w, h);
  pen.fillStyle = fillOf(box);
  pen.fill();
  const readable = colouring === "role" || undone ? null : textOn(pen.fillStyle);
  pen.strokeStyle = undone ? ink.line : ink[kind + "-edge"];
  pen.lineWidth = border(kind);
  pen.stroke();
  const large = camera.scale;
  const size = Math.min(26, Math.max(13, 9.5 / large)); // from afar the name alone, as large as the box lets it be
  if (size * large < TEXT_FROM) return;
  const value = values[box.out[0]], middle = x + w / 2, room = w - (kind === "operation" || kind === "result" ? 12 : 34);
  pen.textAlign = "center";
  pen.fillStyle = undone ? ink.soft : readable ?? ink.ink;
  const few = 10.5 * large < TEXT_FROM;
  line(heading(box, room, size), `600 ${few ? size : 13}px ${SANS}`, middle, few ? y + h / 2 + 0.35 * size : y + 15, room);
  if (!few) {
    const several = box.out.length > 1 ? `${box.out.length} × ` : "";
    line(several + (value.shape.length ? shapeText(value.shape) : "number"), `10.5px ${MONO}`, middle, y + 29, room);
    line(undone ? "…" : inBrief(value), `10.5px ${MONO}`, middle, y + 42, room);
    const found = received(value);
    if (found) {
      pen.fillStyle = readable ?? ink.gradient;
      const sum = value.contributions.length > 1 && box.out.length === 1 ? `  ${found.count}/${value.contributions.length}` : "";
      line("∇ " + (value.shape.length || box.out.length > 1 ? `|${told(receivedNorm(box))}|` : found.text) + sum, `10.5px ${MONO}`, middle, y + 55, room);
    } else if (value.contributions.length && sweep.step >= 0) {
      pen.fillStyle = readable ?? ink.soft;
      line(value.contributions.length > 1 ? `∇ 0/${value.contributions.length}` : "∇ –", `10.5px ${MONO}`, middle, y + 55, room);
    }
  }
  pen.textAlign = "start";
}

/** A line of text that is cut where there is no room for more. */
function line(text, font, x, y, room) {
  pen.font = font;
  if (pen.measureText(text).width > room) {
    let fits = Math.floor((text.length * room) / pen.measureText(text).width);
    while (fits > 1 && pen.measureText(text.slice(0, fits) + "…").width > room) fits--;
    text = text.slice(0, fits) + "…";
  }
  pen.fillText(text, x, y);
}

function paintMarks(box) {
  const { scale } = camera;
  const ring = (colour, width, distance, dash = []) => {
    const d = distance / scale;
    pen.beginPath();
    pen.roundRect(box.x - d, box.y - d, box.w + 2 * d, box.h + 2 * d, box.h / 6 + d);
    pen.setLineDash(dash.map((n) => n / scale));
    pen.strokeStyle = colour;
    pen.lineWidth = width / scale;
    pen.stroke();
    pen.setLineDash([]);
  };
  if (marked.hits.has(box)) ring(ink.accent, 2, 2, [3, 3]);
  if (boxAt(sweep.step) === box && sweep.step !== 0) ring(ink.turn, 4, 3);
  if (marked.selected === box) ring(ink.accent, 3, 5);
  if (marked.focused === box && document.activeElement === canvas) ring(ink.ink, 2, 9, [6, 4]);
}

/** After a step on: dots fly from the operation to its inputs; what they carry stands beside them. */
function startFlight(before) {
  const on = sweep.step === before + 1 && sweep.step > 0 && perSecond() <= 20;
  flight = on && !calm.matches ? { start: performance.now(), lasts: Math.min(700, 850 / (sweep.playing === null ? 1 : perSecond())) } : null;
  redraw();
}

function paintFlight(now, seen) {
  if (sweep.step <= 0) return;
  const part = flight ? Math.min(1, (now - flight.start) / flight.lasts) : 1;
  for (const { edge, text, norm, value } of boxAt(sweep.step).sent) {
    if (!edge) continue;
    const [x, y] = along(edge, 1 - part);
    if (!inView(x, y, x, y, seen)) continue;
    if (part < 1) {
      pen.beginPath();
      pen.arc(x, y, Math.max(6, 5 / camera.scale), 0, 2 * Math.PI);
      pen.fillStyle = ink.turn;
      pen.fill();
    }
    if (camera.scale > 0.4) label(value.shape.length ? `+ |${told(norm)}|` : `+ ${text}`, ...along(edge, Math.max(1 - part, 0.5)));
  }
  if (flight && part < 1) redraw();
  else flight = null;
}

function label(text, x, y) {
  pen.font = `600 11px ${MONO}`;
  const wide = pen.measureText(text).width;
  pen.fillStyle = ink.raised;
  pen.strokeStyle = ink.turn;
  pen.lineWidth = 1;
  pen.beginPath();
  pen.roundRect(x - wide / 2 - 5, y - 9, wide + 10, 18, 5);
  pen.fill();
  pen.stroke();
  pen.fillStyle = ink.ink;
  pen.textAlign = "center";
  pen.fillText(text, x, y + 4);
  pen.textAlign = "start";
}

/** The point of an edge at a part of its length, on the curves that `trace` draws. */
function along({ points: p }, part) {
  let length = 0;
  for (let k = 2; k < p.length; k += 2) length += Math.hypot(p[k] - p[k - 2], p[k + 1] - p[k - 1]);
  let left = part * length;
  for (let k = 2; k < p.length; k += 2) {
    const piece = Math.hypot(p[k] - p[k - 2], p[k + 1] - p[k - 1]);
    if (left <= piece && piece) {
      const t = left / piece, curved = p[k] !== p[k - 2] && p[k + 1] !== p[k - 1];
      const x = curved ? t * t * (3 - 2 * t) : t, y = curved ? t * (1.5 - 1.5 * t + t * t) : t;
      return [p[k - 2] + (p[k] - p[k - 2]) * x, p[k - 1] + (p[k + 1] - p[k - 1]) * y];
    }
    left -= piece;
  }
  return [p[p.length - 2], p[p.length - 1]];
}

// The map in the corner: everything, and where the view is.

const map = byId("map"), mapPen = map.getContext("2d"), mapPicture = document.createElement("canvas");
let mapX = 1, mapY = 1, mapKey = ""; // pixels of the map for one of the graph; a long strip is stretched

function sizeMap() {
  const wide = bounds.right - bounds.left, high = bounds.bottom - bounds.top;
  const whole = Math.min(220 / wide, 130 / high), long = wide / high;
  const width = long > 6 ? Math.max(200, camera.width - 22) : wide * whole, height = long > 6 ? 52 : high * whole;
  [mapX, mapY] = [width / wide, height / high];
  for (const c of [map, mapPicture]) [c.width, c.height] = [Math.ceil(width) * 2, Math.ceil(height) * 2];
  map.classList.toggle("long", long > 6);
  mapKey = "";
  map.style.width = map.width / 2 + "px";
  map.style.height = map.height / 2 + "px";
}

function setUpMap() {
  const go = (event) => {
    if (event.buttons & 1) {
      const at = map.getBoundingClientRect();
      camera.x = bounds.left + (event.clientX - at.left) / mapX;
      camera.y = bounds.top + (event.clientY - at.top) / mapY;
      pan(0, 0);
    }
  };
  map.onpointerdown = map.onpointermove = go;
}

function paintMap(seen) {
  const key = [sweep.step, colouring, ink.dark].join();
  if (key !== mapKey) {
    mapKey = key;
    const p = mapPicture.getContext("2d");
    p.clearRect(0, 0, mapPicture.width, mapPicture.height);
    const plain = colouring === "role";
    for (const box of boxes) {
      p.fillStyle = plain && sweep.step >= box.made ? ink[kindOf(box) + "-edge"] : fillOf(box);
      if (plain && sweep.step > 0 && receivedNorm(box) !== null && kindOf(box) === "operation") p.fillStyle = ink.gradient;
      p.fillRect((box.x - bounds.left) * mapX * 2, (box.y - bounds.top) * mapY * 2, Math.max(1, box.w * mapX * 2), Math.max(1.5, box.h * mapY * 2));
    }
  }
  mapPen.clearRect(0, 0, map.width, map.height);
  mapPen.drawImage(mapPicture, 0, 0);
  mapPen.strokeStyle = ink.accent;
  mapPen.lineWidth = 3;
  const left = Math.max(seen.left, bounds.left), top = Math.max(seen.top, bounds.top);
  const right = Math.min(seen.right, bounds.right), bottom = Math.min(seen.bottom, bounds.bottom);
  const whole = left === bounds.left && top === bounds.top && right === bounds.right && bottom === bounds.bottom;
  map.hidden = whole && !map.classList.contains("long");
  mapPen.strokeRect((left - bounds.left) * mapX * 2 + 1, (top - bounds.top) * mapY * 2 + 1, Math.max(2, (right - left) * mapX * 2 - 2), Math.max(2, (bottom - top) * mapY * 2 - 2));
}
