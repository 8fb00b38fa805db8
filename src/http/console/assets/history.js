// Who changed what and when, with before and after.
import { get } from "./api.js";
import { differences } from "./documents.js";
import { fill, h, problemBox, tag } from "./dom.js";
import { shortId, time } from "./format.js";

const STAMPS = new Set(["revision", "updated_at"]);
const shown = (value) => (value === undefined || value === null ? "–" : typeof value === "string" ? value : JSON.stringify(value));

/** A table of what differs between two documents. */
export function diffTable(before, after, caption, names = ["Before", "After"]) {
  const rows = differences(before ?? {}, after ?? {}).filter((one) => !STAMPS.has(one.path));
  if (!rows.length) return h("p", { class: "soft small" }, "Nothing but its revision.");
  return h("div", { class: "scroll" }, h("table", null, h("caption", { class: "visually-hidden" }, caption),
    h("thead", null, h("tr", null, ["Field", ...names].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", null, rows.map((one) => h("tr", null,
      h("th", { scope: "row" }, h("code", null, one.path)),
      h("td", { class: "diff-before mono" }, shown(one.before)),
      h("td", { class: "diff-after mono" }, shown(one.after)))))));
}

/** The revisions of an entity, newest first. */
export function revisions(path, signal) {
  const list = h("div");
  const more = h("button", { type: "button", hidden: true }, "Older");
  let cursor;
  async function load() {
    try {
      const page = await get(`${path}/revisions`, { limit: 20, cursor }, { signal });
      for (const one of page.items) {
        list.append(h("section", { class: "card" },
          h("h3", null, `Revision ${one.revision} `, tag(one.action), h("span", { class: "soft small" }, ` ${time(one.at)} UTC by ${one.role}${one.key_id ? ` (key ${shortId(one.key_id)})` : ""}`)),
          one.before ? diffTable(one.before, one.after, `What revision ${one.revision} changed`) : h("details", null, h("summary", null, "As it was created"), h("pre", null, JSON.stringify(one.after, null, 2)))));
      }
      cursor = page.next_cursor;
      more.hidden = !cursor;
    } catch (problem) {
      if (problem.name !== "AbortError") fill(list, problemBox(problem));
    }
  }
  more.addEventListener("click", load);
  load();
  return h("div", null, list, more);
}
