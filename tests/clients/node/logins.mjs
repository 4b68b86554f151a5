/** What both official TypeScript clients have in common when they log in; the commands are those of logins.py. */
import { createInterface } from "node:readline";

const REDIRECT_URI = "http://127.0.0.1:1/callback";
const MOST_REDIRECTS = 20;

/** What a page asks a user to agree to: the URL of its form and its fields; undefined without one. */
function formOf(url, html) {
  const action = /<form method="post" action="([^"]*)"/.exec(html)?.[1];
  if (!action) return undefined;
  const fields = [...html.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)"/g)];
  return { url: new URL(action, url), body: new URLSearchParams([...fields.map(([, name, value]) => [name, value]), ["decision", "allow"]]) };
}

/**
 * A user's browser: follow redirects until one leads back to the client, and return the parameters of that. The user
 * agrees to what a page asks.
 */
async function visit(url) {
  const cookies = new Map();
  let body;
  for (let hops = 0; hops < MOST_REDIRECTS; hops++) {
    const cookie = [...cookies].map((pair) => pair.join("=")).join("; ");
    const post = body && { method: "POST", body };
    body = undefined;
    const response = await fetch(url, { redirect: "manual", headers: { cookie }, ...post });
    for (const header of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(header);
      cookies.set(name, value);
    }
    const location = response.headers.get("location");
    if (!location) {
      const html = await response.text();
      const form = response.status === 200 ? formOf(url, html) : undefined;
      if (!form) throw new Error(`${url} answers ${response.status}: ${html}`);
      ({ url, body } = form);
      continue;
    }
    url = new URL(location, url);
    if (url.href.startsWith(REDIRECT_URI)) return url.searchParams;
  }
  throw new Error(`more than ${MOST_REDIRECTS} redirects`);
}

/** The `OAuthClientProvider` of one connection, which keeps everything in memory. */
export class Provider {
  #kept = {};
  clientMetadataUrl;
  redirectUrl = REDIRECT_URI;
  clientMetadata = {
    client_name: "typescript",
    redirect_uris: [REDIRECT_URI],
    grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"],
    token_endpoint_auth_method: "none",
    application_type: "native",
  };

  /** The document may be undefined: then the client registers. */
  constructor(document) {
    this.clientMetadataUrl = document ?? undefined;
  }

  clientInformation = () => this.#kept.client;
  saveClientInformation = (client) => void (this.#kept.client = client);
  tokens = () => this.#kept.tokens;
  saveTokens = (tokens) => void (this.#kept.tokens = tokens);
  codeVerifier = () => this.#kept.verifier;
  saveCodeVerifier = (verifier) => void (this.#kept.verifier = verifier);
  saveDiscoveryState = (discovery) => void (this.#kept.discovery = discovery);
  discoveryState = () => this.#kept.discovery;
  redirectToAuthorization = (url) => void (this.#kept.url = url);

  /** Let the user log in at the URL that the client has asked for. */
  async logIn() {
    const { url } = this.#kept;
    delete this.#kept.url;
    const answer = await visit(url);
    if (!answer.has("code")) throw new Error(`the server answered ${answer}`);
    return answer;
  }

  get isAsked() {
    return this.#kept.url !== undefined;
  }
}

/** Run an action, and once more after a login that it asks for. */
export async function withLogin(provider, finish, action) {
  try {
    return await action();
  } catch (error) {
    if (!provider.isAsked) throw error;
    await finish(await provider.logIn());
    return action();
  }
}

/** Obey the commands on standard input; `connect` returns what calls a tool. */
export async function serve(connect) {
  const connections = new Map();
  for await (const line of createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    let reply;
    try {
      if (command.do === "connect") {
        connections.set(command.key, await connect(command));
        reply = {};
      } else {
        reply = { result: await connections.get(command.key)(command.tool, command.arguments ?? {}) };
      }
    } catch (error) {
      reply = { error: String(error?.stack ?? error) };
    }
    console.log(JSON.stringify(reply));
  }
  process.exit(0);
}
