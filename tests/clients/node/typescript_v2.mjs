/** Drives a server with the official TypeScript client 2.x: modes `legacy`, `auto`, or a revision to pin. */
import { Client, LOG_LEVEL_META_KEY, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

import { Recorder, capabilities, target } from "./recorder.mjs";

const { url, command, mode, script } = target();
const recorder = new Recorder();
const transport = url
  ? new StreamableHTTPClientTransport(url)
  : new StdioClientTransport({ command: command[0], args: command.slice(1) });

const client = new Client(
  { name: "typescript-v2", version: "1.0.0" },
  {
    capabilities: capabilities(script),
    versionNegotiation: { mode: mode === "legacy" || mode === "auto" ? mode : { pin: mode } },
  },
);
recorder.answerOn(client, script.answers, {
  elicit: "elicitation/create",
  sample: "sampling/createMessage",
  roots: "roots/list",
});
client.setNotificationHandler("notifications/message", recorder.log);
for (const list of ["tools", "prompts", "resources"])
  client.setNotificationHandler(`notifications/${list}/list_changed`, () => recorder.changed(list));
client.setNotificationHandler("notifications/resources/updated", ({ params }) => recorder.changed(params.uri));
await client.connect(transport);
recorder.revision = client.getNegotiatedProtocolVersion();
recorder.server = client.getServerVersion() ?? {};
recorder.listed((await client.listTools()).tools);

const modern = client.getProtocolEra() === "modern";
if (!modern && client.getServerCapabilities()?.logging) await client.setLoggingLevel(script.logLevel);
const meta = modern ? { _meta: { [LOG_LEVEL_META_KEY]: script.logLevel } } : {};

for (const step of script.steps) {
  await Promise.all(
    step.map(({ key, tool, arguments: args }) =>
      recorder.outcome(
        key,
        client.callTool({ name: tool, arguments: args, ...meta }, { onprogress: recorder.progress(key) }),
      ),
    ),
  );
}
if (script.changes) {
  const { tool, lists, resources } = script.changes;
  const filter = Object.fromEntries(lists.map((list) => [`${list}ListChanged`, true]));
  const subscription = modern && (await client.listen({ ...filter, resourceSubscriptions: resources }));
  if (!modern) for (const uri of resources) await client.subscribeResource({ uri });
  while (recorder.lacks([...lists, ...resources])) {
    await client.callTool({ name: tool, arguments: {} }); // again: the stream may not have been open yet
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  if (subscription) await subscription.close();
}
await transport.terminateSession?.();
await client.close();
recorder.print();
