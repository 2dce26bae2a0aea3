// Shows one radiograph on a canvas: zoom, pan, window and level, inversion, overlays. It does not know verdicts.
import { table, paint, paintPart } from "./levels.js";

export class Viewer {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.changed = changed; // called after every change, with whether the reader made it; the linked viewer follows
    this.clear();
    this.listen();
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  clear() {
    this.values = null; // stored values, once they are loaded
    this.picture = null; // the JPEG, which comes first
    this.base = null; // canvas of full size with the window applied
    this.window = null; // null: as screened
    this.inverted = false;
    this.overlays = new Map(); // kind -> ImageBitmap
    this.visible = new Set();
    this.outline = null; // what the outlines are, in words
    this.opacity = 0.6;
    this.zones = null;
    this.zonesVisible = false;
    this.size = null;
    this.fitted = true;
    this.view = { scale: 1, left: 0, top: 0 };
    this.dragging = false;
  }

  show(picture, size) {
    this.clear();
    this.picture = picture;
    this.size = size;
    this.fit();
  }

  setValues(values) {
    this.values = values;
    this.repaint();
  }

  // ---- position ----------------------------------------------------------------------------------------------------

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (width === this.canvas.width && height === this.canvas.height) return;
    const middle = this.middle();
    this.canvas.width = width;
    this.canvas.height = height;
    if (this.fitted) this.fit();
    else this.center(middle);
    this.changed(false);
  }

  fitScale() {
    return Math.min(this.canvas.width / this.size.width, this.canvas.height / this.size.height);
  }

  fit() {
    if (!this.size) return;
    const scale = this.fitScale();
    this.fitted = true;
    this.view = {
      scale,
      left: (this.canvas.width - this.size.width * scale) / 2,
      top: (this.canvas.height - this.size.height * scale) / 2,
    };
    this.draw();
  }

  oneToOne() {
    if (this.size) this.zoom(1 / this.view.scale);
  }

  zoom(factor, at = { x: this.canvas.width / 2, y: this.canvas.height / 2 }) {
    if (!this.size) return;
    const scale = Math.min(16, Math.max(this.fitScale() / 2, this.view.scale * factor));
    const by = scale / this.view.scale;
    this.view = { scale, left: at.x - (at.x - this.view.left) * by, top: at.y - (at.y - this.view.top) * by };
    this.fitted = false;
    this.draw();
    this.changed(true);
  }

  pan(x, y) {
    if (!this.size) return;
    this.view = { ...this.view, left: this.view.left + x, top: this.view.top + y };
    this.fitted = false;
    this.draw();
    this.changed(true);
  }

  middle() {
    // Returns the point in the middle, as fractions of the image, and the zoom relative to a fit.
    if (!this.size) return null;
    const { scale, left, top } = this.view;
    return {
      x: (this.canvas.width / 2 - left) / scale / this.size.width,
      y: (this.canvas.height / 2 - top) / scale / this.size.height,
      zoom: scale / this.fitScale(),
      fitted: this.fitted,
    };
  }

  center(middle) {
    if (!this.size || !middle) return;
    if (middle.fitted) {
      this.fit();
      return;
    }
    const scale = this.fitScale() * middle.zoom;
    this.fitted = false;
    this.view = {
      scale,
      left: this.canvas.width / 2 - middle.x * this.size.width * scale,
      top: this.canvas.height / 2 - middle.y * this.size.height * scale,
    };
    this.draw();
  }

  // ---- grey --------------------------------------------------------------------------------------------------------

  startWindow() {
    // Returns the window from which a drag starts: the current one, or a linear one close to the grey as screened.
    if (this.window) return this.window;
    const from = this.values?.as_screened || this.values?.presets[0];
    return from ? { center: from.center, width: from.width, function: "LINEAR_EXACT" } : null;
  }

  setWindow(window, quick = false) {
    if (!this.values) return;
    this.window = window;
    this.repaint(quick);
  }

  setInverted(inverted) {
    this.inverted = inverted;
    this.repaint();
  }

  repaint(quick = false) {
    if (this.values) {
      this.greys = table(this.values, this.window, this.inverted);
      if (quick) {
        const image = paintPart(this.values, this.greys, this.view, this.canvas.width, this.canvas.height);
        this.context.putImageData(image, 0, 0);
        this.drawOver();
        return;
      }
      if (!this.base || this.base.width !== this.values.width || this.base.height !== this.values.height) {
        this.base = new OffscreenCanvas(this.values.width, this.values.height);
        this.baseContext = this.base.getContext("2d", { alpha: false, willReadFrequently: true });
      }
      this.baseContext.putImageData(paint(this.values, this.greys), 0, 0);
    }
    this.draw();
  }

  draw() {
    const { context, canvas } = this;
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (!this.size) return;
    const { scale, left, top } = this.view;
    context.imageSmoothingEnabled = scale < 2; // no smoothing of large pixels
    context.imageSmoothingQuality = "high";
    if (!this.base && this.inverted) context.filter = "invert(1)";
    context.drawImage(this.base || this.picture, left, top, this.size.width * scale, this.size.height * scale);
    context.filter = "none";
    this.drawOver();
  }

  drawOver() {
    const { context } = this;
    const { scale, left, top } = this.view;
    const width = this.size.width * scale;
    const height = this.size.height * scale;
    context.imageSmoothingEnabled = true;
    for (const [kind, bitmap] of this.overlays) {
      if (!this.visible.has(kind)) continue;
      context.globalAlpha = this.opacity;
      context.drawImage(bitmap, left, top, width, height);
    }
    context.globalAlpha = 1;
    if (this.zonesVisible && this.zones) this.drawZones(left, top, width, height);
  }

  drawZones(left, top, width, height) {
    const { context, zones } = this;
    const x = zones.columns.map((share) => left + share * width);
    const y = zones.rows.map((share) => top + share * height);
    context.strokeStyle = "rgba(240, 228, 66, 0.9)";
    context.fillStyle = "rgba(240, 228, 66, 0.95)";
    context.lineWidth = 1.5;
    context.setLineDash([6, 5]);
    context.beginPath();
    for (const at of x) { context.moveTo(at, y[0]); context.lineTo(at, y[3]); }
    for (const at of y) { context.moveTo(x[0], at); context.lineTo(x[2], at); }
    context.stroke();
    context.setLineDash([]);
    context.font = "600 14px system-ui, sans-serif";
    ["A", "B", "C"].forEach((name, row) => context.fillText(name, x[0] + 6, y[row] + 18));
    ["D", "E", "F"].forEach((name, row) => context.fillText(name, x[1] + 6, y[row] + 18));
  }

  // ---- mouse and touch ---------------------------------------------------------------------------------------------

  listen() {
    const { canvas } = this;
    const ratio = () => window.devicePixelRatio || 1;
    const touches = new Map();
    let mode = null;
    let start = null;
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = canvas.getBoundingClientRect();
      const at = { x: (event.clientX - box.left) * ratio(), y: (event.clientY - box.top) * ratio() };
      this.zoom(Math.exp(-event.deltaY * 0.0015), at);
    }, { passive: false });
    canvas.addEventListener("dblclick", () => { this.fit(); this.changed(true); });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      touches.set(event.pointerId, event);
      // The left button drags the window. The right or middle button, Shift or two fingers move the image.
      const panning = event.button !== 0 || event.shiftKey || event.ctrlKey || touches.size > 1;
      mode = panning ? "pan" : "window";
      start = { x: event.clientX, y: event.clientY, window: this.startWindow(), span: span(touches) };
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!touches.has(event.pointerId)) return;
      const before = touches.get(event.pointerId);
      touches.set(event.pointerId, event);
      if (mode === "pan") {
        this.pan((event.clientX - before.clientX) * ratio() / touches.size,
          (event.clientY - before.clientY) * ratio() / touches.size);
        if (touches.size === 2 && start.span) {
          const now = span(touches);
          this.zoom(now / start.span);
          start.span = now;
        }
      } else if (start.window) {
        this.dragging = true;
        // Dragging across changes the width, dragging down the centre, by up to twice the window's width.
        const across = (event.clientX - start.x) / canvas.clientWidth;
        const down = (event.clientY - start.y) / canvas.clientHeight;
        const width = Math.max(1, start.window.width * Math.exp(2 * across));
        const center = start.window.center + down * 2 * start.window.width * (this.values.inverted ? -1 : 1);
        this.schedule({ center, width, function: "LINEAR_EXACT" });
      }
    });
    const end = (event) => {
      touches.delete(event.pointerId);
      if (touches.size) return;
      if (this.dragging) {
        this.dragging = false;
        this.repaint();
        this.changed(true);
      }
      mode = null;
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
  }

  schedule(window) {
    // Repaints at most once per frame.
    this.next = window;
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      if (!this.values) return;
      this.setWindow(this.next, this.dragging);
      this.changed(true);
    });
  }
}

function span(touches) {
  if (touches.size !== 2) return null;
  const [a, b] = [...touches.values()];
  return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
}
