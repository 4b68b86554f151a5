/** The official TypeScript client 2.x as one that logs in; see logins.mjs. */
import { Client, ClientCredentialsProvider, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

import { Provider, serve, withLogin } from "./logins.mjs";

await serve(async ({ url, mode, credentials, document }) => {
  const provider = credentials
    ? new ClientCredentialsProvider({
        clientId: credentials.client_id,
        clientSecret: credentials.client_secret,
        scope: credentials.scope,
        expectedIssuer: credentials.issuer,
      })
    : new Provider(document);
  let client, transport;
  const finish = (answer) => transport.finishAuth(answer);
  const open = async () => {
    client = new Client({ name: "typescript-v2", version: "1.0.0" }, { versionNegotiation: { mode } });
    transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
    await client.connect(transport);
  };
  await withLogin(provider, finish, open);
  return (name, args) => withLogin(provider, finish, () => client.callTool({ name, arguments: args }));
});
