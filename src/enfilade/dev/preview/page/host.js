/** The page: tools with their views, a form for each, and the view of the call in its sandbox. */

import { Bridge, Refusal, isForModel, isForViews, uiOf } from "./bridge.js";
import { Client } from "./client.js";
import { element } from "./dom.js";
import { argumentsForm } from "./form.js";
import { Inspector } from "./inspector.js";
import { styleVariables } from "./theme.js";

const VIEW_TYPE = "text/html;profile=mcp-app";
const LOWEST = 60, HIGHEST = 4000; // pixels of a view in the page
const byId = (id) => document.getElementById(id);
const dark = window.matchMedia("(prefers-color-scheme: dark)");

const inspector = new Inspector(byId("tabs"), byId("panel"));
let client, tools = new Map(), selected, form, bridge, running, displayMode = "inline";

// -- the surroundings of a view --------------------------------------------------------------------------------------

function theme() {
  const chosen = byId("theme").value;
  return chosen === "system" ? (dark.matches ? "dark" : "light") : chosen;
}

function dimensions() {
  const frame = byId("frame");
  return displayMode === "fullscreen"
    ? { width: frame.clientWidth, height: frame.clientHeight }
    : { width: frame.clientWidth, maxHeight: HIGHEST };
}

function hostContext() {
  return {
    toolInfo: { tool: selected },
    theme: theme(),
    styles: { variables: styleVariables() },
    displayMode,
    availableDisplayModes: ["inline", "fullscreen"],
    containerDimensions: dimensions(),
    locale: navigator.language,
    timeZone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    userAgent: "enfilade-preview",
    platform: "web",
    deviceCapabilities: { touch: navigator.maxTouchPoints > 0, hover: window.matchMedia("(hover: hover)").matches },
    safeAreaInsets: { top: 0, right: 0, bottom: 0, left: 0 },
  };
}

function applyTheme() {
  document.documentElement.dataset.theme = theme();
  bridge?.sendContext({ theme: theme() });
}

function applyWidth() {
  byId("frame").style.maxWidth = byId("width").value ? `${byId("width").value}px` : "";
  bridge?.sendContext({ containerDimensions: dimensions() });
}

function setDisplayMode(mode, supported) {
  const isAvailable = ["inline", "fullscreen"].includes(mode) && (supported?.includes(mode) ?? true);
  if (isAvailable && mode !== displayMode) {
    displayMode = mode;
    byId("stage").classList.toggle("full", mode === "fullscreen");
    byId("close-full").hidden = mode !== "fullscreen";
    bridge?.sendContext({ displayMode, containerDimensions: dimensions() });
  }
  return displayMode;
}

// -- what a view asks for ----------------------------------------------------------------------------------------------

/** Ask the person whether a link may be opened; a page may open one only when somebody clicks. */
function askToOpen(url) {
  return new Promise((resolve, reject) => {
    const ask = byId("ask");
    const end = (settle) => {
      ask.hidden = true;
      settle();
    };
    const open = element("a", { className: "button primary", href: url, target: "_blank", rel: "noopener noreferrer" }, "Open");
    open.addEventListener("click", () => end(() => resolve({})));
    const refuse = element("button", { type: "button" }, "Refuse");
    refuse.addEventListener("click", () => end(() => reject(new Refusal("Link opening denied by user"))));
    ask.replaceChildren("The view wants to open ", element("code", {}, url), open, refuse);
    ask.hidden = false;
  });
}

const handlers = {
  log: (direction, message) => inspector.message(direction, message),
  blocked: (violation) => inspector.blocked(violation),
  message(params) {
    if (!params.content) throw new Refusal("Invalid message format", -32602);
    inspector.chat(params);
    return {};
  },
  modelContext(params) {
    inspector.modelContext(params);
    return {};
  },
  openLink: askToOpen,
  displayMode: setDisplayMode,
  resize({ height }) {
    if (displayMode === "inline" && Number.isFinite(height)) {
      if (bridge) bridge.frame.style.height = `${Math.min(HIGHEST, Math.max(LOWEST, Math.ceil(height)))}px`;
    }
  },
  ready: () => {},
  close: () => closeView("the view asked for it"),
};

