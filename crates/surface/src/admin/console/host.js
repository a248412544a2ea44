// Asks the host, again and again: while the page is seen, and less often the longer it does not answer.

import { Histories } from "./history.js";

const EVERY_MS = 2000;
const SLOWEST_MS = 30000;
const PATIENCE_MS = 8000;
// A large host's answer takes its time: the page leaves it at least this many times as long alone.
const REST = 10;

async function get(path, signal) {
  const response = await fetch(path, { signal, cache: "no-store", credentials: "omit" });
  if (!response.ok) throw new Error(await problem(response));
  return response.json();
}

/** What the host says is wrong. */
export async function problem(response) {
  const body = await response.json().catch(() => ({}));
  return `${response.status}: ${body.detail ?? response.statusText}`;
}

// One workload per name: its versions that serve, with what they count together and each had happen.
function merge(listed) {
  const byId = new Map();
  for (const version of listed) {
    const id = `${version.tenant}/${version.app}/${version.name}`;
    const workload = byId.get(id) ?? { ...version, id, in_flight: version.counters.in_flight, warnings: [], denials: [], faults: [], versions: [] };
    byId.set(id, workload);
    workload.versions.push(version);
    for (const what of ["warnings", "denials", "faults"]) workload[what].push(...version[what]);
  }
  return [...byId.values()];
}

export class Host {
  /** What the host said last; `null` before it has. */
  state = null;
  /** Why it does not answer, if it does not. */
  failure = null;
  histories = new Histories();
  #failures = 0;
  #timer = 0;
  #asking = false;
  #changed;

  constructor(changed) {
    this.#changed = changed;
    document.addEventListener("visibilitychange", () => this.now());
  }

  /** Asks now, and from then on. */
  async now() {
    clearTimeout(this.#timer);
    if (document.hidden || this.#asking) return;
    this.#asking = true;
    const began = performance.now();
    try {
      const signal = AbortSignal.timeout(PATIENCE_MS);
      const [host, apps, workloads, routes] = await Promise.all(["host", "apps", "workloads", "routes"].map((what) => get(`/v1/${what}`, signal)));
      const merged = merge(workloads);
      this.histories.remember(performance.now() / 1000, host.started, merged);
      this.state = { host, apps, workloads: merged, routes };
      this.failure = null;
      this.#failures = 0;
    } catch (error) {
      this.failure = error.name === "TimeoutError" ? `no answer within ${PATIENCE_MS / 1000} s` : error instanceof TypeError ? "no connection" : error.message;
      this.#failures += 1;
    }
    this.#asking = false;
    const took = performance.now() - began;
    const wait = this.#failures > 0 ? EVERY_MS * 2 ** (this.#failures - 1) : Math.max(EVERY_MS, took * REST);
    this.#changed();
    clearTimeout(this.#timer);
    if (!document.hidden) this.#timer = setTimeout(() => this.now(), Math.min(wait, SLOWEST_MS));
  }
}
