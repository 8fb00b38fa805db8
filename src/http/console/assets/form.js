// A form over an API document: each field knows its path, and shows what the API says of it.
import { all, get } from "./api.js";
import { at, put, remove } from "./documents.js";
import { fill, freshId, h } from "./dom.js";
import { joined, list, micros, units } from "./format.js";
import { builder } from "./targeting.js";

const NOT_YET = Symbol("can't be read yet");

/** A text field's own reading: value or undefined for empty; throws with what is wrong. */
const READ = {
  text: (text) => (text === "" ? undefined : text),
  number: (text) => {
    if (text.trim() === "") return undefined;
    if (!/^\d{1,15}$/.test(text.trim())) throw new Error("a whole number");
    return Number(text);
  },
  money: (text) => {
    if (text.trim() === "") return undefined;
    const value = micros(text);
    if (Number.isNaN(value)) throw new Error("an amount such as 12.50, at most six decimals");
    return value;
  },
  hours: (text) => {
    if (text.trim() === "") return undefined;
    const value = Number(text.replace(",", "."));
    if (!(value > 0)) throw new Error("hours, such as 24 or 0.5");
    return Math.round(value * 3_600_000);
  },
  moment: (text) => {
    if (text === "") return undefined;
    const whole = text.length === 16 ? `${text}:00` : text;
    if (Number.isNaN(Date.parse(`${whole}Z`))) throw new Error("a day and time");
    return `${whole}Z`;
  },
  words: list,
};
const WRITE = {
  text: (value) => value ?? "",
  number: (value) => (value === undefined ? "" : String(value)),
  money: (value) => (value === undefined ? "" : units(value)),
  hours: (value) => (value === undefined ? "" : String(value / 3_600_000)),
  moment: (value) => (value ?? "").replace(/Z$/, ""),
  words: (value) => joined(value ?? []),
};

/** Fields of sections over a document. Returns { element, document(), errors(list) → those of no field, focusFirstError() }. `changed` is called at each change. */
export function form(sections, document, { changed, readOnly, isNew, signal }) {
  const controls = [];
  const context = { changed, readOnly, isNew, signal, entities: reader(document, signal) };
  const element = h("div", null, sections.map((section) => {
    const inside = section.fields.map((field) => {
      const made = control(field, at(document, field.path) ?? (isNew ? field.initial : undefined), field.path, context);
      const one = { field, isTouched: false, ...made };
      for (const kind of ["input", "change", "click"]) made.element.addEventListener(kind, () => { one.isTouched = true; });
      controls.push(one);
      return made.element;
    });
    const fields = h("div", { class: "fields" }, inside);
    return section.title ? h("fieldset", null, h("legend", null, section.title), fields) : fields;
  }));
  return {
    element,
    /** What the form says; throws where a field can't be read, which then says so. */
    document() {
      const made = {};
      let unreadable = false;
      for (const one of controls) {
        const value = one.value();
        if (value === NOT_YET) unreadable = true;
        else put(made, one.field.path, value);
      }
      if (unreadable) throw new Error("some fields can't be read yet");
      return made;
    },
    /** Shows what is wrong at its field; with `onlyTouched` not at fields where nobody has been yet. */
    errors(found, { onlyTouched = false } = {}) {
      const rest = [];
      const byControl = new Map(controls.map((one) => [one, []]));
      for (const one of found) {
        const owner = controls.find(({ field }) => one.path === field.path || one.path.startsWith(`${field.path}.`) || one.path.startsWith(`${field.path}[`))
          ?? controls.find(({ field }) => field.path.startsWith(`${one.path}.`) && one.path !== "");
        if (owner) byControl.get(owner).push(one);
        else rest.push(one);
      }
      for (const [one, its] of byControl) one.setErrors(onlyTouched && !one.isTouched ? [] : its);
      return rest;
    },
    focusFirstError() { element.querySelector('[aria-invalid="true"]')?.focus(); },
  };
}

function control(field, value, path, context) {
  if (field.type === "rows") return rowsControl(field, value, path, context);
  if (field.type === "targeting") return targetingControl(value, context);
  if (field.type === "flag") return flagControl(field, value, context);
  const id = freshId("field");
  const error = h("div", { class: "error", id: `${id}-error` });
  const disabled = context.readOnly || (field.fixed && !context.isNew);
  const input = inputOf(field, value, id, disabled, context);
  input.addEventListener("input", context.changed);
  input.addEventListener("change", context.changed);
  const element = h("div", { class: `field ${field.wide ? "wide" : ""}` },
    h("label", { for: id }, field.label, field.required ? h("span", { "aria-hidden": "true" }, " *") : null),
    input,
    field.help ? h("div", { class: "help", id: `${id}-help` }, field.help) : null,
    error);
  return {
    element,
    value() {
      try {
        const read = READ[field.type]?.(input.value) ?? (field.type in READ ? undefined : input.value || undefined);
        // The browser writes a moment shorter than the API: the same one is no change.
        return field.type === "moment" && value && Date.parse(read) === Date.parse(value) ? value : read;
      } catch (wrong) {
        mark(input, error, [{ message: wrong.message }]);
        return NOT_YET;
      }
    },
    setErrors: (found) => mark(input, error, found),
  };
}

