// The page: what is looked at, by its address, brought up to date with what the host says.

import * as change from "./change.js";
import * as detail from "./detail.js";
import { plain, show } from "./element.js";
import { Host } from "./host.js";
import * as keys from "./keys.js";
import { count } from "./numbers.js";
import * as views from "./views.js";

const byId = (id) => document.getElementById(id);
const [main, filter] = [byId("main"), byId("filter")];
const host = new Host(update);
const VIEWS = { workloads: views.workloads, problems: views.problems, routes: views.routes, apps: views.apps };
// The view that a detail goes back to.
const DETAILS = { workload: "workloads", app: "apps" };

/** What is looked at: `#/workloads`, `#/workload/TENANT/APP/NAME`. */
function place() {
  const [view, ...rest] = location.hash.replace(/^#\//, "").split("/").map((part) => {
    try { return decodeURIComponent(part); } catch { return ""; }
  });
  return Object.hasOwn(VIEWS, view) || Object.hasOwn(DETAILS, view) ? { view, rest } : { view: "workloads", rest: [] };
}

function page({ view, rest }) {
  const seen = { state: host.state, histories: host.histories, filter: filter.value.trim() };
  if (view === "workload") return detail.workload(seen, rest.join("/"));
  if (view === "app") return detail.app(seen, ...rest);
  return VIEWS[view](seen);
}

const text = (id, value) => { if (byId(id).textContent !== value) byId(id).textContent = value; };

function update() {
  const { state, failure } = host;
  const now = place();
  const [status, kind] = failure ? ["not reachable", "bad"] : !state ? ["connecting", ""] : state.host.ready ? ["live", "good"] : ["takes no requests", "warn"];
  text("status", status);
  byId("status").className = `status ${kind}`;
  byId("unreachable").hidden = !failure;
  text("unreachable", failure ? plain(`The host is not reachable (${failure}). ${state ? "What is shown is how it last was. " : ""}Asking again, less and less often.`) : "");
  main.classList.toggle("stale", Boolean(failure));
  for (const link of document.querySelectorAll("nav a")) {
    const current = link.getAttribute("href") === `#/${DETAILS[now.view] ?? now.view}`;
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  byId("filter-field").hidden = Object.hasOwn(DETAILS, now.view);
  if (!state) return;
  text("version", state.host.version);
  const problems = Object.values(views.gather(state)).reduce((sum, list) => sum + list.length, 0);
  byId("problem-count").hidden = problems === 0;
  text("problem-count", count(problems));
  show(main, page(now));
}

let last = place();
addEventListener("hashchange", () => {
  const [from, now] = [last, place()];
  last = now;
  update();
  scrollTo(0, 0);
  // Back in a list: the row that was open. Elsewhere: the page, for whoever listens to it.
  const opened = `#/${from.view}/${from.rest.map(encodeURIComponent).join("/")}`;
  const row = [...main.querySelectorAll("[data-row]")].find((link) => link.getAttribute("href") === opened);
  (row ?? main).focus({ preventScroll: !row });
});

filter.addEventListener("input", update);
main.addEventListener("click", async ({ target }) => {
  const copy = target.closest("[data-copy]");
  if (copy) {
    await navigator.clipboard.writeText(copy.dataset.copy);
    copy.textContent = "Copied";
  }
  const rollBack = target.closest("[data-roll-back]");
  if (rollBack) {
    const { tenant, app, version, rollBack: revision } = rollBack.dataset;
    change.confirm({ tenant, app, version, revision: Number(revision), tokenFile: host.state.host.token_file });
  }
});

change.listen(() => host.now());
keys.listen(filter, byId("keys"), () => {
  const { view } = place();
  if (Object.hasOwn(DETAILS, view)) location.hash = `#/${DETAILS[view]}`;
});
update();
host.now();
