// One workload, or one app, with all that is known of it.

import { el } from "./element.js";
import { bytes, count, duration, percent, rate } from "./numbers.js";
import { OUTCOMES, appSection, bar, denialTable, denialsOf, faultList, faultsOf, heading, routeTable, spark, table, tiles, together, within, workloadLink } from "./views.js";

const back = (to, text) => el("p", { class: "back" }, el("a", { href: to }, `← ${text}`));

export function app({ state }, tenant, name) {
  const links = back("#/apps", "Apps");
  const found = state.apps.find((app) => app.tenant === tenant && app.name === name);
  if (!found) return [links, el("p", {}, `There is no app ${tenant}/${name} here now.`)];
  const own = state.workloads.filter((workload) => workload.tenant === tenant && workload.app === name);
  const routes = state.routes.filter((route) => route.tenant === tenant && route.app === name);
  const [newest] = found.versions;
  return [
    links,
    appSection(found, state, false),
    newest && el("p", { class: "quiet said" }, `Its manifest is ${newest.manifest}.`),
    own.length > 0 && el("section", { "data-key": "workloads" }, heading("Workloads"), el("ul", {}, own.map(({ id, name }) => el("li", {}, el("a", { href: workloadLink(id), "data-row": true }, name))))),
    newest?.stores.length > 0 && el("section", { "data-key": "stores" }, heading("Stores"), el("ul", {}, newest.stores.map(({ name, provider, declared, capabilities }) => el("li", {}, name, " ", el("code", {}, provider),
      el("span", { class: "quiet" }, ` as ${capabilities.join(", ")}`, declared === undefined ? "" : `, linked; its manifest says ${declared}`))))),
    routes.length > 0 && el("section", { "data-key": "routes" }, heading("Routes"), routeTable(routes, true)),
  ];
}

export function workload({ state, histories }, id) {
  const links = back("#/workloads", "Workloads");
  const found = state.workloads.find((workload) => workload.id === id);
  if (!found) return [links, el("p", {}, `No version of ${id} serves now, or it is a folder of files, which is among the routes only.`)];
  const did = histories.of(id);
  const { limits, counters, warnings } = found;
  const [faults, denials] = [together(faultsOf(found)), denialsOf(found)];
  const routes = state.routes.filter((route) => `${route.tenant}/${route.app}/${route.workload}` === id);
  const app = state.apps.find((app) => app.tenant === found.tenant && app.name === found.app);
  const of = did.isLately ? "in the last minute" : "of all calls";
  const section = (title, note, content) => el("section", { "data-key": title }, heading(title, note), content);
  return [
    links,
    el("h2", { class: "title" }, id, " ", el("span", { class: "chip" }, found.contract), " ", el("span", { class: "chip" }, found.shape), " ", el("span", { class: "chip" }, found.pooled ? "pooled" : "on demand"), " ", el("span", { class: "chip" }, `${found.tier} code`)),
    tiles(
      ["Calls a second", rate(did.callsPerSecond), spark(did.rates)],
      ["Failed a second", rate(did.failedPerSecond), `${count(did.failed)} in all`, did.failedPerSecond > 0 ? "bad" : null],
      ["Half within", within(did.p50), of],
      ["99 of 100 within", within(did.p99), of],
      ["CPU", percent(did.cores), `of a core, ${duration(counters.cpu_seconds)} in all`],
      ["Memory at most", bytes(counters.memory_bytes_max), [`of ${bytes(limits.memory_bytes)}`, bar(counters.memory_bytes_max / limits.memory_bytes)]],
      ["In flight", count(found.in_flight), `of ${count(limits.concurrency)}`],
      ["Queued", count(counters.queued), `of ${count(limits.queue)}, waited ${duration(counters.queue_seconds)} in all`],
      ["Bytes in", `${bytes(did.bytesInPerSecond)}/s`, `${bytes(counters.bytes_in)} in all`],
      ["Bytes out", `${bytes(did.bytesOutPerSecond)}/s`, `${bytes(counters.bytes_out)} in all`],
    ),
    counters.used.length > 0 && section("Used", "of what is granted, by all its versions", useTable(counters.used)),
    denials.length > 0 && section("Denied", "and the grant that would allow it", denialTable(denials, false)),
    faults.length > 0 && section("Failed calls", "the last of each version, equal ones together", faultList(faults, state.host.now, false)),
    warnings.length > 0 && section("Warnings", null, el("ul", {}, warnings.map((text) => el("li", {}, text)))),
    el("div", { class: "columns", "data-key": "calls" },
      section("Latency", "of all calls", latencies(did)),
      section("Outcomes", null, outcomes(counters.calls, did.calls))),
    routes.length > 0 && section("Routes", null, routeTable(routes, false)),
    el("div", { class: "columns", "data-key": "may" },
      section("Limits", null, list(limitList(limits))),
      section("Grants", "values are not shown", list(grantList(found.grants), "Nothing is granted."))),
    app && section("Versions", null, appSection(app, state, true)),
    el("p", { class: "quiet said" }, `Made from ${found.digest}.`,
      counters.kept > 0 ? ` ${count(counters.kept)} instances are kept for another call.` : "",
      counters.log_dropped_lines > 0 ? ` ${count(counters.log_dropped_lines)} lines were over its log rate.` : ""),
  ];
}

