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

const edges = graph.edges.map(([number, to, place, points]) => {
  const value = values[number];
  const edge = { value, from: boxes[value.box], to: boxes[to], place, points, sends: 0, text: "", size: 0 };
  const [xs, ys] = [points.filter((_, k) => k % 2 === 0), points.filter((_, k) => k % 2)];
  edge.extent = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
  edge.from.edgesOut.push(edge);
  edge.to.edgesIn.push(edge);
  value.users.push(edge.to);
  return edge;
});

forward.forEach((number, k) => (boxes[number].made = firstStep + k + 1));
boxes.forEach((box) => {
  if (box.kind !== "operation") box.made = firstStep;
});

backward.forEach(([number, sent], k) => {
  const from = boxes[number];
  from.turn = k + 1;
  from.sent = sent.map(([value, place, formula, text, norm, totalText = text, totalNorm = norm]) => {
    const edge = from.edgesIn.find((e) => e.place === place && e.value.number === value);
    const contribution = {
      step: k + 1, from, place, value: values[value], edge, formula, text, norm: decoded(norm), totalText, totalNorm: decoded(totalNorm),
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
function titleOf(box) {
  const name = nameOf(values[box.out[0]]);
  if (box.kind !== "operation") return name;
  return box.said.length <= 70 ? box.said : `${name} = ${called(box)}`;
}

const called = (box) => box.label + "(" + box.in.map((x) => (typeof x === "number" ? nameOf(values[x]) : x)).join(", ") + (box.parameters ? "; " + box.parameters : "") + ")";

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

const bounds = [...boxes, ...frames.map(({ at: [x, y, w, h] }) => ({ x, y, w, h }))].reduce(
  (b, { x, y, w, h }) => ({ left: Math.min(b.left, x), top: Math.min(b.top, y), right: Math.max(b.right, x + w), bottom: Math.max(b.bottom, y + h) }),
  { left: Infinity, top: Infinity, right: -Infinity, bottom: -Infinity },
);

const moduleFrames = frames.filter((frame) => frame.module !== undefined), rounds = frames.filter((frame) => frame.module === undefined);
for (const frame of frames) {
  const [x, y, w, h] = frame.at;
  Object.assign(frame, { left: x, top: y, right: x + w, bottom: y + h });
}
