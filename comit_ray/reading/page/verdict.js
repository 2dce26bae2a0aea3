// The form for one verdict, filled by keys or by mouse. This module does not know the image.

import { byId, element } from "./elements.js";
import { words } from "./words.js";

export const VERDICTS = [["abnormal", "A"], ["normal", "N"], ["cannot_tell", "C"], ["broken", "X"]];
export const CATEGORIES = [["typical", "1"], ["indeterminate", "2"], ["atypical", "3"], ["negative", "4"]];
const ZONES = ["A", "B", "C", "D", "E", "F"];
const HIGHEST = 3;

export class Form {
  constructor(me) {
    this.verdicts = radios(byId("verdicts"), VERDICTS.map(([value, key]) => ({ value, key, text: words(value) })),
      () => this.normal());
    this.categories = radios(byId("categories"), CATEGORIES.map(([value, key]) => ({ value, key, text: words(value) })));
    this.confidence = radios(byId("confidence"), [1, 2, 3, 4, 5].map((value) => (
      { value, text: String(value), label: words(`confidence_${value}`) })));
    byId("verdicts").lastElementChild.title = words("broken_long");
    byId("zone-set").hidden = !me.zones;
    this.findings = me.findings.map(({ code, words: text }) => {
      const button = element("button", { type: "button", "aria-pressed": "false", title: text }, text);
      button.dataset.code = code;
      button.addEventListener("click", () => toggle(button));
      byId("findings").append(button);
      return button;
    });
    this.buildZones();
    this.reset(null);
  }

  buildZones() {
    const box = byId("severity");
    box.append(element("div", { class: "side" }, words("patient_right")),
      element("div", { class: "side" }, words("patient_left")));
    this.zones = [];
    for (const index of [0, 3, 1, 4, 2, 5]) {
      const zone = element("div", { class: "zone", role: "spinbutton", tabindex: "0", "aria-valuemin": "0",
        "aria-valuemax": String(HIGHEST) });
      zone.setAttribute("aria-label",
        words("zone", { name: ZONES[index], place: words(`zone_${index}`) }));
      zone.append(element("b", { "aria-hidden": "true" }, ZONES[index]));
      for (let value = 0; value <= HIGHEST; value++) {
        const cell = element("span", { "aria-hidden": "true" }, String(value));
        cell.addEventListener("click", () => this.setZone(index, this.severity[index] === value ? null : value));
        zone.append(cell);
      }
      zone.addEventListener("keydown", (event) => this.zoneKey(event, index));
      this.zones[index] = zone;
      box.append(zone);
    }
  }

  zoneKey(event, index) {
    const move = { ArrowDown: 1, ArrowUp: -1, ArrowRight: 3, ArrowLeft: -3 }[event.key];
    if (event.shiftKey || event.ctrlKey || event.metaKey || event.altKey) return;
    if (move !== undefined) this.zones[(index + move + 6) % 6].focus();
    else if (/^[0-3]$/.test(event.key)) {
      this.setZone(index, Number(event.key));
      this.zones[Math.min(index + 1, 5)].focus();
    } else if (event.key === "Delete" || event.key === "Backspace") this.setZone(index, null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  setZone(index, value) {
    this.severity[index] = value;
    const zone = this.zones[index];
    if (value === null) zone.removeAttribute("aria-valuenow");
    else zone.setAttribute("aria-valuenow", String(value));
    zone.setAttribute("aria-valuetext", value === null ? words("not_given") : words(`severity_${value}`));
    zone.querySelectorAll("span").forEach((cell, at) => cell.classList.toggle("on", at === value));
  }

  normal() {
    // A normal radiograph can only have the category "negative".
    const normal = this.verdicts.value === "normal";
    if (normal && this.categories.value !== null && this.categories.value !== "negative") this.categories.set(null);
    byId("categories").querySelectorAll("button").forEach((button) => {
      button.disabled = normal && button.dataset.value !== "negative";
    });
  }

  reset(answers) {
    // Empties the form, or fills in the reader's earlier answers.
    this.severity = [null, null, null, null, null, null];
    this.verdicts.set(answers?.verdict ?? null);
    this.categories.set(answers?.category ?? null);
    this.confidence.set(answers?.confidence ?? null);
    this.normal();
    for (const button of this.findings) {
      button.setAttribute("aria-pressed", String(answers?.findings?.includes(button.dataset.code) ?? false));
    }
    for (let index = 0; index < 6; index++) this.setZone(index, answers?.zones?.[index] ?? null);
    byId("comment").value = answers?.comment ?? "";
    byId("scroll").scrollTop = 0;
  }

  answers() {
    const findings = this.findings.filter((button) => button.getAttribute("aria-pressed") === "true");
    return {
      verdict: this.verdicts.value,
      category: this.categories.value,
      confidence: this.confidence.value,
      findings: findings.map((button) => button.dataset.code),
      zones: this.severity.some((value) => value !== null) ? [...this.severity] : null,
      comment: byId("comment").value.trim() || null,
    };
  }

  key(event) {
    // Handles a key; returns whether it was an answer.
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    const digit = /^Digit([1-5])$/.exec(event.code);
    if (event.shiftKey && digit) {
      this.confidence.set(Number(digit[1]));
      return true;
    }
    const verdict = VERDICTS.find(([, key]) => key === event.key.toUpperCase());
    const category = CATEGORIES.find(([, key]) => key === event.key);
    if (verdict) {
      this.verdicts.set(verdict[0]);
      this.normal();
    } else if (category && !event.shiftKey) {
      if (!(this.verdicts.value === "normal" && category[0] !== "negative")) this.categories.set(category[0]);
    } else if (event.key.toUpperCase() === "G") this.findings[0]?.focus();
    else if (event.key.toUpperCase() === "Z" && !byId("zone-set").hidden) this.zones[0].focus();
    else if (event.key.toUpperCase() === "T") byId("comment").focus();
    else return false;
    return true;
  }

  findingKey(event) {
    // Moves between findings with the arrow keys; returns whether the key was used.
    const at = this.findings.indexOf(document.activeElement);
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (at < 0 || move === undefined) return false;
    this.findings[(at + move + this.findings.length) % this.findings.length].focus();
    return true;
  }
}

function radios(box, options, changed = () => {}) {
  // Makes a group of buttons of which at most one is chosen; a second press clears it. Tab enters the group, and arrow
  // keys move within it.
  const group = { value: null };
  const buttons = options.map(({ value, key, text, label }) => {
    const button = element("button", { type: "button", role: "radio", "aria-checked": "false" });
    button.append(element("span", {}, text));
    if (key) button.append(element("kbd", { "aria-hidden": "true" }, key));
    if (key) button.setAttribute("aria-keyshortcuts", key);
    if (label) { button.setAttribute("aria-label", `${text}, ${label}`); button.title = label; }
    button.dataset.value = String(value);
    button.addEventListener("click", () => { group.set(group.value === value ? null : value); changed(); });
    box.append(button);
    return button;
  });
  box.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!move || event.shiftKey || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    const open = buttons.filter((button) => !button.disabled);
    const to = open[(open.indexOf(document.activeElement) + move + open.length) % open.length];
    to.focus();
    group.set(options[buttons.indexOf(to)].value);
    changed();
  });
  group.set = (value) => {
    group.value = value;
    buttons.forEach((button) => button.setAttribute("aria-checked", String(button.dataset.value === String(value))));
    const chosen = buttons.find((button) => button.getAttribute("aria-checked") === "true") ?? buttons[0];
    buttons.forEach((button) => { button.tabIndex = button === chosen ? 0 : -1; });
  };
  return group;
}

function toggle(button) {
  button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
}
