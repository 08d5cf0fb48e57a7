// What is under way anywhere in the cluster: stores, gathers and the others, with their rate and what they wait for.

import { $, bar, make, settle } from "/dom.js";
import { ago, percent, rate, size, span } from "/words.js";

const KEPT = 20;
const SHOWN = 5;
const WORDS = { store: "Store", gather: "Gather", verify: "Verify", repair: "Repair", scrub: "Scrub", drain: "Drain", undelete: "Undelete" };
const rows = new Map();

/** Take the whole list. */
export function takeTransfers(operations) {
  rows.clear();
  for (const row of operations) rows.set(row.id, row);
  showTransfers();
}

/** Take one row that was told as it moved. */
export function takeTransfer(row) {
  rows.delete(row.id);
  rows.set(row.id, row);
  const ended = [...rows.values()].filter((one) => one.state !== "running");
  for (const old of ended.slice(0, Math.max(0, ended.length - KEPT))) rows.delete(old.id);
  showTransfers();
}

function showTransfers() {
  const running = [...rows.values()].filter((row) => row.state === "running").sort((a, b) => a.begun_at.localeCompare(b.begun_at));
  const ended = [...rows.values()].filter((row) => row.state !== "running").sort((a, b) => endOf(b) - endOf(a)).slice(0, SHOWN);
  settle($("running"), running.map(live));
  $("idle").hidden = running.length > 0;
  settle($("ended"), ended.map(over));
}

const endOf = (row) => Date.parse(row.begun_at) + row.seconds * 1000;

function live(row) {
  const amount = row.bytes_total ? `${size(row.bytes_done)} of ${size(row.bytes_total)}` : row.bytes_done ? size(row.bytes_done) : "";
  const left = row.rate && row.bytes_total ? `${span((row.bytes_total - row.bytes_done) / row.rate)} left` : "";
  const words = [amount, row.rate === null ? "" : rate(row.rate), left].filter(Boolean).join("  ·  ");
  return make("li", { className: "transfer", "data-key": row.id },
    make("p", { className: "what" }, make("strong", {}, `${WORDS[row.kind] ?? row.kind} `), row.name, make("span", { className: "soft" }, ` from ${row.from}`)),
    row.bytes_total ? bar(row.bytes_done, row.bytes_total, `${percent(row.bytes_done, row.bytes_total)} % of ${row.name}`) : null,
    make("p", { className: "soft" }, words, row.waits_for ? make("span", {}, `${words ? "  ·  " : ""}waiting for ${row.waits_for}`) : null));
}

function over(row) {
  const bad = row.state === "failed";
  const mood = bad ? "bad" : row.state === "degraded" ? "fair" : "good";
  const took = bad ? row.message : `${row.bytes_done ? `${size(row.bytes_done)} ` : ""}in ${span(row.seconds)}`;
  return make("li", { "data-key": row.id }, make("span", { className: `pill ${mood}` }, row.state), " ",
    make("strong", {}, `${WORDS[row.kind] ?? row.kind} `), `${row.name} `,
    make("span", { className: "soft" }, `from ${row.from}, ${ago(new Date(endOf(row)).toISOString())}: ${took}`));
}
