/** The official TypeScript client 1.x as one that logs in; see logins.mjs. */
import { ClientCredentialsProvider } from "@modelcontextprotocol/sdk/client/auth-extensions.js";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

import { Provider, serve, withLogin } from "./logins.mjs";

await serve(async ({ url, credentials, document }) => {
  const provider = credentials
    ? new ClientCredentialsProvider({
        clientId: credentials.client_id,
        clientSecret: credentials.client_secret,
        scope: credentials.scope,
      })
    : new Provider(document);
  let client, transport;
  const finish = (answer) => transport.finishAuth(answer.get("code"));
  const open = async () => {
    client = new Client({ name: "typescript-v1", version: "1.0.0" });
    transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
    await client.connect(transport);
  };
  await withLogin(provider, finish, open);
  return (name, args) => withLogin(provider, finish, () => client.callTool({ name, arguments: args }));
});
