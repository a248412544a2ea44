// The four views: workloads, problems, routes, apps. Each makes its page of what the host said and what is looked for.

import { el, svg } from "./element.js";
import { ago, bytes, clock, count, duration, percent, plural, rate } from "./numbers.js";

/** What each outcome of a call means. */
export const OUTCOMES = {
  ok: "answered",
  guest: "the guest failed: it trapped, or gave no answer",
  limit: "the guest ran over one of its limits",
  denied: "it needed something that it was not granted",
  busy: "refused, because too much was going on",
  caller: "the caller's mistake",
  config: "the configuration's mistake",
  backend: "a service behind it failed",
  host: "Samara's own fault",
  cancelled: "the caller left",
};

export const workloadLink = (id) => `#/workload/${id.split("/").map(encodeURIComponent).join("/")}`;
const appLink = (tenant, app) => `#/app/${encodeURIComponent(tenant)}/${encodeURIComponent(app)}`;
const here = (filter, ...texts) => {
  const all = texts.join(" ").toLowerCase();
  return filter.toLowerCase().split(/\s+/).every((word) => all.includes(word));
};
const nothing = (filter, text) => el("p", { class: "quiet" }, filter ? `Nothing here has \u201c${filter}\u201d in it.` : text);
export const heading = (text, note) => el("h2", {}, text, note ? el("span", { class: "quiet" }, ` ${note}`) : null);

/** A table that scrolls by itself where it is wider than the page. Columns are names, or [name, class]. */
export function table(label, columns, ...bodies) {
  const head = columns.map((column) => {
    const [name, kind] = Array.isArray(column) ? column : [column];
    return el("th", { scope: "col", class: kind }, name);
  });
  return el("div", { class: "scroll", "data-key": `table ${label}` }, el("table", { "aria-label": label }, el("thead", {}, el("tr", {}, head)), bodies));
}

/** A part of a whole, as a bar; what it says is beside it. */
export const bar = (part, kind = "") => {
  const width = part > 0 ? Math.max(1.5, Math.min(part, 1) * 100) : 0;
  return svg("svg", { class: `bar ${kind}`, "aria-hidden": "true" }, svg("rect", { class: "track", width: "100%", height: "100%" }), svg("rect", { class: "fill", width: `${width}%`, height: "100%" }));
};