function inputOf(field, value, id, disabled, context) {
  const props = { id, disabled, "aria-describedby": `${field.help ? `${id}-help ` : ""}${id}-error`, "aria-required": field.required ? "true" : undefined };
  if (field.type === "choice") {
    const choices = value !== undefined && !field.choices.includes(value) ? [value, ...field.choices] : field.choices;
    return h("select", props, choices.map((choice) => h("option", { value: choice, selected: choice === (value ?? field.initial) }, choice.replaceAll("_", " "))));
  }
  if (field.type === "entity") return entityChoice(field, value, props, context);
  if (field.type === "moment") return h("input", { ...props, type: "datetime-local", step: "1", value: WRITE.moment(value) });
  return h("input", { ...props, type: "text", inputmode: field.type === "number" ? "numeric" : field.type === "money" || field.type === "hours" ? "decimal" : undefined,
    autocomplete: "off", value: WRITE[field.type](value) });
}

/** A choice among the entities of a kind, which come when the API has answered; until then what is chosen is its id. */
function entityChoice(field, value, props, context) {
  const select = h("select", props, value ? h("option", { value, selected: true }, value) : h("option", { value: "" }, "–"));
  const offer = async () => {
    const items = await context.entities(field.kind);
    const chosen = select.value;
    const options = items.filter((one) => one.status !== "archived" || one.id === chosen);
    if (chosen && !options.some((one) => one.id === chosen)) {
      // Beyond those that were listed, or not there any more.
      options.unshift(await get(`/v1/${field.kind}/${chosen}`, {}, { signal: context.signal }).catch(() => ({ id: chosen, name: chosen })));
    }
    fill(select, h("option", { value: "" }, "–"), options.map((one) => h("option", { value: one.id, selected: one.id === chosen }, one.name)));
  };
  offer().catch(() => {});
  return select;
}

/** Reads the entities of a kind once a form, creatives those of the line item's advertiser only. */
function reader(document, signal) {
  const read = {};
  const advertiser = async () => document.advertiser_id
    ?? (document.campaign_id ? (await get(`/v1/campaigns/${document.campaign_id}`, {}, { signal })).advertiser_id : undefined);
  return (kind) => (read[kind] ??= (async () => {
    const query = kind === "creatives" ? { advertiser_id: await advertiser() } : {};
    return (await all(`/v1/${kind}`, query, 500, signal)).items;
  })());
}

function flagControl(field, value, context) {
  const input = h("input", { type: "checkbox", checked: value === true, disabled: context.readOnly, onChange: context.changed });
  const error = h("div", { class: "error" });
  return {
    element: h("div", { class: "field" }, h("span", { class: "label" }, " "), h("label", { class: "inline" }, input, field.label), error),
    value: () => input.checked,
    setErrors: (found) => mark(input, error, found),
  };
}

function targetingControl(value, context) {
  const made = builder(value ?? {}, context);
  return {
    element: h("div", { class: "field wide" }, made.element),
    value() {
      try { return made.value(); } catch (wrong) {
        made.setErrors([{ message: wrong.message }]);
        return NOT_YET;
      }
    },
    setErrors: made.setErrors,
  };
}

/** A list of small documents, a row each. */
function rowsControl(field, value, path, context) {
  let rows = [];
  const lines = h("div");
  const error = h("div", { class: "error" });
  const add = (row) => {
    const cells = field.columns.map((column) => ({ column, ...control(column, at(row, column.path) ?? column.initial, `${path}[].${column.path}`, context) }));
    rows.push({ row, cells });
  };
  const draw = () => fill(lines, rows.length ? null : h("p", { class: "help" }, "None."), rows.map((one, index) => h("div", { class: "row", role: "group", "aria-label": `${field.label}, ${index + 1}` },
    one.cells.map((cell) => h("div", { class: `cell ${cell.column.narrow ? "narrow" : ""}` }, cell.element)),
    context.readOnly ? null : h("button", { type: "button", class: "quiet", "aria-label": `Remove ${field.label}, ${index + 1}`, onClick: () => { rows = rows.filter((other) => other !== one); draw(); context.changed(); } }, "✕"))));
  for (const row of value ?? []) add(row);
  draw();
  return {
    element: h("div", { class: "field wide" }, h("span", { class: "label" }, field.label), lines,
      context.readOnly ? null : h("button", { type: "button", onClick: () => { add(structuredClone(field.initialRow ?? {})); draw(); context.changed(); } }, field.add), error),
    value() {
      let unreadable = false;
      const made = rows.map(({ row, cells }) => {
        // What a row has and the form doesn't show stays as it is.
        const document = structuredClone(row);
        for (const cell of cells) {
          const one = cell.value();
          if (one === NOT_YET) unreadable = true;
          else if (one === undefined) remove(document, cell.column.path);
          else put(document, cell.column.path, one);
        }
        return document;
      });
      return unreadable ? NOT_YET : made;
    },
    setErrors(found) {
      const rest = [...found];
      rows.forEach(({ cells }, index) => cells.forEach((cell) => {
        const its = rest.filter((one) => one.path === `${path}[${index}].${cell.column.path}`);
        its.forEach((one) => rest.splice(rest.indexOf(one), 1));
        cell.setErrors(its);
      }));
      fill(error, rest.map((one) => h("div", null, h("code", null, one.path), `: ${one.message}`)));
    },
  };
}

function mark(input, error, found) {
  if (found.length) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
  error.textContent = found.map((one) => one.message).join("; ");
}
