// One line item: delivery against plan, money, why it does not deliver, whom it would match; its fields and history.
import { callTagged, get, offers } from "../api.js";
import { every } from "../app.js";
import { deliveryChart } from "../chart.js";
import { fill, h, problemBox, tag } from "../dom.js";
import { count, money, percent, time, words } from "../format.js";
import { revisions } from "../history.js";
import { table } from "../table.js";
import { actions, crumbs, editor, head, tabs } from "./entity.js";

const NAMES = { delivery: "Delivery", edit: "Fields and targeting", history: "History" };
const HOURS = { 24: "24 hours", 72: "3 days", 168: "7 days" };

export async function show(root, { params: { id }, query, signal }) {
  const path = `/v1/line-items/${id}`;
  const read = await callTagged("GET", path, { signal });
  const way = await crumbs("line-items", read.document, signal);
  const chosen = query.tab in NAMES ? query.tab : "delivery";

  function draw(document, etag) {
    const saved = (next, tagged) => draw(next, tagged);
    const made = actions("line-items", { document, etag, signal, saved });
    fill(root, head("line-items", document, made, way), tabs(`/line-items/${id}`, NAMES, chosen),
      chosen === "edit" ? editor("line-items", { document, etag, signal, saved })
        : chosen === "history" ? revisions(path, signal)
          : delivery(document, query.hours in HOURS ? Number(query.hours) : 24, signal));
  }
  draw(read.document, read.etag);
}

function delivery(document, hours, signal) {
  const { id } = document;
  const facts = h("dl", { class: "figures" });
  const balances = table({
    caption: "Balances, as the books have them now",
    empty: "Nothing was spent or held yet.",
    columns: [
      { name: "Level", head: true, of: (row) => `${words(row.level)}${row.day ? `, ${row.day}` : ""}`, by: (row) => row.level },
      { name: "Budget", numeric: true, of: (row) => money(row.budget_micros), by: (row) => row.budget_micros ?? -1 },
      { name: "Settled", numeric: true, of: (row) => money(row.settled_micros), by: (row) => row.settled_micros },
      { name: "Held by leases", numeric: true, of: (row) => money(row.open_leases_micros), by: (row) => row.open_leases_micros },
      { name: "Available", numeric: true, of: (row) => money(row.available_micros), by: (row) => row.available_micros ?? -1 },
    ],
  });
  const unbilled = h("p", { class: "small soft" });
  const chart = deliveryChart({ title: "Delivery by hour against plan", lineItemId: id, hours, signal });
  const trouble = h("div");
  const reasons = h("section", { class: "card" }, h("h2", null, "Why it does not deliver more"), h("p", { class: "soft" }, "…"));
  const matches = h("section", { class: "card" }, h("h2", null, "Whom it would match"), h("p", { class: "soft" }, "…"));
  const fact = (name, value, note) => h("div", { class: "figure" }, h("dt", null, name), h("dd", null, h("div", { class: "value" }, value), h("div", { class: "note" }, note ?? "")));

  async function load() {
    try {
      const from = new Date(Date.parse(document.flight.start));
      const report = await get("/v1/reports", { line_item_id: id, group_by: "line_item_hour", from: since(from) }, { signal });
      const sum = (name) => report.rows.reduce((total, row) => total + row[name], 0);
      const lost = {};
      for (const row of report.rows) for (const [reason, many] of Object.entries(row.unbilled)) lost[reason] = (lost[reason] ?? 0) + many;
      fill(trouble);
      fill(facts,
        fact("Impressions", count(sum("impressions")), document.goal ? `of a goal of ${count(document.goal.impressions)}` : `${count(sum("billed_impressions"))} billed`),
        fact("Billed", money(sum("billed_micros")), document.budget.lifetime_micros ? `of ${money(document.budget.lifetime_micros)}` : "no lifetime budget"),
        fact("Completed", percent(sum("completes"), sum("starts")), `${count(sum("completes"))} of ${count(sum("starts"))} starts`),
        fact("Clicks", count(sum("clicks")), `${count(sum("voids"))} given up`),
        fact("Flight (UTC)", document.flight.end.slice(0, 10), `from ${time(document.flight.start)}`));
      balances.show(report.balances);
      const parts = Object.entries(lost).map(([reason, many]) => `${words(reason)} ${count(many)}`);
      unbilled.textContent = parts.length ? `Heard and not billed: ${parts.join(", ")}.` : "Nothing that was heard went unbilled.";
    } catch (problem) {
      if (problem.name === "AbortError") throw problem;
      fill(trouble, problemBox(problem));
    }
  }

  every(10_000, signal, load);
  every(30_000, signal, () => chart.load().catch((problem) => { if (problem.name === "AbortError") throw problem; fill(trouble, problemBox(problem)); }));
  every(30_000, signal, () => diagnosis(reasons, id, signal));
  matching(matches, id, signal);
  return [trouble, facts,
    h("nav", { class: "tabs", "aria-label": "How long" }, Object.entries(HOURS).map(([number, text]) => h("a", { href: `#/line-items/${id}?tab=delivery&hours=${number}`, "aria-current": Number(number) === hours ? "true" : undefined }, text))),
    chart.element,
    h("section", { class: "card" }, h("h2", null, "Money"), balances.element, unbilled),
    h("div", { class: "cards" }, reasons, matches)];
}

