// The page: shows one image after the other, saves verdicts, and handles all keys but those of a verdict (verdict.js).
import { message, Tools } from "./tools.js";
import { showAbout, showGrey } from "./about_image.js";
import { Clock } from "./clock.js";
import { showHelp, showList } from "./dialogs.js";
import { byId, element } from "./elements.js";
import { ask, Images, json, Outbox, path } from "./server.js";
import { Form } from "./verdict.js";
import { described, loadWords, words } from "./words.js";

const STEP = 60; // pixels that an arrow key moves the image
const MOST_PENDING = 1; // with more unconfirmed verdicts than this, the reader has to wait

const state = { list: [], at: null, case: null, ready: false, pressed: null, shownAt: null, history: [], me: null };
const images = new Images();
const clock = new Clock();
let tools, form, outbox;
// For measurements: milliseconds from the key that saves a verdict to the next picture on the canvas.
const reading = { timings: [], state, values: () => tools.main.values, viewer: () => tools.main, other: () => tools.other,
  pending: () => outbox.pending.size };

async function start() {
  try {
    await loadWords();
    if (location.pathname === "/enter") {
      await json("/api/enter", { token: location.hash.slice(1) });
      history.replaceState(null, "", "/"); // the token is now in a cookie that scripts cannot read
    }
    state.me = await json("/api/me");
    byId("who").textContent = words("reader", { name: state.me.reader });
    tools = new Tools(images);
    form = new Form(state.me);
    outbox = new Outbox(told);
    listen();
    window.reading = reading;
    await refresh();
    await next();
  } catch (problem) {
    outside(problem);
  }
}

function outside(problem) {
  byId("room").hidden = true;
  byId("closing").hidden = true;
  byId("outside").hidden = false;
  byId("why").textContent = described(problem);
}

// ---- which image ---------------------------------------------------------------------------------------------------

async function refresh() {
  state.list = await json("/api/list");
  progress();
}

function mine() {
  return state.list.filter((row) => row.role);
}

function progress() {
  const all = mine();
  const read = all.filter((row) => row.verdict).length;
  byId("progress").max = Math.max(1, all.length);
  byId("progress").value = read;
  byId("place").textContent = words("place", { n: read, total: all.length });
}

function unread(from) {
  // Lists the reader's unread images, beginning after `from`.
  const all = mine();
  const start = from === null ? 0 : all.indexOf(from) + 1;
  return [...all.slice(start), ...all.slice(0, start)].filter((row) => !row.verdict && row !== from);
}

async function next() {
  const waiting = unread(state.at);
  if (waiting.length) return show(waiting[0]);
  await refresh(); // readers may have differed meanwhile, which gives an adjudicator new images
  const more = unread(null);
  return more.length ? show(more[0]) : close();
}

async function show(row, answers = null) {
  const id = row.image_id;
  const { main } = tools;
  state.at = row;
  state.case = null;
  state.ready = false; // no verdict before the image is visible
  form.reset(answers);
  byId("closing").hidden = true;
  byId("outside").hidden = true;
  byId("room").hidden = false;
  message("message", images.has(id) ? "" : words("loading"));
  if (!images.has(id)) { main.clear(); main.draw(); }
  let picture = null;
  try {
    picture = await images.picture(id);
    if (state.at === row) message("message", "");
  } catch (problem) {
    if (state.at !== row) return undefined;
    if (problem.code === "no_token" || problem.code === "wrong_token") return outside(problem);
    message("message", described(problem));
  }
  if (state.at !== row) return undefined;
  if (picture) main.show(picture.bitmap, picture.size);
  else { main.clear(); main.draw(); }
  state.ready = true;
  clock.restart();
  if (state.pressed) {
    const pressed = state.pressed;
    state.pressed = null;
    requestAnimationFrame(() => reading.timings.push(performance.now() - pressed));
  }
  state.shownAt = new Date().toISOString();
  ask("/api/shown", { image_id: id }).catch(() => {});
  showGrey(main);
  tools.enable(null);
  if (document.activeElement && document.activeElement !== document.body) document.activeElement.blur();
  const found = await images.case(id);
  if (state.at !== row) return undefined;
  state.case = found;
  if (found.mine && !answers) form.reset(found.mine);
  showAbout(found, state.me, words("image_of", { n: mine().indexOf(row) + 1, total: mine().length }));
  tools.enable(found);
  if (picture) await fill(row, found);
  const ahead = unread(row).map((one) => one.image_id);
  images.only([id, ...ahead.slice(0, 2), ...found.beside.map((one) => one.image_id), state.history.at(-1)]);
  return images.ready(ahead);
}

