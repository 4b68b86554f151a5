/** Elements of the page; text is always text, never HTML. */

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Return JSON for people; long texts are cut. */
export function pretty(value, longest = 20_000) {
  const text = JSON.stringify(value, null, 2) ?? "";
  return text.length > longest ? `${text.slice(0, longest)}\n… ${text.length - longest} more characters` : text;
}