async function closeView(reason) {
  const closing = bridge;
  bridge = undefined;
  setDisplayMode("inline");
  byId("ask").hidden = true;
  await closing?.close(reason);
  if (!bridge) byId("stage").hidden = true;
}

// -- calling a tool ----------------------------------------------------------------------------------------------------

/** Read the view of a tool and put it into its sandbox. */
async function openView(tool, args, settings) {
  const uri = uiOf(tool).resourceUri;
  const { contents } = await client.request("resources/read", { uri });
  const [content] = contents;
  if (content.mimeType !== VIEW_TYPE) throw new Error(`${uri} is ${content.mimeType}, and hosts show ${VIEW_TYPE} alone`);
  const html = content.text ?? new TextDecoder().decode(Uint8Array.from(atob(content.blob), (char) => char.charCodeAt(0)));
  const ui = content._meta?.ui ?? (await listedUi(uri));
  showPolicy(uri, ui);
  bridge = new Bridge({ sandbox: settings.sandbox, html, ui, client, tools, context: hostContext, on: handlers });
  bridge.frame.classList.toggle("bordered", ui?.prefersBorder !== false);
  byId("frame").replaceChildren(bridge.frame);
  byId("stage").hidden = false;
  bridge.sendInput(args);
  return bridge;
}

/** Return the `_meta.ui` of the listed resource, where the contents have none (draft, "Metadata Location"). */
async function listedUi(uri) {
  const resources = await client.all("resources/list", "resources").catch(() => []);
  return resources.find((resource) => resource.uri === uri)?._meta?.ui;
}

function showPolicy(uri, ui) {
  byId("view-uri").textContent = uri;
  const origins = Object.values(ui?.csp ?? {}).flat();
  const permissions = Object.keys(ui?.permissions ?? {});
  const parts = [origins.length ? `may reach ${[...new Set(origins)].join(", ")}` : "reaches nothing outside"];
  if (permissions.length) parts.push(`asks for ${permissions.join(", ")}`);
  byId("policy").textContent = parts.join("; ");
}

async function call(event) {
  event?.preventDefault();
  const tool = selected;
  let args;
  try {
    args = byId("as-json").checked ? JSON.parse(byId("json").value || "{}") : form.values();
  } catch (error) {
    byId("status").textContent = error.message;
    return;
  }
  running?.abort();
  const abort = (running = new AbortController());
  await closeView("another call");
  if (running !== abort) return;
  inspector.clear();
  inspector.show("result");
  byId("notice").hidden = true;
  byId("inspector").hidden = false;
  byId("cancel").hidden = false;
  byId("status").textContent = "Calling…";
  const started = performance.now();
  const settings = await load("config.json");
  const notify = (message) => inspector.message("from server", message);
  const result = client.callTool(tool, args, { signal: abort.signal, notify });
  const view = uiOf(tool).resourceUri ? openView(tool, args, settings) : Promise.resolve();
  view.catch((error) => notice(error));
  try {
    const outcome = await result;
    inspector.result(outcome);
    byId("status").textContent = `${outcome.isError ? "Error" : "Done"} in ${Math.round(performance.now() - started)} ms`;
    (await view.catch(() => undefined))?.sendResult(outcome);
  } catch (error) {
    if (running !== abort) return; // another call has begun
    const isCancelled = error.name === "AbortError";
    byId("status").textContent = isCancelled ? "Cancelled" : "Failed";
    inspector.failure(isCancelled ? { message: "The call was cancelled." } : error);
    (await view.catch(() => undefined))?.sendCancelled(isCancelled ? "cancelled by the user" : error.message);
    if (!isCancelled) notice(error);
  } finally {
    if (running === abort) byId("cancel").hidden = true;
  }
}

// -- tools ---------------------------------------------------------------------------------------------------------------

