// Everything set up.

const KINDS = ["operation", "parameter", "input", "data", "result"];

function showLegend() {
  const how = colouring, items = [];
  const sample = (fill, edge, kind) => {
    const style = { fill, stroke: edge, "stroke-width": border(kind) }, points = corners(kind, 2, 2, 22, 12);
    const shape = points ? svg("polygon", { points: points.join(" "), ...style }) : svg("rect", { x: 2, y: 2, width: 22, height: 12, rx: radius(kind, 12), ...style });
    return svg("svg", { width: 26, height: 16, "aria-hidden": "true" }, shape);
  };
  const kinds = new Set(boxes.map(kindOf));
  for (const kind of KINDS) {
    if (kinds.has(kind)) items.push(make("li", {}, sample(how === "role" ? ink[kind] : ink.raised, ink[kind + "-edge"], kind), kind));
  }
  if (how === "gradient") {
    const [low, high] = gradientRange;
    for (let k = 0; k <= 4; k++) items.push(make("li", {}, sample(heat(k / 4), ink.edge), "|∇| " + told(10 ** (low + ((high - low) * k) / 4))));
  }
  if (how === "module") modules.slice(0, 24).forEach((name, k) => items.push(make("li", {}, sample(moduleColour(k), ink.edge), name)));
  items.push(make("li", {}, svg("svg", { width: 26, height: 16, "aria-hidden": "true" }, svg("line", { x1: 1, x2: 25, y1: 8, y2: 8, stroke: ink.gradient, "stroke-width": 2 })), "a gradient has come back"));
  items.push(make("li", {}, svg("svg", { width: 26, height: 16, "aria-hidden": "true" }, svg("line", { x1: 1, x2: 25, y1: 8, y2: 8, stroke: ink.turn, "stroke-width": 4 })), "now"));
  byId("legend").replaceChildren(...items);
}

function showTheme(dark) {
  document.documentElement.classList.toggle("dark", dark);
  byId("theme").textContent = dark ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", dark ? "Change to light colours" : "Change to dark colours");
  readColours();
  showLegend();
  showDetails();
  redraw();
}

function setUpTheme() {
  const wish = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  wish.addEventListener("change", () => chosen === null && showTheme(wish.matches));
  byId("theme").onclick = () => {
    chosen = !document.documentElement.classList.contains("dark");
    showTheme(chosen);
  };
  showTheme(wish.matches);
}

setUpSweep();
setUpTheme();
setUpPointer();
setUpKeys();
setUpSearch();
setUpList();
byId("zoom-in").onclick = () => zoom(1.3);
byId("zoom-out").onclick = () => zoom(1 / 1.3);
byId("zoom-fit").onclick = showAll;
byId("help-button").onclick = () => byId("help").showModal();
byId("colouring").onchange = () => {
  colouring = byId("colouring").value;
  showLegend();
  redraw();
};
sweep.listeners.push((before) => {
  const box = boxAt(sweep.step);
  if (box && byId("follow").checked) bringIntoView(box, false);
  if (sweep.playing === null || perSecond() <= 20) showDetails();
  startFlight(before);
});
new ResizeObserver(resize).observe(canvas);
resize(); // the map, which may take a strip of its own
resize();
setUpMap();
showBeginning();
window.explorer = { boxes, values, sweep, camera, marked, toScreenX, toScreenY, redraw };
document.documentElement.dataset.ready = "yes";
