/** Drives a server with the official TypeScript client 1.x, which knows the session era only. */
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  PromptListChangedNotificationSchema,
  ResourceListChangedNotificationSchema,
  ResourceUpdatedNotificationSchema,
  ToolListChangedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";

import { Recorder, capabilities, target } from "./recorder.mjs";

const { url, command, script } = target();
const recorder = new Recorder();
const transport = url
  ? new StreamableHTTPClientTransport(url)
  : new StdioClientTransport({ command: command[0], args: command.slice(1) });

// The client tells nobody which revision was agreed on, except the transport.
transport.setProtocolVersion = new Proxy(transport.setProtocolVersion ?? (() => {}), {
  apply(set, self, [revision]) {
    recorder.revision = revision;
    return Reflect.apply(set, self, [revision]);
  },
});

const client = new Client({ name: "typescript-v1", version: "1.0.0" }, { capabilities: capabilities(script) });
recorder.answerOn(client, script.answers, {
  elicit: ElicitRequestSchema,
  sample: CreateMessageRequestSchema,
  roots: ListRootsRequestSchema,
});
client.setNotificationHandler(LoggingMessageNotificationSchema, recorder.log);
client.setNotificationHandler(ToolListChangedNotificationSchema, () => recorder.changed("tools"));
client.setNotificationHandler(PromptListChangedNotificationSchema, () => recorder.changed("prompts"));
client.setNotificationHandler(ResourceListChangedNotificationSchema, () => recorder.changed("resources"));
client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => recorder.changed(params.uri));
await client.connect(transport);
recorder.server = client.getServerVersion();
recorder.listed((await client.listTools()).tools);
if (client.getServerCapabilities()?.logging) await client.setLoggingLevel(script.logLevel);

for (const step of script.steps) {
  await Promise.all(
    step.map(({ key, tool, arguments: args }) =>
      recorder.outcome(
        key,
        client.callTool({ name: tool, arguments: args }, undefined, { onprogress: recorder.progress(key) }),
      ),
    ),
  );
}
if (script.changes) {
  const { tool, lists, resources } = script.changes;
  for (const uri of resources) await client.subscribeResource({ uri });
  while (recorder.lacks([...lists, ...resources])) {
    await client.callTool({ name: tool, arguments: {} }); // again: the stream may not have been open yet
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
await transport.terminateSession?.();
await client.close();
recorder.print();
