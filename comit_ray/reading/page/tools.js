// The tools below the image: windows, masks and heat map, the patient's other radiograph, and the site's viewer.
import { greyOf, showGrey, viewOf } from "./about_image.js";
import { byId } from "./elements.js";
import { sameWindow } from "./levels.js";
import { ask } from "./server.js";
import { Viewer } from "./viewer.js";
import { described, words } from "./words.js";

export class Tools {
  // The tools of the page. `images` fetches images; `about` is the current case, null until it is known.
  constructor(images) {
    this.images = images;
    this.about = null;
    this.windows = [null];
    this.beside = false; // whether the reader wants the patient's other radiograph beside the image
    this.besideAt = 0; // which of the other radiographs is shown
    this.main = new Viewer(byId("main"), () => this.follow());
    this.other = new Viewer(byId("other"), (byHand) => (byHand ? this.lead() : this.follow()));
  }

  enable(about) {
    // Enables the tools that the current image allows; null: the image is not known yet.
    this.about = about;
    const kinds = about?.overlays ?? [];
    byId("masks").disabled = !kinds.includes("lung") && !kinds.includes("disease");
    byId("heat").disabled = !kinds.includes("heat");
    byId("zones").disabled = !kinds.includes("lung");
    byId("opacity").disabled = !kinds.length;
    const count = about?.beside.length ?? 0;
    byId("beside").disabled = !count;
    byId("beside-count").textContent = count ? ` ${count}` : "";
    byId("beside").title = count ? "" : words("beside_none");
    byId("beside").setAttribute("aria-pressed", String(this.beside && count > 0));
    if (!about) this.clearOther(); // never show radiographs of two patients side by side
    else if (!count) byId("pane-other").hidden = true;
    const link = byId("viewer");
    link.hidden = !about?.viewer;
    if (about?.viewer) link.href = about.viewer;
    else link.removeAttribute("href");
  }

  // ---- windows -----------------------------------------------------------------------------------------------------

  offerWindows(values) {
    this.windows = [null, ...values.windows, ...values.presets];
    const options = this.windows.map((one, n) => (
      new Option(one ? words(`window_${one.name}`, { n }) : words("window_screened"), String(n))));
    options.push(new Option(words("window_own"), "own"));
    byId("windows").replaceChildren(...options);
  }

  chooseWindow(at) {
    if (!this.main.values) return;
    this.main.setWindow(this.windows[at] ?? null);
    this.follow();
  }

  nextWindow() {
    this.chooseWindow((Math.max(0, this.windows.indexOf(this.main.window)) + 1) % this.windows.length);
  }

  nudgeWindow(center, width) {
    // Changes the window by a step: `center` in widths of the window (darker below 0), `width` as a factor.
    const from = this.main.startWindow();
    if (!from) return;
    const sign = this.main.values.inverted ? -1 : 1;
    this.main.setWindow({ center: from.center + sign * center * from.width, width: Math.max(1, from.width * width),
      function: "LINEAR_EXACT" });
    this.follow();
  }

  invert() {
    this.main.setInverted(!this.main.inverted);
    this.follow();
  }

  fit() {
    this.main.fit();
    this.follow();
  }

  // ---- overlays ----------------------------------------------------------------------------------------------------

  press(id) {
    const button = byId(id);
    if (button.disabled) return;
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    this.drawOver();
  }

  fade(by) {
    byId("opacity").value = String(Number(byId("opacity").value) + by);
    this.drawOver();
  }

  drawOver() {
    const on = (id) => byId(id).getAttribute("aria-pressed") === "true" && !byId(id).disabled;
    this.main.visible = new Set([...(on("masks") ? ["lung", "disease"] : []), ...(on("heat") ? ["heat"] : [])]);
    this.main.zonesVisible = on("zones");
    this.main.opacity = Number(byId("opacity").value) / 100;
    this.main.draw();
    showGrey(this.main);
  }

  // ---- the patient's other radiographs -----------------------------------------------------------------------------

  follow() {
    // After a change of the main image: updates corners and list, and changes the other image in the same way.
    const { main, other } = this;
    if (!main.size) return;
    showGrey(main);
    if (main.values) {
      const at = this.windows.indexOf(main.window);
      byId("windows").value = at >= 0 ? String(at) : "own";
    }
    if (byId("pane-other").hidden || !other.size) return;
    if (other.inverted !== main.inverted) other.setInverted(main.inverted);
    if (other.values && main.values && !main.dragging) other.setWindow(sameWindow(main.window, main.values, other.values));
    other.center(main.middle());
    this.sayOther();
  }

  lead() {
    // After the reader changed the other image: changes the main image in the same way.
    const { main, other } = this;
    main.center(other.middle());
    if (other.values && main.values && !other.dragging && other.window) {
      main.setWindow(sameWindow(other.window, other.values, main.values));
    }
    this.follow();
  }

  sayOther() {
    byId("grey-other").textContent = [greyOf(this.other), words("zoom", { percent: Math.round(100 * this.other.view.scale) })]
      .join("\n");
  }

  toggleBeside() {
    if (byId("beside").disabled) return undefined;
    this.beside = !this.beside;
    byId("beside").setAttribute("aria-pressed", String(this.beside));
    if (this.beside) return this.showBeside();
    byId("pane-other").hidden = true;
    return undefined;
  }

  clearOther() {
    this.besideAt = 0;
    this.other.clear();
    this.other.draw();
    for (const id of ["about-other", "grey-other"]) byId(id).textContent = "";
    message("message-other", "");
  }

  async showBeside() {
    const { about, other } = this;
    if (!about?.beside.length) return undefined;
    const at = this.besideAt;
    const one = about.beside[at];
    const date = one.acquired_on ?? words("no_date");
    byId("pane-other").hidden = false;
    byId("about-other").textContent = `${date}\n${viewOf(one)}`;
    byId("other").setAttribute("aria-label", `${words("stage_other")}. ${date}. ${viewOf(one)}`);
    byId("newer").parentElement.hidden = about.beside.length < 2;
    byId("newer").disabled = at === 0;
    byId("older").disabled = at === about.beside.length - 1;
    message("message-other", "");
    const wanted = () => this.about === about && this.besideAt === at && this.beside;
    other.clear();
    other.draw();
    byId("grey-other").textContent = "";
    try {
      const { bitmap, size } = await this.images.picture(one.image_id);
      if (!wanted()) return undefined;
      other.show(bitmap, size);
      other.resize();
      ask("/api/shown", { image_id: one.image_id }).catch(() => {});
      this.follow();
      const values = await this.images.values(one.image_id);
      if (!wanted()) return undefined;
      other.setValues(values);
      this.follow();
    } catch (problem) {
      if (wanted()) message("message-other", described(problem));
    }
    return undefined;
  }

  stepBeside(by) {
    const to = this.besideAt + by;
    if (!this.beside || to < 0 || to >= this.about.beside.length) return undefined;
    this.besideAt = to;
    return this.showBeside();
  }
}

export function message(id, text) {
  // Shows a text over an image that cannot be shown; "" removes it.
  byId(id).textContent = text;
  byId(id).hidden = !text;
}