/** The flight's start, as far back as a report goes. */
function since(start) {
  const earliest = Date.now() - 91 * 86_400_000;
  return new Date(Math.max(earliest, Math.min(start.getTime(), Date.now() - 3_600_000))).toISOString();
}

const VERDICTS = { delivering: "good", on_plan: "good", ahead: "good", behind: "warn", not_delivering: "bad" };

async function diagnosis(card, id, signal) {
  const title = h("h2", null, "Why it does not deliver more");
  if (!(await offers("get", "/v1/line-items/{id}/diagnosis"))) return void fill(card, title, h("p", { class: "soft" }, "Not available: this server's API has no diagnosis of line items. ", h("a", { href: "#/explain" }, "Explain"), " tells it for one ad break."));
  try {
    const said = await get(`/v1/line-items/${id}/diagnosis`, {}, { signal });
    const causes = table({
      caption: `Causes${said.sample?.breaks !== undefined ? `, by a sample of ${count(said.sample.breaks)} ad breaks` : ""}`,
      empty: "No cause was found.",
      columns: [
        { name: "Cause", head: true, of: (one) => [words(one.reason), one.predicate ? h("div", { class: "small mono" }, typeof one.predicate === "string" ? one.predicate : JSON.stringify(one.predicate)) : null], by: (one) => one.reason },
        { name: "In words", of: (one) => one.words ?? "" },
        { name: "Share", numeric: true, of: (one) => shareText(one.share), by: (one) => one.share ?? 0 },
        { name: "Breaks", numeric: true, of: (one) => count(one.breaks), by: (one) => one.breaks ?? 0 },
      ],
    });
    causes.show(said.causes ?? []);
    const standing = said.standing && typeof said.standing === "object" ? Object.entries(said.standing).filter(([, value]) => value !== null && typeof value !== "object") : [];
    fill(card, title, h("p", null, tag(words(said.verdict ?? "unknown"), VERDICTS[said.verdict] ?? "")),
      causes.element,
      standing.length ? h("p", { class: "small soft" }, standing.map(([name, value]) => `${words(name)} ${value}`).join("; ")) : null);
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    fill(card, title, problem.status === 404 ? h("p", { class: "soft" }, "Not available.") : problemBox(problem));
  }
}

/** A share comes as a part of one, or as basis points. */
const shareText = (share) => (share === undefined ? "–" : share <= 1 ? percent(share, 1) : percent(share, 10_000));

async function matching(card, id, signal) {
  const title = h("h2", null, "Whom it would match");
  try {
    if (!(await offers("get", "/v1/line-items/{id}/matches"))) return void fill(card, title, h("p", { class: "soft" }, "Not available: this server's API does not tell whom a line item would match."));
    const said = await get(`/v1/line-items/${id}/matches`, {}, { signal });
    const plain = Object.entries(said).filter(([, value]) => typeof value !== "object" || value === null);
    const nested = Object.entries(said).filter(([, value]) => typeof value === "object" && value !== null);
    fill(card, title,
      h("table", null, h("caption", { class: "visually-hidden" }, "Whom it would match"), h("tbody", null, plain.map(([name, value]) => h("tr", null, h("th", { scope: "row" }, words(name)), h("td", { class: "num" }, typeof value === "number" ? count(value) : String(value)))))),
      nested.map(([name, value]) => h("details", null, h("summary", null, words(name)), h("pre", null, JSON.stringify(value, null, 2)))));
  } catch (problem) {
    if (problem.name !== "AbortError") fill(card, title, problem.status === 404 ? h("p", { class: "soft" }, "Not available.") : problemBox(problem));
  }
}
