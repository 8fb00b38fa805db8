// The kinds of entity: where they are, what fields they have. What a field may hold is the API's to say.
import { session } from "./api.js";

const STATUS = { path: "status", label: "Status", type: "choice", choices: ["active", "paused"], initial: "active" };
const NAME = { path: "name", label: "Name", type: "text", required: true };
const BUDGET = [
  { path: "budget.lifetime_micros", label: "Lifetime budget", type: "money", help: "Empty: no limit." },
  { path: "budget.daily_micros", label: "Daily budget", type: "money", help: "Empty: no limit." },
];
const HOUR = 3_600_000;
const CAPS = {
  path: "caps", label: "Frequency caps", type: "rows", add: "Add a cap", wide: true,
  initialRow: { scope: "line_item", max: 3, window: { kind: "sliding", duration_ms: 24 * HOUR } },
  columns: [
    { path: "max", label: "At most", type: "number", narrow: true },
    { path: "scope", label: "of one", type: "choice", choices: ["creative", "line_item", "campaign", "advertiser"] },
    { path: "window.kind", label: "in", type: "choice", choices: ["sliding", "pod"] },
    { path: "window.duration_ms", label: "of so many hours", type: "hours", narrow: true, help: "sliding only" },
    { path: "strictness", label: "Strictness", type: "choice", choices: ["soft", "strict"], initial: "soft" },
  ],
};

export const KINDS = {
  advertisers: {
    one: "advertiser", many: "Advertisers", api: "/v1/advertisers", children: ["campaigns", "creatives"], mayWrite: ["operator"],
    parent: null,
    sections: [
      { fields: [NAME, STATUS, { path: "zone", label: "Time zone", type: "text", initial: "UTC", help: "IANA name, such as Europe/Stockholm." }] },
      { title: "Budget", fields: BUDGET },
      { title: "Caps", fields: [CAPS] },
    ],
  },
  campaigns: {
    one: "campaign", many: "Campaigns", api: "/v1/campaigns", children: ["line-items"], mayWrite: ["operator", "advertiser"],
    parent: { kind: "advertisers", field: "advertiser_id" },
    sections: [
      { fields: [NAME, STATUS, { path: "advertiser_id", label: "Advertiser", type: "entity", kind: "advertisers", fixed: true }] },
      { title: "Budget", fields: BUDGET },
      { title: "Caps", fields: [CAPS] },
    ],
  },
  "line-items": {
    one: "line item", many: "Line items", api: "/v1/line-items", children: [], mayWrite: ["operator", "advertiser"],
    parent: { kind: "campaigns", field: "campaign_id" },
    sections: [
      {
        fields: [
          NAME, STATUS,
          { path: "campaign_id", label: "Campaign", type: "entity", kind: "campaigns", fixed: true, required: true },
          { path: "tier", label: "Tier", type: "choice", choices: ["sponsorship", "guaranteed", "auction", "house"], initial: "auction" },
          { path: "category", label: "Category", type: "text", help: "Two ads of one category never share a pod." },
          { path: "excluded_categories", label: "Not beside categories", type: "words" },
        ],
      },
      {
        title: "Flight and pace",
        fields: [
          { path: "flight.start", label: "Start (UTC)", type: "moment", required: true },
          { path: "flight.end", label: "End (UTC)", type: "moment", required: true },
          { path: "flight.zone", label: "Time zone of its days", type: "text", initial: "UTC" },
          { path: "pacing.mode", label: "Pacing", type: "choice", choices: ["even", "as_fast_as_possible", "front_loaded", "curve"], initial: "even" },
        ],
      },
      {
        title: "Price, budget, goal",
        fields: [
          { path: "pricing.model", label: "Paid for", type: "choice", choices: ["cpm", "cpcl", "cpc", "flat"], initial: "cpm" },
          { path: "pricing.amount_micros", label: "Price", type: "money", help: "For cpm: of 1,000 impressions; in the auction the bid." },
          ...BUDGET,
          { path: "goal.impressions", label: "Goal, impressions", type: "number", help: "For the guaranteed tier." },
          { path: "goal.daily_impressions", label: "Goal a day", type: "number" },
          { path: "share_of_voice.basis_points", label: "Share of voice, 1/100 %", type: "number", help: "For the sponsorship tier: 1 to 10,000." },
        ],
      },
      { title: "Targeting", fields: [{ path: "targeting", label: "To whom it may play", type: "targeting", wide: true }] },
      { title: "Caps", fields: [CAPS] },
      {
        title: "What it plays",
        fields: [
          {
            path: "creatives", label: "Creatives", type: "rows", add: "Add a creative", wide: true, initialRow: { weight: 1 },
            columns: [
              { path: "creative_id", label: "Creative", type: "entity", kind: "creatives" },
              { path: "weight", label: "Weight", type: "number", initial: 1, narrow: true },
            ],
          },
          {
            path: "trackers", label: "Trackers of third parties", type: "rows", add: "Add a tracker", wide: true, initialRow: { event: "impression" },
            columns: [
              { path: "event", label: "Event", type: "choice", choices: ["start", "impression", "q1", "mid", "q3", "complete", "skip", "mute", "unmute", "click", "error"], narrow: true },
              { path: "url", label: "URL", type: "text" },
            ],
          },
        ],
      },
      {
        title: "Not to be heard beside",
        fields: [
          { path: "avoid.explicit", label: "Explicit tracks", type: "flag" },
          { path: "avoid.content_categories", label: "Content categories", type: "words" },
          { path: "avoid.genres", label: "Genres", type: "words" },
        ],
      },
    ],
  },
  creatives: {
    one: "creative", many: "Creatives", api: "/v1/creatives", children: [], mayWrite: ["operator", "advertiser"],
    parent: { kind: "advertisers", field: "advertiser_id" },
    sections: [
      {
        fields: [
          NAME, STATUS,
          { path: "advertiser_id", label: "Advertiser", type: "entity", kind: "advertisers", fixed: true },
          { path: "duration_ms", label: "Length, ms", type: "number", required: true },
          { path: "explicit", label: "Explicit content", type: "flag" },
          { path: "click_url", label: "Click URL", type: "text", help: "https; may hold macros such as [CLICKID]." },
        ],
      },
      {
        title: "Sound",
        fields: [{
          path: "renditions", label: "Encodings", type: "rows", add: "Add an encoding", wide: true, initialRow: { format: "mp3", bitrate_kbps: 128 },
          columns: [
            { path: "format", label: "Format", type: "choice", choices: ["mp3", "ogg_vorbis", "aac", "wav"], narrow: true },
            { path: "bitrate_kbps", label: "kbit/s", type: "number", narrow: true },
            { path: "url", label: "URL", type: "text" },
            { path: "asset_id", label: "or asset", type: "text" },
          ],
        }],
      },
    ],
  },
};

