// The graph on the canvas. Only what is in view is drawn, and only as much of it as can be seen at this size.

const pen = canvas.getContext("2d");
const TEXT_FROM = 9; // pixels: smaller letters are not drawn
let ratio = 1, asked = false, ink = {}, flight = null;

const marked = { selected: null, focused: null, hits: new Set() };

function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame((now) => {
    asked = false;
    paint(now);
  });
}

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = "page raised ink soft line edge accent operation operation-edge parameter parameter-edge input input-edge data data-edge result result-edge gradient turn frame frame-edge undone";
  ink = Object.fromEntries(names.split(" ").map((name) => [name, style.getPropertyValue("--" + name).trim()]));
  ink.dark = document.documentElement.classList.contains("dark");
}

/** A colour for a size between 0 and 1: pale to strong, dark to bright on a dark page. */
function heat(part) {
  const p = Math.max(0, Math.min(1, part));
  return ink.dark ? `hsl(${250 - 225 * p} 75% ${24 + 32 * p}%)` : `hsl(${225 - 210 * p} ${70 + 15 * p}% ${90 - 35 * p}%)`;
}

const moduleColour = (number) => `hsl(${(number * 137.5 + 20) % 360} ${ink.dark ? "45% 34%" : "65% 82%"})`;

const kindOf = (box) => (box.out.includes(graph.result) ? "result" : box.kind);

function fillOf(box) {
  if (sweep.step < box.made) return ink.undone;
  const how = byId("colouring").value;
  if (how === "gradient") {
    const norm = receivedNorm(box);
    if (norm === null) return ink.undone;
    if (!Number.isFinite(norm)) return ink.turn;
    return norm === 0 ? ink.page : heat((Math.log10(norm) - gradientRange[0]) / (gradientRange[1] - gradientRange[0]));
  }
  if (how === "module") return box.modules.length ? moduleColour(box.modules[box.modules.length - 1]) : ink.operation;
  return ink[kindOf(box)];
}

function resize() {
  const { width, height } = canvas.getBoundingClientRect();
  ratio = Math.min(devicePixelRatio || 1, 2);
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  Object.assign(camera, { width: Math.max(width, 1), height: Math.max(height, 1) });
  redraw();
}

/** The outline of a box: operations have round corners, parameters six sides, inputs a slant, data a cut corner. */
function outline(kind, x, y, w, h) {
  const cut = Math.min(h / 3, w / 4);
  if (kind === "parameter") polygon([x + cut, y, x + w - cut, y, x + w, y + h / 2, x + w - cut, y + h, x + cut, y + h, x, y + h / 2]);
  else if (kind === "input") polygon([x + cut, y, x + w, y, x + w - cut, y + h, x, y + h]);
  else if (kind === "data") polygon([x, y, x + w - cut, y, x + w, y + cut, x + w, y + h, x, y + h]);
  else pen.roundRect(x, y, w, h, kind === "result" ? h / 2 : h / 6);
}

function polygon(p) {
  pen.moveTo(p[0], p[1]);
  for (let k = 2; k < p.length; k += 2) pen.lineTo(p[k], p[k + 1]);
  pen.closePath();
}

const inView = (left, top, right, bottom, seen) => right >= seen.left && left <= seen.right && bottom >= seen.top && top <= seen.bottom;

function paint(now) {
  const { scale } = camera;
  const seen = { left: toGraphX(0), top: toGraphY(0), right: toGraphX(camera.width), bottom: toGraphY(camera.height) };
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.fillStyle = ink.page;
  pen.fillRect(0, 0, camera.width, camera.height);
  pen.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * toScreenX(0), ratio * toScreenY(0));
  paintFrames(seen);
  paintEdges(seen);
  const shown = boxes.filter((box) => inView(box.x, box.y, box.x + box.w, box.y + box.h, seen));
  if (scale * boxes[0].h < 12) paintSmall(shown);
  else for (const box of shown) paintBox(box);
  for (const box of shown) paintMarks(box);
  paintFlight(now, seen);
  paintMap(seen);
}

