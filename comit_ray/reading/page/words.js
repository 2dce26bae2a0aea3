// Reads every text of the page from one file. For another language, add words.XX.json and put its name below.
import { Problem, json } from "./server.js";

let dictionary = {};

export async function loadWords() {
  // Reads the file, and fills the texts, labels and hints of index.html.
  dictionary = await json("/page/words.en.json");
  document.documentElement.lang = words("language");
  document.title = words("title");
  document.querySelectorAll("[data-word]").forEach((one) => { one.textContent = words(one.dataset.word); });
  document.querySelectorAll("[data-label]").forEach((one) => one.setAttribute("aria-label", words(one.dataset.label)));
  document.querySelectorAll("[data-hint]").forEach((one) => one.setAttribute("placeholder", words(one.dataset.hint)));
}

export function words(key, values = {}) {
  return (dictionary[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

export function described(problem) {
  // Says in the reader's words why something failed.
  if (!(problem instanceof Problem)) { console.error(problem); return String(problem); }
  const key = `problem_${problem.code}`;
  return words(key in dictionary ? key : "problem_other", { ...problem.more, detail: problem.detail });
}