/** Whether the key's role may change entities of that kind. */
export const mayWrite = (kind) => KINDS[kind].mayWrite.includes(session.role);

export const fieldsOf = (kind) => KINDS[kind].sections.flatMap((section) => section.fields);

/** What is at a path such as `budget.lifetime_micros`. */
export function at(document, path) {
  return path.split(".").reduce((value, name) => (value === undefined || value === null ? undefined : value[name]), document);
}

/** Puts a value there; nothing where there is none. */
export function put(document, path, value) {
  if (value === undefined) return;
  const names = path.split(".");
  const last = names.pop();
  let into = document;
  for (const name of names) into = into[name] ??= {};
  into[last] = value;
}

/** Takes away what is there. */
export function remove(document, path) {
  const names = path.split(".");
  const last = names.pop();
  const from = names.length ? at(document, names.join(".")) : document;
  if (isObject(from)) delete from[last];
}

export const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

export function same(one, other) {
  if (one === other) return true;
  if (Array.isArray(one) && Array.isArray(other)) return one.length === other.length && one.every((value, index) => same(value, other[index]));
  if (!isObject(one) || !isObject(other)) return false;
  const names = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...names].every((name) => same(one[name], other[name]));
}

/** The merge patch (RFC 7396) that makes `to` of `from`. */
export function mergePatch(from, to) {
  const patch = {};
  for (const name of new Set([...Object.keys(from ?? {}), ...Object.keys(to ?? {})])) {
    const [before, after] = [from?.[name], to?.[name]];
    if (same(before, after)) continue;
    // An empty object says no more than none.
    if (after === undefined && isObject(before) && !Object.keys(before).length) continue;
    if (after === undefined) patch[name] = null;
    else if (isObject(before) && isObject(after)) patch[name] = mergePatch(before, after);
    else patch[name] = after;
  }
  return patch;
}

/** The leaves in which two documents differ: { path, before, after }. */
export function differences(before, after, path = "") {
  if (same(before, after)) return [];
  if (isObject(before) && isObject(after)) {
    const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
    return names.flatMap((name) => differences(before[name], after[name], path ? `${path}.${name}` : name));
  }
  return [{ path, before, after }];
}
