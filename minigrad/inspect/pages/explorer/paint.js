// The graph on the canvas. Only what is in view is drawn, and only as much of it as can be seen at this size.

const pen = canvas.getContext("2d");
const TEXT_FROM = 6.5; // pixels: smaller letters are not drawn
let ratio = 1, asked = false, ink = {}, flight = null, colouring = "role";

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

/** Black or white: what is read on a colour (#rrggbb) that says something, with a contrast of 4.5 at least. */
function textOn(colour) {
  const [r, g, b] = [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16) / 255).map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000000" : "#ffffff";
}

const moduleColour = (number) => `hsl(${(number * 137.5 + 20) % 360} ${ink.dark ? "45% 34%" : "65% 82%"})`;

const kindOf = (box) => (box.out.includes(graph.result) ? "result" : box.kind);

function fillOf(box) {
  if (sweep.step < box.made) return ink.undone;
  if (colouring === "gradient") {
    const norm = receivedNorm(box);
    if (norm === null) return ink.undone;
    if (!Number.isFinite(norm)) return ink.turn;
    return norm === 0 ? ink.page : heat((Math.log10(norm) - gradientRange[0]) / (gradientRange[1] - gradientRange[0]));
  }
  if (colouring === "module") return box.modules.length ? moduleColour(box.modules[box.modules.length - 1]) : ink.operation;
  return ink[kindOf(box)];
}

function resize() {
  const { width, height } = canvas.getBoundingClientRect();
  ratio = Math.min(devicePixelRatio || 1, 2);
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  Object.assign(camera, { width: Math.max(width, 1), height: Math.max(height, 1) });
  sizeMap();
  redraw();
}

/** The corners of a box, if it has other than four: as in drawings, parameters have six sides, and data a slant. */
function corners(kind, x, y, w, h) {
  const cut = h / 4;
  if (kind === "parameter") return [x + cut, y, x + w - cut, y, x + w, y + h / 2, x + w - cut, y + h, x + cut, y + h, x, y + h / 2];
  return kind === "data" ? [x + cut, y, x + w, y, x + w - cut, y + h, x, y + h] : null;
}

/** The corners' radius of the others: inputs are pills. */
const radius = (kind, h) => (kind === "input" ? h / 2 : h / 6);

/** The width of a box's border: that of the result is thick. */
const border = (kind) => (kind === "result" ? 3 : 1.3);

function outline(kind, x, y, w, h) {
  const points = corners(kind, x, y, w, h);
  if (points) polygon(points);
  else pen.roundRect(x, y, w, h, radius(kind, h));
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
  paintLabels(seen);
  for (const box of shown) paintMarks(box);
  paintFlight(now, seen);
  paintMap(seen);
}

function paintFrames(seen) {
  const { scale } = camera;
  for (const frame of [...moduleFrames, ...rounds]) {
    if (!inView(frame.left, frame.top, frame.right, frame.bottom, seen)) continue;
    const isModule = frame.module !== undefined;
    pen.beginPath();
    pen.roundRect(frame.left, frame.top, frame.right - frame.left, frame.bottom - frame.top, 10);
    pen.setLineDash(isModule ? [8 / scale, 5 / scale] : []);
    if (!isModule) {
      pen.fillStyle = ink.frame;
      pen.fill();
    }
    pen.strokeStyle = isModule ? ink.edge : ink["frame-edge"];
    pen.lineWidth = 1 / scale;
    pen.stroke();
    pen.setLineDash([]);
  }
}

/** What frames are called: over everything else, because from afar the letters are larger than their place. */
function paintLabels(seen) {
  const { scale } = camera;
  for (const frame of frames) {
    if (!inView(frame.left, frame.top, frame.right, frame.bottom, seen)) continue;
    const size = Math.min(Math.max(12, 11 / scale), (frame.right - frame.left) / (0.75 * frame.label.length), 0.2 * (frame.bottom - frame.top));
    if (size * scale < TEXT_FROM) continue;
    pen.font = `600 ${size}px ${SANS}`;
    const last = frame.right - pen.measureText(frame.label).width - 8;
    const x = Math.min(Math.max(frame.left + 8, seen.left + 54 / scale), last), y = frame.top + size + 3;
    pen.lineJoin = "round";
    pen.lineWidth = size / 3;
    pen.strokeStyle = frame.module === undefined ? ink.frame : ink.page;
    pen.strokeText(frame.label, x, y);
    pen.fillStyle = ink.soft;
    pen.fillText(frame.label, x, y);
  }
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
  strokeEdges(paths.gone, colouring === "gradient" ? ink.edge : ink.gradient, thin);
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

/** Between two points a curve that begins and ends vertically, or a straight line where that is all there is to see. */
function trace({ points: p }, coarse) {
  pen.moveTo(p[0], p[1]);
  for (let k = 2; k < p.length; k += 2) {
    const middle = (p[k - 1] + p[k + 1]) / 2;
    if (coarse || p[k] === p[k - 2] || p[k + 1] === p[k - 1]) pen.lineTo(p[k], p[k + 1]);
    else pen.bezierCurveTo(p[k - 2], middle, p[k], middle, p[k], p[k + 1]);
  }
}

/** The arrow head: where values go; when a gradient comes back over the edge, at its other end. */
function paintHead({ points: p }, backward) {
  const x = backward ? p[0] : p[p.length - 2], y = backward ? p[1] : p[p.length - 1], s = backward ? -9 : 6;
  pen.beginPath();
  polygon([x, y, x - 0.55 * s, y - s, x + 0.55 * s, y - s]);
  pen.fillStyle = backward ? ink.turn : ink.edge;
  pen.fill();
}

/** From afar: rectangles, those of a colour at once. */
function paintSmall(shown) {
  const byColour = new Map();
  for (const box of shown) {
    const fill = colouring === "role" && sweep.step >= box.made ? ink[kindOf(box) + "-edge"] : fillOf(box);
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
