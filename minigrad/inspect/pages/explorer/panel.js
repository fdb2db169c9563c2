// The details of the selected node, beside the graph.

/** An element with attributes and children; texts are texts, never HTML. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A histogram: [smallest, largest, counts, how many are not finite]. */
function histogram([low, high, counts, strange], colour, about) {
  const width = 160, height = 54, most = Math.max(...counts), wide = width / counts.length;
  const [from, to] = [told(decoded(low)), told(decoded(high))];
  const bars = counts.map((n, k) => {
    const tall = n ? Math.max(1.5, (n / most) * (height - 2)) : 0;
    return svg("rect", { x: k * wide + 0.5, y: height - tall, width: Math.max(wide - 1, 1), height: tall, fill: colour });
  });
  const zero = Number(low) < 0 && Number(high) > 0 ? (-low / (high - low)) * width : null;
  if (zero !== null) bars.push(svg("line", { x1: zero, x2: zero, y1: 0, y2: height, stroke: "currentColor", "stroke-dasharray": "2 2" }));
  const said = `${about}: histogram from ${from} to ${to}, the fullest of ${counts.length} bins has ${most}` + (strange ? `, ${strange} are not finite` : "");
  return make("figure", {},
    svg("svg", { width, height: height + 2, role: "img", "aria-label": said, viewBox: `0 -1 ${width} ${height + 2}` }, ...bars),
    make("figcaption", {}, `${from} … ${to}` + (strange ? `; ${strange} not finite` : "")));
}

/** The picture of an array: red is positive, blue negative, as strong as large. */
function picture(rows, about) {
  const size = Math.max(4, Math.min(12, Math.floor(170 / rows[0].length)));
  const drawn = make("canvas", { width: rows[0].length * size, height: rows.length * size, role: "img", "aria-label": `${about}: its entries as colours` });
  const p = drawn.getContext("2d");
  rows.forEach((row, i) => [...row].forEach((letter, j) => {
    const part = letter === "." ? null : (letter.charCodeAt(0) - 97 - 12.5) / 12.5, strong = Math.abs(part);
    p.fillStyle = part === null ? "#d000d0"
      : ink.dark ? `hsl(${part > 0 ? 14 : 212} 75% ${14 + 46 * strong}%)` : `hsl(${part > 0 ? 14 : 212} 75% ${97 - 50 * strong}%)`;
    p.fillRect(j * size, i * size, size, size);
  }));
  return make("figure", {}, drawn, make("figcaption", {}, "red +, blue −" + (rows.join("").includes(".") ? ", violet not finite" : "")));
}

const linkTo = (box, text = titleOf(box)) => make("button", { type: "button", onclick: () => select(box), title: titleOf(box) }, text);

/** Links to nodes; of very many, the first ones. */
function links(items, none) {
  if (!items.length) return make("p", { class: "soft" }, none);
  const shown = items.slice(0, 40);
  const list = make("ul", { class: "links" }, ...shown.map(([box, text]) => make("li", {}, linkTo(box, text))));
  if (items.length > shown.length) {
    const rest = make("button", { type: "button", onclick: () => {
      rest.parentElement.replaceWith(...items.slice(shown.length).map(([box, text]) => make("li", {}, linkTo(box, text))));
    } }, `${items.length - shown.length} more`);
    list.append(make("li", {}, rest));
  }
  return list;
}

const shortTitle = (box) => (box.kind === "operation" ? nameOf(values[box.out[0]]) + " " + box.label : titleOf(box)) + (box.frame === undefined ? "" : ` (${frames[box.frame].label})`);

