/**
 * Calls the tools of `examples/everything` that run as tasks, with the official package for tasks: `MODE URL`, where
 * MODE is that of the TypeScript client. Prints what each call came to as one JSON object.
 */
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { createTaskSessionFromClient, resultFromTaskOutcome } from "@modelcontextprotocol/ext-tasks/client";

const [mode, url] = process.argv.slice(2);
const TASKS = "io.modelcontextprotocol/tasks";
const clientInfo = { name: "tasks", version: "1.0.0" };
const capabilities = { elicitation: { form: {} }, extensions: { [TASKS]: {} } };
const client = new Client(clientInfo, { capabilities, versionNegotiation: { mode } });
await client.connect(new StreamableHTTPClientTransport(new URL(url)));
const protocolVersion = client.getNegotiatedProtocolVersion();

/** Send one request as it is, and return what came back: the client's own codecs do not know tasks. */
const rawDispatch = async (request) => {
  const named = request.params.taskId ?? request.params.name;
  const response = await fetch(url, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      "mcp-protocol-version": protocolVersion,
      "mcp-method": request.method,
      ...(named === undefined ? {} : { "mcp-name": named }),
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, ...request }),
  });
  const text = await response.text();
  const line = text.startsWith("{") ? text : text.split("\n").findLast((each) => each.startsWith("data: {")).slice(6);
  const message = JSON.parse(line);
  return "error" in message ? { kind: "error", error: message.error } : { kind: "result", result: message.result };
};

const isStateless = protocolVersion === "2026-07-28";
const session = createTaskSessionFromClient(client, {
  endpointId: "everything",
  onInputRequest: async () => ({ action: "accept", content: { confirm: true, name: "Ada" } }),
  ...(isStateless
    ? { rawDispatch, v2RequestFraming: { protocolVersion, clientInfo, clientCapabilities: capabilities } }
    : {}),
});

const seen = { revision: protocolVersion, calls: {} };
const calls = {
  greet: { name: "Ada" },
  slow_compute: { seconds: 0.2, label: "slow" },
  failing_job: {},
  protocol_error_job: {},
  confirm_delete: { filename: "a.txt" },
};
const call = async (name, args) => {
  const execution = await session.callTool(name, args);
  const { outcome } = await execution.settle();
  const seen = { kind: execution.kind, status: outcome.status };
  if (outcome.status === "failed") return { ...seen, error: outcome.error.message };
  return { ...seen, text: resultFromTaskOutcome(outcome).content[0].text };
};
for (const [name, args] of Object.entries(calls)) {
  try {
    seen.calls[name] = await call(name, args);
  } catch (error) {
    seen.calls[name] = { status: "error", error: error.message };
  }
}
await session.close();
await client.close();
console.log(JSON.stringify(seen));
