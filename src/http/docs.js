"use strict";
// Renders /openapi.json. Everything goes in as text: nothing in the document can become markup.
const make = (name, text, ...children) => {
  const element = document.createElement(name);
  if (text) element.textContent = text;
  element.append(...children);
  return element;
};
const nameOf = (schema) => (schema && schema.$ref ? schema.$ref.split("/").pop() : "");
const typeOf = (schema) => {
  if (!schema) return "";
  if (schema.$ref) return nameOf(schema);
  if (schema.oneOf) return schema.oneOf.map(typeOf).join(" or ");
  const type = [].concat(schema.type || "any").join(" or ");
  return schema.items ? `${type} of ${typeOf(schema.items)}` : type;
};
const table = (head, rows) => {
  const row = (cells, cell) => make("tr", "", ...cells.map((text) => make(cell, text)));
  return make("table", "", row(head, "th"), ...rows.map((cells) => row(cells, "td")));
};
const operation = (method, path, description) => {
  const summary = make("summary", "", make("span", method.toUpperCase()), make("code", path));
  summary.firstChild.className = "method";
  const box = make("details", "", summary, make("p", description.description || description.summary || ""));
  const parameters = description.parameters || [];
  if (parameters.length) {
    const rows = parameters.map((p) => [p.name, p.in, p.required ? "required" : "", p.description || ""]);
    box.append(make("h4", "Parameters"), table(["Name", "In", "", "Meaning"], rows));
  }
  const body = description.requestBody && Object.entries(description.requestBody.content)[0];
  if (body) box.append(make("h4", "Body"), make("p", `${body[0]}: ${typeOf(body[1].schema)}`));
  const rows = Object.entries(description.responses).map(([status, response]) => {
    const content = Object.entries(response.content || {})[0];
    return [status, response.description || "", content ? `${content[0]}: ${typeOf(content[1].schema)}` : ""];
  });
  box.append(make("h4", "Answers"), table(["Status", "Meaning", "Body"], rows));
  return box;
};
const schema = (name, description) => {
  const required = new Set(description.required || []);
  const rows = Object.entries(description.properties || {}).map(([field, is]) => [
    field, typeOf(is), required.has(field) ? "always" : "", is.description || "",
  ]);
  return make("details", "", make("summary", name), make("p", description.description || ""), table(["Field", "Type", "", "Meaning"], rows));
};
fetch("/openapi.json").then((answer) => answer.json()).then((api) => {
  const place = document.getElementById("reference");
  place.replaceChildren(make("h2", "Routes"));
  for (const [path, item] of Object.entries(api.paths))
    for (const [method, description] of Object.entries(item)) place.append(operation(method, path, description));
  place.append(make("h2", "Bodies"));
  for (const [name, description] of Object.entries(api.components.schemas)) place.append(schema(name, description));
}).catch(() => { document.getElementById("reference").textContent = "The description could not be loaded."; });
