/* The map as a canvas: drawn, zoomed, moved, pointed at. It knows numbers of points, and nothing of recordings. */

/** @import { Kind, Points } from "./points.js" */
/** @typedef {{onPick: (number: number | null, add: boolean) => void,
 *             onLasso: (numbers: number[], add: boolean) => void,
 *             onHover: (number: number | null, x: number, y: number) => void,
 *             onStep: (number: number) => void,
 *             lasso: () => boolean}} Hooks `lasso()`: whether a drag draws around points;
 *             `onStep`: the keyboard has come to a point */
/** @typedef {{x: number, y: number}} Place on the canvas, in CSS pixels from its top left */

const REACH = 16; // pixels within which a press finds a point
const STILL = 4; // pixels below which a press is no drag
const CROWD = 4000; // points above which they are drawn as small squares
const FADED = 0.12; // what is not selected among very many
const STEP = 1.5; // of a zoom
const PAD = 24;

export class Chart {
  #canvas;
  #hooks;
  /** @type {Points | null} */
  #points = null;
  /** @type {Kind[]} */
  #kinds = [];
  /** @type {Set<number>} */
  #selected = new Set();
  #current = -1; // where the keyboard is
  #view = { x: 0, y: 0, scale: 1 }; // what is in the middle, and pixels per unit
  #whole = 1; // the scale at which all of it is seen
  /** @type {Map<number, Place>} */
  #pointers = new Map();
  /** @type {{from: Place, path: Place[], moved: boolean, lasso: boolean} | null} */
  #drag = null;
  #drawing = 0;

  /** @param {HTMLCanvasElement} canvas @param {Hooks} hooks */
  constructor(canvas, hooks) {
    this.#canvas = canvas;
    this.#hooks = hooks;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    canvas.addEventListener("wheel", (event) => this.#onWheel(event), { passive: false });
    canvas.onpointerdown = (event) => this.#onDown(event);
    canvas.onpointermove = (event) => this.#onMove(event);
    canvas.onpointerup = (event) => this.#onUp(event);
    canvas.onpointercancel = (event) => this.#forget(event);
    canvas.onpointerleave = () => this.#hooks.onHover(null, 0, 0);
    canvas.onkeydown = (event) => this.#onKey(event);
    canvas.onblur = () => this.draw();
    canvas.onfocus = () => this.draw();
  }

  /** @param {Points} points */
  show(points) {
    this.#points = points;
    this.whole();
  }

  /** @param {Kind[]} kinds the colors of all points */
  color(kinds) {
    this.#kinds = kinds;
    this.draw();
  }

  /** @param {Set<number>} selected @param {number} current the one that was looked at last, or -1 */
  select(selected, current) {
    this.#selected = selected;
    this.#current = current;
    this.draw();
  }

  whole() {
    const { x, y } = this.#points ?? { x: [0], y: [0] };
    const [left, right] = ends(x);
    const [low, high] = ends(y);
    const { width, height } = this.#canvas.getBoundingClientRect();
    const wide = (width - 2 * PAD) / Math.max(right - left, 1e-6);
    const tall = (height - 2 * PAD) / Math.max(high - low, 1e-6);
    this.#whole = Math.max(Math.min(wide, tall), 1e-6);
    this.#view = { x: (left + right) / 2, y: (low + high) / 2, scale: this.#whole };
    this.draw();
  }

