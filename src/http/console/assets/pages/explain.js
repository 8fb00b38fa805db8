// What becomes of every line item for one ad break, by the API's own explanation.
import { call, session } from "../api.js";
import { fill, h, problemBox, say, tag } from "../dom.js";
import { count, list, microseconds, words } from "../format.js";
import { beacon } from "../player.js";
import { countsTable, table } from "../table.js";

const QUICK = [
  { path: ["listener", "id"], label: "Listener", initial: "explain-1" },
  { path: ["geo", "country"], label: "Country", initial: "SE" },
  { path: ["geo", "region"], label: "Region" },
  { path: ["geo", "city"], label: "City" },
  { path: ["geo", "time_zone"], label: "Time zone", initial: "Europe/Stockholm" },
  { path: ["listener", "age"], label: "Age", number: true },
  { path: ["listener", "gender"], label: "Gender", choices: ["", "female", "male", "other"] },
  { path: ["privacy", "consent"], label: "Consent", choices: ["granted", "denied", "not_required", ""], initial: "granted" },
  { path: ["device", "platform"], label: "Platform", choices: ["", "ios", "android", "web", "desktop", "tv", "speaker", "car", "console"], initial: "ios" },
  { path: ["device", "type"], label: "Device", initial: "phone" },
  { path: ["context", "genres"], label: "Genres", list: true, initial: "jazz" },
  { path: ["context", "moods"], label: "Moods", list: true },
  { path: ["segments"], label: "Segments", list: true },
  { path: ["break", "placement"], label: "Placement", placement: true },
  { path: ["break", "position"], label: "Position", choices: ["mid_roll", "pre_roll", "post_roll"], initial: "mid_roll" },
  { path: ["break", "max_ads"], label: "Most ads", number: true, initial: "3" },
  { path: ["break", "max_duration_ms"], label: "Longest, ms", number: true, initial: "90000" },
];

/** Fields over a request of JSON. Returns { element, body(), set(body) }; `extra` goes in below them. */
export function requestFields(changed, extra = {}) {
  const placements = session.network?.placements ?? [];
  const fields = QUICK.map((one, index) => {
    const id = `quick-${index}`;
    const choices = one.placement ? placements.map((place) => place.key) : one.choices;
    const input = choices
      ? h("select", { id }, choices.map((choice) => h("option", { value: choice, selected: choice === one.initial }, choice.replaceAll("_", " ") || "not said")))
      : h("input", { type: "text", id, autocomplete: "off", value: one.initial ?? "", inputmode: one.number ? "numeric" : undefined });
    input.addEventListener("input", changed);
    return { one, input, element: h("div", { class: "field" }, h("label", { for: id }, one.label), input) };
  });
  const value = ({ one, input }) => {
    const text = input.value.trim();
    if (!text) return undefined;
    if (one.list) return list(text);
    return one.number ? Number(text) : text;
  };
  return {
    element: h("div", { class: "fields short" }, fields.map((field) => field.element)),
    body() {
      const body = { request_id: `console-${crypto.randomUUID()}`, listener: {}, break: {}, ...extra };
      for (const field of fields) {
        const said = value(field);
        if (said === undefined) continue;
        const [first, second] = field.one.path;
        if (second) (body[first] ??= {})[second] = said;
        else body[first] = said;
      }
      return body;
    },
  };
}

export async function show(root, { signal }) {
  const text = h("textarea", { id: "request", rows: 20, spellcheck: "false", "aria-describedby": "request-help" });
  const fields = requestFields(() => { text.value = JSON.stringify(fields.body(), null, 2); }, { explain: true });
  text.value = JSON.stringify(fields.body(), null, 2);
  const trouble = h("div");
  const result = h("div", { "aria-live": "polite" }, h("p", { class: "empty" }, "No ad break was asked for yet."));
  const button = h("button", { type: "submit", class: "primary" }, "Explain this ad break");

  const ask = async (event) => {
    event.preventDefault();
    let body;
    try {
      body = JSON.parse(text.value);
      body.explain = true;
    } catch (wrong) {
      return void fill(trouble, problemBox({ title: "The request is not JSON", message: wrong.message }));
    }
    button.disabled = true;
    try {
      const began = performance.now();
      const answer = await call("POST", "/v1/ad-breaks", { body, signal });
      fill(trouble);
      fill(result, explained(answer, performance.now() - began));
      // Nobody hears them: given back at once, as a good player does.
      for (const ad of answer.ads) beacon(ad.tracking_url, "not-used");
      say(answer.explanation?.summary ?? "Answered");
      // A repeat of the id would get the same answer.
      if (/^console-/.test(body.request_id ?? "")) text.value = JSON.stringify({ ...body, request_id: `console-${crypto.randomUUID()}` }, null, 2);
    } catch (problem) {
      if (problem.name !== "AbortError") fill(trouble, problemBox(problem));
    } finally {
      button.disabled = false;
    }
  };

  fill(root, h("div", { class: "page-head" }, h("h1", null, "Explain")),
    h("p", { class: "soft" }, "Asks for one ad break as a player would, and shows what became of every line item. It is a real decision; its ads are given back at once, unheard and not billed."),
    h("form", { class: "card", onSubmit: ask },
      h("div", { class: "wide-left" },
        h("div", null, h("h2", null, "Build it"), fields.element),
        h("div", null, h("h2", null, h("label", { for: "request" }, "Or paste it")), text, h("div", { class: "help", id: "request-help" }, "This is what is sent. A change in the fields writes it anew."))),
      h("p", { class: "after" }, button), trouble),
    result);
}

