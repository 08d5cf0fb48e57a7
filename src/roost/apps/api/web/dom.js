// Making elements, and letting a part of the page become what it should be now without disturbing who reads or types.

const SVG = "http://www.w3.org/2000/svg";

function filled(node, fields, children) {
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "className") node.setAttribute("class", value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

export const $ = (id) => document.getElementById(id);

/** An element with attributes and children; those that are null, undefined or false are left out. */
export const make = (tag, fields = {}, ...children) => filled(document.createElement(tag), fields, children);

/** The same of SVG, whose sizes are attributes: the page's policy allows no style of an element's own. */
export const draw = (tag, fields = {}, ...children) => filled(document.createElementNS(SVG, tag), fields, children);

/** A button that does `act` (see page.js) with `data`. */
export function button(text, act, data = {}, fields = {}) {
  const named = Object.fromEntries(Object.entries(data).map(([name, value]) => [`data-${name}`, value]));
  return make("button", { type: "button", "data-do": act, ...named, ...fields }, text);
}

/** A bar of which `part` of `whole` is filled, and what that is in words. */
export function bar(part, whole, words, className = "") {
  const share = whole ? Math.min(100, (100 * part) / whole) : 0;
  return draw("svg", { className: `bar ${className}`, role: "img", "aria-label": words },
    draw("rect", { className: "track", width: "100%", height: "100%" }),
    draw("rect", { className: "fill", width: `${share ? Math.max(share, 0.6) : 0}%`, height: "100%" }));
}

/**
 * Let the children of `holder` become `wanted`. Nodes that are alike stay (so focus, selection and what is open stay
 * too): those with a data-key by their key, others by their place. A node marked data-own keeps its children.
 */
export function settle(holder, ...wanted) {
  const next = wanted.flat().filter((child) => child !== undefined && child !== null && child !== false)
    .map((child) => (typeof child === "string" ? document.createTextNode(child) : child));
  const keys = new Set(next.map(keyOf).filter(Boolean));
  for (const old of [...holder.childNodes]) if (keyOf(old) && !keys.has(keyOf(old))) old.remove();
  const known = new Map([...holder.childNodes].filter(keyOf).map((old) => [keyOf(old), old]));
  let at = holder.firstChild;
  for (const child of next) {
    const key = keyOf(child);
    const here = key ? known.get(key) : at && !keyOf(at) ? at : undefined;
    if (here && here.nodeName === child.nodeName) {
      if (here === at) at = at.nextSibling;
      else holder.insertBefore(here, at);
      become(here, child);
    } else holder.insertBefore(child, at);
  }
  while (at) { const after = at.nextSibling; at.remove(); at = after; }
}

const keyOf = (node) => node.dataset?.key;

function become(here, wanted) {
  if (here.nodeType === Node.TEXT_NODE) {
    if (here.nodeValue !== wanted.nodeValue) here.nodeValue = wanted.nodeValue;
    return;
  }
  for (const { name } of [...here.attributes]) if (!wanted.hasAttribute(name)) here.removeAttribute(name);
  for (const { name, value } of wanted.attributes) if (here.getAttribute(name) !== value) here.setAttribute(name, value);
  if (here.dataset.own === undefined) settle(here, ...wanted.childNodes);
}
