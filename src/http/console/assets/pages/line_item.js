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
    reasons, matches];
}

/** The flight's start, as far back as a report goes. */
function since(start) {
  const earliest = Date.now() - 91 * 86_400_000;
  return new Date(Math.max(earliest, Math.min(start.getTime(), Date.now() - 3_600_000))).toISOString();
}

/** Verdicts that are no trouble. */
const WELL = new Set(["delivering", "chosen"]);

async function diagnosis(card, id, signal) {
  const title = h("h2", null, "Why it does not deliver more");
  if (!(await offers("get", "/v1/line-items/{id}/diagnosis"))) return void fill(card, title, h("p", { class: "soft" }, "Not available: this server's API has no diagnosis of line items. ", h("a", { href: "#/explain" }, "Explain"), " tells it for one ad break."));
  try {
    const said = await get(`/v1/line-items/${id}/diagnosis`, {}, { signal });
    const sample = said.sample ?? {};
    const causes = table({
      caption: `How it ended in ${count(sample.breaks ?? 0)} ad breaks that were sampled lately, standing for ${count(sample.stands_for_breaks ?? sample.breaks ?? 0)}`,
      empty: sample.available === false ? "The server that answers samples no ad breaks." : "No ad break was sampled lately.",
      columns: [
        { name: "End", head: true, of: (one) => [words(one.reason), one.predicate ? h("div", { class: "small mono" }, one.predicate) : null], by: (one) => one.reason },
        { name: "In words", roomy: true, of: (one) => [one.words ?? "", more(one)] },
        { name: "Share", numeric: true, of: (one) => shareText(one), by: (one) => one.share_basis_points ?? one.share ?? 0 },
        { name: "Breaks", numeric: true, of: (one) => count(one.breaks), by: (one) => one.breaks ?? 0 },
      ],
      sort: { index: 2, down: true },
    });
    causes.show(said.causes ?? []);
    const well = WELL.has(said.verdict_reason);
    fill(card, title,
      h("div", { class: `note-box ${well ? "good" : "warn"}` }, h("p", null, said.verdict ?? "", " ", said.verdict_reason ? tag(words(said.verdict_reason)) : null)),
      (said.standing?.blockers ?? []).length ? h("ul", null, said.standing.blockers.map((one) => h("li", null, one.words, " ", tag(words(one.reason), "bad")))) : null,
      causes.element, standing(said.standing ?? {}));
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    fill(card, title, problem.status === 404 ? h("p", { class: "soft" }, "Not available.") : problemBox(problem));
  }
}

/** What a cause says beside its words. */
function more(one) {
  const facts = [
    one.breaks_but_for_this !== undefined && `${count(one.breaks_but_for_this)} breaks but for this alone`,
    one.breaks_without_consent !== undefined && `${count(one.breaks_without_consent)} without consent`,
    one.outranked_by_micros_cpm !== undefined && `outbid by ${money(one.outranked_by_micros_cpm)} CPM`,
  ].filter(Boolean);
  return facts.length ? h("div", { class: "small soft" }, facts.join("; ")) : null;
}

function standing({ flight, creatives, spending }) {
  const facts = [
    flight && `flight ${words(flight)}`,
    creatives?.total !== undefined && `${creatives.servable} of ${creatives.total} creatives can serve`,
    spending && (spending.has_lease ? `lease held${spending.lease_left_micros === undefined ? "" : `, ${money(spending.lease_left_micros)} left`}` : "no lease held"),
    spending?.throttle_basis_points !== undefined && `pacing lets it into ${percent(spending.throttle_basis_points, 10_000)} of its breaks`,
  ].filter(Boolean);
  return facts.length ? h("p", { class: "small soft" }, `Now: ${facts.join("; ")}.`) : null;
}

const shareText = ({ share_basis_points: points, share }) => (points !== undefined ? percent(points, 10_000) : share !== undefined ? percent(share, 1) : "–");

async function matching(card, id, signal) {
  const title = h("h2", null, "Whom it would match");
  try {
    if (!(await offers("get", "/v1/line-items/{id}/matches"))) return void fill(card, title, h("p", { class: "soft" }, "Not available: this server's API does not tell whom a line item would match."));
    const said = await get(`/v1/line-items/${id}/matches`, {}, { signal });
    const examples = table({
      caption: "The newest of them, as far as may be told",
      empty: "No ad break that was sampled lately matches.",
      columns: [
        { name: "Country", head: true, of: (one) => one.country?.toUpperCase() ?? "–", by: (one) => one.country ?? "" },
        { name: "Platform", of: (one) => one.platform ?? "–", by: (one) => one.platform ?? "" },
        { name: "Hour (UTC)", numeric: true, of: (one) => String(one.hour ?? "–"), by: (one) => one.hour ?? -1 },
        { name: "Genres", of: (one) => (one.genres ?? []).join(", ") || "–" },
        { name: "Placement", of: (one) => one.placement ?? "–", by: (one) => one.placement ?? "" },
      ],
    });
    examples.show(said.examples ?? []);
    fill(card, title,
      h("p", null, h("strong", null, shareText(said)), ` of ad breaks, about ${count(said.breaks)} in the last hour`, said.sampled_breaks === undefined ? "" : h("span", { class: "soft" }, ` (${count(said.sampled_breaks)} of ${count(said.sample?.breaks)} sampled)`)),
      examples.element);
  } catch (problem) {
    if (problem.name !== "AbortError") fill(card, title, problem.status === 404 ? h("p", { class: "soft" }, "Not available.") : problemBox(problem));
  }
}
