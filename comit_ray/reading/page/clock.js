// Measures how long the reader sees an image. The clock stops while the page is hidden or the reading is paused.

export class Clock {
  constructor() {
    this.counted = 0; // milliseconds up to the last stop
    this.since = null; // when the clock started; null: it is stopped
    this.paused = false;
    document.addEventListener("visibilitychange", () => (document.visibilityState === "visible" ? this.run() : this.halt()));
  }

  restart() {
    // Starts from zero for the next image.
    this.counted = 0;
    this.since = null;
    this.run();
  }

  run() {
    if (this.since === null && !this.paused && document.visibilityState === "visible") this.since = performance.now();
  }

  halt() {
    if (this.since !== null) this.counted += performance.now() - this.since;
    this.since = null;
  }

  pause(paused) {
    this.paused = paused;
    if (paused) this.halt();
    else this.run();
  }

  seconds() {
    this.halt();
    this.run();
    return Math.round(this.counted / 10) / 100;
  }
}
