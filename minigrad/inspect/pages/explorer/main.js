// Everything set up.

const LEGEND = [["operation", "operation"], ["parameter", "parameter"], ["input", "input"], ["data", "data"], ["result", "result"]];

function showLegend() {
  const how = colouring, items = [];
  const sample = (fill, edge, kind) => {
    const shapes = {
      parameter: "6,1 20,1 25,8 20,15 6,15 1,8", input: "7,1 25,1 19,15 1,15", data: "1,1 20,1 25,6 25,15 1,15",
    };
    const style = { fill, stroke: edge, "stroke-width": 1.3 };
    const shape = shapes[kind] ? svg("polygon", { points: shapes[kind], ...style }) : svg("rect", { x: 1, y: 1, width: 24, height: 14, rx: kind === "result" ? 7 : 3, ...style });
    return svg("svg", { width: 26, height: 16, "aria-hidden": "true" }, shape);
  };
  const kinds = new Set(boxes.map(kindOf));
  for (const [kind, text] of LEGEND) {
    if (kinds.has(kind)) items.push(make("li", {}, sample(how === "role" ? ink[kind] : ink.raised, ink[kind + "-edge"], kind), text));
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
window.explorer = { graph, boxes, values, sweep, camera, marked, toScreenX, toScreenY, paint, pan };
document.documentElement.dataset.ready = "yes";
