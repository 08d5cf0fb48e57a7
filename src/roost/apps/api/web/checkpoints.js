// The checkpoints by run: how each version is, where its copies are and what it saved, and what was removed.

import { $, button, draw, make, settle } from "/dom.js";
import { ask, pathOf } from "/asking.js";
import { HEALTH, HEALTH_WORDS, ago, counted, percent, size, until } from "/words.js";

const SHOWN = 12;
const OPEN_RUNS = 3;
const RUNS = 100;
const state = { rows: [], opened: new Map(), all: new Set(), maps: new Map() };

export const pill = (health) => make("span", { className: `pill ${HEALTH[health] ?? "fair"}` }, HEALTH_WORDS[health] ?? health);

/** Take the list of all versions. */
export function takeCheckpoints(rows) {
  state.rows = rows;
  showRuns();
}

/** Remember which runs are open, as people open and close them. */
export function ranToggled(details) {
  if (state.opened.get(details.dataset.run) === details.open) return;
  state.opened.set(details.dataset.run, details.open);
  showRuns();
}

/** Show all versions of a run. */
export function showAll(run) {
  state.all.add(run);
  showRuns();
}

/** Show or hide where the copies of a version are. */
export async function where(reference) {
  if (state.maps.delete(reference)) { showRuns(); return; }
  state.maps.set(reference, make("p", { className: "soft" }, "Asking every machine…"));
  showRuns();
  await learn(reference);
}

/** Ask again for the maps that are open: copies moved. */
export function refreshMaps() {
  for (const reference of state.maps.keys()) learn(reference);
}

async function learn(reference) {
  let found;
  try {
    found = mapOf(await ask(`${pathOf(reference)}?map=true`));
  } catch (error) {
    found = make("p", { className: "trouble" }, error.message);
  }
  if (state.maps.has(reference)) { state.maps.set(reference, found); showRuns(); }
}

/** Show the runs whose checkpoints have what was typed in their names. */
export function showRuns() {
  const wanted = $("filter").value.trim().toLowerCase();
  const runs = new Map();
  for (const row of state.rows) {
    if (wanted && !row.name.toLowerCase().includes(wanted)) continue;
    const run = row.name.includes("/") ? row.name.slice(0, row.name.lastIndexOf("/")) : "";
    if (!runs.has(run)) runs.set(run, []);
    runs.get(run).push(row);
  }
  const none = wanted ? "No checkpoint has that in its name." : "Nothing is stored yet: drop a checkpoint into a watched folder, or roost store PATH.";
  const newest = (rows) => rows.reduce((last, row) => (row.stored_at > last ? row.stored_at : last), "");
  const order = [...runs].map(([run, rows]) => [run, rows, newest(rows)]).sort((a, b) => b[2].localeCompare(a[2]) || a[0].localeCompare(b[0]));
  settle($("runs"), order.slice(0, RUNS).map(([run, rows], index) => showRun(run, rows, index)),
    order.length > RUNS ? make("p", { className: "soft" }, `${counted(order.length - RUNS, "older run")} not shown; find them by name.`) : null,
    order.length ? null : make("p", { className: "soft" }, none));
}

function showRun(run, rows, index) {
  const order = [...rows].sort((a, b) => b.stored_at.localeCompare(a.stored_at) || b.name.localeCompare(a.name, "en", { numeric: true }));
  const worst = ["lost", "at-risk", "unknown", "degraded"].find((health) => order.some((row) => row.health === health)) ?? "healthy";
  const bytes = order.reduce((sum, row) => sum + row.bytes, 0);
  const shown = state.all.has(run) ? order : order.slice(0, SHOWN);
  const open = state.opened.get(run) ?? index < OPEN_RUNS;
  return make("details", { className: "run", "data-key": `run ${run}`, "data-run": run, open },
    make("summary", {}, make("span", { className: "name" }, run || "without a run"), pill(worst),
      make("span", { className: "soft" }, `${counted(order.length, "version")}, ${size(bytes)}, newest ${ago(order[0].stored_at)}`)),
    open ? make("ul", { className: "versions" }, shown.map(showVersion)) : null,
    open && shown.length < order.length ? make("p", { className: "more" }, button(`Show all ${order.length}`, "all", { run })) : null);
}