  /** @param {number} steps above 0: closer @param {Place} [at] what stays where it is; else the middle */
  zoom(steps, at) {
    const { width, height } = this.#canvas.getBoundingClientRect();
    const { x, y } = at ?? { x: width / 2, y: height / 2 };
    const scale = Math.min(Math.max(this.#view.scale * STEP ** steps, this.#whole / 2), this.#whole * 400);
    const shrunk = 1 / this.#view.scale - 1 / scale;
    this.#view.x += (x - width / 2) * shrunk;
    this.#view.y -= (y - height / 2) * shrunk;
    this.#view.scale = scale;
    this.draw();
  }

  draw() {
    cancelAnimationFrame(this.#drawing);
    this.#drawing = requestAnimationFrame(() => this.#draw());
  }

  // -- drawing -----------------------------------------------------------------------------------

  #draw() {
    const canvas = this.#canvas;
    const { width, height } = canvas.getBoundingClientRect();
    const dense = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * dense)) canvas.width = Math.round(width * dense);
    if (canvas.height !== Math.round(height * dense)) canvas.height = Math.round(height * dense);
    const context = canvas.getContext("2d");
    const points = this.#points;
    if (!context || !points) return;
    context.setTransform(dense, 0, 0, dense, 0, 0);
    context.clearRect(0, 0, width, height);
    const crowd = points.n > CROWD;
    const fades = crowd && this.#selected.size > 0; // rings around thousands would hide all of it
    for (const { color, members } of this.#kinds) {
      context.fillStyle = this.#resolved(color);
      for (const i of members) {
        const { x, y } = this.#place(i);
        if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
        context.globalAlpha = fades && !this.#selected.has(i) ? FADED : 1;
        if (crowd) context.fillRect(x - 1.5, y - 1.5, 3, 3);
        else dot(context, x, y, 5);
      }
    }
    context.strokeStyle = this.#resolved("var(--ink)");
    context.globalAlpha = 1;
    context.lineWidth = 2;
    if (!crowd) for (const i of this.#selected) ring(context, this.#place(i), 6);
    if (this.#current >= 0) {
      context.strokeStyle = this.#resolved("var(--accent)");
      context.lineWidth = 2.5;
      ring(context, this.#place(this.#current), 10);
    }
    if (this.#drag?.lasso) this.#drawLasso(context, this.#drag.path);
  }

  /** @param {CanvasRenderingContext2D} context @param {Place[]} path */
  #drawLasso(context, path) {
    context.strokeStyle = this.#resolved("var(--accent)");
    context.lineWidth = 1.5;
    context.setLineDash([5, 4]);
    context.beginPath();
    for (const { x, y } of path) context.lineTo(x, y);
    context.closePath();
    context.stroke();
    context.setLineDash([]);
  }

  /** A canvas knows no variables of CSS. @param {string} color */
  #resolved(color) {
    const name = /^var\((.+)\)$/.exec(color)?.[1];
    return name ? getComputedStyle(this.#canvas).getPropertyValue(name) : color;
  }

  /** @param {number} i */
  #place(i) {
    const { x, y, scale } = this.#view;
    const points = /** @type {Points} */ (this.#points);
    return {
      x: (points.x[i] - x) * scale + this.#canvas.clientWidth / 2,
      y: (y - points.y[i]) * scale + this.#canvas.clientHeight / 2,
    };
  }

  // -- pointing ----------------------------------------------------------------------------------

  /** @param {Place} at */
  #near(at) {
    let best = REACH ** 2;
    let found = null;
    for (let i = 0; i < (this.#points?.n ?? 0); i++) {
      const { x, y } = this.#place(i);
      const far = (x - at.x) ** 2 + (y - at.y) ** 2;
      if (far < best) [best, found] = [far, i];
    }
    return found;
  }

  /** @param {MouseEvent} event */
  #at(event) {
    const { left, top } = this.#canvas.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  }

  /** @param {WheelEvent} event */
  #onWheel(event) {
    event.preventDefault();
    this.zoom(-event.deltaY / (event.deltaMode ? 6 : 200), this.#at(event));
  }

  /** @param {PointerEvent} event */
  #onDown(event) {
    this.#canvas.setPointerCapture(event.pointerId);
    const from = this.#at(event);
    this.#pointers.set(event.pointerId, from);
    const lasso = this.#hooks.lasso() || event.shiftKey;
    this.#drag = this.#pointers.size === 1 ? { from, path: [from], moved: false, lasso } : null;
  }

  /** @param {PointerEvent} event */
  #onMove(event) {
    const at = this.#at(event);
    const before = this.#pointers.get(event.pointerId);
    if (!before) return this.#hooks.onHover(this.#near(at), at.x, at.y);
    if (this.#pointers.size === 2) this.#pinch(event.pointerId, before, at);
    this.#pointers.set(event.pointerId, at);
    const drag = this.#drag;
    if (!drag) return;
    drag.moved ||= Math.hypot(at.x - drag.from.x, at.y - drag.from.y) > STILL;
    if (!drag.moved) return;
    if (drag.lasso) drag.path.push(at);
    else this.#shift(at.x - before.x, at.y - before.y);
    this.draw();
  }

  /** Two fingers: what was between them stays between them.
   *  @param {number} id @param {Place} before @param {Place} at */
  #pinch(id, before, at) {
    const other = [...this.#pointers].find(([one]) => one !== id)?.[1] ?? at;
    const wider =
      Math.hypot(at.x - other.x, at.y - other.y) / Math.hypot(before.x - other.x, before.y - other.y);
    this.zoom(Math.log(wider || 1) / Math.log(STEP), {
      x: (before.x + other.x) / 2,
      y: (before.y + other.y) / 2,
    });
    this.#shift((at.x - before.x) / 2, (at.y - before.y) / 2);
  }

  /** @param {number} right @param {number} down */
  #shift(right, down) {
    this.#view.x -= right / this.#view.scale;
    this.#view.y += down / this.#view.scale;
    this.draw();
  }

