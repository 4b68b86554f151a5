/** What was said: the result, the messages between view and host, and what the view gave to chat and model. */

import { element, pretty } from "./dom.js";

const MOST = 500; // messages that are kept
const TABS = { result: "Result", messages: "Messages", chat: "Chat", context: "Model context" };

export class Inspector {
  #tabs;
  #panel;
  #current = "result";
  #contents = new Map();
  #counts = new Map();

  constructor(tabs, panel) {
    this.#tabs = tabs;
    this.#panel = panel;
    this.clear();
  }

  clear() {
    for (const name of Object.keys(TABS)) {
      this.#contents.set(name, []);
      this.#counts.set(name, 0);
    }
    this.#draw();
  }

  /** Show the result of the call: its text, as a model reads it, and the whole. */
  result(result) {
    const texts = (result.content ?? []).filter((block) => block.type === "text").map((block) => block.text);
    const text = texts.length
      ? element("pre", { className: result.isError ? "text wrong" : "text" }, texts.join("\n"))
      : element("p", { className: "wrong" }, "No text: hosts without views, and the model, get nothing to read.");
    this.#set("result", [
      element("h3", {}, "What the model reads"),
      text,
      details("The whole result", result),
    ]);
  }

  /** Show why there is no result. */
  failure(error) {
    const code = error.code === undefined ? "" : ` (${error.code})`;
    this.#set("result", [element("p", { className: "wrong" }, `${error.message}${code}`)]);
  }

  message(direction, message) {
    const name = message.method ?? (message.error ? `error ${message.error.code}` : "result");
    const id = message.id === undefined ? "" : ` #${message.id}`;
    const arrow = direction === "from view" ? "←" : "→";
    const summary = element("summary", {}, element("span", { className: "arrow", title: direction }, arrow), ` ${name}${id}`);
    this.#add("messages", element("details", { className: message.error ? "wrong" : "" }, summary, element("pre", {}, pretty(message))));
  }

  /** Show what the policy of the view has blocked, and what would allow it. */
  blocked({ directive, uri }) {
    if (uri === "eval") {
      const text = "eval is blocked, as the specification has it; libraries may try it and go on without";
      this.#add("messages", element("p", { className: "quiet" }, `✕ ${text}`));
      return;
    }
    const option = { "connect-src": "connect_domains", "frame-src": "frame_domains", "base-uri": "base_uri_domains" }[directive];
    let origin = uri;
    try {
      origin = new URL(uri).origin;
    } catch {}
    const advice = /^(https?|wss?):/.test(uri) ? `allow it by csp={"${option ?? "resource_domains"}": ["${origin}"]}` : "the policy of hosts does not allow it";
    this.#add("messages", element("p", { className: "wrong" }, `✕ blocked by ${directive}: ${uri}; ${advice}`));
  }

  chat({ role = "user", content }) {
    const blocks = Array.isArray(content) ? content : [content];
    const text = blocks.map((block) => block?.text ?? `[${block?.type}]`).join("\n");
    this.#add("chat", element("div", { className: "message" }, element("strong", {}, role), element("pre", { className: "text" }, text)));
  }

  modelContext(params) {
    this.#set("context", [element("pre", {}, pretty(params))]);
    this.#counts.set("context", 1);
    this.#draw();
  }

  show(name) {
    this.#current = name;
    this.#draw();
  }

  #add(name, item) {
    const items = this.#contents.get(name);
    items.push(item);
    if (items.length > MOST) items.shift();
    this.#counts.set(name, this.#counts.get(name) + 1);
    this.#draw();
  }

  #set(name, items) {
    this.#contents.set(name, items);
    this.#draw();
  }

  #draw() {
    const tabs = Object.entries(TABS).map(([name, title]) => {
      const count = this.#counts.get(name);
      const tab = element("button", { type: "button", role: "tab" }, title, ...(count ? [" ", element("span", { className: "count" }, String(count))] : []));
      tab.dataset.tab = name;
      tab.setAttribute("aria-selected", String(name === this.#current));
      tab.addEventListener("click", () => this.show(name));
      return tab;
    });
    const focused = this.#tabs.contains(document.activeElement) ? document.activeElement.dataset.tab : undefined;
    this.#tabs.replaceChildren(...tabs);
    tabs.find((tab) => tab.dataset.tab === focused)?.focus();
    const items = this.#contents.get(this.#current);
    const empty = element("p", { className: "quiet" }, EMPTY[this.#current]);
    if (items.length && this.#panel.dataset.tab === this.#current && items[0] === this.#panel.firstChild) {
      this.#panel.append(...items.slice(this.#panel.childElementCount));
      return;
    }
    this.#panel.dataset.tab = this.#current;
    this.#panel.replaceChildren(...(items.length ? items : [empty]));
  }
}

const EMPTY = {
  result: "There is no result yet.",
  messages: "View and host have said nothing yet.",
  chat: "The view has sent no message to the chat.",
  context: "The view has given nothing to the model.",
};

function details(title, value) {
  return element("details", {}, element("summary", {}, title), element("pre", {}, pretty(value)));
}
