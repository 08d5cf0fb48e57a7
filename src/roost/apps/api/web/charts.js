// Charts of throughput, space and failures, drawn by uPlot; each says in words what it shows, and is a table too.

import { $, make, settle } from "/dom.js";
import { ask } from "/asking.js";
import { counted, percent, rate, size } from "/words.js";

const EVERY_MS = 10_000;
const HEIGHT = 180;
const ROWS = 12;
const LINES = 6;
const SPAN_MIN_S = 300;
const BYTES = Array.from({ length: 50 }, (_, power) => 2 ** power);
const COUNTS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000];
const state = { samples: [], nodes: [], range: 7200, asked: 0, plots: new Map() };

const CHARTS = [
  { id: "throughput", title: "Throughput", say: rate, incrs: BYTES,
    lines: () => [["all operations", (sample) => sample.rate]], words: flowWords },
  { id: "space", title: "Space used on each machine", say: size, incrs: BYTES, level: true,
    lines: () => state.nodes.slice(0, LINES).map((name) => [name, (sample) => sample.used[name] ?? null]), words: spaceWords },
  { id: "failures", title: "Failures", say: (value) => String(Math.round(value)), incrs: COUNTS, bars: true,
    lines: () => [["failures", (sample) => sample.failures || null]], words: failureWords },
];

