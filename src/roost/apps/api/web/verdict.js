// The top of the page: how the checkpoints are, in a sentence, what is being done, and what it rests on.

import { $, make, settle } from "/dom.js";
import { ago, counted, percent, size } from "/words.js";

const HERE = ["alive", "draining"];

/** Show how everything is; `rows` are all versions that are stored. */
export function showVerdict(status, rows) {
  const how = status.by_health;
  const mood = how.lost || how["at-risk"] ? "bad"
    : status.problems.length || status.checkpoints !== (how.healthy ?? 0) ? "fair" : "good";
  document.body.className = mood;
  document.title = `${mood === "good" ? "✓" : "!"} Roost ${status.cluster}`;
  $("cluster").textContent = status.cluster;
  say("verdict", status.verdict);
  say("doing", status.doing ?? "");
  $("doing").hidden = !status.doing;
  settle($("problems"), status.problems.map((text) => make("li", {}, text)));
  settle($("facts"), facts(status, rows).flatMap(([name, value, more]) =>
    make("div", { "data-key": name }, make("dt", {}, name), make("dd", {}, value, more ? make("small", {}, more) : null))));
}

/** Say that nobody answers. */
export function showSilence(error) {
  document.body.className = "bad";
  document.title = "! Roost does not answer";
  say("verdict", `The coordinator does not answer: ${error.message}`);
  say("doing", "What is stored is safe on the machines all the same. Where it ran: roost start");
  $("doing").hidden = false;
  settle($("problems"));
  settle($("facts"));
}

// What is read aloud changes only when it says something else.
function say(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

function facts(status, rows) {
  const members = status.nodes.filter((node) => node.state !== "left");
  const here = members.filter((node) => HERE.includes(node.state));
  const used = members.reduce((sum, node) => sum + (node.bytes_used ?? 0), 0);
  const free = members.reduce((sum, node) => sum + (node.bytes_free ?? 0), 0);
  const logical = rows.reduce((sum, row) => sum + row.bytes * copiesOf(row), 0);
  const complete = here.length === members.length && logical > used;
  return [
    ["Checkpoints", status.checkpoints.toLocaleString("en"), `${counted(rows.length, "version")}, ${copies(rows)}`],
    ["Stored", size(used), complete ? `${percent(logical - used, logical)} % saved of ${size(logical)} with all copies` : "with all copies"],
    ["Free", size(free), `on ${counted(here.length, "machine")}`],
    ["Machines", `${here.length} of ${members.length}`, here.length === members.length ? "all answer" : "answer"],
    ["Last verified", ...verified(rows)],
  ];
}

const copiesOf = (row) => (/^\d+$/.test(row.redundancy) ? Number(row.redundancy) : 1);

function copies(rows) {
  const asked = [...new Set(rows.map((row) => row.redundancy))];
  return asked.length === 1 ? `${asked[0]} copies each` : asked.length ? `${asked.sort().join(" or ")} copies` : "none yet";
}

function verified(rows) {
  const times = rows.map((row) => row.verified_at).filter(Boolean).sort();
  if (!times.length) return [rows.length ? "not yet" : "nothing to verify", ""];
  const missing = rows.length - times.length;
  return [ago(times[times.length - 1]), missing ? `${counted(missing, "version")} not yet` : `every copy since ${ago(times[0])}`];
}
