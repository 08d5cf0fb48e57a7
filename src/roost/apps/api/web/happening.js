// What waits in the watched folders and why, and what happened, newest first.

import { $, make, settle } from "/dom.js";
import { counted } from "/words.js";

const KEPT = 200;
const SHOWN = 30;
const BAD = ["warning", "node-down", "local-left-out", "alert"];
const events = [];
let more = false;

/** Show the watched folders. */
export function showWatching(folders) {
  $("watching-section").hidden = !folders.length;
  settle($("watching"), folders.map((folder) => make("div", { className: "card", "data-key": folder.path },
    make("h3", {}, make("code", {}, folder.path), make("span", { className: `pill ${folder.pending.length ? "fair" : "good"}` },
      folder.pending.length ? `${folder.pending.length} waiting` : "nothing waits")),
    folder.pending.length ? make("dl", { className: "pending" }, folder.pending.map((one) =>
      make("div", { "data-key": one.name }, make("dt", {}, one.name), make("dd", {}, one.waits_for)))) : null)));
}

/** Take one event. */
export function takeEvent(kind, data) {
  events.unshift({ kind, at: new Date(data.at * 1000), text: data.text });
  events.length = Math.min(events.length, KEPT);
  showEvents();
}

/** Show all that are kept. */
export function showMoreEvents() {
  more = true;
  showEvents();
}

function showEvents() {
  const today = new Date().toDateString();
  const shown = more ? events : events.slice(0, SHOWN);
  settle($("events"), shown.map((event) => make("li", { className: BAD.includes(event.kind) ? "warn" : "" },
    make("time", { datetime: event.at.toISOString() }, event.at.toDateString() === today
      ? event.at.toLocaleTimeString("en-GB") : event.at.toLocaleString("en-GB", { dateStyle: "short", timeStyle: "short" })),
    make("span", {}, event.text))));
  $("more-events").hidden = shown.length === events.length;
  $("more-events").textContent = `Show all ${counted(events.length, "event")}`;
}
