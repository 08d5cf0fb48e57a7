// The page of a coordinator: asks /api/v1 and follows its events. No library, nothing from anywhere else.
"use strict";

const API = "/api/v1";
const EVERY_MS = 5000;
const SHOWN = 12;
const BAD = { healthy: "good", degraded: "fair", "at-risk": "bad", lost: "bad", unknown: "fair" };
const STATE = { alive: "good", draining: "fair", suspect: "fair", down: "bad", left: "fair" };
const WORDS = { "at-risk": "one loss from lost", unknown: "not known" };
const $ = (id) => document.getElementById(id);
const state = { checkpoints: [], opened: new Set(), shown: new Map(), all: new Set(), working: new Map(), number: 0 };

function make(tag, fields = {}, ...children) {
  const { className, ...rest } = fields;
  const node = document.createElement(tag);
  if (className) node.className = className;
  for (const [name, value] of Object.entries(rest)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function size(bytes) {
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  let value = bytes, unit = 0;
  while (value >= 1000 && unit < units.length - 1) { value /= 1000; unit += 1; }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

function ago(text) {
  if (!text) return "never";
  const seconds = Math.max(0, (Date.now() - Date.parse(text)) / 1000);
  for (const [length, name] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= length) return `${Math.floor(seconds / length)} ${name} ago`;
  }
  return "just now";
}

const counted = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

async function ask(path) {
  const response = await fetch(API + path);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.hint ? `${answer.message} (${answer.hint})` : answer.message);
  return answer;
}

// -- looking ----------------------------------------------------------------------------------------------------------

async function look() {
  try {
    const [status, listing, watching] = await Promise.all([
      ask("/status"), ask("/checkpoints"), ask("/watching"),
    ]);
    state.checkpoints = listing.checkpoints;
    showStatus(status);
    showNodes(status.nodes);
    showWatching(watching.watching);
    showRuns();
  } catch (error) {
    document.body.className = "bad";
    $("verdict").textContent = `The coordinator does not answer: ${error.message}`;
    $("facts").textContent = "What is stored is safe on the nodes all the same. On its machine: roost start";
  }
}

function showStatus(status) {
  const worst = status.by_health.lost || status.by_health["at-risk"] ? "bad"
    : status.problems.length || status.checkpoints !== (status.by_health.healthy ?? 0) ? "fair" : "good";
  document.body.className = worst;
  $("cluster").textContent = status.cluster;
  document.title = `${worst === "good" ? "✓" : "!"} Roost ${status.cluster}`;
  if ($("verdict").textContent !== status.verdict) $("verdict").textContent = status.verdict;
  const verified = state.checkpoints.map((row) => row.verified_at).filter(Boolean).sort();
  const facts = [counted(status.checkpoints, "checkpoint"), `${size(status.bytes)} in the newest versions`];
  if (verified.length) facts.push(`last verified ${ago(verified[verified.length - 1])}`);
  $("facts").textContent = facts.join(" · ");
  $("problems").replaceChildren(...status.problems.map((text) => make("li", {}, text)));
}

function showNodes(nodes) {
  $("nodes").replaceChildren(...nodes.map((node) => {
    const whole = (node.bytes_used ?? 0) + (node.bytes_free ?? 0);
    const used = node.bytes_used === null ? null : `${size(node.bytes_used)} kept, ${size(node.bytes_free)} free`;
    return make("article", { className: "card" },
      make("h3", {}, node.name, make("span", { className: `pill ${STATE[node.state] ?? "fair"}` }, node.state)),
      whole ? make("meter", { min: 0, max: whole, value: node.bytes_used, "aria-label": `disk of ${node.name}: ${used}` }) : null,
      used ? make("p", {}, used) : null,
      node.problem ? make("p", {}, node.problem) : null,
      node.scrub ? make("p", {}, `scrub: ${node.scrub}`) : null,
      make("p", {}, node.address || "no address"),
      node.state === "left" ? null : make("button", { type: "button", onclick: () => drain(node) },
        node.state === "draining" ? "Stop draining" : "Drain…"));
  }));
}

function showWatching(folders) {
  const waiting = folders.filter((folder) => folder.pending.length);
  $("watching-section").hidden = !waiting.length;
  $("watching").replaceChildren(...waiting.map((folder) => make("div", { className: "scroll" },
    make("table", {},
      make("caption", { className: "when" }, folder.path),
      make("tbody", {}, ...folder.pending.map((one) =>
        make("tr", {}, make("td", {}, one.name), make("td", {}, one.waits_for))))))));
}

function showRuns() {
  const wanted = $("filter").value.trim().toLowerCase();
  const runs = new Map();
  for (const row of state.checkpoints) {
    if (wanted && !row.name.toLowerCase().includes(wanted)) continue;
    const run = row.name.includes("/") ? row.name.slice(0, row.name.lastIndexOf("/")) : "";
    runs.set(run, [...(runs.get(run) ?? []), row]);
  }
  if (!runs.size) {
    $("runs").replaceChildren(make("p", { className: "when" },
      wanted ? "No checkpoint has that in its name." : "Nothing is stored yet: drop a checkpoint into a watched folder, or roost store PATH."));
    return;
  }
  const known = new Set([...$("runs").querySelectorAll("details")].map((one) => one.dataset.run));
  $("runs").replaceChildren(...[...runs].map(([run, rows]) => {
    if (!known.has(run) && runs.size <= 3) state.opened.add(run);
    return showRun(run, rows);
  }));
}

function showRun(run, rows) {
  const order = [...rows].sort((a, b) => b.stored_at.localeCompare(a.stored_at) || b.name.localeCompare(a.name, "en", { numeric: true }));
  const worst = order.map((row) => row.health).find((health) => BAD[health] === "bad") ??
    order.map((row) => row.health).find((health) => BAD[health] !== "good") ?? "healthy";
  const bytes = order.reduce((sum, row) => sum + row.bytes, 0);
  const shown = state.all.has(run) ? order : order.slice(0, SHOWN);
  const details = make("details", { className: "run", "data-run": run, open: state.opened.has(run) },
    make("summary", {}, `${run || "without a run"} `, pill(worst), make("span", { className: "when" },
      ` ${counted(order.length, "version")}, ${size(bytes)}, newest ${ago(order[0].stored_at)}`)),
    make("div", { className: "scroll" }, make("table", {},
      make("thead", {}, make("tr", {}, ...["Name", "Version", "Stored", "Verified", "Health", "Do"].map((text) => make("th", { scope: "col" }, text)),
        make("th", { scope: "col", className: "number" }, "Size"))),
      make("tbody", {}, ...shown.flatMap(showVersion)))),
    shown.length < order.length ? make("button", { type: "button", onclick: () => { state.all.add(run); showRuns(); } },
      `Show all ${order.length}`) : null);
  details.addEventListener("toggle", () => { if (details.open) state.opened.add(run); else state.opened.delete(run); });
  return details;
}

const pill = (health) => make("span", { className: `pill ${BAD[health] ?? "fair"}` }, WORDS[health] ?? health);

function showVersion(row) {
  const reference = `${row.name}@${row.version}`;
  const own = row.name.slice(row.name.lastIndexOf("/") + 1);
  const found = state.shown.get(reference);
  const button = (text, act) => make("button", { type: "button", "aria-label": `${text} ${reference}`, onclick: act }, text);
  const main = make("tr", {},
    make("td", {}, own), make("td", {}, row.version), make("td", { title: row.stored_at }, ago(row.stored_at)),
    make("td", { title: row.verified_at ?? "" }, ago(row.verified_at)), make("td", {}, pill(row.health)),
    make("td", {},
      make("button", { type: "button", "aria-expanded": String(Boolean(found)), "aria-label": `Where ${reference} is`, onclick: () => where(reference) }, "Where"),
      button("Verify", () => operate(`verify ${reference}`, "/verify", { references: [reference], deep: true })),
      button("Gather", () => gather(reference)), button("Remove", () => remove(reference))),
    make("td", { className: "number" }, size(row.bytes)));
  return found ? [main, make("tr", {}, make("td", { colspan: 7 }, found))] : [main];
}

async function where(reference) {
  if (state.shown.delete(reference)) { showRuns(); return; }
  try {
    state.shown.set(reference, map(await ask(`/checkpoints/${reference.split("/").map(encodeURIComponent).join("/")}`)));
  } catch (error) {
    state.shown.set(reference, make("p", {}, error.message));
  }
  showRuns();
}

function map(shown) {
  const held = new Map();
  for (const chunk of shown.chunks) for (const node of chunk.nodes) held.set(node, (held.get(node) ?? 0) + 1);
  const all = shown.chunks.length;
  const stored = shown.chunks.reduce((sum, chunk) => sum + chunk.bytes, 0);
  const saved = shown.bytes ? Math.round(100 * (1 - stored / shown.bytes)) : 0;
  const rows = [...held].sort().flatMap(([node, count]) => [
    make("span", {}, node),
    make("meter", { min: 0, max: all, value: count, "aria-label": `${node} has ${count} of ${all} chunks` }),
    make("span", { className: "when" }, `${count} of ${all}`)]);
  return make("div", {},
    make("p", { className: "when" }, `${counted(shown.files.length, "file")}, ${counted(all, "chunk")}, ${size(stored)} a copy` +
      `${saved > 0 ? ` (${saved} % saved by compression and equal parts)` : ""}, ${shown.copies} copies; from ${shown.source}`),
    make("div", { className: "map" }, ...rows));
}

// -- doing ------------------------------------------------------------------------------------------------------------

function confirmed(title, text, act, fields = []) {
  $("dialog-title").textContent = title;
  $("dialog-text").textContent = text;
  $("dialog-do").textContent = act;
  $("dialog-fields").replaceChildren(...fields.map(([name, label, value]) =>
    make("label", {}, label, make("input", { type: "text", name, value, required: true, autocomplete: "off" }))));
  $("dialog").returnValue = "";
  $("dialog").showModal();
  return new Promise((resolve) => $("dialog").addEventListener("close", () => {
    const values = Object.fromEntries([...$("dialog-fields").querySelectorAll("input")].map((one) => [one.name, one.value]));
    resolve($("dialog").returnValue === "do" ? values : null);
  }, { once: true }));
}

async function gather(reference) {
  const given = await confirmed(`Gather ${reference}`, "It is written to a folder of the coordinator's machine; nothing there is replaced.",
    "Gather", [["to", "Folder", ""]]);
  if (given) operate(`gather ${reference}`, "/gather", { reference, to: given.to });
}

async function remove(reference) {
  if (await confirmed(`Remove ${reference}?`, "It goes off every list. For a while it can be brought back with roost undelete.", "Remove")) {
    operate(`remove ${reference}`, "/remove", { reference });
  }
}

async function drain(node) {
  const stop = node.state === "draining";
  const text = stop ? "It stays in the cluster and keeps what it has." : "What it keeps is copied to the others; then it leaves.";
  if (await confirmed(`${stop ? "Stop draining" : "Drain"} ${node.name}?`, text, stop ? "Stop" : "Drain")) {
    operate(`drain ${node.name}`, "/drain", { node: node.id, cancel: stop });
  }
}

async function operate(title, path, body) {
  const key = state.number++;
  state.working.set(key, { title, text: "begins" });
  showWorking();
  try {
    const response = await fetch(API + path, { method: "POST", body: JSON.stringify(body) });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "", last = null;
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const lines = (rest + part.value).split("\n");
      rest = lines.pop();
      for (const line of lines.filter(Boolean)) { last = JSON.parse(line); report(key, title, last); }
    }
    if (rest.trim()) last = JSON.parse(rest);
    if (!response.ok || last?.type === "error") throw new Error(last.hint ? `${last.message} (${last.hint})` : last.message);
    state.working.set(key, { title, text: "done", over: true });
  } catch (error) {
    state.working.set(key, { title, text: `failed: ${error.message}`, over: true });
  }
  showWorking();
  look();
}

