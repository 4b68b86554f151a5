/**
 * The authorization server of the tests: `oidc-provider` on a free port of 127.0.0.1, with users who agree at once.
 *
 * Arguments: the folder of the package, and the settings as JSON (`OidcProvider` in oidc_provider.py has them all).
 * It prints `{"issuer": URL}` and ends with its input.
 *
 * Beside the server's own paths there are `POST /control/settings`, which changes settings, `POST /control/rotate`,
 * and `GET /control/grants`: what the token endpoint has granted. No browser is needed: whoever is sent to an interaction is logged in as the user of
 * `login_hint`, else as `settings.user`, and consents to everything, unless `settings.deny` is set.
 */
import { generateKeyPair, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";

const [, , packageFolder, argument] = process.argv;
const load = (file) => import(pathToFileURL(`${packageFolder}/${file}`).href);
const { Provider, errors } = await load("lib/index.js");
const { default: MemoryAdapter, setStorage } = await load("lib/adapters/memory_adapter.js");

const settings = JSON.parse(argument);
// All providers of this process share it, so that what was registered and granted survives a rotation of keys.
// A class of its own, because a provider with `MemoryAdapter` itself gets a storage of its own.
class SharedAdapter extends MemoryAdapter {
  // A client that registers with the scopes of its first challenge would be refused others for ever, as RFC 7591
  // lets a server do; this one lets every client ask for every scope.
  upsert(id, payload, expiresIn) {
    const { scope, ...others } = payload;
    return super.upsert(id, this.model === "Client" ? others : payload, expiresIn);
  }
}
setStorage(new Map());
const grants = [];

const KINDS = {
  RS256: ["rsa", { modulusLength: 2048 }],
  ES256: ["ec", { namedCurve: "P-256" }],
  EdDSA: ["ed25519", {}],
};
const COOKIE_KEY = randomBytes(16).toString("hex");

/** Return a new private key for each algorithm. */
async function makeKeys() {
  return Promise.all(
    Object.entries(KINDS).map(async ([alg, [type, options]]) => {
      const { privateKey } = await promisify(generateKeyPair)(type, options);
      return { ...privateKey.export({ format: "jwk" }), alg, use: "sig", kid: randomBytes(8).toString("hex") };
    }),
  );
}

function resourceServer(resource) {
  const { format, algorithm, lifetime, scopes } = settings;
  return {
    scope: scopes.join(" "),
    audience: resource,
    accessTokenFormat: format,
    accessTokenTTL: lifetime,
    ...(format === "jwt" && { jwt: { sign: { alg: algorithm } } }),
  };
}

/** Make a provider with these keys; the first of each algorithm signs. */
function makeProvider(issuer, keys) {
  const made = new Provider(issuer, {
    adapter: SharedAdapter,
    jwks: { keys: structuredClone(keys) },
    clients: settings.clients,
    scopes: ["openid", "offline_access", ...settings.scopes],
    cookies: { keys: [COOKIE_KEY] },
    pkce: { required: () => true },
    rotateRefreshToken: () => settings.rotate,
    issueRefreshToken: async (_, client) => client.grantTypeAllowed("refresh_token"),
    findAccount: async (_, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
    interactions: { url: async (_, interaction) => `/interaction/${interaction.uid}` },
    clientBasedCORS: () => true,
    // Documents of clients are those of the settings: nothing is fetched from anywhere.
    fetch: async (url) => {
      const document = settings.documents[String(url)];
      return document ? Response.json(document) : new Response("", { status: 404 });
    },
    ttl: {
      AccessToken: () => settings.lifetime,
      ClientCredentials: () => settings.lifetime,
      RefreshToken: () => 86400,
      Session: () => 86400,
      Grant: () => 86400,
      Interaction: () => 600,
      IdToken: () => 3600,
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      registration: { enabled: true },
      dPoP: { enabled: true },
      clientIdMetadataDocument: { enabled: true, ack: "draft-02" },
      resourceIndicators: {
        enabled: true,
        // A client that names no resource gets tokens for the first.
        defaultResource: async () => settings.resources[0],
        useGrantedResource: async () => true,
        getResourceServerInfo: async (_, resource) => {
          if (!settings.resources.includes(resource)) throw new errors.InvalidTarget();
          return resourceServer(resource);
        },
      },
    },
  });
  made.on("grant.success", ({ oidc: { params, client } }) => {
    grants.push({ client: client.clientId, kind: params.grant_type, resource: params.resource ?? null });
  });
  return made;
}

/** Log the user in, and consent to everything that is asked for. */
async function interact(request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (settings.deny) {
    const refusal = { error: "access_denied", error_description: "The user has refused." };
    return provider.interactionFinished(request, response, refusal);
  }
  if (prompt.name === "login") {
    const accountId = params.login_hint ?? settings.user;
    return provider.interactionFinished(request, response, { login: { accountId } });
  }
  const existing = grantId && (await provider.Grant.find(grantId));
  const grant = existing || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  const { missingOIDCScope, missingResourceScopes } = prompt.details;
  if (missingOIDCScope) grant.addOIDCScope(missingOIDCScope.join(" "));
  for (const [resource, scopes] of Object.entries(missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(" "));
  }
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
}

async function control(action, request, response) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = JSON.parse(Buffer.concat(chunks).toString() || "{}");
  if (action === "settings") {
    Object.assign(settings, body);
  } else {
    keys = [...(await makeKeys()), ...(body.keep ? keys : [])];
  }
  // Scopes and keys are read when a provider is made.
  provider = makeProvider(issuer, keys);
  response.writeHead(204).end();
}

const server = createServer(async (request, response) => {
  try {
    if (request.url === "/control/grants") {
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(grants));
      return;
    }
    const action = /^\/control\/(settings|rotate)$/.exec(request.url)?.[1];
    if (action && request.method === "POST") await control(action, request, response);
    else if (request.url.startsWith("/interaction/")) await interact(request, response);
    else await provider.callback()(request, response);
  } catch (error) {
    response.writeHead(500, { "content-type": "text/plain" }).end(String(error?.stack ?? error));
  }
});
await new Promise((listening) => server.listen(settings.port, "127.0.0.1", listening));
const issuer = `http://127.0.0.1:${server.address().port}`;
let keys = await makeKeys();
let provider = makeProvider(issuer, keys);
console.log(JSON.stringify({ issuer }));
process.stdin.on("end", () => process.exit(0)).resume();
