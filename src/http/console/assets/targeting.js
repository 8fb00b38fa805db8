// Targeting as rows: attribute, operator, values, joined by all, any and not; and back to the API's JSON. What values may be is the API's to judge.
import { fill, h } from "./dom.js";
import { isObject } from "./documents.js";
import { joined, list, quote, split, unquote } from "./format.js";

const TEXTS = {
  country: "SE, NO", region: "SE-AB", city: "SE/Stockholm", postal_code: "SE/11122", language: "sv, en", gender: "female, male, other",
  platform: "ios, android, web, desktop, tv, speaker, car, console", device_type: "phone, tablet, computer", os: "android", connection: "wifi, cellular, wired",
  genre: "jazz, pop", mood: "calm", playlist: "…", artist: "…", content_category: "IAB1", segment: "…", break_position: "pre_roll, mid_roll, post_roll",
  app: "player", placement: "music", taste_genre: "jazz", taste_mood: "calm",
};
const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

class Unreadable extends Error {}


function readRange(part) {
  const read = /^(\d{1,3})?\s*-\s*(\d{1,3})?$/.exec(part) ?? (/^\d{1,3}$/.test(part) ? [part, part, part] : null);
  if (!read || (read[1] === undefined && read[2] === undefined)) throw new Unreadable("ages are ranges such as 18-34, 50-");
  const range = {};
  if (read[1] !== undefined) range.from = Number(read[1]);
  if (read[2] !== undefined) range.to = Number(read[2]);
  return range;
}

function readVersions(part) {
  const range = {};
  for (const word of part.split(/\s+/)) {
    const read = /^(>=|<)([0-9.]+)$/.exec(word);
    if (!read) throw new Unreadable("versions are such as >=12.1 <14");
    range[read[1] === "<" ? "below" : "at_least"] = read[2];
  }
  return range;
}

function readHours(part) {
  const read = /^(?:([a-z,-]+)\s+)?(\d{1,2})\s*-\s*(\d{1,2})$/.exec(part.trim().toLowerCase());
  if (!read) throw new Unreadable("hours are such as mon-fri 6-10; sat 8-12");
  const hours = { from: Number(read[2]), to: Number(read[3]) };
  if (read[1]) {
    hours.days = read[1].split(",").flatMap((word) => {
      const [first, last] = word.split("-");
      const [start, end] = [DAYS.indexOf(first), DAYS.indexOf(last ?? first)];
      if (start < 0 || end < 0 || end < start) throw new Unreadable(`${word} is no day or days`);
      return DAYS.slice(start, end + 1);
    });
  }
  return hours;
}

function readCircle(part) {
  const numbers = part.trim().split(/\s+/).map(Number);
  if (numbers.length !== 3 || numbers.some((value) => !Number.isFinite(value))) throw new Unreadable("circles are: latitude longitude metres; separated by ;");
  return { latitude: numbers[0], longitude: numbers[1], radius_m: numbers[2] };
}

const parts = (text) => split(text, ";");