function showDetails() {
  const place = byId("details"), box = marked.selected;
  const scrolled = byId("side").scrollTop, focused = [...place.querySelectorAll("button")].indexOf(document.activeElement);
  if (!box) {
    place.replaceChildren(make("h2", {}, "Nothing is selected"), make("p", {}, "Click a node, or walk to one with the arrow keys and press Enter. Play sends the gradients back."), summary());
    return;
  }
  const kinds = { parameter: "parameter: what is learned", input: "input that needs a gradient", data: "data: a constant, no gradient goes there", operation: "" };
  const parts = [make("h2", { id: "title" }, titleOf(box))];
  const about = [];
  if (kinds[box.kind]) about.push(kinds[box.kind]);
  if (box.frame !== undefined) about.push(frames[box.frame].label);
  if (box.inside) about.push(`opened from ${box.inside}`);
  if (box.modules.length) about.push("in " + modules[box.modules[box.modules.length - 1]]);
  parts.push(make("p", { class: "soft" }, ...about.map((text) => make("span", { class: "badge" }, text))));
  if (box.line) parts.push(make("p", {}, "line: ", make("code", {}, box.line)));
  if (box.kind === "operation") {
    const { name, kind, formula } = operations[box.operation];
    parts.push(make("p", {}, make("b", {}, name), ` (${kind})${box.parameters ? `, ${box.parameters}` : ""}`));
    parts.push(make("pre", { id: "formula" }, formula || "no formula is registered"));
    if (box.said !== titleOf(box)) parts.push(make("pre", { id: "applied" }, box.said));
  }
  if (box.out.length === 1) parts.push(...valueParts(values[box.out[0]]));
  else parts.push(outputTable(box));
  if (box.kind === "operation") {
    if (box.sent?.length) parts.push(make("h3", {}, `What it sends back, at step ${box.turn}`), sentTable(box));
    const inputs = box.edgesIn.map((edge) => [edge.from, shortTitle(edge.from)]);
    parts.push(make("h3", {}, "Inputs (key i)"), links(inputs, "Numbers alone."));
  }
  parts.push(make("h3", {}, "Used by (key u)"), links(box.edgesOut.map((edge) => [edge.to, shortTitle(edge.to)]), "Nobody: it is the result."));
  place.replaceChildren(...parts);
  byId("side").scrollTop = scrolled;
  if (focused >= 0) place.querySelectorAll("button")[focused]?.focus();
}

const summary = () => make("p", { class: "soft" }, `${boxes.length} nodes: operations ${forward.length}, parameters, inputs and data ${boxes.length - forward.length}.`);

function valueParts(value) {
  const undone = sweep.step < boxes[value.box].made;
  const parts = [make("h3", {}, "Value")];
  parts.push(make("p", { class: "number" }, `${shapeText(value.shape)} ${value.dtype}`, value.saved ? " · kept for the backward pass" : ""));
  parts.push(make("p", { class: "number", id: "value" }, undone ? "not computed yet" : withoutShape(value.text)));
  if (!undone) parts.push(figures(value, "var(--data-edge)", "Value"));
  parts.push(make("h3", {}, "Gradient"));
  if (!value.gradient) {
    parts.push(make("p", { class: "soft", id: "gradient" }, value.role === "data" ? "None: it is a constant." : "None reaches it."));
    return parts;
  }
  const found = received(value), all = value.contributions.length;
  const done = found && found.count === all;
  parts.push(make("p", { class: "number gradient", id: "gradient" }, found ? withoutShape(found.text) : "nothing yet"));
  parts.push(make("p", { class: "number", id: "norm" }, found ? `norm ${told(found.norm)}` : "norm –"));
  parts.push(make("p", { class: "soft" }, all === 0 ? "The sweep starts here, with a 1." : done ? all === 1 ? "all of it is one contribution" : `the sum of ${all} contributions` : `${found ? found.count : 0} of ${all} contributions so far; in the end ${brief(value.gradient.text, value.gradient.norm, value)}`));
  if (done) parts.push(figures(value.gradient, "var(--gradient)", "Gradient"));
  if (all > 2) parts.push(growth(value));
  if (all) parts.push(contributionTable(value));
  return parts;
}

/** What the operation contributes to the gradient of each input; g is what it has received. */
function sentTable(box) {
  const gone = sweep.step >= box.turn;
  const rows = box.sent.slice(0, 40).map((c) => make("tr", { class: c.step === sweep.step ? "now" : gone ? "" : "future" },
    make("td", {}, linkTo(boxes[c.value.box], nameOf(c.value))), make("td", { class: "number" }, c.formula), make("td", { class: "number" }, gone ? tight(c.text, c.norm, c.value) : "")));
  if (box.sent.length > rows.length) rows.push(make("tr", {}, make("td", { colspan: 3, class: "soft" }, `and to ${box.sent.length - rows.length} more`)));
  return make("table", { id: "sent" }, make("thead", {}, make("tr", {}, ...["To", "Formula, g: what it received", "Sends"].map((text) => make("th", { scope: "col" }, text)))), make("tbody", {}, ...rows));
}

/** The outputs of an operation with several: of very many the first, and a button for the rest. */
function outputTable(box) {
  const most = 30, body = make("tbody"), undone = sweep.step < box.made;
  const row = (number, slot) => {
    const value = values[number], found = received(value);
    return make("tr", {}, make("td", {}, String(slot)), make("td", { class: "number" }, undone ? "not computed yet" : withoutShape(value.text)),
      make("td", { class: "number gradient" }, found ? `${tight(found.text, found.norm, value)} (${found.count}/${value.contributions.length})` : value.contributions.length ? "nothing yet" : "none: nothing uses it"));
  };
  body.append(...box.out.slice(0, most).map(row));
  if (box.out.length > most) {
    const rest = make("button", { type: "button", onclick: () => body.replaceChildren(...box.out.map(row)) }, `${box.out.length - most} more`);
    body.append(make("tr", {}, make("td", { colspan: 3 }, rest)));
  }
  return make("table", { id: "outputs" }, make("thead", {}, make("tr", {}, ...["Output", "Value", "Gradient so far"].map((text) => make("th", { scope: "col" }, text)))), body);
}

