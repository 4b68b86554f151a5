/**
 * What a TypeScript client saw, as the one JSON object that every driver prints.
 *
 * The python folder has the same recorder in Python: change both or neither.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

/** Reads the command line: `[--mode MODE] SCRIPT.json http URL` or `... SCRIPT.json stdio CMD...`. */
export function target() {
  const argv = process.argv.slice(2);
  // What follows `stdio` is the server's command, whose own options are not ours to read.
  const end = argv.findIndex((word) => word === "http" || word === "stdio");
  const { values, positionals } = parseArgs({
    args: argv.slice(0, end),
    options: { mode: { type: "string", default: "legacy" } },
    allowPositionals: true,
  });
  const address = argv.slice(end + 1);
  const http = argv[end] === "http";
  return {
    url: http ? new URL(address[0]) : undefined,
    command: http ? [] : address,
    mode: values.mode,
    script: JSON.parse(readFileSync(positionals[0], "utf8")),
  };
}

/** What a client that answers questions declares; one whose script has no answers declares nothing. */
export const capabilities = ({ answers }) => (answers ? { elicitation: { form: {} }, sampling: {}, roots: {} } : {});

/** Collects events in the order in which the client handed them to its user. */
export class Recorder {
  revision = "";
  server = {};
  tools = {};
  calls = {};
  events = [];

  /** Returns the progress callback of one call. */
  progress(call) {
    return ({ progress, total, message }) =>
      this.events.push({ kind: "progress", call, progress, total: total ?? null, message: message ?? null });
  }

  /** Notes a change that the server told of: a list by its name, or a resource by its URI. */
  changed(what) {
    this.events.push({ kind: "changed", what });
  }

  /** Whether some of these changes have not been told of yet. */
  lacks(wanted) {
    return !wanted.every((what) => this.events.some((event) => event.kind === "changed" && event.what === what));
  }

  log = ({ params }) => {
    this.events.push({ kind: "log", level: params.level, data: params.data });
  };

  /** Returns what the script answers to a question, and notes that it was asked. */
  answer(answers, kind, words) {
    this.events.push({ kind: "asked", what: kind, words });
    if (kind === "elicit") return { action: "accept", content: answers.elicit[words] };
    if (kind === "sample") {
      return { role: "assistant", model: "driver", content: { type: "text", text: answers.sample[words] } };
    }
    return { roots: answers.roots };
  }

  /** Registers what answers the server's questions; `kinds` are what the client calls each of them. */
  answerOn(client, answers, kinds) {
    if (!answers) return;
    client.setRequestHandler(kinds.elicit, ({ params }) => this.answer(answers, "elicit", params.message));
    client.setRequestHandler(kinds.sample, ({ params }) =>
      this.answer(answers, "sample", [params.messages[0].content].flat()[0].text),
    );
    client.setRequestHandler(kinds.roots, () => this.answer(answers, "roots", "roots"));
  }

  listed(tools) {
    for (const tool of tools) this.tools[tool.name] = tool;
  }

  /** Awaits one call and keeps its result, or its error when the server answered with one. */
  async outcome(call, promise) {
    try {
      const { content, structuredContent = null, isError = false } = await promise;
      this.calls[call] = { content, structuredContent, isError };
      this.events.push({ kind: "result", call });
    } catch (error) {
      if (typeof error.code !== "number") throw error;
      this.calls[call] = { code: error.code, message: error.message };
      this.events.push({ kind: "error", call });
    }
  }

  print() {
    const { revision, server, tools, calls, events } = this;
    process.stdout.write(JSON.stringify({ revision, server, tools, calls, events }));
  }
}
