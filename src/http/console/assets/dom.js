// Elements made by hand. Text only ever goes in as text: markup that somebody stored is shown, never run.

/** An element. `props`: attributes; `on<Event>` listeners; `class`, `value`, `checked`, `disabled`, `hidden` as properties. Children: nodes, texts, lists, or nothing. */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2).toLowerCase(), value);
    else if (name === "class") element.className = value;
    else if (name === "value" || name === "checked" || name === "disabled" || name === "hidden" || name === "selected") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** Puts these in place of what is in it. */
export function fill(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

let last = 0;
/** An id that no other element of this page has. */
export function freshId(word) {
  last += 1;
  return `${word}-${last}`;
}

/** Says it to those who can't see the page. */
export function say(text) {
  document.getElementById("say").textContent = text;
}

/** A word with a kind: good, warn, bad or plain. */
export function tag(text, kind = "") {
  return h("span", { class: `tag ${kind}` }, text);
}

const KINDS = { active: "good", approved: "good", live: "good", true: "good", paused: "warn", pending: "warn", draining: "warn", archived: "", rejected: "bad", lost: "bad", closed: "" };
/** How something stands. */
export function statusTag(word) {
  return tag(word ?? "", KINDS[word] ?? "");
}

/** A problem with what each field says. */
export function problemBox(problem, more) {
  return h("div", { class: "note-box bad", role: "alert" },
    h("p", null, h("strong", null, problem.title ?? "It did not work"), problem.message ? `: ${problem.message}` : ""),
    problem.errors?.length ? h("ul", null, problem.errors.map((one) => h("li", null, one.path ? h("code", null, one.path) : "the body", `: ${one.message}`))) : null,
    more);
}