function paintFrames(seen) {
  const { scale } = camera;
  const draw = (frame, dashed) => {
    if (!inView(frame.left, frame.top, frame.right, frame.bottom, seen)) return;
    pen.beginPath();
    pen.roundRect(frame.left, frame.top, frame.right - frame.left, frame.bottom - frame.top, 10);
    pen.setLineDash(dashed ? [8 / scale, 5 / scale] : []);
    if (!dashed) {
      pen.fillStyle = ink.frame;
      pen.fill();
    }
    pen.strokeStyle = dashed ? ink.edge : ink["frame-edge"];
    pen.lineWidth = 1 / scale;
    pen.stroke();
    pen.setLineDash([]);
    const size = Math.min(22, Math.max(13, 11 / scale)); // grows as the view shrinks, up to where frames are narrow
    pen.font = `600 ${size}px system-ui, "DejaVu Sans", sans-serif`;
    if (size * scale < TEXT_FROM - 2 || pen.measureText(frame.label).width > frame.right - frame.left) return;
    pen.fillStyle = ink.soft;
    pen.fillText(frame.label, Math.min(Math.max(frame.left + 6, seen.left + 6 / scale), frame.right - pen.measureText(frame.label).width - 4), frame.top - 5);
  };
  for (const frame of rounds) draw(frame, false);
  for (const frame of moduleFrames) draw(frame, true);
}

/** One stroke for all edges of a kind: the canvas is slow by the stroke, not by the line. */
function paintEdges(seen) {
  const { scale } = camera, { step } = sweep, chosen = marked.selected;
  const paths = { quiet: [], undone: [], gone: [], chosen: [], active: [] };
  for (const edge of edges) {
    const [left, top, right, bottom] = edge.extent;
    if (!inView(left, top, right, bottom, seen)) continue;
    if (edge.sends && edge.sends === step) paths.active.push(edge);
    else if (step < 0 && edge.to.made === step) paths.active.push(edge);
    else if (chosen && (edge.from === chosen || edge.to === chosen)) paths.chosen.push(edge);
    else if (step < edge.to.made) paths.undone.push(edge);
    else if (edge.sends && edge.sends < step) paths.gone.push(edge);
    else paths.quiet.push(edge);
  }
  const thin = Math.max(1.2, 0.8 / scale);
  strokeEdges(paths.undone, ink.line, thin);
  strokeEdges(paths.quiet, ink.edge, thin);
  pen.globalAlpha = 0.6;
  strokeEdges(paths.gone, ink.gradient, thin);
  pen.globalAlpha = 1;
  strokeEdges(paths.chosen, ink.accent, Math.max(2.2, 1.6 / scale));
  strokeEdges(paths.active, ink.turn, Math.max(3, 2.4 / scale));
  if (scale > 0.35) {
    for (const list of [paths.quiet, paths.gone, paths.chosen, paths.active]) for (const edge of list) paintHead(edge, list === paths.active && step > 0);
  }
}

function strokeEdges(list, colour, width) {
  if (!list.length) return;
  const coarse = camera.scale < 0.12;
  pen.beginPath();
  for (const edge of list) trace(edge, coarse);
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.stroke();
}

function trace({ points: p, across }, coarse) {
  pen.moveTo(p[0], p[1]);
  if (coarse) for (let k = 2; k < p.length; k += 2) pen.lineTo(p[k], p[k + 1]);
  else {
    for (let k = 2; k < p.length; k += 2) {
      const middle = across ? (p[k - 2] + p[k]) / 2 : (p[k - 1] + p[k + 1]) / 2;
      if (across) pen.bezierCurveTo(middle, p[k - 1], middle, p[k + 1], p[k], p[k + 1]);
      else pen.bezierCurveTo(p[k - 2], middle, p[k], middle, p[k], p[k + 1]);
    }
  }
}

/** The arrow head: where values go; when a gradient comes back over the edge, at its other end. */
function paintHead(edge, backward) {
  const p = edge.points, end = backward ? 0 : p.length - 2, s = backward ? 9 : 6;
  const before = backward ? 2 : p.length - 4;
  const dx = edge.across ? Math.sign(p[end] - p[before]) || 1 : 0, dy = edge.across ? 0 : Math.sign(p[end + 1] - p[before + 1]) || 1;
  pen.beginPath();
  polygon([p[end], p[end + 1], p[end] - s * dx - s * 0.55 * dy, p[end + 1] - s * dy - s * 0.55 * dx, p[end] - s * dx + s * 0.55 * dy, p[end + 1] - s * dy + s * 0.55 * dx]);
  pen.fillStyle = backward ? ink.turn : ink.edge;
  pen.fill();
}

/** From afar: rectangles, those of a colour at once. */
function paintSmall(shown) {
  const byColour = new Map();
  for (const box of shown) {
    const fill = byId("colouring").value === "role" && sweep.step >= box.made ? ink[kindOf(box) + "-edge"] : fillOf(box);
    if (!byColour.has(fill)) byColour.set(fill, []);
    byColour.get(fill).push(box);
  }
  for (const [fill, some] of byColour) {
    pen.beginPath();
    for (const { x, y, w, h } of some) pen.rect(x, y, w, h);
    pen.fillStyle = fill;
    pen.fill();
  }
}
