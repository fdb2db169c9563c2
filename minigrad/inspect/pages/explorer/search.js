// Search by name, operation and shape; and the list of all nodes.

const searchable = boxes.map((box) =>
  [box.label ?? "", box.kind, ...box.out.flatMap((k) => [nameOf(values[k]), shapeText(values[k].shape)]), ...box.modules.map((k) => modules[k]),
    box.frame === undefined ? "" : frames[box.frame].label + " "].join(" ").toLowerCase());
const exact = boxes.map((box) => [box.label, ...box.out.map((k) => nameOf(values[k]))].map((x) => (x ?? "").toLowerCase()));

const found = { hits: [], at: -1, query: "" };

/** Boxes with all words in what describes them; those that are called just so come first. */
function search(query) {
  const words = query.trim().toLowerCase().match(/\([^)]*\)|round \d+|\S+/g) ?? [];
  const whole = query.trim().toLowerCase();
  const hits = words.length ? boxes.filter((box) => words.every((word) => searchable[box.number].includes(word.startsWith("round ") ? word + " " : word))) : [];
  const [just, others] = [hits.filter((box) => exact[box.number].includes(whole)), hits.filter((box) => !exact[box.number].includes(whole))];
  Object.assign(found, { hits: [...just, ...others], at: -1, query });
  marked.hits = new Set(hits);
  byId("hits").textContent = words.length ? (hits.length === 1 ? "1 hit" : `${hits.length || "no"} hits`) : "";
  redraw();
}

function goToHit(direction) {
  const query = byId("query").value;
  if (query !== found.query) search(query);
  if (!found.hits.length) return;
  found.at = found.at < 0 && direction < 0 ? found.hits.length - 1 : (found.at + direction + found.hits.length) % found.hits.length;
  byId("hits").textContent = `${found.at + 1} of ${found.hits.length}`;
  select(found.hits[found.at]);
}

function setUpSearch() {
  const query = byId("query");
  query.addEventListener("input", () => search(query.value));
  byId("search").addEventListener("submit", (event) => {
    event.preventDefault();
    goToHit(1);
  });
  byId("previous-hit").onclick = () => goToHit(-1);
  query.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.shiftKey) {
      event.preventDefault();
      goToHit(-1);
    } else if (event.key === "Escape") {
      query.value = "";
      search("");
      canvas.focus();
    }
  });
}

/** The list is made when it is opened, a piece at a time: the page stays usable meanwhile. */
function setUpList() {
  const place = byId("list"), rows = byId("rows");
  place.addEventListener("toggle", () => {
    if (!place.open || rows.firstChild) return;
    const body = make("tbody");
    rows.append(make("table", {}, make("caption", { class: "unseen" }, "All nodes of the graph, with the norm of their whole gradient"),
      make("thead", {}, make("tr", {}, ...["Node", "Shape", "Gradient"].map((text) => make("th", { scope: "col" }, text)))), body));
    let k = 0;
    const more = () => {
      const some = boxes.slice(k, k + 400).map((box) => {
        const value = values[box.out[0]];
        return make("tr", {}, make("td", {}, linkTo(box)), make("td", { class: "number" }, shapeText(value.shape)),
          make("td", { class: "number" }, value.gradient ? told(value.gradient.norm) : "–"));
      });
      body.append(...some);
      k += 400;
      if (k < boxes.length) setTimeout(more, 20);
    };
    more();
  });
}
