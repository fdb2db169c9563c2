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

/** The step in words. */
function story(step) {
  if (step === 0) return `Everything is computed: ${nameOf(values[graph.result])} = ${values[graph.result].text}. Now it receives ${values[graph.result].gradient.text}, and gradients go back from it.`;
  if (step === firstStep && step < 0) return "Nothing is computed yet: only parameters, inputs and data are there.";
  const box = boxAt(step);
  if (step < 0) return `Forward ${step - firstStep} of ${-firstStep}: ${titleOf(box)} gives ${values[box.out[0]].text}`;
  const parts = box.sent.map((c) => `${c.text} to ${nameOf(c.value)}` + (c.value.contributions[0] !== c ? `, in sum ${c.totalText}` : ""));
  const got = values[box.out[0]].gradient;
  return `Backward ${step} of ${lastStep}: ${titleOf(box)} has received ${got ? got.text : "nothing"} and sends ${parts.join("; ") || "nothing on"}`;
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
  button.textContent = on ? "⏸ Pause" : "▶ Play";
  button.setAttribute("aria-label", on ? "Pause" : "Play");
  if (!on) announce(story(sweep.step));
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
