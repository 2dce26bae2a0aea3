// Dialogs: the list of the queue with its filters, and the table of keys.
import { byId, element } from "./elements.js";
import { words } from "./words.js";

const MOST = 300; // largest number of rows that the list shows

export function showList(all, open) {
  const dialog = byId("list");
  const rows = () => all.filter((row) => (
    (!byId("f-mine").checked || row.role)
    && (!byId("f-unread").checked || (row.role && !row.verdict))
    && (!byId("f-status").value || row.status === byId("f-status").value)
    && (!byId("f-reason").value || row.reasons?.includes(byId("f-reason").value))));
  const statuses = [...new Set(all.map((row) => row.status).filter(Boolean))];
  const reasons = [...new Set(all.flatMap((row) => row.reasons ?? []))];
  options(byId("f-status"), words("any"), statuses.map((one) => [one, words(`status_${one}`)]));
  options(byId("f-reason"), words("any"), reasons.map((one) => [one, words(`reason_${one}`)]));
  const fill = () => {
    const found = rows();
    byId("f-count").textContent = found.length > MOST
      ? words("first_of", { n: MOST, total: found.length }) : String(found.length);
    let block = null; // a hidden image does not say which block it is of
    byId("rows").replaceChildren(...found.slice(0, MOST).map((row) => {
      const begins = row.block && row.block !== block;
      block = row.block ?? block;
      const item = line(row, () => {
        dialog.close();
        open(row);
      });
      if (begins) item.prepend(element("h3", {}, blockWords(block)));
      return item;
    }));
  };
  for (const id of ["f-mine", "f-unread", "f-status", "f-reason"]) byId(id).onchange = fill;
  byId("rows").onkeydown = (event) => {
    const move = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    const to = move && document.activeElement.closest("li")?.[move];
    if (!to) return;
    event.preventDefault();
    to.querySelector("button").focus();
  };
  fill();
  dialog.showModal();
  byId("rows").querySelector("button:not(:disabled)")?.focus();
}

function blockWords(block) {
  if (block === "random_order" || block === "severity") return words(`block_${block}`);
  const order = { failed: "block_unscored", unhealthy_above_operating_point: "block_unhealthy" }[block] ?? "block_scored";
  return words(order, { reason: words(`reason_${block}`) });
}

function line(row, opened) {
  const item = element("li");
  const button = element("button", { type: "button" });
  const said = !row.role ? words("somebody_else") : words(row.verdict ?? "unread");
  const scored = typeof row.score === "number" ? [Math.floor(row.score * 100) / 100] : []; // 0.996 is not yet 1
  const why = row.hidden ? words("hidden")
    : [...scored.map((one) => one.toFixed(2)), ...(row.reasons ?? []).map((one) => words(`reason_${one}`))].join(", ");
  const more = row.role && row.role !== "first" ? words(`role_${row.role}`)
    : row.status && row.status !== "ok" ? words(`status_${row.status}`) : "";
  button.append(element("span", { class: "quiet" }, String(row.place)),
    element("span", row.verdict ? {} : { class: "quiet" }, row.verdict ? `\u2713 ${said}` : said),
    element("span", { class: "quiet" }, why), element("span", { class: "quiet" }, more));
  button.disabled = !row.role;
  button.addEventListener("click", opened);
  item.append(button);
  return item;
}

function options(select, any, found) {
  const before = select.value;
  select.replaceChildren(new Option(any, ""), ...found.map(([value, text]) => new Option(text, value)));
  select.value = found.some(([value]) => value === before) ? before : "";
}

export function showHelp() {
  const box = byId("keys");
  if (!box.childElementCount) {
    box.append(
      group(words("key_verdict"), [["A", words("abnormal")], ["N", words("normal")], ["C", words("cannot_tell")],
        ["X", words("broken")], ["1 2 3 4", words("category")], ["G", words("key_findings")], ["Z", words("key_zones")],
        [words("key_sure"), words("confidence")], ["T", words("comment")], [words("key_enter"), words("save")], ["U", words("undo")]]),
      group(words("key_view"), [["F", words("fit")], ["O", words("one")], ["+ -", words("key_zoom")],
        [words("key_arrows"), words("key_move")], ["W", words("key_window")], ["R", words("key_reset")],
        [`${words("key_shift")} \u2191\u2193`, words("key_level")], [`${words("key_shift")} \u2190\u2192`, words("key_contrast")],
        ["I", words("invert")]]),
      group(words("key_page"), [["M", words("masks")], ["H", words("heat")], ["L", words("zones")],
        ["[ ]", words("key_opacity")], ["B", words("beside")], [", .", `${words("beside_previous")}, ${words("beside_next")}`],
        ["V", words("viewer")], ["J", words("key_list")], ["P", words("pause")], [words("key_escape"), words("key_leave")]]));
  }
  byId("help").showModal();
}

function group(title, keys) {
  const made = element("div");
  made.append(element("h3", {}, title), ...keys.map(([key, text]) => {
    const line = element("div");
    line.append(element("span", {}, text), element("kbd", {}, key));
    return line;
  }));
  return made;
}
