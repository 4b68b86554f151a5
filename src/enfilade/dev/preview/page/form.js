/** A form for the arguments of a tool, made of its input schema; what no field can show is a field of JSON. */

import { element } from "./dom.js";

/** Return the schema of a value that may be null, without the null, and whether it may be. */
function withoutNull(schema) {
  const branches = schema.anyOf ?? schema.oneOf;
  if (Array.isArray(branches)) {
    const others = branches.filter((branch) => branch.type !== "null");
    if (others.length === 1 && others.length < branches.length) return { ...others[0], ...withoutBranches(schema) };
  }
  if (Array.isArray(schema.type)) {
    const types = schema.type.filter((type) => type !== "null");
    if (types.length === 1) return { ...schema, type: types[0] };
  }
  return schema;
}

function withoutBranches({ anyOf, oneOf, ...others }) {
  return others;
}

const INPUT_TYPES = { date: "date", email: "email", uri: "url", time: "time" };

function control(schema) {
  if (Array.isArray(schema.enum)) {
    const options = schema.enum.map((value) => element("option", { value: JSON.stringify(value) }, String(value)));
    return { input: element("select", {}, element("option", { value: "" }, "—"), ...options), read: JSON.parse };
  }
  switch (schema.type) {
    case "boolean": {
      const options = ["true", "false"].map((value) => element("option", { value }, value));
      return { input: element("select", {}, element("option", { value: "" }, "—"), ...options), read: JSON.parse };
    }
    case "integer":
    case "number": {
      const step = schema.type === "integer" ? "1" : "any";
      const { minimum: min, maximum: max } = schema;
      return { input: element("input", { type: "number", step, min, max }), read: Number };
    }
    case "string": {
      const type = INPUT_TYPES[schema.format] ?? "text";
      const input = schema.maxLength > 200 ? element("textarea", { rows: 3 }) : element("input", { type });
      return { input, read: String };
    }
    default:
      return { input: element("textarea", { rows: 3, className: "code", placeholder: "JSON" }), read: JSON.parse, isJson: true };
  }
}

/** Make a form; `element` is what is shown, and `values()` returns the arguments or throws an error for people. */
export function argumentsForm(schema) {
  const required = new Set(schema?.required ?? []);
  const fields = Object.entries(schema?.properties ?? {}).map(([name, property]) => {
    const plain = withoutNull(property === true ? {} : property);
    const { input, read, isJson } = control(plain);
    input.id = `argument-${name}`;
    input.name = name;
    input.required = required.has(name);
    const preset = plain.default ?? plain.const ?? plain.examples?.[0];
    if (preset !== undefined && preset !== null) {
      const isText = read === String || read === Number;
      input.value = isText ? String(preset) : JSON.stringify(preset, null, isJson ? 2 : 0);
      if (isJson) input.rows = Math.min(10, Math.max(3, input.value.split("\n").length));
    }
    const mark = required.has(name) ? element("span", { className: "required", title: "required" }, " *") : "";
    const label = element("label", { htmlFor: input.id }, name, mark);
    const hint = plain.description ? element("small", {}, plain.description) : "";
    return { name, input, read, isJson, row: element("div", { className: "field" }, label, input, hint) };
  });
  const rows = fields.length ? fields.map((field) => field.row) : [element("p", { className: "quiet" }, "It takes no arguments.")];

  function values() {
    const args = {};
    for (const { name, input, read, isJson } of fields) {
      if (input.value === "" && !(required.has(name) && read === String)) continue;
      try {
        args[name] = read(input.value);
      } catch {
        throw new Error(isJson ? `${name} is no JSON` : `${name} cannot be ${input.value}`);
      }
    }
    return args;
  }

  return { element: element("div", { className: "fields" }, ...rows), values };
}
