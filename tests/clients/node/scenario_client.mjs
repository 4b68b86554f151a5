/**
 * The official TypeScript client 2.x as the client of a scenario of the conformance suite: log in, call every tool.
 *
 * Whatever the scenario does to it, it ends without an error: what the suite's server sends is of interest.
 */
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

import { Provider, withLogin } from "./logins.mjs";

const url = new URL(process.argv.at(-1));
const provider = new Provider();
let client, transport;
const loggedIn = (action) => withLogin(provider, (answer) => transport.finishAuth(answer), action);

try {
  await loggedIn(async () => {
    client = new Client({ name: "scenario", version: "1.0.0" });
    transport = new StreamableHTTPClientTransport(url, { authProvider: provider });
    await client.connect(transport);
  });
  const { tools } = await loggedIn(() => client.listTools());
  for (const { name } of tools) await loggedIn(() => client.callTool({ name, arguments: {} }));
} catch (error) {
  console.error(error);
}
process.exit(0);
