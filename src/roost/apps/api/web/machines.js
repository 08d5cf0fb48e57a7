// The machines: one card each, with its state, its space, how fast bytes come and go, and how warm it is.

import { $, bar, button, make, settle } from "/dom.js";
import { STATE, counted, percent, rate, size } from "/words.js";

/** Show the nodes. */
export function showMachines(nodes) {
  const order = [...nodes].sort((a, b) => (a.state === "left") - (b.state === "left") || a.name.localeCompare(b.name, "en", { numeric: true }));
  settle($("machines"), order.length ? order.map(card)
    : make("p", { className: "soft" }, "No machine is in yet. On one that has room: roost join"));
}

function card(node) {
  return make("article", { className: `card ${node.state === "left" ? "off" : ""}`, "data-key": node.id, "aria-label": node.name },
    make("h3", {}, node.name, make("span", { className: `pill ${STATE[node.state] ?? "fair"}` }, node.state)),
    space(node),
    moves(node),
    node.problem && make("p", { className: "trouble" }, node.problem),
    node.damaged_total ? make("p", { className: "trouble" },
      `${counted(node.damaged_total, "bad copy", "bad copies")} found since it started, ${counted(node.quarantined ?? 0, "file")} put away`) : null,
    node.scrub && make("p", {}, `Scrub ${node.scrub}`),
    make("p", { className: "foot" }, make("code", {}, node.address || "no address"),
      node.state === "left" ? null : button(node.state === "draining" ? "Stop draining" : "Drain…", "drain",
        { node: node.id, name: node.name, state: node.state }, { "aria-label": `${node.state === "draining" ? "Stop draining" : "Drain…"} ${node.name}` })));
}

function space(node) {
  if (node.bytes_used === null || node.bytes_free === null) return make("p", { className: "soft" }, "its space is not known now");
  const whole = node.bytes_used + node.bytes_free;
  const share = percent(node.bytes_used, whole);
  const words = `${size(node.bytes_used)} kept, ${size(node.bytes_free)} free`;
  return make("div", {}, bar(node.bytes_used, whole, `disk of ${node.name}: ${words}`, share >= 90 ? "bad" : share >= 75 ? "fair" : ""),
    make("p", {}, words));
}

function moves(node) {
  const words = [];
  if (typeof node.rate_in === "number") words.push(`↓ ${rate(node.rate_in)}`, `↑ ${rate(node.rate_out ?? 0)}`);
  if (typeof node.temperature_celsius === "number") words.push(`${Math.round(node.temperature_celsius)} °C`);
  const hot = node.temperature_celsius >= 80;
  return words.length ? make("p", { className: hot ? "trouble" : "moves" }, words.join("  ·  ")) : null;
}
