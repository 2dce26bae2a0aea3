// The time that an image is before the reader's eyes: the page is visible, and the reading is not paused.

export class Clock {
  constructor() {
    this.counted = 0; // ms, up to the last stop
    this.since = null; // when it began to run; null: it stands still
    this.paused = false;
    document.addEventListener("visibilitychange", () => (document.visibilityState === "visible" ? this.run() : this.halt()));
  }

  restart() {
    // For the next image.
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
