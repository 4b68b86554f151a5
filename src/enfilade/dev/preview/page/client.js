/** A client of the server: one POST for each request, in the stateless revision. */

const REVISION = "2026-07-28";
const PREFIX = "io.modelcontextprotocol/";
const INFO = { name: "enfilade-preview", version: "1" };
const CAPABILITIES = { extensions: { [`${PREFIX}ui`]: { mimeTypes: ["text/html;profile=mcp-app"] } } };
const NAMED_BY = { "tools/call": "name", "prompts/get": "name", "resources/read": "uri" };

/** An error of the server: its JSON-RPC code (absent if it sent none) and the HTTP status. */
export class ServerError extends Error {
  constructor(message, { code, data, status } = {}) {
    super(message);
    this.code = code;
    this.data = data;
    this.status = status;
  }
}

export class Client {
  #endpoint;
  #next = 1;

  /** A bearer token, for a server with authorization; kept in this page alone. */
  token = "";

  constructor(endpoint) {
    this.#endpoint = endpoint;
  }

  /**
   * Send a request and return its result.
   *
   * `headers` are further ones; `notify` gets the notifications that come before the result.
   */
  async request(method, params = {}, { signal, headers = {}, notify = () => {} } = {}) {
    const id = this.#next++;
    const _meta = {
      ...params._meta,
      [`${PREFIX}protocolVersion`]: REVISION,
      [`${PREFIX}clientInfo`]: INFO,
      [`${PREFIX}clientCapabilities`]: CAPABILITIES,
      [`${PREFIX}logLevel`]: "debug",
    };
    const response = await fetch(this.#endpoint, {
      method: "POST",
      signal,
      headers: {
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        "mcp-protocol-version": REVISION,
        "mcp-method": method,
        ...(method in NAMED_BY ? { "mcp-name": headerValue(params[NAMED_BY[method]]) } : {}),
        ...(this.token ? { authorization: `Bearer ${this.token}` } : {}),
        ...headers,
      },
      body: JSON.stringify({ jsonrpc: "2.0", id, method, params: { ...params, _meta } }),
    });
    for await (const message of messagesOf(response)) {
      if (message.id === id || (message.error && message.id == null)) return resultOf(message, response.status);
      if (message.method) notify(message);
    }
    throw new ServerError(`the server answered ${response.status} without a result`, { status: response.status });
  }

  /** Return the items of a list, of all pages. */
  async all(method, key) {
    const items = [];
    let cursor;
    do {
      const page = await this.request(method, cursor === undefined ? {} : { cursor });
      items.push(...page[key]);
      cursor = page.nextCursor;
    } while (cursor !== undefined && items.length < 10_000);
    return items;
  }

  /** Call a tool; arguments that its schema mirrors into headers are sent in both places. */
  callTool(tool, args, options = {}) {
    return this.request("tools/call", { name: tool.name, arguments: args }, { ...options, headers: mirrored(tool, args) });
  }
}

function resultOf(message, status) {
  if (message.error) throw new ServerError(message.error.message, { ...message.error, status });
  return message.result;
}

/** Yield the messages of a response: one of JSON, or the events of a stream. */
async function* messagesOf(response) {
  const type = response.headers.get("content-type") ?? "";
  if (type.startsWith("application/json")) {
    yield await response.json();
    return;
  }
  if (!type.startsWith("text/event-stream") || !response.body) return;
  let text = "";
  for await (const chunk of chunksOf(response.body.pipeThrough(new TextDecoderStream()))) {
    text += chunk;
    const events = text.split(/\r?\n\r?\n/);
    text = events.pop();
    for (const event of events) {
      const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
      const data = lines.map((line) => line.slice(5).replace(/^ /, "")).join("\n");
      if (data) yield JSON.parse(data);
    }
  }
}

/** Yield the chunks of a stream; not every browser iterates over one. */
async function* chunksOf(stream) {
  const reader = stream.getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Return a text as a header can carry it. */
function headerValue(text) {
  if (/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(text) && !text.startsWith("=?base64?")) return text;
  const bytes = new TextEncoder().encode(text);
  return `=?base64?${btoa(String.fromCharCode(...bytes))}?=`;
}

/** Return the headers for arguments whose schemas have `x-mcp-header`. */
function mirrored(tool, args) {
  const headers = {};
  const walk = (schema, value) => {
    for (const [name, member] of Object.entries(schema?.properties ?? {})) {
      const inner = value?.[name];
      if (typeof member?.["x-mcp-header"] === "string" && inner != null) {
        headers[`mcp-param-${member["x-mcp-header"]}`] = headerValue(String(inner));
      }
      if (member && typeof member === "object") walk(member, inner);
    }
  };
  walk(tool.inputSchema, args);
  return headers;
}