function select(name) {
  const tool = tools.get(name);
  if (!tool) return;
  running?.abort();
  closeView("another tool");
  selected = tool;
  form = argumentsForm(tool.inputSchema);
  byId("fields").replaceChildren(form.element);
  byId("tool-title").textContent = tool.title ?? tool.annotations?.title ?? tool.name;
  byId("tool-description").textContent = tool.description ?? "";
  byId("status").textContent = "";
  byId("call").hidden = false;
  byId("inspector").hidden = true;
  byId("as-json").checked = false;
  showJson();
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  drawTools();
}

function drawTools() {
  const shown = [...tools.values()].filter((tool) => byId("all").checked || uiOf(tool).resourceUri || tool === selected);
  const items = shown.map((tool) => {
    const badges = [isForModel(tool) ? "" : "view only", isForViews(tool) ? "" : "model only", uiOf(tool).resourceUri ? "" : "no view"];
    const button = element("button", { type: "button" }, tool.name);
    for (const text of badges.filter(Boolean)) button.append(" ", element("span", { className: "badge" }, text));
    button.setAttribute("aria-current", String(tool === selected));
    button.addEventListener("click", () => select(tool.name));
    return element("li", {}, button);
  });
  const advice = "No tool has a view: give one ui=\"ui://…\".";
  byId("tools").replaceChildren(...(items.length ? items : [element("li", { className: "quiet" }, advice)]));
}

function showJson() {
  const asJson = byId("as-json").checked;
  if (asJson) {
    let args = {};
    try {
      args = form.values();
    } catch {}
    byId("json").value = JSON.stringify(args, null, 2);
  }
  byId("json").hidden = !asJson;
  byId("fields").hidden = asJson;
  byId("form").noValidate = asJson;
}

// -- the server ----------------------------------------------------------------------------------------------------------

async function load(file) {
  const response = await fetch(file, { cache: "no-store" });
  if (!response.ok) throw new Error(`${file}: ${response.status}`);
  return response.json();
}

function notice(error) {
  const place = byId("notice");
  place.replaceChildren(error.message);
  place.hidden = false;
  if (error.status === 401 || error.status === 403) {
    const token = element("input", { type: "password", placeholder: "Bearer token", autocomplete: "off" });
    token.setAttribute("aria-label", "Bearer token");
    const use = element("button", { type: "button" }, "Use it");
    use.addEventListener("click", () => {
      client.token = token.value.trim();
      connect();
    });
    place.append(token, use);
  }
}

/** Return the name of the tool in the address of the page. */
function named() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return ""; // it was written by hand
  }
}

async function connect() {
  byId("notice").hidden = true;
  try {
    const found = await client.request("server/discover");
    const info = found._meta?.["io.modelcontextprotocol/serverInfo"] ?? {};
    byId("server").textContent = info.title ?? info.name ?? "Preview";
    byId("version").textContent = info.version ?? "";
    document.title = `${info.title ?? info.name} – Preview`;
    tools = new Map((await client.all("tools/list", "tools")).map((tool) => [tool.name, tool]));
    drawTools();
    const first = [...tools.values()].find((tool) => uiOf(tool).resourceUri && isForModel(tool));
    select(tools.has(named()) ? named() : first?.name);
  } catch (error) {
    notice(error);
  }
}

byId("form").addEventListener("submit", call);
byId("cancel").addEventListener("click", () => running?.abort());
byId("as-json").addEventListener("change", showJson);
byId("all").addEventListener("change", drawTools);
byId("theme").addEventListener("change", applyTheme);
byId("width").addEventListener("change", applyWidth);
byId("close-full").addEventListener("click", () => setDisplayMode("inline"));
dark.addEventListener("change", applyTheme);
window.addEventListener("hashchange", () => select(named()));
new ResizeObserver(() => bridge?.sendContext({ containerDimensions: dimensions() })).observe(byId("frame"));
applyTheme();
load("config.json").then((settings) => {
  client = new Client(settings.endpoint);
  return connect();
}, notice);