function explained(answer, ms) {
  const said = answer.explanation ?? { summary: answer.no_break ? `no break is due: ${words(answer.no_break)}` : "not explained", counts: {}, fates: [], line_items: 0 };
  const counts = countsTable("How many fell for which reason", "Reason", "None fell.", count);
  counts.show(said.counts);
  const filter = h("input", { type: "search", id: "fate-filter", autocomplete: "off" });
  const reasons = [...new Set(said.fates.map((fate) => fate.reason ?? "in the pod"))].sort();
  const reason = h("select", { id: "fate-reason" }, h("option", { value: "" }, "any"), reasons.map((name) => h("option", { value: name }, words(name))));
  const tiers = [...new Set(said.fates.map((fate) => fate.tier))].sort();
  const tier = h("select", { id: "fate-tier" }, h("option", { value: "" }, "any"), tiers.map((name) => h("option", { value: name }, name)));
  const note = h("p", { class: "small soft", role: "status" });
  const fates = table({
    caption: "Fate of each candidate: the pod, then those that came closest",
    empty: "No candidate matches the filter.",
    columns: [
      { name: "Line item", head: true, of: (fate) => h("a", { href: `#/line-items/${fate.line_item_id}` }, fate.name), by: (fate) => fate.name.toLowerCase() },
      { name: "Tier", of: (fate) => fate.tier, by: (fate) => fate.tier },
      { name: "Fate", tight: true, of: (fate) => (fate.slot ? tag(`slot ${fate.slot}`, "good") : tag(words(fate.reason))), by: (fate) => (fate.slot ? `0${fate.slot}` : fate.reason) },
      { name: "In words", roomy: true, of: (fate) => fate.words },
    ],
  });
  const show = () => {
    const text = filter.value.trim().toLowerCase();
    const rows = said.fates.filter((fate) => (!text || fate.name.toLowerCase().includes(text) || fate.words.toLowerCase().includes(text) || fate.line_item_id === text)
      && (!reason.value || (fate.reason ?? "in the pod") === reason.value) && (!tier.value || fate.tier === tier.value));
    fates.show(rows);
    note.textContent = `${rows.length} of ${said.fates.length} shown; ${count(said.line_items)} line items were looked at.`;
  };
  for (const one of [filter, reason, tier]) one.addEventListener("input", show);
  show();
  return [
    h("div", { class: `note-box ${answer.ads.length ? "good" : "warn"}` }, h("p", null, h("strong", null, said.summary)),
      h("p", { class: "small" }, `${answer.ads.length} ads; decision `, h("code", null, answer.decision_id), `; answered in ${microseconds(Math.round(ms * 1000))} as seen from here; next break after ${Math.round(answer.next_break.after_ms / 1000)} s`, answer.degradation_tier ? `; degradation ${answer.degradation_tier}` : "", answer.limited ? `; limited: ${words(answer.limited)}` : "")),
    answer.warnings?.length ? h("div", { class: "note-box warn" }, h("p", null, "Left out of account:"), h("ul", null, answer.warnings.map((one) => h("li", null, h("code", null, one.path), `: ${one.message}`)))) : null,
    h("section", { class: "card" }, h("h2", null, "Counts"), h("div", { class: "slim" }, counts.element)),
    h("section", { class: "card" }, h("h2", null, "Candidates"),
      h("div", { class: "filters" }, h("div", { class: "grow" }, h("label", { for: "fate-filter" }, "Filter"), filter), h("div", null, h("label", { for: "fate-reason" }, "Reason"), reason), h("div", null, h("label", { for: "fate-tier" }, "Tier"), tier)),
      note, fates.element),
    h("section", { class: "card" }, h("details", null, h("summary", null, "The whole answer"), h("pre", null, JSON.stringify(answer, null, 2)))),
  ];
}
