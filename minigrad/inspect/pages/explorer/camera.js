// Where one looks: the point of the graph in the middle of the canvas, and how large it is drawn.

const canvas = byId("graph");
const camera = { x: 0, y: 0, scale: 1, width: 1, height: 1 };
const LARGEST = 4, BESIDE = 56; // the largest scale; room beside the whole graph, in which the buttons stand

const toScreenX = (x) => (x - camera.x) * camera.scale + camera.width / 2;
const toScreenY = (y) => (y - camera.y) * camera.scale + camera.height / 2;
const toGraphX = (x) => (x - camera.width / 2) / camera.scale + camera.x;
const toGraphY = (y) => (y - camera.height / 2) / camera.scale + camera.y;

/** The scale at which everything is seen. */
function fitting() {
  const wide = Math.max(bounds.right - bounds.left, 1), high = Math.max(bounds.bottom - bounds.top, 1);
  return Math.min((camera.width - 2 * BESIDE) / wide, (camera.height - 40) / high);
}

const smallest = () => Math.min(fitting(), 1) / 2;

function showAll() {
  moveTo((bounds.left + bounds.right) / 2, (bounds.top + bounds.bottom) / 2, Math.min(fitting(), 1.5));
}

/** Everything, if that can be read; else the end of the computation, where going back begins. */
function showBeginning() {
  const all = Math.min(fitting(), 1.5), box = boxes[values[graph.result].box];
  if (all > 0.36) Object.assign(camera, { x: (bounds.left + bounds.right) / 2, y: (bounds.top + bounds.bottom) / 2, scale: all });
  else {
    const scale = 0.8, room = camera.height / scale, high = bounds.bottom - bounds.top;
    const y = high < room ? (bounds.top + bounds.bottom) / 2 : Math.min(box.y + box.h / 2, bounds.bottom + 40 - room / 2);
    Object.assign(camera, { x: box.x + box.w / 2, y, scale });
  }
}

function pan(x, y) {
  stopMoving();
  camera.x = Math.max(bounds.left, Math.min(bounds.right, camera.x + x / camera.scale));
  camera.y = Math.max(bounds.top, Math.min(bounds.bottom, camera.y + y / camera.scale));
  redraw();
}

/** Zoom by a factor about a point of the screen, which stays where it is. */
function zoom(factor, x = camera.width / 2, y = camera.height / 2) {
  stopMoving();
  const scale = Math.max(smallest(), Math.min(LARGEST, camera.scale * factor));
  const fixedX = toGraphX(x), fixedY = toGraphY(y);
  camera.scale = scale;
  camera.x = fixedX - (x - camera.width / 2) / scale;
  camera.y = fixedY - (y - camera.height / 2) / scale;
  redraw();
}

let moving = null;

function stopMoving() {
  cancelAnimationFrame(moving);
  moving = null;
}

/** Go to a point of the graph, in a moment, or at once for those who want no motion. */
function moveTo(x, y, scale = camera.scale) {
  stopMoving();
  const from = { ...camera }, start = performance.now(), lasts = calm.matches || document.hidden ? 0 : 260;
  const advance = (now) => {
    const part = lasts ? Math.max(0, Math.min(1, (now - start) / lasts)) : 1, eased = part * part * (3 - 2 * part);
    camera.x = from.x + (x - from.x) * eased;
    camera.y = from.y + (y - from.y) * eased;
    camera.scale = from.scale * (scale / from.scale) ** eased;
    redraw();
    moving = part < 1 ? requestAnimationFrame(advance) : null;
  };
  if (lasts) moving = requestAnimationFrame(advance);
  else advance(start);
}

/** Bring a box into view: nothing moves if it is well inside and large enough to read. */
function bringIntoView(box, readable = true) {
  const scale = readable ? Math.max(camera.scale, 0.75) : camera.scale;
  const left = toScreenX(box.x), right = toScreenX(box.x + box.w), top = toScreenY(box.y), bottom = toScreenY(box.y + box.h);
  const margin = 40;
  const inside = left > margin && top > margin && right < camera.width - margin && bottom < camera.height - margin;
  if (inside && scale === camera.scale) return;
  moveTo(box.x + box.w / 2, box.y + box.h / 2, scale);
}

/** The box at a point of the screen, or null. */
function boxUnder(x, y) {
  const gx = toGraphX(x), gy = toGraphY(y), slack = Math.min(6 / camera.scale, 30);
  let best = null, nearest = Infinity;
  for (const box of boxes) {
    const dx = Math.max(box.x - gx, 0, gx - box.x - box.w), dy = Math.max(box.y - gy, 0, gy - box.y - box.h);
    const away = Math.hypot(dx, dy);
    if (away <= slack && away < nearest) [best, nearest] = [box, away];
  }
  return best;
}

/** The nearest box from another one in a direction, boxes straight ahead first. */
function boxToward(from, dx, dy) {
  const cx = from.x + from.w / 2, cy = from.y + from.h / 2;
  let best = null, least = Infinity;
  for (const box of boxes) {
    if (box === from) continue;
    const x = box.x + box.w / 2 - cx, y = box.y + box.h / 2 - cy;
    const ahead = x * dx + y * dy, aside = Math.abs(x * dy) + Math.abs(y * dx);
    const cost = ahead + 2.5 * aside;
    if (ahead > 1 && aside <= 2 * ahead && cost < least) [best, least] = [box, cost];
  }
  return best;
}

const boxInTheMiddle = () => boxes.reduce((best, box) => (fromMiddle(box) < fromMiddle(best) ? box : best), boxes[0]);
const fromMiddle = (box) => Math.hypot(box.x + box.w / 2 - camera.x, box.y + box.h / 2 - camera.y);