function showVersion(row) {
  const reference = `${row.name}@${row.version}`;
  const own = row.name.slice(row.name.lastIndexOf("/") + 1);
  const map = state.maps.get(reference);
  const act = (text, what) => button(text, what, { reference }, { "aria-label": `${text} ${reference}` });
  return make("li", { "data-key": reference },
    make("div", { className: "version" },
      make("span", { className: "name" }, own, make("code", {}, row.version)),
      pill(row.health),
      make("span", { className: "number" }, size(row.bytes)),
      make("span", { className: "soft" }, `stored ${ago(row.stored_at)}, ${row.verified_at ? `verified ${ago(row.verified_at)}` : "not verified yet"}`),
      make("span", { className: "acts" },
        button("Copies", "where", { reference }, { "aria-expanded": String(Boolean(map)), "aria-label": `Copies of ${reference}` }),
        act("Verify…", "verify"), act("Gather…", "gather"), act("Remove…", "remove"))),
    map ? make("div", { className: "where" }, map.cloneNode(true)) : null);
}

function mapOf(shown) {
  const { map } = shown;
  return make("div", {},
    make("p", {}, `${counted(map.files, "file")} in ${counted(map.chunks, "chunk")}, ${counted(shown.copies, "copy", "copies")} of everything, from `,
      make("code", {}, shown.source)),
    savings(shown),
    map.nowhere ? make("p", { className: "trouble" }, `${counted(map.nowhere, "chunk")} on no machine that answered`) : null,
    make("div", { className: "map", role: "list", "aria-label": `where the copies of ${shown.name} are` }, map.nodes.map((strip) => stripOf(strip, map.chunks))),
    make("p", { className: "soft" }, "Each strip is the checkpoint from its first chunk to its last; filled is what that machine has."));
}

function savings(shown) {
  const parts = [
    [shown.bytes - shown.bytes_distinct, "occur again in it"],
    [shown.bytes_distinct - shown.bytes_encoded, "saved by compression"],
    [shown.bytes_shared, "shared with other versions"],
  ].filter(([bytes]) => bytes > 0).map(([bytes, why]) => `${size(bytes)} (${percent(bytes, shown.bytes)} %) ${why}`);
  return make("p", { className: "saved" }, `${size(shown.bytes)} take ${size(shown.bytes_encoded)} a copy${parts.length ? ": " : ""}${parts.join(", ")}`);
}

function stripOf(strip, chunks) {
  const width = 100 / strip.parts.length;
  const words = `${strip.node} has ${strip.chunks} of ${counted(chunks, "chunk")}, ${size(strip.bytes)}, ${strip.verified_at ? `verified ${ago(strip.verified_at)}` : "not verified yet"}`;
  return make("div", { role: "listitem", "aria-label": words },
    make("span", { className: "name", "aria-hidden": "true" }, strip.node),
    draw("svg", { className: "strip", "aria-hidden": "true" }, draw("rect", { className: "track", width: "100%", height: "100%" }),
      strip.parts.map((share, index) => share ? draw("rect", { className: "fill", x: `${index * width}%`, width: `${width + 0.1}%`, height: "100%", opacity: share / 100 }) : null)),
    make("span", { className: "soft", "aria-hidden": "true" }, `${strip.chunks} of ${chunks}, ${size(strip.bytes)}`));
}

/** Show what was removed and can be brought back. */
export function showRemoved(rows) {
  $("removed-section").hidden = !rows.length;
  $("removed-count").textContent = counted(rows.length, "removed version");
  settle($("removed"), rows.map((row) => {
    const reference = `${row.name}@${row.version}`;
    return make("li", { className: "version", "data-key": reference },
      make("span", { className: "name" }, row.name, make("code", {}, row.version)),
      make("span", { className: "number" }, size(row.bytes)),
      make("span", { className: "soft" }, `removed ${ago(row.removed_at)}, kept ${row.kept_until ? until(row.kept_until) : "for a while"}`),
      make("span", { className: "acts" }, button("Undelete…", "undelete", { reference }, { "aria-label": `Undelete… ${reference}` })));
  }));
}