/** How something went, moment by moment. */
export function spark(values) {
  const [width, height] = [72, 20];
  const most = Math.max(...values, 0.001);
  const step = width / 58;
  const points = values.map((value, index) => `${(width - (values.length - 1 - index) * step).toFixed(1)},${(height - 1.5 - (value / most) * (height - 4)).toFixed(1)}`);
  return svg("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, points.length > 1 ? svg("polyline", { points: points.join(" ") }) : null);
}

function histogram(buckets, p50, p99) {
  const most = Math.max(...buckets.map((bucket) => bucket.calls), 1);
  const bars = buckets.map(({ calls }, index) => {
    const height = calls > 0 ? Math.max(1.5, (calls / most) * 18) : 0;
    return svg("rect", { x: index * 4, y: 20 - height, width: 3, height, class: "fill" });
  });
  const told = p50 === null ? "no calls" : `latencies: half within ${duration(p50)}, 99 of 100 within ${within(p99)}`;
  return svg("svg", { class: "histogram", viewBox: `0 0 ${buckets.length * 4} 20`, role: "img", "aria-label": told }, svg("rect", { class: "track", y: 19.5, width: "100%", height: 0.5 }), bars);
}

export const within = (seconds) => (seconds === Infinity ? "over 30 s" : duration(seconds));

function tile(name, value, note, kind) {
  return el("div", { class: `tile ${kind ?? ""}` }, el("dt", {}, name), el("dd", {}, value, note ? el("small", {}, " ", note) : null));
}
export const tiles = (...all) => el("dl", { class: "tiles" }, all.map((one) => tile(...one)));

// ---- workloads

export function workloads({ state, histories, filter }) {
  const { host } = state;
  const all = state.workloads.map((workload) => ({ workload, did: histories.of(workload.id) }));
  const sum = (of) => all.reduce((sum, one) => sum + of(one), 0);
  const failed = sum(({ did }) => did.failedPerSecond);
  const shown = all.filter(({ workload }) => here(filter, workload.id, workload.contract, workload.shape));
  const apps = Map.groupBy(shown, ({ workload }) => `${workload.tenant}/${workload.app}`);
  const summary = tiles(
    ["Calls a second", rate(sum(({ did }) => did.callsPerSecond))],
    ["Failed a second", rate(failed), null, failed > 0 ? "bad" : null],
    ["Cores busy", rate(sum(({ did }) => did.cores))],
    ["In flight", count(sum(({ workload }) => workload.in_flight))],
    ["Queued", count(sum(({ workload }) => workload.counters.queued))],
    ["Pool", count(host.pool_calls_in_use), host.pool_calls_capacity ? `of ${count(host.pool_calls_capacity)}` : null],
    ["Connections", count(host.connections)],
    ["Up for", duration(Math.max(0, host.now - host.started))],
  );
  if (shown.length === 0) return [summary, nothing(filter, "No app is served. `samara apps put` adds one.")];
  const columns = [
    "Workload", ["Calls/s", "number"], ["", "wide"], ["Failed/s", "number"], ["p50", "number mid"], ["p99", "number tight"], ["Latency", "wide"],
    ["CPU", "number mid"], ["Memory", "mid"], ["In flight", "number wide"], ["Queued", "number wide"], ["Denied", "number mid"], "Last fault",
  ];
  const bodies = [...apps].map(([name, rows]) => {
    const app = state.apps.find((app) => `${app.tenant}/${app.name}` === name);
    const share = app?.traffic.length > 1 ? app.traffic.map(({ revision, weight }) => `revision ${revision}: ${weight} %`).join(", ") : null;
    return el("tbody", { "data-key": name },
      el("tr", { class: "group" }, el("th", { scope: "rowgroup", colspan: columns.length },
        el("a", { href: appLink(rows[0].workload.tenant, rows[0].workload.app) }, name),
        el("span", { class: "quiet" }, app?.version ? ` ${app.version}` : "", share ? ` · ${share}` : ""),
        app?.refused ? [" ", el("span", { class: "chip bad" }, "a version was refused")] : null)),
      rows.map((row) => workloadRow(row, host.now)));
  });
  return [summary, table("Workloads", columns, bodies)];
}

function workloadRow({ workload, did }, now) {
  const [newest] = workload.faults.toSorted((a, b) => b.at - a.at);
  const denied = workload.denials.reduce((sum, denial) => sum + denial.count, 0);
  const { limits, counters } = workload;
  return el("tr", { "data-key": workload.id },
    el("th", { scope: "row" }, el("a", { href: workloadLink(workload.id), "data-row": true }, workload.name), " ", el("small", { class: "quiet" }, workload.contract)),
    el("td", { class: "number" }, rate(did.callsPerSecond)),
    el("td", { class: "wide" }, spark(did.rates)),
    el("td", { class: `number ${did.failedPerSecond > 0 ? "bad" : ""}` }, rate(did.failedPerSecond)),
    el("td", { class: `number mid ${did.isLately ? "" : "quiet"}` }, within(did.p50)),
    el("td", { class: `number tight ${did.isLately ? "" : "quiet"}` }, within(did.p99)),
    el("td", { class: "wide" }, histogram(did.isLately ? did.lately : did.buckets, did.p50, did.p99)),
    el("td", { class: "number mid" }, percent(did.cores)),
    el("td", { class: "mid memory" }, bar(counters.memory_bytes_max / limits.memory_bytes, counters.memory_bytes_max > limits.memory_bytes * 0.9 ? "bad" : ""),
      el("small", {}, `${bytes(counters.memory_bytes_max)} of ${bytes(limits.memory_bytes)}`)),
    el("td", { class: "number wide" }, count(workload.in_flight)),
    el("td", { class: "number wide" }, count(counters.queued)),
    el("td", { class: `number mid ${denied > 0 ? "warn" : ""}` }, count(denied)),
    el("td", { class: "line" }, newest ? [blame(newest.blame), el("small", { class: "quiet wide" }, ` ${ago(newest.at, now)}`)] : ""));
}

// ---- problems

const blame = (label) => el("span", { class: "chip bad", title: OUTCOMES[label] }, label);

/** Equal faults as one, the newest first. */
export function together(faults) {
  const same = Map.groupBy(faults, (fault) => JSON.stringify([fault.id, fault.revision, fault.blame, fault.message]));
  const groups = [...same].map(([key, all]) => ({ ...all.reduce((a, b) => (b.at > a.at ? b : a)), key, times: all.length }));
  return groups.sort((a, b) => b.at - a.at);
}

const withRevision = (workload, what) => workload.versions.flatMap((version) => version[what].map((one) => ({ ...one, id: workload.id, revision: version.revision })));
export const denialsOf = (workload) => withRevision(workload, "denials");
export const faultsOf = (workload) => withRevision(workload, "faults");

/** All that the host remembers to have gone wrong. */
export function gather(state) {
  return {
    refused: state.apps.filter((app) => app.refused),
    denials: state.workloads.flatMap(denialsOf),
    faults: together(state.workloads.flatMap(faultsOf)),
    warnings: state.workloads.flatMap((workload) => workload.warnings.map((text) => ({ id: workload.id, text }))),
  };
}

export function problems({ state, filter }) {
  const { now } = state.host;
  const all = gather(state);
  const refused = all.refused.filter((app) => here(filter, app.tenant, app.name, app.refused.reason));
  const denials = all.denials.filter((denial) => here(filter, denial.id, denial.what, denial.grant, denial.capability));
  const faults = all.faults.filter((fault) => here(filter, fault.id, fault.message, fault.blame));
  const warnings = all.warnings.filter((warning) => here(filter, warning.id, warning.text));
  const section = (list, title, note, content) => list.length > 0 && el("section", { "data-key": title }, heading(title, note), content);
  const sections = [
    section(refused, "Refused versions", null, refused.map((app) => refusal(app, now, true))),
    section(denials, "Denied", "and the grant that would allow it", denialTable(denials, true)),
    section(faults, "Failed calls", "the last of each version, equal ones together", faultList(faults, now, true)),
    section(warnings, "Warnings", "found while loading", el("ul", {}, warnings.map(({ id, text }) => el("li", {}, el("a", { href: workloadLink(id), "data-row": true }, id), ": ", text)))),
  ].filter(Boolean);
  return sections.length > 0 ? sections : nothing(filter, "Nothing has gone wrong that the host remembers.");
}

function refusal(app, now, named) {
  const { refused } = app;
  return el("article", { class: "fault", "data-key": `refused ${app.tenant}/${app.name}` },
    el("p", {}, named ? [el("a", { href: appLink(app.tenant, app.name), "data-row": true }, `${app.tenant}/${app.name}`), ": "] : null,
      `${refused.version ?? "a version"} was refused ${ago(refused.at, now)}; `, app.state === "failed" ? "no version serves" : `revision ${app.revision} goes on serving`),
    el("pre", {}, refused.reason));
}

export function denialTable(denials, named) {
  const columns = [named && "Workload", "It asked for", ["Capability", "mid"], ["Times", "number mid"], "The grant that would allow it"].filter(Boolean);
  const rows = denials.map((denial) => el("tr", { "data-key": `${denial.id} ${denial.revision} ${denial.capability} ${denial.what}` },
    named && el("th", { scope: "row" }, el("a", { href: workloadLink(denial.id), "data-row": true }, denial.id)),
    el("td", { class: "said" }, denial.what),
    el("td", { class: "mid" }, denial.capability),
    el("td", { class: "number mid" }, count(denial.count)),
    el("td", { class: "said" }, el("code", {}, denial.grant), " ", navigator.clipboard && el("button", { type: "button", class: "small", "data-copy": denial.grant, "aria-label": `Copy the grant ${denial.grant}` }, "Copy"))));
  return table("Denials", columns, el("tbody", {}, rows));
}

export function faultList(faults, now, named) {
  return faults.map((fault, index) => el("article", { class: "fault", "data-key": fault.key },
    el("p", {}, blame(fault.blame), " ", named ? el("a", { href: workloadLink(fault.id), "data-row": true }, fault.id) : OUTCOMES[fault.blame] ?? "",
      el("span", { class: "quiet" }, ` ${ago(fault.at, now)}`, fault.times > 1 ? ` · ${count(fault.times)} times lately` : "", ` · revision ${fault.revision}`)),
    el("pre", {}, fault.message),
    fault.backtrace.length > 0 && el("details", { open: index === 0 }, el("summary", {}, `Backtrace of ${plural(fault.backtrace.length, "function")}`),
      el("ol", { class: "frames" }, fault.backtrace.map((frame) => el("li", {},
        el("code", {}, frame.function), frame.place ? el("span", {}, ` ${frame.place}`) : null,
        el("span", { class: "quiet" }, frame.module ? ` in ${frame.module}` : "", frame.offset === undefined ? "" : ` at 0x${frame.offset.toString(16)}`)))))));
}

// ---- routes

export function routeTable(routes, named) {
  const columns = [["Host", "mid"], "Methods", "Path", named && "Workload", ["Shape", "mid"], ["Operation", "mid"], ["Written in", "wide"]].filter(Boolean);
  return table("Routes", columns, el("tbody", {}, routes.map((route) => {
    const id = `${route.tenant}/${route.app}/${route.workload}`;
    return el("tr", { "data-key": `${route.host} ${route.methods} ${route.path}` },
      el("td", { class: "mid" }, route.host ?? el("span", { class: "quiet" }, "any")),
      el("td", {}, route.methods.length > 0 ? route.methods.join(" ") : el("span", { class: "quiet" }, "any")),
      el("td", { class: "said" }, el("code", {}, route.path)),
      named && el("td", { class: "said" }, el("a", { href: workloadLink(id), "data-row": true }, id)),
      el("td", { class: "mid" }, route.shape),
      el("td", { class: "mid" }, route.operation ?? ""),
      el("td", { class: "wide said quiet" }, route.origin));
  })));
}

export function routes({ state, filter }) {
  const shown = state.routes.filter((route) => here(filter, route.host ?? "", route.methods.join(" "), route.path, `${route.tenant}/${route.app}/${route.workload}`));
  return shown.length > 0 ? routeTable(shown, true) : nothing(filter, "Nothing is routed.");
}

// ---- apps

export function apps({ state, histories, filter }) {
  const shown = state.apps.filter((app) => here(filter, `${app.tenant}/${app.name}`, app.version ?? "", app.state));
  if (shown.length === 0) return nothing(filter, "No app is served. `samara apps put` adds one.");
  return [...Map.groupBy(shown, (app) => app.tenant)].map(([tenant, apps]) => {
    const own = state.workloads.filter((workload) => workload.tenant === tenant);
    const did = own.map((workload) => histories.of(workload.id));
    const sum = (of) => did.reduce((sum, one) => sum + of(one), 0);
    const note = `tenant · ${plural(own.length, "workload")} · ${rate(sum((one) => one.callsPerSecond))} calls/s · ${rate(sum((one) => one.failedPerSecond))} failed/s · ${rate(sum((one) => one.cores))} cores`;
    return el("section", { "data-key": tenant }, heading(tenant, note), apps.map((app) => appSection(app, state, true)));
  });
}

export function appSection(app, state, linked) {
  const { host } = state;
  const name = `${app.tenant}/${app.name}`;
  const kind = { serving: "good", sharing: "warn", "on-trial": "warn", waiting: "warn", failed: "bad" }[app.state];
  const columns = ["Revision", "Version", ["Loaded", "mid"], ["Share", "number"], ["In flight", "number mid"], ["Made from", "wide"], ["", "number"]];
  const rows = app.versions.map((version) => el("tr", { "data-key": version.revision },
    el("th", { scope: "row" }, count(version.revision)),
    el("td", { class: "said" }, version.version ?? el("span", { class: "quiet" }, "unnamed")),
    el("td", { class: "mid" }, el("span", { title: clock(version.loaded) }, ago(version.loaded, host.now))),
    el("td", { class: "number" }, version.weight > 0 ? `${version.weight} %` : "kept"),
    el("td", { class: "number mid" }, count(version.in_flight)),
    el("td", { class: "wide said" }, el("small", {}, madeFrom(version))),
    el("td", { class: "number" }, version.weight < 100 ? rollBackButton(app, version, host) : null)));
  return el("article", { class: "app", "data-key": name },
    el("h3", {}, linked ? el("a", { href: appLink(app.tenant, app.name), "data-row": true }, name) : name, " ", el("span", { class: `chip ${kind}` }, app.state.replace("-", " "))),
    app.rollout ? trial(app.rollout) : null,
    app.refused ? refusal(app, host.now, false) : null,
    app.versions.filter((version) => version.weight > 0).flatMap((version) => version.waiting).map(({ workload, store, reason }) =>
      el("p", { "data-key": `waiting ${workload}` }, `${workload} waits for its store ${store}: `, el("span", { class: "said" }, reason))),
    app.leaving.length > 0 && el("p", { class: "quiet" }, "Last calls of ", app.leaving.map(({ revision, workload }) => `${workload} (revision ${revision})`).join(", "), "."),
    app.versions.length > 0 && table(`Versions of ${name}`, columns, el("tbody", {}, rows)));
}

// A version that is watched, and gets all requests or none.
function trial(watched) {
  const limits = [
    `${count(watched.failed)} failed (at most ${percent(watched.errors_allowed)} may)`,
    watched.latency_allowed_seconds !== null && `${count(watched.slow)} over ${duration(watched.latency_allowed_seconds)} (at most 1 % may)`,
    watched.denials_allowed !== null && `${plural(watched.denials, "denial")} (at most ${count(watched.denials_allowed)})`,
  ].filter(Boolean);
  return el("p", {}, `Revision ${watched.revision} is on trial: ${duration(watched.watched_seconds)} of ${duration(watched.window_seconds)}, ${count(watched.calls)} of ${plural(watched.calls_needed, "call")}, ${limits.join(", ")}.`);
}

const madeFrom = ({ workloads, folders }) => [
  ...workloads.map(({ name, digest, source, manifest, signers }) => [
    `${name} ${digest.replace("sha256:", "").slice(0, 8)}`,
    manifest !== undefined && `from ${source} (${manifest.slice(0, 19)})`,
    signers.length > 0 && `signed by ${signers.join(", ")}`,
  ].filter(Boolean).join(" ")),
  ...folders.map(({ name, path }) => `${name} ${path}`),
].join(", ");

function rollBackButton(app, version, host) {
  const locked = host.token_file === undefined;
  const [text, what] = version.revision < app.revision ? ["Roll back", `Roll ${app.tenant}/${app.name} back to`] : ["Give it all", `Give all requests of ${app.tenant}/${app.name} to`];
  return el("button", {
    type: "button", class: "small", "data-roll-back": version.revision, "data-tenant": app.tenant, "data-app": app.name, "data-version": version.version,
    disabled: locked, title: locked ? "this host has no token, so that nothing can be changed" : null,
    "aria-label": `${what} revision ${version.revision}`,
  }, text);
}
