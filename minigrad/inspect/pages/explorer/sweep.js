// Where the computation stands. Step 0: everything is computed, and nothing has gone back but the 1 that the loss
// starts with. Before it, at negative steps, operations are computed one by one; after it, their gradients go back.

const sweep = {
  step: 0,
  arrived: new Int32Array(values.length), // how many contributions each value has received
  playing: null,
  listeners: [],

  go(step) {
    step = Math.max(firstStep, Math.min(lastStep, Math.round(step)));
    if (step === this.step) return;
    for (let k = Math.max(this.step, 0) + 1; k <= step; k++) for (const c of sentAt(k)) this.arrived[c.value.number]++;
    for (let k = Math.max(this.step, 0); k > Math.max(step, 0); k--) for (const c of sentAt(k)) this.arrived[c.value.number]--;
    const before = this.step;
    this.step = step;
    for (const listener of this.listeners) listener(before);
  },
};

const sentAt = (step) => (step > 0 ? boxes[backward[step - 1][0]].sent : []);

/** The box whose turn it is, or null. */
function boxAt(step) {
  if (step > 0) return boxes[backward[step - 1][0]];
  return step < 0 || forward.length === 0 ? boxes[forward[step - firstStep - 1]] ?? null : null;
}

/** What a value has received so far: {text, norm, count}, or null if nothing yet. */
function received(value) {
  const count = sweep.arrived[value.number];
  if (count) {
    const { totalText, totalNorm } = value.contributions[count - 1];
    const isLast = count === value.contributions.length;
    return { text: isLast ? value.gradient.text : totalText, norm: isLast ? value.gradient.norm : totalNorm, count };
  }
  const isSeed = value.number === graph.result && sweep.step >= 0;
  return isSeed ? { text: value.gradient.text, norm: value.gradient.norm, count: 0 } : null;
}

/** What the box has received so far, as one number: of several outputs, the whole norm. */
function receivedNorm(box) {
  let squares = null;
  for (const number of box.out) {
    const found = received(values[number]);
    if (found) squares = (squares ?? 0) + found.norm ** 2;
  }
  return squares === null ? null : Math.sqrt(squares);
}

/** A gradient in a few words: a number or a short row as it is, a larger array by its norm. */
const brief = (text, norm, value) => (value.shape.length === 0 || text.startsWith("[") ? text : `norm ${told(norm)}`);

/** The step in words. */
function story(step) {
  const end = values[graph.result], box = boxAt(step);
  if (step === 0) return `Everything is computed: ${nameOf(end)} = ${end.text}. It receives ${end.gradient.text}, and from here gradients go back.`;
  if (step === firstStep) return "Nothing is computed yet: there are only parameters, inputs and data.";
  const place = box.frame === undefined ? "" : ` (${frames[box.frame].label})`, first = values[box.out[0]];
  if (step < 0) return `Forward ${step - firstStep} of ${-firstStep}${place}: ${titleOf(box)} gives ${first.text}`;
  const parts = box.sent.map((c) => `${brief(c.text, c.norm, c.value)} to ${nameOf(c.value)}` + (c.value.contributions[0] === c ? "" : `, in sum ${brief(c.totalText, c.totalNorm, c.value)}`));
  const got = box.out.map((k) => received(values[k])).find((x) => x);
  const had = got ? (box.out.length === 1 ? brief(got.text, got.norm, first) : `norm ${told(receivedNorm(box))}`) : "nothing";
  return `Backward ${step} of ${lastStep}${place}: ${titleOf(box)} has received ${had}; it sends ${parts.join("; ") || "nothing on"}`;
}

const calm = matchMedia("(prefers-reduced-motion: reduce)");
const perSecond = () => Number(byId("speed").value);

function play() {
  if (sweep.step >= lastStep) sweep.go(0);
  let last = performance.now(), owed = 0;
  const tick = (now) => {
    owed += ((now - last) / 1000) * perSecond();
    last = now;
    const whole = Math.floor(owed);
    if (whole) {
      owed -= whole;
      sweep.go(sweep.step + whole);
    }
    if (sweep.step >= lastStep) pause();
    else sweep.playing = requestAnimationFrame(tick);
  };
  sweep.playing = requestAnimationFrame(tick);
  showPlaying();
}

function pause() {
  cancelAnimationFrame(sweep.playing);
  sweep.playing = null;
  showPlaying();
}

const toggle = () => (sweep.playing === null ? play() : pause());

function walk(steps) {
  if (sweep.playing !== null) pause();
  sweep.go(sweep.step + steps);
}

function showPlaying() {
  const button = byId("play"), on = sweep.playing !== null;
  button.textContent = on ? "❚❚ Pause" : "▶ Play";
  button.setAttribute("aria-label", on ? "Pause" : "Play");
  if (!on) {
    showDetails();
    announce(story(sweep.step));
  }
}

/** Say it to who listens instead of looking. */
function announce(text) {
  byId("said").textContent = text;
}

function setUpSweep() {
  const slider = byId("step");
  slider.min = firstStep;
  slider.max = lastStep;
  slider.value = 0;
  byId("half-forward").style.flex = String(-firstStep || 0.001);
  byId("half-backward").style.flex = String(lastStep || 0.001);
  byId("speed").value = String([1, 2, 5, 20, 100, 500].find((x) => lastStep / x <= 60) ?? 500);
  slider.addEventListener("input", () => {
    if (sweep.playing !== null) pause();
    sweep.go(Number(slider.value));
  });
  byId("first").onclick = () => walk(-Infinity);
  byId("back").onclick = () => walk(-1);
  byId("play").onclick = toggle;
  byId("forward").onclick = () => walk(1);
  byId("last").onclick = () => walk(Infinity);
  document.querySelector("footer").addEventListener("click", (event) => {
    if (event.detail && event.target.tagName === "BUTTON") canvas.focus(); // by mouse: the keys go on to the graph
  });
  const show = () => {
    const text = story(sweep.step);
    slider.value = sweep.step;
    slider.setAttribute("aria-valuetext", text);
    byId("story").textContent = text;
    byId("story").title = text;
    if (sweep.playing === null) announce(text);
  };
  sweep.listeners.push(show);
  show();
}
