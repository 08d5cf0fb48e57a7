// What /openapi.json says, for people. No library, nothing from anywhere else.
"use strict";

function node(tag, text, ...children) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function field(name, schema, required) {
  const kinds = schema.type ?? (schema.anyOf ?? []).map((one) => one.type ?? "value").join(" or ");
  const row = node("tr");
  row.append(node("td", name), node("td", String(kinds)), node("td", required ? "required" : JSON.stringify(schema.default ?? null)));
  return row;
}

function route(path, method, said) {
  const body = said.requestBody?.content["application/json"].schema;
  const rows = (said.parameters ?? []).map((one) => field(one.name, one.schema, one.required));
  for (const [name, schema] of Object.entries(body?.properties ?? {})) rows.push(field(name, schema, (body.required ?? []).includes(name)));
  const section = node("section", "", node("h2", `${method.toUpperCase()} ${path}`), node("p", said.summary));
  if (rows.length) {
    const holder = node("div", "", node("table", "", node("tbody", "", ...rows)));
    holder.className = "scroll";
    section.append(holder);
  }
  return section;
}

fetch("/openapi.json").then((answer) => answer.json()).then((api) => {
  const found = Object.entries(api.paths).flatMap(([path, ways]) =>
    Object.entries(ways).map(([method, said]) => route(path, method, said)));
  document.getElementById("routes").replaceChildren(...found);
});
