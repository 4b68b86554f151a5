/**
 * The host's side of the messages between a view and its host (ext-apps 2026-01-26, "Communication Protocol").
 *
 *   host ─ sandbox-resource-ready ▶ sandbox ─ loads ▶ view
 *   view ─ ui/initialize, ui/notifications/initialized ▶ host ─ tool-input, then tool-result ▶ view
 *
 * Easy to get wrong: the order. A view gets nothing before it has said that it is initialized, and the result of the
 * tool only after its arguments.
 */

const VERSION = "2026-01-26";
const TEARDOWN_TIMEOUT = 500; // milliseconds that a view has to put itself away
const INVALID_REQUEST = -32600, METHOD_NOT_FOUND = -32601, INVALID_PARAMS = -32602, REFUSED = -32000;
/** Requests of views that go to the server as they are. */
const FORWARDED = new Set(["resources/read", "resources/list", "resources/templates/list", "prompts/list"]);

/** An error that a view gets as the answer to its request. */
export class Refusal extends Error {
  constructor(message, code = REFUSED) {
    super(message);
    this.code = code;
  }
}

/**
 * A view in its sandbox.
 *
 * Arguments of the constructor:
 *   sandbox: the URL of the sandbox page.
 *   html, ui: the document of the view, and the `_meta.ui` of its resource.
 *   client: of the server.
 *   tools: the tools of the server, by name.
 *   context: returns the host context as it is now.
 *   on: functions for what the view does: log, message, modelContext, openLink, displayMode, resize, blocked, ready,
 *     close.
 */
export class Bridge {
  #options;
  #origin;
  #pending = new Map();
  #next = 1;
  #initialized = false;
  #input;
  #outcome;

  constructor(options) {
    this.#options = options;
    const { sandbox, ui } = options;
    const url = new URL(sandbox);
    url.searchParams.set("csp", JSON.stringify(ui?.csp ?? {}));
    this.#origin = url.origin;
    this.frame = document.createElement("iframe");
    this.frame.title = "View";
    this.frame.setAttribute("sandbox", "allow-scripts allow-same-origin allow-forms");
    this.frame.setAttribute("allow", allowed(ui?.permissions));
    this.frame.src = url.href;
    this.appCapabilities = {};
    window.addEventListener("message", this.#receive);
  }

  /** Give the view the arguments of the call. */
  sendInput(args) {
    this.#input = { arguments: args };
    this.#deliver();
  }

  /** Give the view the result of the call. */
  sendResult(result) {
    this.#outcome = ["ui/notifications/tool-result", result];
    this.#deliver();
  }

  /** Tell the view that the call has no result. */
  sendCancelled(reason) {
    this.#outcome = ["ui/notifications/tool-cancelled", { reason }];
    this.#deliver();
  }

  /** Tell the view what has changed around it. */
  sendContext(changes) {
    if (this.#initialized) this.#notify("ui/notifications/host-context-changed", changes);
  }

  /** Let the view put itself away, and remove it. */
  async close(reason) {
    if (this.#initialized) {
      const end = new Promise((resolve) => setTimeout(resolve, TEARDOWN_TIMEOUT));
      await Promise.race([this.#request("ui/resource-teardown", { reason }).catch(() => {}), end]);
    }
    window.removeEventListener("message", this.#receive);
    this.frame.remove();
  }

  // -- messages ----------------------------------------------------------------------------------------------------

  #deliver() {
    if (!this.#initialized || this.#input === undefined) return;
    if (this.#input !== null) this.#notify("ui/notifications/tool-input", this.#input);
    this.#input = null; // it is sent once
    if (this.#outcome) this.#notify(...this.#outcome);
    this.#outcome = undefined;
  }

  #send(message) {
    this.#options.on.log("to view", message);
    this.frame.contentWindow?.postMessage(message, this.#origin);
  }

  #notify(method, params) {
    this.#send({ jsonrpc: "2.0", method, params });
  }

  #request(method, params) {
    const id = this.#next++;
    this.#send({ jsonrpc: "2.0", id, method, params });
    return new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }));
  }

  #receive = (event) => {
    if (event.source !== this.frame.contentWindow || event.origin !== this.#origin) return;
    const message = event.data;
    if (typeof message !== "object" || message === null || message.jsonrpc !== "2.0") return;
    if (String(message.method).startsWith("ui/notifications/sandbox-")) {
      this.#fromSandbox(message);
      return;
    }
    this.#options.on.log("from view", message);
    if (message.method === undefined) this.#settle(message);
    else if (message.id === undefined) this.#take(message);
    else this.#answer(message);
  };

  #fromSandbox({ method, params }) {
    if (method.endsWith("proxy-ready")) {
      const { html, ui } = this.#options;
      const ready = { html, csp: ui?.csp, permissions: ui?.permissions };
      const message = { jsonrpc: "2.0", method: "ui/notifications/sandbox-resource-ready", params: ready };
      this.frame.contentWindow.postMessage(message, this.#origin);
    } else if (method.endsWith("blocked")) {
      this.#options.on.blocked(params);
    }
  }

  #settle({ id, result, error }) {
    const waiting = this.#pending.get(id);
    this.#pending.delete(id);
    if (error) waiting?.reject(new Error(error.message));
    else waiting?.resolve(result);
  }

  #take({ method, params }) {
    const { on } = this.#options;
    if (method === "ui/notifications/initialized") {
      this.#initialized = true;
      on.ready();
      this.#deliver();
    } else if (method === "ui/notifications/size-changed") {
      on.resize(params ?? {});
    } else if (method === "ui/notifications/request-teardown") {
      on.close();
    }
  }

