/**
 * Answers questions about JSON Schemas, one JSON object a line: does the schema compile, and which values are valid?
 *
 * Asked are the validators that the official TypeScript clients check results with, and Ajv for JSON Schema 2020-12
 * with ajv-formats in its strict mode, as hosts use it. What Ajv warns of counts as a fault.
 */
import { createInterface } from "node:readline";

import { AjvJsonSchemaValidator as Modern } from "@modelcontextprotocol/client/validators/ajv";
import { AjvJsonSchemaValidator as Classic } from "@modelcontextprotocol/sdk/validation/ajv";
import Ajv from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

const warnings = [];
for (const level of ["log", "warn", "error"])
  console[level] = (...words) => warnings.push(words.map(String).join(" "));

const ajv = new Ajv.default({ strict: true, strictTypes: false, strictTuples: false, discriminator: true });
addFormats.default(ajv);
ajv.addKeyword("x-mcp-header");
const strict = {
  getValidator(schema) {
    const validate = ajv.compile(schema);
    return (value) => ({ valid: validate(value), errorMessage: ajv.errorsText(validate.errors) });
  },
};
const VALIDATORS = { "typescript-v1": new Classic(), "typescript-v2": new Modern(), "ajv-2020": strict };

/** Return what is wrong: with the schema, or with values by their place. */
function faults(name, { schema, values }) {
  warnings.length = 0;
  let validate;
  try {
    validate = VALIDATORS[name].getValidator(schema);
  } catch (error) {
    return [{ by: name, schema: String(error.message ?? error) }];
  }
  const wrong = warnings.map((warning) => ({ by: name, schema: warning }));
  values.forEach((value, place) => {
    const { valid, errorMessage } = validate(value);
    if (!valid) wrong.push({ by: name, place, value: errorMessage });
  });
  return wrong;
}

for await (const line of createInterface({ input: process.stdin })) {
  const question = JSON.parse(line);
  const answer = Object.keys(VALIDATORS).flatMap((name) => {
    try {
      return faults(name, question);
    } catch (error) {
      return [{ by: name, schema: `fails: ${error.stack}` }];
    }
  });
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