function report(key, title, line) {
  if (line.type !== "progress") return;
  const rate = line.rate ? `, ${size(line.rate)}/s` : "";
  const left = line.seconds_left ? `, ${Math.ceil(line.seconds_left)} s left` : "";
  const text = `${line.bytes_total ? `${size(line.bytes_done)} of ${size(line.bytes_total)}${rate}${left}, ` : ""}waiting for ${line.waiting_for}`;
  state.working.set(key, { title, text, done: line.bytes_done, total: line.bytes_total });
  showWorking();
}

function showWorking() {
  $("working-section").hidden = !state.working.size;
  $("working").replaceChildren(...[...state.working].reverse().map(([key, one]) => make("li", {},
    make("strong", {}, one.title), ` ${one.text} `,
    one.total ? make("progress", { max: one.total, value: one.done, "aria-label": one.title }) : null,
    one.over ? make("button", { type: "button", onclick: () => { state.working.delete(key); showWorking(); } }, "Dismiss") : null)));
}

// -- events -----------------------------------------------------------------------------------------------------------

const KINDS = ["starting", "listening", "node-joined", "node-left", "ready", "node-down", "local-left-out", "watched",
  "stored", "repaired", "warning", "stopping"];
let soon = 0;

function follow() {
  const source = new EventSource(`${API}/events`);
  const heard = (message) => {
    const told = JSON.parse(message.data);
    const at = new Date(told.at * 1000);
    $("events").prepend(make("li", {}, make("time", { datetime: at.toISOString() }, at.toLocaleTimeString()), told.text));
    while ($("events").children.length > 100) $("events").lastElementChild.remove();
    clearTimeout(soon);
    soon = setTimeout(look, 300);
  };
  for (const kind of KINDS) source.addEventListener(kind, heard);
}

$("repair").addEventListener("click", async () => {
  if (await confirmed("Repair now?", "Missing copies are made again at once, node to node.", "Repair")) operate("repair", "/repair", {});
});
$("store").addEventListener("click", async () => {
  const given = await confirmed("Store a path", "A file or folder of the coordinator's machine.", "Store",
    [["path", "Path", ""], ["name", "Name", ""]]);
  if (given) operate(`store ${given.name}`, "/store", { path: given.path, name: given.name });
});
$("filter").addEventListener("input", showRuns);
look();
follow();
setInterval(() => { if (!document.hidden) look(); }, EVERY_MS);
