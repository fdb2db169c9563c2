// What the page knows: boxes, the values that they give, edges between them, and the contributions of the sweep.
//
// box:    {kind, label, x, y, w, h, out: [value], in: [value or text], operation, modules, frame, line, inside}
// value:  {name, role, shape, dtype, text, box, slot, users: [box], saved, bins, cells, gradient: {text, norm, bins, cells}}
// edge:   {value, from: box, to: box, place, points, sends: the step at which the gradient comes back over it, or 0}

const byId = (id) => document.getElementById(id);
const graph = JSON.parse(byId("data").textContent);
const { boxes, values, operations, modules, frames, forward, backward } = graph;
const firstStep = -forward.length, lastStep = backward.length;

/** A number of the JSON, in which those that it lacks are texts. */
const decoded = (x) => (typeof x === "string" ? { nan: NaN, inf: Infinity, "-inf": -Infinity }[x] : x);

/** A number as people read it. */
function told(x) {
  if (x === null || x === undefined) return "none";
  if (Number.isNaN(x)) return "nan";
  if (!Number.isFinite(x)) return x > 0 ? "inf" : "-inf";
  if (x === 0) return "0";
  const size = Math.abs(x);
  return size >= 1e5 || size < 1e-3 ? x.toExponential(2).replace("e+", "e") : String(Number(x.toPrecision(4)));
}

boxes.forEach((box, number) => {
  box.number = number;
  box.made = 0; // the step, 0 or less, from which on it has been computed
  box.turn = 0; // the step at which it goes backward
  box.edgesIn = [];
  box.edgesOut = [];
});
values.forEach((value, number) => {
  value.number = number;
  value.contributions = [];
  value.users = [];
});

const edges = graph.edges.map(([number, to, place]) => {
  const value = values[number];
  const edge = { value, from: boxes[value.box], to: boxes[to], place, sends: 0, text: "", size: 0 };
  edge.from.edgesOut.push(edge);
  edge.to.edgesIn.push(edge);
  value.users.push(edge.to);
  return edge;
});

/** Where an edge runs: out of the lower side and into the upper one, or from side to side to what is not below. */
function connect(edge) {
  const a = edge.from, b = edge.to, places = Math.max(b.edgesIn.length, 1);
  const order = [...b.edgesIn].sort((s, t) => s.from.x - t.from.x || s.place - t.place).indexOf(edge);
  const aside = b.x - a.x - a.w > 30 && b.y <= a.y + a.h;
  if (aside) {
    edge.points = [a.x + a.w, a.y + a.h / 2, b.x, b.y + b.h / 2];
    edge.across = true;
  } else {
    edge.points = [a.x + a.w / 2, a.y + a.h, b.x + (b.w * (order + 1)) / (places + 1), b.y];
    edge.across = false;
  }
  const p = edge.points;
  edge.extent = [Math.min(p[0], p[2]) - 60, Math.min(p[1], p[3]) - 60, Math.max(p[0], p[2]) + 60, Math.max(p[1], p[3]) + 60];
}

forward.forEach((number, k) => (boxes[number].made = firstStep + k + 1));
boxes.forEach((box) => {
  if (box.kind !== "operation") box.made = firstStep;
});

backward.forEach(([number, sent], k) => {
  const from = boxes[number];
  from.turn = k + 1;
  from.sent = sent.map(([value, place, text, norm, totalText = text, totalNorm = norm]) => {
    const edge = from.edgesIn.find((e) => e.place === place && e.value.number === value);
    const contribution = {
      step: k + 1, from, place, value: values[value], edge, text, norm: decoded(norm), totalText, totalNorm: decoded(totalNorm),
    };
    if (edge) Object.assign(edge, { sends: k + 1, text, size: contribution.norm });
    values[value].contributions.push(contribution);
    return contribution;
  });
});

for (const value of values) {
  if (value.gradient) value.gradient.norm = decoded(value.gradient.norm);
}

/** The name that people see: a parameter's own, or v and a number. */
const nameOf = (value) => value.name || "v" + value.id;

/** The name of one thing in a box: that of the operation, or of the leaf. */
const titleOf = (box) => (box.kind === "operation" ? nameOf(values[box.out[0]]) + " = " + spelled(box) : nameOf(values[box.out[0]]));

const spelled = (box) => box.label + "(" + box.in.map((x) => (typeof x === "number" ? nameOf(values[x]) : x)).join(", ") + (box.parameters ? "; " + box.parameters : "") + ")";

const shapeText = (shape) => "(" + shape.join(", ") + (shape.length === 1 ? "," : "") + ")";

const gradientRange = (() => {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    for (const { totalNorm } of value.contributions) {
      if (totalNorm > 0 && Number.isFinite(totalNorm)) {
        low = Math.min(low, totalNorm);
        high = Math.max(high, totalNorm);
      }
    }
  }
  return low < high ? [Math.log10(low), Math.log10(high)] : [-1, 1];
})();

const bounds = boxes.reduce(
  (b, { x, y, w, h }) => ({ left: Math.min(b.left, x), top: Math.min(b.top, y), right: Math.max(b.right, x + w), bottom: Math.max(b.bottom, y + h) }),
  { left: Infinity, top: Infinity, right: -Infinity, bottom: -Infinity },
);

/** The rectangle around some boxes. */
function around(some, margin) {
  let left = Infinity, top = Infinity, right = -Infinity, bottom = -Infinity;
  for (const { x, y, w, h } of some) {
    left = Math.min(left, x);
    top = Math.min(top, y);
    right = Math.max(right, x + w);
    bottom = Math.max(bottom, y + h);
  }
  return { left: left - margin, top: top - margin, right: right + margin, bottom: bottom + margin };
}

const rounds = frames.map(({ label, boxes: inside }) => ({ label, ...around(inside.map((k) => boxes[k]), 10) }));

/** Modules whose boxes lie together, with no box of others between them, get a frame. */
const moduleFrames = modules
  .map((label, number) => {
    const inside = boxes.filter((box) => box.modules.includes(number));
    if (inside.length < 2) return null;
    const frame = { label, number, ...around(inside, 16) };
    const strangers = boxes.some(
      (box) => box.kind === "operation" && !box.modules.includes(number) &&
        box.x < frame.right && box.x + box.w > frame.left && box.y < frame.bottom && box.y + box.h > frame.top,
    );
    return strangers ? null : frame;
  })
  .filter(Boolean);