async function fill(row, found) {
  // Loads all values and the overlays, once the picture is visible.
  const { main } = tools;
  await new Promise((go) => requestAnimationFrame(() => setTimeout(go)));
  try {
    const values = await images.values(row.image_id);
    if (state.at !== row) return;
    main.setValues(values);
    tools.offerWindows(values);
    showGrey(main);
  } catch (problem) {
    if (state.at === row) message("message", described(problem));
  }
  for (const kind of found.overlays) {
    const bitmap = await images.overlay(row.image_id, kind);
    if (state.at !== row) return;
    main.overlays.set(kind, bitmap);
  }
  if (found.overlays.includes("lung")) {
    const zones = await json(path("zones", row.image_id));
    if (state.at === row) main.zones = zones;
  }
  if (state.at !== row) return;
  main.outline = found.outline ? words("outlines", found.outline) : null;
  tools.drawOver();
  if (tools.beside) await tools.showBeside();
}

async function close() {
  const all = mine();
  state.at = null;
  byId("room").hidden = true;
  byId("closing").hidden = false;
  byId("closing-title").textContent = words(all.length ? "done" : "title");
  byId("closing-text").textContent = words(all.length ? "done_text" : "done_nothing");
  const seconds = all.map((row) => row.seconds ?? 0).sort((a, b) => a - b);
  const counts = new Map();
  for (const row of all) counts.set(row.verdict, (counts.get(row.verdict) ?? 0) + 1);
  const lines = [...counts].filter(([verdict]) => verdict).map(([verdict, n]) => `${words(verdict)}: ${n}`);
  if (all.length) {
    const minutes = (seconds.reduce((sum, one) => sum + one, 0) / 60).toFixed(1);
    const median = seconds[Math.floor(seconds.length / 2)].toFixed(1);
    lines.push(words("done_counts", { n: all.length, minutes, median }));
  }
  byId("closing-counts").replaceChildren(...lines.map((line) => element("li", {}, line)));
  byId("look-again").hidden = !all.length;
  byId("closing").focus();
}

// ---- verdicts ------------------------------------------------------------------------------------------------------

async function save() {
  const answers = form.answers();
  if (!state.at || !state.ready) return undefined;
  if (!answers.verdict) return say(words("choose"), true);
  if (outbox.pending.size > MOST_PENDING) return say(words("not_saved"), true);
  state.pressed = performance.now();
  const row = state.at;
  const verdict = { image_id: row.image_id, ...answers, seconds: clock.seconds(), shown_at: state.shownAt };
  row.verdict = answers.verdict;
  row.seconds = verdict.seconds;
  state.history.push(row.image_id);
  images.forget(row.image_id);
  progress();
  const stored = outbox.send(verdict);
  if (!unread(row).length) await stored; // the closing page says that every verdict is stored
  return next();
}

function told(what, verdict, problem) {
  const row = state.list.find((one) => one.image_id === verdict.image_id);
  if (what === "saved") say(words("saved"), false);
  else if (what === "refused") {
    if (row) row.verdict = null;
    progress();
    say(words("refused", { detail: described(problem) }), true);
  } else say(words(what === "saving" ? "saving" : "not_saved"), what !== "saving");
}

async function undo() {
  const id = state.history.pop();
  if (!id) return say(words("nothing_to_undo"), true);
  await Promise.allSettled([...outbox.pending.values()].map((one) => one.sent)); // a verdict must be stored before it can be withdrawn
  images.forget(id);
  const before = (await images.case(id)).mine;
  const row = state.list.find((one) => one.image_id === id);
  const answers = before ?? {};
  if (before) {
    await outbox.send({ image_id: id, verdict: "withdrawn", seconds: 0 });
    images.forget(id);
  }
  row.verdict = null;
  progress();
  await show(row, answers);
  return say(words("undone"), false);
}

