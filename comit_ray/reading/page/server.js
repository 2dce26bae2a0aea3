// What is asked of the server, and what is kept ready: the next images before they are wanted, verdicts until stored.
import { Values } from "./levels.js";

const AHEAD = 2; // images whose JPEG is fetched before it is wanted; of the next one all values too
const LONGEST_WAIT = 5000; // ms between two tries to store a verdict

export class Problem extends Error {
  constructor(code, detail, more = {}) {
    super(detail);
    Object.assign(this, { code, detail, more });
  }
}

export async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  let response;
  try {
    response = await fetch(path, { ...options, credentials: "same-origin", cache: "no-store" });
  } catch {
    throw new Problem("not_reached", "no answer");
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  throw new Problem(said.problem ?? "other", said.detail ?? response.statusText, said);
}

export async function json(path, body) {
  return (await ask(path, body)).json();
}

export function path(name, id, more = "") {
  return `/api/${name}?id=${encodeURIComponent(id)}${more}`;
}

export class Images {
  // Images by id, kept while they are near.
  constructor() {
    this.kept = new Map();
  }

  entry(id) {
    if (!this.kept.has(id)) this.kept.set(id, {});
    return this.kept.get(id);
  }

  case(id) {
    const entry = this.entry(id);
    entry.case ??= keep(json(path("case", id)));
    return entry.case;
  }

  picture(id) {
    const entry = this.entry(id);
    entry.picture ??= keep(ask(path("picture", id)).then(async (response) => ({
      bitmap: await createImageBitmap(await response.blob()),
      size: { height: Number(response.headers.get("X-Rows")), width: Number(response.headers.get("X-Columns")) },
    })).then((picture) => { entry.here = true; return picture; }));
    return entry.picture;
  }

  has(id) {
    // Whether its picture can be shown at once.
    return this.kept.get(id)?.here ?? false;
  }

  values(id) {
    const entry = this.entry(id);
    entry.values ??= keep(ask(path("values", id)).then(async (response) => new Values(await response.arrayBuffer())));
    return entry.values;
  }

  overlay(id, kind) {
    const entry = this.entry(id);
    entry.overlays ??= new Map();
    if (!entry.overlays.has(kind)) {
      entry.overlays.set(kind, keep(ask(path("overlay", id, `&kind=${kind}`))
        .then(async (response) => createImageBitmap(await response.blob()))));
    }
    return entry.overlays.get(kind);
  }

  forget(id) {
    // After a verdict: what is known of it has changed.
    delete this.entry(id).case;
  }

  async ready(ids, values = true) {
    // The next ones, the nearest first.
    for (const id of ids.slice(0, AHEAD)) await Promise.allSettled([this.case(id), this.picture(id)]);
    if (values && ids.length) await Promise.allSettled([this.values(ids[0])]);
  }

  only(ids) {
    for (const [id, entry] of this.kept) {
      if (ids.includes(id)) continue;
      entry.picture?.then(({ bitmap }) => bitmap.close(), () => {});
      this.kept.delete(id);
    }
  }
}

function keep(promise) {
  promise.catch(() => {}); // whoever waits for it hears of it
  return promise;
}

export class Outbox {
  // Verdicts on their way; each is sent again until the server says that it is stored, and counted once.
  constructor(told) {
    this.told = told; // (state, verdict, problem): saving, saved, waiting or refused
    this.pending = new Map();
    window.addEventListener("beforeunload", (event) => { if (this.pending.size) event.preventDefault(); });
  }

  send(verdict) {
    const whole = { ...verdict, submission: crypto.randomUUID?.() ?? fallbackId() };
    this.pending.set(whole.submission, whole);
    const sent = this.deliver(whole);
    whole.sent = sent;
    return sent;
  }

  async deliver(verdict) {
    const { sent, ...body } = verdict;
    for (let wait = 250; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
      this.told("saving", verdict);
      try {
        await json("/api/verdict", body);
        this.pending.delete(verdict.submission);
        this.told("saved", verdict);
        return true;
      } catch (problem) {
        if (!(problem instanceof Problem)) throw problem;
        if (!["not_reached", "not_stored", "other"].includes(problem.code)) {
          this.pending.delete(verdict.submission);
          this.told("refused", verdict, problem);
          return false;
        }
        this.told("waiting", verdict, problem);
      }
      await new Promise((go) => setTimeout(go, wait));
    }
  }
}

function fallbackId() {
  // randomUUID is there on secure origins alone; behind a proxy without TLS it may not be.
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