function figures(from, colour, about) {
  const shown = [];
  if (from.bins) shown.push(histogram(from.bins, colour, about));
  if (from.cells) shown.push(picture(from.cells, about));
  return make("div", { class: "figures" }, ...shown);
}

/** How the sum grows: a bar for each contribution, in the order of arrival, and a line for the sum. */
function growth(value) {
  const all = value.contributions, count = sweep.arrived[value.number], width = 336, height = 70, wide = width / all.length;
  const most = Math.max(...all.flatMap((c) => [c.norm, c.totalNorm]).filter(Number.isFinite)) || 1;
  const up = (x) => height - (Number.isFinite(x) ? x / most : 1) * (height - 3);
  const bars = all.map((c, k) => svg("rect", {
    x: k * wide + wide * 0.1, width: wide * 0.8, y: up(c.norm), height: height - up(c.norm), fill: c.step === sweep.step ? "var(--turn)" : "var(--gradient)", opacity: k < count ? 1 : 0.25,
  }));
  const line = all.slice(0, count).map((c, k) => `${(k + 0.5) * wide},${up(c.totalNorm)}`).join(" ");
  bars.push(svg("polyline", { points: line, fill: "none", stroke: "currentColor", "stroke-width": 1.8 }));
  return make("figure", { id: "growth" },
    svg("svg", { width: "100%", height, viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": `${count} of ${all.length} contributions, the largest norm ${told(most)}` }, ...bars),
    make("figcaption", {}, `Bars: the norm of each contribution, in the order of arrival. Line: that of their sum. Up to ${told(most)}`));
}

/** What arrives, one by one, with the sum so far; of very many, those around now. */
function contributionTable(value) {
  const all = value.contributions, count = sweep.arrived[value.number], most = 24;
  const start = Math.max(0, Math.min(count - 12, all.length - most)), end = Math.min(all.length, start + most);
  const row = (c, k) => {
    const state = c.step === sweep.step ? "now" : k >= count ? "future" : "";
    return make("tr", { class: state },
      make("td", {}, make("button", { type: "button", onclick: () => walkTo(c.step), "aria-label": `Go to step ${c.step}` }, String(c.step))),
      make("td", {}, linkTo(c.from, shortTitle(c.from))),
      make("td", { class: "number" }, tight(c.text, c.norm, value)),
      make("td", { class: "number" }, k >= count ? "" : tight(c.totalText, c.totalNorm, value)));
  };
  const gap = (n, where) => (n ? [make("tr", {}, make("td", { colspan: 4, class: "soft" }, `${n} ${where}`))] : []);
  return make("table", { id: "contributions" },
    make("thead", {}, make("tr", {}, ...["Step", "From", "Sends", "Sum so far"].map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...gap(start, "before"), ...all.slice(start, end).map((c, k) => row(c, start + k)), ...gap(all.length - end, "after")));
}

/** The same in a table: a norm between bars. */
const tight = (text, norm, value) => brief(text, norm, value).replace(/^norm (.*)/, "|$1|");

const walkTo = (step) => walk(step - sweep.step);
const trail = [];

/** Select a box: the panel tells of it, and it comes into view. */
function select(box, { remember = true, move = true } = {}) {
  if (remember && marked.selected && marked.selected !== box) trail.push(marked.selected);
  marked.selected = marked.focused = box;
  byId("side").scrollTop = 0;
  showDetails();
  if (box) {
    if (move) bringIntoView(box);
    const value = values[box.out[0]], found = received(value);
    announce(`${titleOf(box)}. Value ${value.text}. Gradient ${found ? found.text : "none yet"}.`);
  }
  redraw();
}

const siblings = { boxes: [], at: 0 };

/** To an input of the selected box, or to who uses it. */
function follow(key) {
  const box = marked.selected;
  if (!box) return;
  siblings.boxes = [...new Set(key === "i" ? box.edgesIn.map((edge) => edge.from) : box.edgesOut.map((edge) => edge.to))];
  siblings.at = 0;
  if (siblings.boxes.length) select(siblings.boxes[0]);
  else announce(key === "i" ? "It has no inputs." : "Nobody uses it.");
}

/** To the next input, or user, of the box that one came from. */
function followNext() {
  if (siblings.boxes.length < 2) return;
  siblings.at = (siblings.at + 1) % siblings.boxes.length;
  select(siblings.boxes[siblings.at], { remember: false });
}

function goBack() {
  const box = trail.pop();
  if (box) select(box, { remember: false });
}
