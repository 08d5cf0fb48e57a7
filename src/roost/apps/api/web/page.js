// The page of a coordinator: asks /api/v1, follows its events, and does what a button says. No library but for charts.

import { $ } from "/dom.js";
import { ask, follow } from "/asking.js";
import { lookAtSeries, startCharts } from "/charts.js";
import { ranToggled, refreshMaps, showAll, showRemoved, showRuns, takeCheckpoints, where } from "/checkpoints.js";
import { ACTIONS } from "/doing.js";
import { showMoreEvents, showWatching, takeEvent } from "/happening.js";
import { showMachines } from "/machines.js";
import { takeTransfer, takeTransfers } from "/transfers.js";
import { showSilence, showVerdict } from "/verdict.js";

const EVERY_MS = 5000;
const LISTS_EVERY = 3;
const SOON_MS = 300;
const KINDS = ["starting", "listening", "page", "node-joined", "node-left", "ready", "node-down", "local-left-out", "watched",
  "stored", "repaired", "alert", "alert-over", "alert-told", "warning", "stopping", "operation"];
let soon = 0;
let looking = null;
let looks = 0;
let lists = null;

// The lists may be long: they are asked for again when something happened, and else at every third look.
async function look() {
  try {
    const fresh = !lists || looks++ % LISTS_EVERY === 0;
    const [status, watching, operations, ...found] = await Promise.all([
      ask("/status"), ask("/watching"), ask("/operations"), ...(fresh ? [ask("/checkpoints"), ask("/checkpoints?removed=true")] : []),
    ]);
    lists = fresh ? found : lists;
    const [listing, removed] = lists;
    showVerdict(status, listing.checkpoints);
    showMachines(status.nodes.map((node) => ({ ...node, ...status.vitals[node.id] })));
    showWatching(watching.watching);
    takeCheckpoints(listing.checkpoints);
    showRemoved(removed.checkpoints);
    takeTransfers(operations.operations);
  } catch (error) {
    showSilence(error);
  }
}

// One look at a time, and after what was asked for meanwhile one more.
function lookOnce() {
  if (looking) { looking.again = true; return; }
  looking = { again: false };
  look().finally(() => {
    const { again } = looking;
    looking = null;
    if (again) lookOnce();
  });
}

function lookSoon() {
  looks = 0;
  clearTimeout(soon);
  soon = setTimeout(lookOnce, SOON_MS);
}

const DO = { ...ACTIONS, where: ({ reference }) => where(reference), all: ({ run }) => showAll(run), moreEvents: showMoreEvents };

document.addEventListener("click", (event) => {
  const pressed = event.target.closest("[data-do]");
  if (pressed) DO[pressed.dataset.do]({ ...pressed.dataset });
});
document.addEventListener("toggle", (event) => { if (event.target.dataset.run !== undefined) ranToggled(event.target); }, true);
document.addEventListener("changed", () => { lookSoon(); refreshMaps(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) lookSoon(); });
$("filter").addEventListener("input", showRuns);
let first = true;
follow(KINDS, (kind, data) => {
  if (kind === "operation") takeTransfer(data);
  else takeEvent(kind, data);
  if (kind !== "operation" || data.state !== "running") lookSoon();
}, lookSoon, () => { if (first) first = false; else lookSoon(); });
lookOnce();
startCharts();
setInterval(() => { if (!document.hidden) { lookOnce(); lookAtSeries(); } }, EVERY_MS);