  /** @param {PointerEvent} event */
  #onUp(event) {
    const drag = this.#drag;
    this.#forget(event);
    if (!drag) return;
    const add = event.shiftKey || event.ctrlKey || event.metaKey;
    if (!drag.moved) this.#hooks.onPick(this.#near(drag.from), add);
    else if (drag.lasso) this.#hooks.onLasso(this.#inside(drag.path), event.ctrlKey || event.metaKey);
  }

  /** @param {PointerEvent} event */
  #forget(event) {
    this.#pointers.delete(event.pointerId);
    this.#drag = null;
    this.draw();
  }

  /** @param {Place[]} path */
  #inside(path) {
    const found = [];
    for (let i = 0; i < (this.#points?.n ?? 0); i++) if (encloses(path, this.#place(i))) found.push(i);
    return found;
  }

  // -- keys --------------------------------------------------------------------------------------

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (way) this.#step(way[0], way[1]);
    else if (event.key === "Enter" || event.key === " ") this.#hooks.onPick(this.#current, true);
    else if (event.key === "Escape") this.#hooks.onPick(null, false);
    else if (event.key === "+" || event.key === "=") this.zoom(1);
    else if (event.key === "-") this.zoom(-1);
    else if (event.key === "0") this.whole();
    else return;
    event.preventDefault();
  }

  /** To the nearest point in a direction, from where the keyboard is; at first from the middle.
   *  @param {number} right @param {number} down */
  #step(right, down) {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const from = this.#current < 0 ? { x: width / 2, y: height / 2 } : this.#place(this.#current);
    let best = Infinity;
    let found = -1;
    for (let i = 0; i < (this.#points?.n ?? 0); i++) {
      const { x, y } = this.#place(i);
      const along = (x - from.x) * right + (y - from.y) * down;
      const aside = Math.abs((x - from.x) * down) + Math.abs((y - from.y) * right);
      if (i === this.#current || along <= 0 || aside > 2 * along) continue;
      if (along + aside < best) [best, found] = [along + aside, i];
    }
    if (found < 0) return;
    const to = this.#place(found);
    const seen = to.x >= 0 && to.y >= 0 && to.x <= width && to.y <= height;
    if (!seen) this.#shift(width / 2 - to.x, height / 2 - to.y);
    this.#current = found;
    this.#hooks.onStep(found);
    this.draw();
  }
}

/** @param {ArrayLike<number>} values */
function ends(values) {
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < values.length; i++) [low, high] = [Math.min(low, values[i]), Math.max(high, values[i])];
  return [low, high];
}

/** @param {CanvasRenderingContext2D} context @param {number} x @param {number} y @param {number} radius */
function dot(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

/** @param {CanvasRenderingContext2D} context @param {Place} at @param {number} radius */
function ring(context, { x, y }, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.stroke();
}

/** @param {Place[]} path @param {Place} at */
function encloses(path, { x, y }) {
  let inside = false;
  for (let i = 0, j = path.length - 1; i < path.length; j = i++) {
    const [a, b] = [path[i], path[j]];
    if (a.y > y !== b.y > y && x < ((b.x - a.x) * (y - a.y)) / (b.y - a.y) + a.x) inside = !inside;
  }
  return inside;
}