// Attributes that are no plain lists: how they are written in one line.
const SPECIAL = {
  age: { hint: "18-34, 50-", read: (text) => list(text).map(readRange), write: (ranges) => ranges.map((one) => `${one.from ?? ""}-${one.to ?? ""}`).join(", ") },
  explicit: { hint: "true or false", read: (text) => { if (!/^(true|false)$/.test(text.trim())) throw new Unreadable("true or false"); return text.trim() === "true"; }, write: String },
  key_value: {
    hint: "key = value, value; key = value",
    read: (text) => Object.fromEntries(parts(text).map((part) => {
      const [key, values, more] = split(part, "=");
      if (!key || values === undefined || more !== undefined) throw new Unreadable("key = value, value; key = value");
      return [unquote(key), list(values)];
    })),
    write: (pairs) => Object.entries(pairs).map(([key, values]) => `${quote(key)} = ${joined(values)}`).join("; "),
  },
  os_version: { hint: ">=12.1 <14", read: (text) => list(text).map(readVersions), write: (ranges) => ranges.map(versionsText).join(", ") },
  app_version: { hint: ">=8.2", read: (text) => list(text).map(readVersions), write: (ranges) => ranges.map(versionsText).join(", ") },
  daypart: {
    hint: "mon-fri 6-10; sat,sun 8-12 (add: line item time)",
    read: (text) => {
      const byLineItem = /line item time/.test(text);
      const hours = parts(text.replace(/\(?line item time\)?/, "")).map(readHours);
      return { time_zone: byLineItem ? "line_item" : "listener", hours };
    },
    write: (daypart) => `${daypart.hours.map((one) => `${one.days ? `${one.days.join(",")} ` : ""}${one.from}-${one.to}`).join("; ")}${daypart.time_zone === "line_item" ? " line item time" : ""}`,
  },
  within: { hint: "59.33 18.06 5000", read: (text) => parts(text).map(readCircle), write: (circles) => circles.map((one) => `${one.latitude} ${one.longitude} ${one.radius_m}`).join("; ") },
};
const ATTRIBUTES = [...Object.keys(TEXTS), ...Object.keys(SPECIAL)];

function versionsText(range) {
  return [range.at_least && `>=${range.at_least}`, range.below && `<${range.below}`].filter(Boolean).join(" ");
}

const write = (attribute, value) => (SPECIAL[attribute] ? SPECIAL[attribute].write(value) : joined(value));
const read = (attribute, text) => (SPECIAL[attribute] ? SPECIAL[attribute].read(text) : list(text));

/** A tree of groups { join, negated, parts } and rows { attribute, negated, text } from the API's JSON. */
export function toTree(targeting) {
  const group = { join: "all", negated: false, parts: [] };
  for (const [name, value] of Object.entries(targeting ?? {})) {
    if (name === "all") group.parts.push(...value.map((one) => simplified(toTree(one))));
    else if (name === "any") group.parts.push({ join: "any", negated: false, parts: value.map((one) => simplified(toTree(one))) });
    else if (name === "not") {
      const inside = simplified(toTree(value));
      group.parts.push(inside.negated ? { join: "all", negated: true, parts: [inside] } : { ...inside, negated: true });
    } else group.parts.push({ attribute: name, negated: false, text: write(name, value) });
  }
  return group;
}

function simplified(group) {
  return group.parts.length === 1 && !group.negated ? group.parts[0] : group;
}

/** The API's JSON of a tree. */
export function toJson(tree) {
  const inside = tree.parts ? groupJson(tree) : { [tree.attribute]: read(tree.attribute, tree.text) };
  return tree.negated ? { not: inside } : inside;
}

function groupJson(group) {
  const made = group.parts.map(toJson);
  if (group.join === "any") return made.length ? { any: made } : {};
  // Fields of one object all hold: what does not clash goes into one.
  const whole = {};
  const rest = [];
  for (const one of made) {
    const names = Object.keys(one);
    if (names.some((name) => name in whole)) rest.push(one);
    else Object.assign(whole, one);
  }
  if (!rest.length) return whole;
  return { ...whole, all: [...(whole.all ?? []), ...rest] };
}

