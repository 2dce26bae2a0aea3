// Shows the facts of an image: patient and date, the model's result, the reasons of the queue, and the window in use.
import { byId, element } from "./elements.js";
import { words } from "./words.js";

export function showAbout(found, me, place) {
  // Fills the image's corner and label, and the part above the form.
  const person = [viewOf(found), found.sex, found.age === null ? null : words("years", { n: Math.floor(found.age) })];
  const known = [person.filter(Boolean).join("  "), found.acquired_on].filter(Boolean);
  byId("about").textContent = known.join("\n");
  byId("main").setAttribute("aria-label", [place, ...known, words("stage")].join(". "));
  byId("role").textContent = found.role === "first" ? "" : words(`role_${found.role}`);
  const box = byId("said");
  box.replaceChildren();
  if (found.role === "adjudicator") adjudication(box, found, me);
  if (found.mine) box.append(element("p", {}, words("read_before")));
  box.append(element("h2", {}, words("model")));
  if (found.hidden) {
    box.append(element("p", {}, words(me.blind ? "model_blind" : "model_hidden")));
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

export function viewOf(image) {
  return image.view && image.view !== "unknown" ? image.view : words("view_unknown");
}

function scores(box, model) {
  if (model.flag_trusted === false) box.append(element("p", { class: "untrusted" }, words("untrusted")));
  for (const [name, score, flag] of [
    ["score_covid", model.p_covid, model.covid_flag], ["score_unhealthy", model.p_unhealthy, model.unhealthy_flag]]) {
    if (score === null) continue;
    const line = element("p", { class: "score" });
    line.append(element("span", {}, words(name)), element("b", {}, score.toFixed(2)));
    if (flag !== null) line.append(element("span", { class: flag ? "tag on" : "tag" }, words(flag ? "flagged" : "not_flagged")));
    box.append(line);
  }
  if (model.disease_in_lung !== null) {
    const line = element("p", { class: "score" });
    line.append(element("span", {}, words("in_lung")), element("b", {}, `${Math.round(100 * model.disease_in_lung)}%`));
    box.append(line);
  }
}

function adjudication(box, found, me) {
  // Shows the verdicts that differ, and earlier adjudications if there are any.
  const names = new Map(me.findings.map(({ code, words: text }) => [code, text]));
  box.append(element("h2", {}, words("others")));
  for (const one of found.others) {
    const findings = (one.findings ?? []).map((code) => names.get(code) ?? code);
    const said = [words(one.verdict), one.category && words(one.category), ...findings, one.comment];
    box.append(element("p", {}, `${one.reader}: ${said.filter(Boolean).join(", ")}`));
  }
}

export function showGrey(viewer) {
  // Writes window, bits, sides, what the outlines are, and zoom into the corners of the main pane.
  const values = viewer.values;
  const grey = [greyOf(viewer), values ? words("values_here", { bits: values.bits_stored }) : words("values_loading")];
  const sides = values?.orientation?.[0];
  const opposite = { L: "R", R: "L" };
  byId("mark-right").textContent = opposite[sides] ? sides : "";
  byId("mark-left").textContent = opposite[sides] ?? "";
  if (values && !opposite[sides]) grey.push(words("side_unknown"));
  if (viewer.outline && ["lung", "disease"].some((kind) => viewer.visible.has(kind))) grey.push(viewer.outline);
  byId("grey").textContent = grey.join("\n");
  byId("scale").textContent = viewer.size ? words("zoom", { percent: Math.round(100 * viewer.view.scale) }) : "";
  byId("invert").setAttribute("aria-pressed", String(viewer.inverted));
}

export function greyOf(viewer) {
  if (!viewer.window) return words("as_screened");
  const { center, width } = viewer.window;
  return words("center_width", { center: Math.round(center), width: Math.round(width) });
}
