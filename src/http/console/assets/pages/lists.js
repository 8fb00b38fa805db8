// Advertisers, campaigns, line items and creatives, as lists.
import { all, get, offers } from "../api.js";
import { KINDS, mayWrite } from "../documents.js";
import { fill, h, problemBox, say, statusTag } from "../dom.js";
import { money, time } from "../format.js";
import { table } from "../table.js";

const PAGE = 100;
/** Where the API can't search, this many are looked through here. */
const LOOKED_THROUGH = 2000;

const link = (kind, one) => h("a", { href: `#/${kind}/${one.id}` }, one.name);
const columns = {
  advertisers: [
    { name: "Time zone", of: (one) => one.zone, by: (one) => one.zone },
    { name: "Lifetime budget", numeric: true, of: (one) => money(one.budget.lifetime_micros), by: (one) => one.budget.lifetime_micros ?? -1 },
  ],
  campaigns: [
    { name: "Lifetime budget", numeric: true, of: (one) => money(one.budget.lifetime_micros), by: (one) => one.budget.lifetime_micros ?? -1 },
    { name: "Daily budget", numeric: true, of: (one) => money(one.budget.daily_micros), by: (one) => one.budget.daily_micros ?? -1 },
  ],
  "line-items": [
    { name: "Tier", of: (one) => one.tier, by: (one) => one.tier },
    { name: "Flight (UTC)", tight: true, of: (one) => `${time(one.flight.start).slice(0, 10)} – ${time(one.flight.end).slice(0, 10)}`, by: (one) => one.flight.start },
    { name: "Price", numeric: true, of: (one) => money(one.pricing.amount_micros), by: (one) => one.pricing.amount_micros },
    { name: "Budget", numeric: true, of: (one) => (one.goal ? `${one.goal.impressions} impressions` : money(one.budget.lifetime_micros)), by: (one) => one.budget.lifetime_micros ?? -1 },
  ],
  creatives: [
    { name: "Approval", of: (one) => statusTag(one.approval), by: (one) => one.approval ?? "" },
    { name: "Length", numeric: true, of: (one) => `${(one.duration_ms / 1000).toFixed(1)} s`, by: (one) => one.duration_ms },
  ],
};

/** A list with search. `parents` narrows it, e.g. { campaign_id }. Returns its element. */
export function listOf(kind, { parents = {}, signal, status = "" }) {
  const { api, many, one } = KINDS[kind];
  const search = h("input", { type: "search", id: `search-${kind}`, autocomplete: "off" });
  const chosen = h("select", { id: `status-${kind}` }, ["", "active", "paused", "archived"].map((word) => h("option", { value: word, selected: word === status }, word || "any")));
  const shown = table({
    caption: many,
    empty: `No ${many.toLowerCase()} here.`,
    columns: [
      { name: "Name", head: true, of: (row) => link(kind, row), by: (row) => row.name.toLowerCase() },
      { name: "Status", of: (row) => statusTag(row.status), by: (row) => row.status },
      ...columns[kind],
      { name: "Changed (UTC)", tight: true, of: (row) => time(row.updated_at).slice(0, 16), by: (row) => row.updated_at },
    ],
  });
  const more = h("button", { type: "button", hidden: true }, "More");
  const note = h("p", { class: "small soft", role: "status" });
  const trouble = h("div");
  let rows = [];
  let cursor;
  let turn = 0;

  async function load(fresh) {
    const mine = ++turn;
    if (fresh) { rows = []; cursor = undefined; }
    const text = search.value.trim();
    const query = { ...parents, status: chosen.value };
    try {
      fill(trouble);
      if (text && !(await offers("get", api, "q"))) {
        const found = await all(api, query, LOOKED_THROUGH, signal);
        if (mine !== turn) return;
        rows = found.items.filter((row) => row.name.toLowerCase().includes(text.toLowerCase()) || row.id === text);
        cursor = undefined;
        note.textContent = `${rows.length} found by name among ${found.isCut ? `the first ${found.items.length}` : `all ${found.items.length}`}.`;
      } else {
        const page = await get(api, { ...query, q: text || undefined, limit: PAGE, cursor }, { signal });
        if (mine !== turn) return;
        rows = [...rows, ...page.items];
        cursor = page.next_cursor;
        note.textContent = `${rows.length} shown${cursor ? ", there are more" : ""}.`;
      }
      shown.show(rows);
      more.hidden = !cursor;
    } catch (problem) {
      if (problem.name === "AbortError") return;
      fill(trouble, problemBox(problem));
    }
  }

  let timer;
  search.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => load(true), 250); });
  chosen.addEventListener("change", () => load(true));
  more.addEventListener("click", () => load(false).then(() => say(note.textContent)));
  load(true);
  const add = new URLSearchParams(parents).toString();
  return h("section", { class: "card", "aria-label": many },
    h("div", { class: "filters" },
      h("div", { class: "grow" }, h("label", { for: search.id }, `Search ${many.toLowerCase()}`), search),
      h("div", null, h("label", { for: chosen.id }, "Status"), chosen),
      mayWrite(kind) ? h("a", { class: "button primary", href: `#/${kind}/new${add ? `?${add}` : ""}` }, `New ${one}`) : null),
    trouble, shown.element, note, more);
}

export async function show(root, { params: { kind }, query, signal }) {
  fill(root,
    h("div", { class: "page-head" }, h("h1", null, KINDS[kind].many)),
    h("nav", { class: "tabs", "aria-label": "Kinds" }, Object.entries(KINDS).map(([name, { many }]) =>
      h("a", { href: `#/${name}`, "aria-current": name === kind ? "page" : undefined }, many))),
    listOf(kind, { signal, status: query.status }));
}
