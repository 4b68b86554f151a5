/** Drives a server with the official TypeScript client 2.x: modes `legacy`, `auto`, or a revision to pin. */
import { Client, LOG_LEVEL_META_KEY, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

import { Recorder, target } from "./recorder.mjs";

const { url, command, mode, script } = target();
const recorder = new Recorder();
const transport = url
  ? new StreamableHTTPClientTransport(url)
  : new StdioClientTransport({ command: command[0], args: command.slice(1) });

const client = new Client(
  { name: "typescript-v2", version: "1.0.0" },
  { versionNegotiation: { mode: mode === "legacy" || mode === "auto" ? mode : { pin: mode } } },
);
client.setNotificationHandler("notifications/message", recorder.log);
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
await transport.terminateSession?.();
await client.close();
recorder.print();
