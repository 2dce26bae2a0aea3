// The page: which image is before the reader, and what the keys do.
import { Viewer } from "./viewer.js";
import { Form, byId, element } from "./verdict.js";
import { Images, Outbox, Problem, ask, json, path } from "./server.js";
import { showList, showHelp } from "./dialogs.js";

const STEP = 60; // pixels an arrow key moves the image
let dictionary = {};

export function words(key, values = {}) {
  return (dictionary[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

const state = { list: [], at: null, entered: 0, visible: 0, since: null, shownAt: null, history: [], besideAt: 0 };
const images = new Images();
// For who measures: milliseconds from a verdict's key to the next picture on the canvas.
const reading = { timings: [], state, values: () => main.values, greys: () => main.greys, viewer: () => main,
  pending: () => outbox.pending.size };
let main, other, form, outbox;

async function start() {
  dictionary = await json("/page/words.en.json");
  document.documentElement.lang = words("language");
  document.title = words("title");
  document.querySelectorAll("[data-word]").forEach((one) => { one.textContent = words(one.dataset.word); });
  document.querySelectorAll("[data-label]").forEach((one) => one.setAttribute("aria-label", words(one.dataset.label)));
  document.querySelectorAll("[data-hint]").forEach((one) => one.setAttribute("placeholder", words(one.dataset.hint)));
  try {
    if (location.pathname === "/enter") {
      await json("/api/enter", { token: location.hash.slice(1) });
      history.replaceState(null, "", "/"); // the token is in the cookie now, and nowhere a script can read it
    }
    const me = await json("/api/me");
    byId("who").textContent = words("reader", { name: me.reader });
    state.me = me;
    main = new Viewer(byId("main"), () => follow());
    other = new Viewer(byId("other"), () => {});
    form = new Form(words, me);
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

function described(problem) {
  if (!(problem instanceof Problem)) { console.error(problem); return String(problem); }
  const key = `problem_${problem.code}`;
  return words(key in dictionary ? key : "problem_other", { ...problem.more, detail: problem.detail });
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
  // The unread ones, those after `from` first.
  const all = mine();
  const start = from === null ? 0 : all.indexOf(from) + 1;
  return [...all.slice(start), ...all.slice(0, start)].filter((row) => !row.verdict && row !== from);
}

async function next() {
  const waiting = unread(state.at);
  if (waiting.length) return show(waiting[0]);
  await refresh(); // perhaps others have differed, and there is something to decide
  const more = unread(null);
  return more.length ? show(more[0]) : close();
}

async function show(row, answers = null) {
  const id = row.image_id;
  state.at = row;
  state.case = null;
  state.ready = false; // no verdict on an image that is not before the reader yet
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
  clock();
  if (state.pressed) {
    const pressed = state.pressed;
    state.pressed = null;
    requestAnimationFrame(() => reading.timings.push(performance.now() - pressed));
  }
  state.shownAt = new Date().toISOString();
  ask("/api/shown", { image_id: id }).catch(() => {});
  corners();
  toolsFor(null);
  if (document.activeElement && document.activeElement !== document.body) document.activeElement.blur();
  const found = await images.case(id);
  if (state.at !== row) return undefined;
  state.case = found;
  about(found, answers);
  toolsFor(found);
  if (picture) await fill(row, found);
  const ahead = unread(row).map((one) => one.image_id);
  images.only([id, ...ahead.slice(0, 2), ...found.beside.map((one) => one.image_id), state.history.at(-1)]);
  return images.ready(ahead);
}

async function fill(row, found) {
  // All values, and what lies over the image, once the picture is there.
  await new Promise((go) => requestAnimationFrame(() => setTimeout(go)));
  try {
    const values = await images.values(row.image_id);
    if (state.at !== row) return;
    main.setValues(values);
    windowsFor(values);
    corners();
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
  over();
  if (state.beside) await showBeside();
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
  if (outbox.pending.size > 1) return say(words("not_saved"), true); // what is said must not run ahead of what is stored
  state.pressed = performance.now();
  const row = state.at;
  const verdict = { image_id: row.image_id, ...answers, seconds: seconds(), shown_at: state.shownAt };
  row.verdict = answers.verdict;
  row.seconds = verdict.seconds;
  state.history.push(row.image_id);
  images.forget(row.image_id);
  progress();
  const stored = outbox.send(verdict);
  if (!unread(row).length) await stored; // the last page says that all is stored
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
  await Promise.allSettled([...outbox.pending.values()].map((one) => one.sent)); // it is stored before it is taken back
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

// ---- time ----------------------------------------------------------------------------------------------------------

function clock() {
  state.visible = 0;
  state.since = document.visibilityState === "visible" && !byId("paused").open ? performance.now() : null;
}

function halt() {
  if (state.since !== null) state.visible += performance.now() - state.since;
  state.since = null;
}

function run() {
  if (state.since === null && document.visibilityState === "visible" && !byId("paused").open) {
    state.since = performance.now();
  }
}

function seconds() {
  halt();
  run();
  return Math.round(state.visible / 10) / 100;
}

function pause() {
  halt();
  byId("paused").showModal();
  byId("room").style.visibility = "hidden";
  ask("/api/pause", { paused: true }).catch(() => {});
}

function goOn() {
  byId("room").style.visibility = "";
  ask("/api/pause", { paused: false }).catch(() => {});
  run();
}

// ---- what is said of the image -------------------------------------------------------------------------------------

function about(found, answers) {
  const person = [found.view, found.sex, found.age === null ? null : `${Math.floor(found.age)} y`];
  byId("about").textContent = [person.filter(Boolean).join("  "), found.acquired_on].filter(Boolean).join("\n");
  byId("role").textContent = found.role === "first" ? "" : words(`role_${found.role}`);
  const box = byId("said");
  box.replaceChildren();
  if (found.role === "adjudicator") adjudication(box, found);
  if (found.mine && !answers) {
    form.reset(found.mine);
    box.append(element("p", {}, words("read_before")));
  }
  box.append(element("h2", {}, words("model")));
  if (found.hidden) {
    box.append(element("p", {}, words(state.me.blind ? "model_blind" : "model_hidden")));
    return;
  }
  if (found.status !== "ok") box.append(element("p", {}, `${words("not_scored")}: ${found.detail ?? found.reason}`));
  else scores(box, found.model);
  if (found.reasons.length) {
    const list = element("ul");
    list.append(...found.reasons.map((reason) => element("li", {}, words(`reason_${reason}`))));
    box.append(element("h2", {}, words("why")), list);
  }
}

function scores(box, model) {
  for (const [name, score, flag] of [
    ["score_covid", model.p_covid, model.covid_flag], ["score_unhealthy", model.p_unhealthy, model.unhealthy_flag]]) {
    if (score === null) continue;
    const line = element("p", { class: "score" });
    line.append(element("span", {}, words(name)), element("b", {}, score.toFixed(2)));
    line.append(element("span", { class: flag ? "tag on" : "tag" }, words(flag ? "flagged" : "not_flagged")));
    box.append(line);
  }
  if (model.disease_in_lung !== null) {
    const line = element("p", { class: "score" });
    line.append(element("span", {}, words("in_lung")), element("b", {}, `${Math.round(100 * model.disease_in_lung)}%`));
    box.append(line);
  }
}

function adjudication(box, found) {
  box.append(element("h2", {}, words("others")));
  for (const one of found.others) {
    const said = [words(one.verdict), one.category && words(one.category), ...(one.findings ?? []), one.comment];
    box.append(element("p", {}, `${one.reader}: ${said.filter(Boolean).join(", ")}`));
  }
}

function corners() {
  const values = main.values;
  const grey = [];
  if (main.window) {
    const { center, width } = main.window;
    grey.push(words("center_width", { center: Math.round(center), width: Math.round(width) }));
  } else grey.push(words("as_screened"));
  grey.push(values ? words("values_here", { bits: values.bits_stored }) : words("values_loading"));
  const sides = values?.orientation?.[0];
  const opposite = { L: "R", R: "L" };
  byId("mark-right").textContent = opposite[sides] ? sides : "";
  byId("mark-left").textContent = opposite[sides] ?? "";
  if (values && !opposite[sides]) grey.push(words("side_unknown"));
  byId("grey").textContent = grey.join("\n");
  byId("scale").textContent = main.size ? words("zoom", { percent: Math.round(100 * main.view.scale) }) : "";
  byId("invert").setAttribute("aria-pressed", String(main.inverted));
}

function message(id, text) {
  byId(id).textContent = text;
  byId(id).hidden = !text;
}

// ---- windows, overlays, the other radiograph -----------------------------------------------------------------------

let windows = [null];

function windowsFor(values) {
  const named = (one, n) => words(`window_${one.name}`, { n });
  windows = [null, ...values.windows, ...values.presets];
  const options = windows.map((one, at) => (
    new Option(one ? named(one, at) : words("window_screened"), String(at))));
  options.push(new Option(words("window_own"), "own"));
  byId("windows").replaceChildren(...options);
}

function chooseWindow(at) {
  main.setWindow(windows[at] ?? null);
  byId("windows").value = String(at);
  follow();
}

function nudge(center, width) {
  const from = main.startWindow();
  if (!from) return;
  const window = { center: from.center + center * from.width * (main.values.inverted ? -1 : 1),
    width: Math.max(1, from.width * width), function: "LINEAR_EXACT" };
  main.setWindow(window);
  follow();
}

function follow() {
  if (!state.at) return;
  corners();
  if (main.values) {
    const at = windows.indexOf(main.window);
    byId("windows").value = at >= 0 ? String(at) : "own";
  }
  if (!state.beside) return;
  other.inverted = main.inverted;
  if (other.values && !main.dragging) other.setWindow(main.window);
  other.center(main.middle());
}

function toolsFor(found) {
  const kinds = found?.overlays ?? [];
  byId("masks").disabled = !kinds.includes("lung") && !kinds.includes("disease");
  byId("heat").disabled = !kinds.includes("heat");
  byId("zones").disabled = !kinds.includes("lung");
  byId("opacity").disabled = !kinds.length;
  const count = found?.beside.length ?? 0;
  byId("beside").disabled = !count;
  byId("beside-count").textContent = count ? ` ${count}` : "";
  byId("beside").title = count ? "" : words("beside_none");
  if (!count) hideBeside();
}

function pressed(id) {
  return byId(id).getAttribute("aria-pressed") === "true" && !byId(id).disabled;
}

function press(id) {
  if (byId(id).disabled) return;
  byId(id).setAttribute("aria-pressed", String(byId(id).getAttribute("aria-pressed") !== "true"));
  over();
}

function over() {
  main.visible = new Set([...(pressed("masks") ? ["lung", "disease"] : []), ...(pressed("heat") ? ["heat"] : [])]);
  main.zonesVisible = pressed("zones");
  main.opacity = Number(byId("opacity").value) / 100;
  main.draw();
}

function toggleBeside() {
  if (byId("beside").disabled) return;
  if (state.beside) hideBeside();
  else { state.beside = true; state.besideAt = 0; showBeside(); }
}

function hideBeside() {
  state.beside = false;
  byId("pane-other").hidden = true;
  byId("beside").setAttribute("aria-pressed", "false");
}

async function showBeside() {
  const all = state.case.beside;
  if (!all.length) return hideBeside();
  const row = state.at;
  const one = all[Math.min(state.besideAt, all.length - 1)];
  byId("pane-other").hidden = false;
  byId("beside").setAttribute("aria-pressed", "true");
  byId("about-other").textContent = `${one.acquired_on ?? words("no_date")}\n${one.view}`;
  byId("newer").parentElement.hidden = all.length < 2;
  byId("newer").disabled = state.besideAt <= 0;
  byId("older").disabled = state.besideAt >= all.length - 1;
  message("message-other", "");
  try {
    const { bitmap, size } = await images.picture(one.image_id);
    if (state.at !== row) return undefined;
    other.show(bitmap, size);
    other.resize();
    ask("/api/shown", { image_id: one.image_id }).catch(() => {});
    follow();
    other.setValues(await images.values(one.image_id));
    follow();
  } catch (problem) {
    other.clear();
    other.draw();
    message("message-other", described(problem));
  }
  return undefined;
}

function stepBeside(by) {
  const to = state.besideAt + by;
  if (!state.beside || to < 0 || to >= state.case.beside.length) return;
  state.besideAt = to;
  showBeside();
}

// ---- keys ----------------------------------------------------------------------------------------------------------

const KEYS = {
  f: () => { main.fit(); follow(); }, o: () => main.oneToOne(),
  i: () => { main.setInverted(!main.inverted); follow(); },
  w: () => main.values && chooseWindow((Math.max(0, windows.indexOf(main.window)) + 1) % windows.length),
  r: () => main.values && chooseWindow(0),
  m: () => press("masks"), h: () => press("heat"), l: () => press("zones"), b: toggleBeside,
  "+": () => main.zoom(1.25), "=": () => main.zoom(1.25), "-": () => main.zoom(0.8),
  "[": () => fade(-10), "]": () => fade(10), ",": () => stepBeside(-1), ".": () => stepBeside(1),
  ArrowLeft: () => main.pan(STEP, 0), ArrowRight: () => main.pan(-STEP, 0),
  ArrowUp: () => main.pan(0, STEP), ArrowDown: () => main.pan(0, -STEP),
  "Shift+ArrowUp": () => nudge(-0.05, 1), "Shift+ArrowDown": () => nudge(0.05, 1),
  "Shift+ArrowLeft": () => nudge(0, 0.9), "Shift+ArrowRight": () => nudge(0, 1.1),
  u: undo, p: pause, j: () => showList(state, words, open), "?": () => showHelp(words),
};

function fade(by) {
  byId("opacity").value = String(Number(byId("opacity").value) + by);
  over();
}

function open(row) {
  show(row).catch(outside);
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
    if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); save().catch(outside); }
    return;
  }
  if (target.tagName === "SELECT" || (target.tagName === "INPUT" && event.key.startsWith("Arrow"))) return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Enter" && !byId("tools").contains(target) && !byId("top").contains(target) && target.id !== "undo") {
    event.preventDefault();
    save().catch(outside);
    return;
  }
  if (form.findingKey(event) || form.key(event)) { event.preventDefault(); return; }
  const name = event.shiftKey && event.key.startsWith("Arrow") ? `Shift+${event.key}` : event.key;
  const action = KEYS[name] ?? KEYS[name.toLowerCase()];
  if (!action || event.key === " ") return;
  event.preventDefault();
  Promise.resolve(action()).catch(outside);
}

function listen() {
  document.addEventListener("keydown", onKey);
  document.addEventListener("visibilitychange", () => (document.visibilityState === "visible" ? run() : halt()));
  byId("form").addEventListener("submit", (event) => { event.preventDefault(); save().catch(outside); });
  for (const [id, key] of [["fit", "f"], ["one", "o"], ["invert", "i"], ["masks", "m"], ["heat", "h"], ["zones", "l"],
    ["beside", "b"], ["undo", "u"], ["open-list", "j"], ["open-pause", "p"], ["open-help", "?"], ["newer", ","],
    ["older", "."]]) {
    byId(id).addEventListener("click", () => Promise.resolve(KEYS[key]()).catch(outside));
  }
  byId("windows").addEventListener("change", (event) => {
    if (event.target.value !== "own") chooseWindow(Number(event.target.value));
  });
  byId("opacity").addEventListener("input", over);
  byId("paused").addEventListener("close", goOn);
  byId("go-on").addEventListener("click", () => byId("paused").close());
  document.querySelectorAll("dialog .close").forEach((button) => {
    button.addEventListener("click", () => button.closest("dialog").close());
  });
  byId("look-again").addEventListener("click", () => KEYS.j());
  byId("check-new").addEventListener("click", () => refresh().then(next).catch(outside));
}

start();