function say(text, waits) {
  const box = byId("saved");
  box.textContent = text;
  box.classList.toggle("wait", waits);
}

function pause(paused) {
  // A pause hides the image and stops the clock.
  clock.pause(paused);
  byId("room").style.visibility = paused ? "hidden" : "";
  if (paused) byId("paused").showModal();
  ask("/api/pause", { paused }).catch(() => {});
}

// ---- keys and buttons ----------------------------------------------------------------------------------------------

const KEYS = {
  f: () => tools.fit(), o: () => tools.main.oneToOne(), i: () => tools.invert(),
  w: () => tools.nextWindow(), r: () => tools.chooseWindow(0),
  m: () => tools.press("masks"), h: () => tools.press("heat"), l: () => tools.press("zones"),
  b: () => tools.toggleBeside(), v: () => byId("viewer").href && byId("viewer").click(),
  "+": () => tools.main.zoom(1.25), "=": () => tools.main.zoom(1.25), "-": () => tools.main.zoom(0.8),
  "[": () => tools.fade(-10), "]": () => tools.fade(10), ",": () => tools.stepBeside(-1), ".": () => tools.stepBeside(1),
  ArrowLeft: () => tools.main.pan(STEP, 0), ArrowRight: () => tools.main.pan(-STEP, 0),
  ArrowUp: () => tools.main.pan(0, STEP), ArrowDown: () => tools.main.pan(0, -STEP),
  "Shift+ArrowUp": () => tools.nudgeWindow(-0.05, 1), "Shift+ArrowDown": () => tools.nudgeWindow(0.05, 1),
  "Shift+ArrowLeft": () => tools.nudgeWindow(0, 0.9), "Shift+ArrowRight": () => tools.nudgeWindow(0, 1.1),
  u: undo, p: () => pause(true), j: () => showList(state.list, (row) => go(() => show(row))), "?": showHelp,
};
const BUTTONS = { fit: "f", one: "o", invert: "i", masks: "m", heat: "h", zones: "l", beside: "b", newer: ",", older: ".",
  undo: "u", "open-list": "j", "open-pause": "p", "open-help": "?" };

function go(action) {
  // Runs the action of a key or button. If it fails, the page says why.
  Promise.resolve(action()).catch(outside);
}

function onKey(event) {
  const target = event.target;
  const inDialog = document.querySelector("dialog[open]");
  if (inDialog) {
    if (inDialog.id === "paused" && event.key.toLowerCase() === "p") { event.preventDefault(); inDialog.close(); }
    return;
  }
  if (byId("room").hidden) return;
  if (event.key === "Escape") { target.blur(); byId("main").focus(); return; }
  if (target.id === "comment") {
    if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); go(save); }
    return;
  }
  if (target.tagName === "SELECT" || (target.tagName === "INPUT" && event.key.startsWith("Arrow"))) return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Enter" && !byId("tools").contains(target) && !byId("top").contains(target) && target.id !== "undo"
    && !byId("pane-other").contains(target)) {
    event.preventDefault();
    go(save);
    return;
  }
  if (form.findingKey(event) || form.key(event)) { event.preventDefault(); return; }
  const name = event.shiftKey && event.key.startsWith("Arrow") ? `Shift+${event.key}` : event.key;
  const action = KEYS[name] ?? KEYS[name.toLowerCase()];
  if (!action || event.key === " ") return;
  event.preventDefault();
  go(action);
}

function listen() {
  document.addEventListener("keydown", onKey);
  byId("form").addEventListener("submit", (event) => { event.preventDefault(); go(save); });
  for (const [id, key] of Object.entries(BUTTONS)) byId(id).addEventListener("click", () => go(KEYS[key]));
  byId("windows").addEventListener("change", (event) => {
    if (event.target.value !== "own") tools.chooseWindow(Number(event.target.value));
  });
  byId("opacity").addEventListener("input", () => tools.drawOver());
  byId("paused").addEventListener("close", () => pause(false));
  byId("go-on").addEventListener("click", () => byId("paused").close());
  document.querySelectorAll("dialog .close").forEach((button) => {
    button.addEventListener("click", () => button.closest("dialog").close());
  });
  byId("look-again").addEventListener("click", () => KEYS.j());
  byId("check-new").addEventListener("click", () => go(() => refresh().then(next)));
}

start();