function useTable(used) {
  const rows = used.map(({ capability, store, operation, count: times, failed, seconds }) => el("tr", { "data-key": `${capability} ${store} ${operation}` },
    el("th", { scope: "row" }, capability),
    el("td", { class: "said" }, store),
    el("td", {}, operation),
    el("td", { class: "number" }, count(times)),
    el("td", { class: `number ${failed > 0 ? "bad" : ""}` }, count(failed)),
    el("td", { class: "number mid" }, times > 0 ? duration(seconds / times) : "")));
  return table("Uses", ["Capability", "Store", "Operation", ["Times", "number"], ["Failed", "number"], ["Mean", "number mid"]], el("tbody", {}, rows));
}

function latencies({ buckets, lately }) {
  const first = buckets.findIndex(({ calls }) => calls > 0);
  if (first < 0) return el("p", { class: "quiet" }, "There was no call yet.");
  const end = buckets.findLastIndex(({ calls }) => calls > 0) + 1;
  const most = Math.max(...buckets.map(({ calls }) => calls));
  const bound = (index) => buckets[index].at_most_seconds === null ? `over ${duration(buckets[index - 1].at_most_seconds)}` : duration(buckets[index].at_most_seconds);
  const rows = buckets.slice(first, end).map(({ calls }, offset) => el("tr", {},
    el("th", { scope: "row", class: "number" }, bound(first + offset)),
    el("td", { class: "stretch" }, bar(calls / most)),
    el("td", { class: "number" }, count(calls)),
    el("td", { class: "number quiet" }, count(lately[first + offset].calls))));
  return table("Latencies", [["At most", "number"], "", ["Calls", "number"], ["Last minute", "number"]], el("tbody", {}, rows));
}

function outcomes(calls, all) {
  const sorted = Object.entries(calls).toSorted(([, a], [, b]) => b - a);
  if (sorted.length === 0) return el("p", { class: "quiet" }, "There was no call yet.");
  const rows = sorted.map(([outcome, number]) => el("tr", { "data-key": outcome },
    el("th", { scope: "row" }, outcome, " ", el("small", { class: "quiet" }, OUTCOMES[outcome] ?? "")),
    el("td", { class: "number" }, count(number)),
    el("td", { class: "number quiet" }, percent(number / all))));
  return table("Outcomes", ["Outcome", ["Calls", "number"], ["Share", "number"]], el("tbody", {}, rows));
}

function list(entries, none) {
  const some = entries.filter(([, value]) => value !== null && value.length > 0);
  if (some.length === 0) return el("p", { class: "quiet" }, none);
  const shown = (value) => (Array.isArray(value) ? value.map((one) => el("div", {}, el("code", {}, one))) : value);
  return el("dl", { class: "list" }, some.map(([name, value]) => [el("dt", {}, name), el("dd", { class: "said" }, shown(value))]));
}

const bounded = (value, as) => (value === null ? "unbounded" : as(value));
const limitList = (limits) => [
  ["memory", bytes(limits.memory_bytes)],
  ["CPU per call", bounded(limits.cpu_seconds, duration)],
  ["deadline", bounded(limits.deadline_seconds, duration)],
  ["concurrency", count(limits.concurrency)],
  ["queue", count(limits.queue)],
  ["request body", bytes(limits.request_body_bytes)],
  ["response body", bounded(limits.response_body_bytes, bytes)],
  ["host calls", bounded(limits.host_calls, count)],
  ["log", bounded(limits.log_bytes_per_second, (value) => `${bytes(value)}/s`)],
];

const grantList = (grants) => [
  ["key-value stores", Object.entries(grants.kv).map(([store, operations]) => `${store}: ${operations.join(", ")}`)],
  ["blob stores", Object.entries(grants.blob).map(([store, operations]) => `${store}: ${operations.join(", ")}`)],
  ["databases", Object.entries(grants.sql).map(([store, { operations, statements, named_only }]) => `${store}: ${operations.join(", ")}${named_only ? ", only" : ""}${statements.map((name) => ` ${name}`).join("")}`)],
  ["publishes to", Object.entries(grants.messaging).flatMap(([bus, { publish }]) => publish.map((subject) => `${bus}: ${subject}`))],
  ["hears", Object.entries(grants.messaging).flatMap(([bus, { subscribe }]) => subscribe.map((subject) => `${bus}: ${subject}`))],
  ["requests to", grants.http],
  ["private addresses", grants.http_private ? "allowed" : null],
  ["folders", grants.fs],
  ["environment", grants.env],
  ["configuration", grants.config],
  ["secrets", grants.secrets],
  ["connections to", grants.net_connect],
  ["listening on", grants.net_listen],
];
