// Talks to the server: fetches the next images in advance, and sends each verdict until it is stored.
import { Values } from "./levels.js";

const AHEAD = 2; // number of images whose JPEG is fetched in advance; for the next image, all values too
const LONGEST_WAIT = 5000; // longest time in ms between two attempts to store a verdict

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
  // Keeps what was fetched for the images near the current one, by id.
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
    // Whether the picture is here and can be shown at once.
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
    // Drops the case of an image, which a new verdict has changed.
    delete this.entry(id).case;
  }

  async ready(ids, values = true) {
    // Fetches the next images in advance, the nearest first.
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
  promise.catch(() => {}); // whoever awaits the promise gets the error
  return promise;
}

export class Outbox {
  // Sends verdicts. Each is sent again until the server confirms it; the server stores it once.
  constructor(told) {
    this.told = told; // called with (state, verdict, problem); states: saving, saved, waiting, refused
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
  // crypto.randomUUID exists only on secure origins, so it may be absent behind a proxy without TLS.
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