/** Draw them, and again when the width, the colours or the range change. */
export function startCharts() {
  settle($("charts"), CHARTS.map((chart) => make("figure", { className: "chart card", id: chart.id, "data-key": chart.id },
    make("figcaption", {}, make("h3", {}, chart.title), make("p", { className: "soft", id: `${chart.id}-words` }, "No samples yet.")),
    make("div", { className: "plot", role: "img", "aria-labelledby": `${chart.id}-words`, "data-own": "" }),
    make("ul", { className: "legend", "aria-hidden": "true" }),
    make("details", {}, make("summary", {}, "As a table"), make("div", { className: "scroll", tabindex: "0", role: "region", "aria-label": `${chart.title} as a table` })))));
  new ResizeObserver(resized).observe($("charts"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  $("range").addEventListener("change", () => {
    state.range = Number($("range").value);
    state.samples = [];
    state.asked = 0;
    lookAtSeries();
  });
  lookAtSeries();
}

/** Ask for what is new, every ten seconds at most. */
export async function lookAtSeries() {
  if (Date.now() - state.asked < EVERY_MS) return;
  state.asked = Date.now();
  const { range } = state;
  const begin = Date.now() / 1000 - range;
  try {
    const found = await ask(`/series?since=${Math.floor(state.samples.at(-1)?.at ?? begin)}`);
    if (range !== state.range) return;
    take(found, begin);
    show();
  } catch {
    state.asked = 0; // the verdict says that nobody answers
  }
}

function take(found, begin) {
  const told = found.at.map((at, index) => ({ at, rate: found.rate[index], running: found.running[index], failures: found.failures[index],
    used: Object.fromEntries(found.nodes.map((node) => [node.node, node.used[index]])),
    free: Object.fromEntries(found.nodes.map((node) => [node.node, node.free[index]])) }));
  state.samples = [...state.samples, ...told].filter((sample) => sample.at >= begin);
  const last = state.samples.at(-1);
  state.nodes = found.nodes.map((node) => node.node).filter((name) => state.samples.some((sample) => share(sample, name) !== null));
  if (last) state.nodes.sort((a, b) => (last.used[b] ?? 0) - (last.used[a] ?? 0) || a.localeCompare(b));
}

function share(sample, name) {
  const { [name]: used } = sample.used, { [name]: free } = sample.free;
  return typeof used === "number" && typeof free === "number" && used + free > 0 ? (100 * used) / (used + free) : null;
}

function show() {
  for (const chart of CHARTS) {
    const lines = chart.lines();
    const figure = $(chart.id);
    $(`${chart.id}-words`).textContent = state.samples.length ? chart.words() : "No samples yet.";
    settle(figure.querySelector(".legend"), lines.length > 1 ? lines.map(([name], index) =>
      make("li", {}, make("span", { className: `key line-${index}` }), make("span", { className: "name" }, name), make("output", {}))) : []);
    settle(figure.querySelector(".scroll"), table(chart, lines));
    plot(chart, lines, figure);
  }
}

// -- words and tables -------------------------------------------------------------------------------------------------

const clock = (at) => new Date(at * 1000).toLocaleString("en-GB", state.range > 86400 ? { weekday: "short", hour: "2-digit", minute: "2-digit" } : { hour: "2-digit", minute: "2-digit" });

function flowWords() {
  const most = state.samples.reduce((a, b) => (b.rate > a.rate ? b : a));
  const last = state.samples.at(-1);
  return `Now ${last.rate ? rate(last.rate) : "nothing moves"}; ${most.rate ? `most was ${rate(most.rate)} at ${clock(most.at)}` : "nothing moved in this time"}.`;
}

function spaceWords() {
  const last = state.samples.at(-1);
  const full = state.nodes.map((name) => [name, share(last, name)]).filter(([, value]) => value !== null).sort((a, b) => b[1] - a[1]);
  if (!full.length) return "No machine tells of its space now.";
  const used = Object.values(last.used).reduce((sum, value) => sum + (value ?? 0), 0);
  const free = Object.values(last.free).reduce((sum, value) => sum + (value ?? 0), 0);
  const more = state.nodes.length > LINES ? `; the ${LINES} that keep most are drawn` : "";
  return `${size(used)} used, ${size(free)} free; ${full[0][0]} is the fullest with ${percent(full[0][1], 100)} %${more}.`;
}

function failureWords() {
  const count = state.samples.reduce((sum, sample) => sum + sample.failures, 0);
  const last = [...state.samples].reverse().find((sample) => sample.failures);
  return count ? `${counted(count, "failure")}: operations that failed, bad copies found, machines that went down; the last at ${clock(last.at)}.` : "None in this time: no operation failed, no copy went bad, no machine went down.";
}

function table(chart, lines) {
  const each = Math.max(1, Math.ceil(state.samples.length / ROWS));
  const groups = [];
  for (let end = state.samples.length; end > 0; end -= each) groups.push(state.samples.slice(Math.max(0, end - each), end));
  const value = (group, of) => {
    const known = group.map(of).filter((one) => one !== null);
    if (!known.length) return chart.bars ? "0" : "not known";
    return chart.say(chart.bars ? known.reduce((sum, one) => sum + one, 0) : chart.level ? known.at(-1) : Math.max(...known));
  };
  return make("table", {}, make("caption", {}, chart.bars ? "How many in each span" : chart.level ? "At the end of each span" : "The most in each span"),
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Until"), lines.map(([name]) => make("th", { scope: "col", className: "number" }, name)))),
    make("tbody", {}, groups.map((group) => make("tr", {}, make("th", { scope: "row" }, clock(group.at(-1).at)),
      lines.map(([, of]) => make("td", { className: "number" }, value(group, of)))))));
}

// -- drawing ----------------------------------------------------------------------------------------------------------

function plot(chart, lines, figure) {
  const holder = figure.querySelector(".plot");
  const data = [state.samples.map((sample) => sample.at), ...lines.map(([, of]) => state.samples.map(of))];
  const named = lines.map(([name]) => name).join("\n");
  const before = state.plots.get(chart.id);
  if (before && before.named === named) { before.plot.setData(data); return; }
  before?.plot.destroy();
  state.plots.set(chart.id, { named, plot: new window.uPlot(options(chart, lines, holder, figure), data, holder) });
}

function options(chart, lines, holder, figure) {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const axis = { stroke: colour("--soft"), font: "12px system-ui, sans-serif", grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  const paths = chart.bars ? window.uPlot.paths.bars({ size: [0.8, 14, 3] }) : undefined;
  return {
    width: Math.max(200, holder.clientWidth), height: HEIGHT, legend: { show: false }, padding: [8, 8, 0, 0],
    cursor: { y: false, drag: { x: false, y: false } },
    scales: { x: { time: true, range: (_, first, last) => [Math.min(first, last - SPAN_MIN_S), last] }, y: { range: (_, __, most) => [0, Math.max(most * 1.1, chart.bars ? 4 : 1024)] } },
    axes: [{ ...axis, values: (_, times) => times.map(clock), space: 70, size: 30 },
      { ...axis, size: 78, incrs: chart.incrs, values: (_, values) => values.map(chart.say) }],
    series: [{}, ...lines.map(([name], index) => {
      const ink = colour(chart.bars ? "--bad" : `--line-${index}`);
      return { label: name, stroke: ink, width: 2, paths, points: { show: chart.bars ? false : undefined },
        fill: chart.bars ? ink : lines.length === 1 ? `${ink}22` : undefined };
    })],
    hooks: { setCursor: [(plotted) => told(chart, lines, figure, plotted)] },
  };
}

// What is under the pointer, beside the names of the lines.
function told(chart, lines, figure, plotted) {
  const sample = state.samples[plotted.cursor.idx ?? state.samples.length - 1];
  figure.querySelectorAll(".legend output").forEach((output, index) => {
    const value = sample && lines[index] ? lines[index][1](sample) : null;
    output.textContent = value === null ? "" : chart.say(value);
  });
}

function resized() {
  for (const [id, { plot: plotted }] of state.plots) {
    const width = Math.max(200, $(id).querySelector(".plot").clientWidth);
    if (width !== plotted.width) plotted.setSize({ width, height: HEIGHT });
  }
}

function redraw() {
  for (const { plot: plotted } of state.plots.values()) plotted.destroy();
  state.plots.clear();
  if (state.samples.length) show();
}