  async #answer({ id, method, params }) {
    let outcome;
    try {
      if (typeof id !== "string" && typeof id !== "number") throw new Refusal("the id is no text or number", INVALID_REQUEST);
      outcome = { result: (await this.#handle(method, params ?? {})) ?? {} };
    } catch (error) {
      outcome = { error: { code: error.code ?? REFUSED, message: error.message, data: error.data } };
    }
    this.#send({ jsonrpc: "2.0", id, ...outcome });
  }

  #handle(method, params) {
    const { on, client } = this.#options;
    switch (method) {
      case "ping":
        return {};
      case "ui/initialize":
        return this.#initialize(params);
      case "tools/call":
        return this.#callTool(params);
      case "ui/message":
        return on.message(params);
      case "ui/update-model-context":
        return on.modelContext(params);
      case "ui/open-link":
        return on.openLink(webAddress(params.url));
      case "ui/request-display-mode":
        return { mode: on.displayMode(params.mode, this.appCapabilities.availableDisplayModes) };
      default:
        if (FORWARDED.has(method)) return client.request(method, params);
        throw new Refusal(`this host has no ${method}`, METHOD_NOT_FOUND);
    }
  }

  #initialize({ appCapabilities, appInfo }) {
    this.appCapabilities = appCapabilities ?? {};
    this.appInfo = appInfo;
    const { ui, context } = this.#options;
    return {
      protocolVersion: VERSION,
      hostInfo: { name: "enfilade-preview", version: "1" },
      hostCapabilities: {
        openLinks: {},
        serverTools: {},
        serverResources: {},
        logging: {},
        message: { text: {}, image: {}, audio: {}, resource: {}, resourceLink: {} },
        updateModelContext: { text: {}, image: {}, audio: {}, resource: {}, resourceLink: {}, structuredContent: {} },
        sandbox: { csp: ui?.csp ?? {}, permissions: ui?.permissions ?? {} },
      },
      hostContext: context(),
    };
  }

  #callTool({ name, arguments: args }) {
    const { tools, client } = this.#options;
    const tool = tools.get(name);
    if (!tool) throw new Refusal(`there is no tool ${name}`, INVALID_PARAMS);
    if (!isForViews(tool)) throw new Refusal(`${name} is for the model alone: its visibility lacks "app"`);
    return client.callTool(tool, args ?? {});
  }
}

/** Return the `_meta.ui` of a tool, also if it is in the deprecated form. */
export function uiOf(tool) {
  const flat = tool._meta?.["ui/resourceUri"];
  return tool._meta?.ui ?? (typeof flat === "string" ? { resourceUri: flat } : {});
}

export function isForViews(tool) {
  return uiOf(tool).visibility?.includes("app") ?? true;
}

export function isForModel(tool) {
  return uiOf(tool).visibility?.includes("model") ?? true;
}

const FEATURES = {
  camera: "camera",
  microphone: "microphone",
  geolocation: "geolocation",
  clipboardWrite: "clipboard-write",
};

/** Return the `allow` attribute of a frame: the browser's features that a view asks for. */
function allowed(permissions) {
  const names = Object.keys(permissions ?? {}).filter((name) => name in FEATURES);
  return names.map((name) => `${FEATURES[name]} *`).join("; ");
}

/** Return an address that a browser may be sent to. */
function webAddress(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    throw new Refusal("Invalid URL", INVALID_PARAMS);
  }
  if (url.protocol !== "https:" && url.protocol !== "http:") throw new Refusal("only web addresses are opened", INVALID_PARAMS);
  return url.href;
}