/** The builder. Returns { element, value(), setErrors(list) }; `value` throws where a row can't be read. */
export function builder(initial, { changed, readOnly }) {
  let tree = toTree(initial);
  let raw = null;
  // What nobody touched is what it was, in the API's own form.
  let untouched = initial;
  const area = h("textarea", { rows: 10, spellcheck: "false", "aria-label": "Targeting as JSON", disabled: readOnly, onInput: () => { raw = area.value; untouched = null; changed(); } });
  const rows = h("div");
  const errors = h("div", { class: "error", role: "status" });
  const summary = h("summary", null, "As JSON");
  const details = h("details", { onToggle: () => { if (details.open) showRaw(); else if (raw !== null) takeRaw(); } }, summary, area);

  function touched() {
    raw = untouched = null;
    if (details.open) showRaw();
    changed();
  }

  function showRaw() {
    if (raw !== null) return;
    try { area.value = JSON.stringify(untouched ?? toJson(tree), null, 2); } catch { area.value = "A row above can't be read yet."; }
  }

  function takeRaw() {
    try {
      tree = toTree(JSON.parse(raw));
      raw = null;
      draw();
    } catch { details.open = true; }
  }

  function draw() { fill(rows, groupElement(tree, null)); }

  function rowElement(row, parent) {
    const field = h("input", { type: "text", value: row.text, placeholder: hint(row.attribute), "aria-label": `Values of ${row.attribute}`, disabled: readOnly,
      onInput: () => { row.text = field.value; touched(); } });
    const attribute = h("select", { "aria-label": "Attribute", disabled: readOnly, onChange: () => { row.attribute = attribute.value; field.placeholder = hint(row.attribute); field.setAttribute("aria-label", `Values of ${row.attribute}`); touched(); } },
      ATTRIBUTES.map((name) => h("option", { value: name, selected: name === row.attribute }, name.replaceAll("_", " "))));
    const operator = h("select", { "aria-label": "Operator", disabled: readOnly, onChange: () => { row.negated = operator.value === "not"; touched(); } },
      h("option", { value: "is", selected: !row.negated }, "is any of"), h("option", { value: "not", selected: row.negated }, "is none of"));
    return h("div", { class: "row" }, h("div", { class: "cell narrow" }, attribute), h("div", { class: "cell narrow" }, operator), h("div", { class: "cell" }, field),
      readOnly ? null : removal(row, parent, `Remove ${row.attribute}`));
  }

  function removal(part, parent, label) {
    return h("button", { type: "button", class: "quiet", "aria-label": label, onClick: () => { parent.parts.splice(parent.parts.indexOf(part), 1); draw(); touched(); } }, "✕");
  }

  function groupElement(group, parent) {
    const join = h("select", { "aria-label": "How the rows are joined", disabled: readOnly, onChange: () => { group.join = join.value; touched(); } },
      h("option", { value: "all", selected: group.join === "all" }, "all of these (and)"), h("option", { value: "any", selected: group.join === "any" }, "any of these (or)"));
    const negated = h("input", { type: "checkbox", checked: group.negated, disabled: readOnly, onChange: () => { group.negated = negated.checked; draw(); touched(); } });
    const adding = (part) => () => { group.parts.push(part()); draw(); touched(); };
    return h("div", { class: `group ${group.negated ? "negated" : ""}`, role: "group", "aria-label": `${group.negated ? "not " : ""}${group.join} of` },
      h("div", { class: "group-head" }, parent ? h("label", { class: "inline" }, negated, "not") : null, join,
        readOnly ? null : [
          h("button", { type: "button", onClick: adding(() => ({ attribute: "country", negated: false, text: "" })) }, "+ Row"),
          h("button", { type: "button", onClick: adding(() => ({ join: group.join === "all" ? "any" : "all", negated: false, parts: [{ attribute: "country", negated: false, text: "" }] })) }, "+ Group"),
        ],
        parent && !readOnly ? removal(group, parent, "Remove the group") : null),
      group.parts.length ? null : h("p", { class: "help" }, parent ? "An empty group: everybody." : "No conditions: it may play to everybody."),
      group.parts.map((part) => (part.parts ? groupElement(part, group) : rowElement(part, group))));
  }

  draw();
  return {
    element: h("div", null, rows, errors, details),
    setErrors(found) { fill(errors, found.map((one) => h("div", null, one.path ? h("code", null, one.path) : null, one.path ? ": " : "", one.message))); },
    value() {
      if (untouched) return untouched;
      if (raw === null) return toJson(tree);
      const said = JSON.parse(raw);
      if (!isObject(said)) throw new Unreadable("targeting is an object");
      return said;
    },
  };
}

const hint = (attribute) => (SPECIAL[attribute]?.hint ?? TEXTS[attribute] ?? "");
