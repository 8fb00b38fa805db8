// What happens now. All numbers are /v1/live's, /v1/reports', /v1/servers' and the checks'.
import { get, health, session } from "../api.js";
import { every } from "../app.js";
import { deliveryChart } from "../chart.js";
import { fill, h, problemBox, statusTag, tag } from "../dom.js";
import { ago, count, microseconds, money, percent, time } from "../format.js";
import { countsTable, table } from "../table.js";

const SECOND_MS = 1000;

function figure(name) {
  const value = h("div", { class: "value" }, "–");
  const note = h("div", { class: "note" }, "");
  return { element: h("div", { class: "figure" }, h("dt", null, name), h("dd", null, value, note)), show(text, more) { value.textContent = text; note.textContent = more ?? ""; } };
}

export async function show(root, { signal }) {
  const tiles = { rate: figure("Ad breaks a second"), fill: figure("Fill"), p50: figure("Answer, p50"), p95: figure("Answer, p95"), p99: figure("Answer, p99"), spend: figure("Spent today") };
  const trouble = h("div");
  const stamp = h("span", { class: "soft small" });
  const noFill = countsTable("Candidates not served in the last seconds, by reason", "Reason", "None in the last seconds.", count);
  const outcomes = countsTable("Ad breaks since the start, by outcome", "Outcome", "No ad break yet.", count);
  const beacons = countsTable("Beacons since the start, by event", "Event", "No beacon yet.", count);
  const unbilled = countsTable("Invalid traffic and unbilled impressions since the start", "Reason", "None.", count);
  const meter = h("span");
  const spend = h("p", { class: "small soft" });
  const checks = h("div");
  let now = "";
  const servers = table({
    caption: "Servers, by what accounting last heard of them",
    empty: "No server is registered.",
    columns: [
      { name: "Server", head: true, of: (one) => h("code", { title: one.server_id }, one.server_id.slice(-12)), by: (one) => one.server_id },
      { name: "State", of: (one) => statusTag(one.state), by: (one) => one.state },
      { name: "Heard", of: (one) => ago(one.heard_at, now), by: (one) => one.heard_at },
      { name: "Clock ahead", numeric: true, of: (one) => `${count(one.clock_ahead_ms)} ms`, by: (one) => one.clock_ahead_ms },
      { name: "Complete until (UTC)", of: (one) => time(one.complete_until), by: (one) => one.complete_until },
    ],
  });
  const chart = deliveryChart({ title: "Spend by hour against plan", hours: 24, signal });
  const serversCard = h("section", { class: "card" }, h("h2", null, "Servers"), session.role === "operator" ? servers.element : h("p", { class: "soft" }, "The register of servers is for an operator's key."));
  fill(root,
    h("div", { class: "page-head" }, h("h1", null, "Live"), stamp),
    trouble,
    h("dl", { class: "figures" }, Object.values(tiles).map((tile) => tile.element)),
    h("div", { class: "cards" },
      h("section", { class: "card steady" }, h("h2", null, "Why candidates were not served"), noFill.element),
      h("section", { class: "card" }, h("h2", null, "Today against plan"), h("div", { class: "meter big", "aria-hidden": "true" }, meter), spend),
      h("section", { class: "card" }, h("h2", null, "Health of this server"), checks)),
    chart.element,
    serversCard,
    h("div", { class: "cards" },
      h("section", { class: "card" }, h("h2", null, "Ad breaks"), outcomes.element),
      h("section", { class: "card" }, h("h2", null, "Beacons"), beacons.element),
      h("section", { class: "card" }, h("h2", null, "Not billed"), unbilled.element)));

  let today;
  let billed;
  function showSpend() {
    if (!today || billed === undefined) return;
    tiles.spend.show(money(billed), `due by now ${money(today.due_micros)}`);
    meter.style.width = `${Math.min(100, today.plan_micros > 0 ? (billed / today.plan_micros) * 100 : 0)}%`;
    fill(spend, `${money(billed)} billed of ${money(today.plan_micros)} planned (${percent(billed, today.plan_micros)}); ${money(today.due_micros)} due by now. `
      + `The day is UTC's; the plan is that of ${count(today.line_items)} line items that spread evenly, as sold. House ads and as fast as possible have none.`);
  }

  async function live() {
    try {
      const said = await get("/v1/live", {}, { signal });
      fill(trouble);
      now = said.now;
      today = said.today;
      const span = said.last ?? said.total;
      const seconds = span.ms / SECOND_MS;
      const { filled = 0, empty = 0 } = span.breaks_by_outcome;
      const over = said.last ? `over ${seconds.toFixed(0)} s` : "since the start";
      tiles.rate.show(seconds > 0 ? (span.breaks / seconds).toFixed(1) : "–", `${over}; ${count(said.total.breaks)} in all`);
      tiles.fill.show(percent(filled, filled + empty), `${count(filled)} of ${count(filled + empty)} due`);
      for (const name of ["p50", "p95", "p99"]) tiles[name].show(microseconds(span.answer[`${name}_us`]), `decision ${microseconds(span.decision[`${name}_us`])}`);
      noFill.show(span.no_fill);
      outcomes.show(said.total.breaks_by_outcome);
      beacons.show(said.total.beacons);
      unbilled.show({ ...said.total.invalid, ...said.total.unbilled });
      fill(stamp, `server's time ${time(said.now)} UTC`, said.clock_speed > 1 ? ` at ${said.clock_speed}× speed` : "", "; counts are of the process that answers");
      showSpend();
    } catch (problem) {
      if (problem.name === "AbortError") throw problem;
      fill(trouble, problemBox(problem));
    }
  }

  async function healths() {
    const [healthy, ready] = await Promise.all([health("/healthz", signal), health("/readyz", signal)]);
    const line = (name, said) => h("tr", null, h("th", { scope: "row" }, name), h("td", null, said.ok ? tag("yes", "good") : tag("no", "bad")),
      h("td", null, Object.entries(said.checks).map(([check, how]) => h("div", null, `${check}: ${how}`))));
    fill(checks, h("table", null, h("caption", { class: "visually-hidden" }, "Checks of this server"),
      h("thead", null, h("tr", null, ["", "", "Checks"].map((name, index) => h("th", { scope: "col" }, name || (index ? "Well" : "What"))))),
      h("tbody", null, line("Healthy", healthy), line("Ready", ready))));
    if (session.role === "operator") {
      const said = await get("/v1/servers", {}, { signal }).catch((problem) => { if (problem.name === "AbortError") throw problem; return { servers: [] }; });
      servers.show(said.servers);
    }
  }

  async function books() {
    if (!today) return;
    const report = await get("/v1/reports", { from: today.from, group_by: "total" }, { signal });
    billed = report.rows[0]?.billed_micros ?? 0;
    showSpend();
  }

  await every(2 * SECOND_MS, signal, live);
  every(5 * SECOND_MS, signal, healths);
  every(10 * SECOND_MS, signal, books);
  every(30 * SECOND_MS, signal, chart.load);
}
