/**
 * Reads the views of a server as a host does, with an official TypeScript client and the library for hosts, and prints
 * what it found.
 *
 * Arguments: `v1`, or the mode of the client 2.x (`legacy`, `auto`), and then `http URL` or `stdio COMMAND…`.
 */
import {
  RESOURCE_MIME_TYPE,
  getToolUiResourceUri,
  isToolVisibilityAppOnly,
} from "@modelcontextprotocol/ext-apps/app-bridge";

const [, , mode, kind, ...words] = process.argv;
const ID = "io.modelcontextprotocol/ui";
const capabilities = { extensions: { [ID]: { mimeTypes: [RESOURCE_MIME_TYPE] } } };
const info = { name: "host", version: "1.0.0" };

async function connected() {
  if (mode === "v1") {
    const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
    const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
    const { StdioClientTransport } = await import("@modelcontextprotocol/sdk/client/stdio.js");
    return [new Client(info, { capabilities }), StreamableHTTPClientTransport, StdioClientTransport];
  }
  const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
  const { StdioClientTransport } = await import("@modelcontextprotocol/client/stdio");
  return [new Client(info, { capabilities, versionNegotiation: { mode } }), StreamableHTTPClientTransport, StdioClientTransport];
}

const [client, Http, Stdio] = await connected();
const transport = kind === "http" ? new Http(new URL(words[0])) : new Stdio({ command: words[0], args: words.slice(1) });
await client.connect(transport);
const { tools } = await client.listTools();
const views = {};
for (const tool of tools) {
  const uri = getToolUiResourceUri(tool);
  if (uri) views[tool.name] = (await client.readResource({ uri })).contents;
}
const called = await client.callTool({ name: "shown", arguments: {} });
console.log(
  JSON.stringify({
    declared: client.getServerCapabilities()?.extensions?.[ID],
    appOnly: tools.filter(isToolVisibilityAppOnly).map((tool) => tool.name),
    views,
    shown: called.structuredContent,
  }),
);
await client.close();
