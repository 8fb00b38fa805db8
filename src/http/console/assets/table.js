// A table that sorts by its heads.
import { fill, h } from "./dom.js";

/**
 * `columns`: { name, of(row) → node or text, by(row) → what to sort by, numeric, tight, roomy, head }. The column with `head` names its row.
 * Returns { element, show(rows) }: to show new rows keeps the order that was chosen.
 */
export function table({ caption, columns, empty, sort }) {
  let order = sort ?? null;
  let shown = [];
  const body = h("tbody");
  const heads = columns.map((column, index) => {
    const label = column.by
      ? h("button", { type: "button", onClick: () => { order = { index, down: order?.index === index ? !order.down : Boolean(column.numeric) }; draw(); } }, column.name)
      : column.name;
    return h("th", { scope: "col", class: column.numeric ? "num" : "" }, label);
  });
  const nothing = h("p", { class: "empty", hidden: true }, empty ?? "Nothing here.");
  const element = h("div", null,
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      h("table", null, h("caption", null, caption), h("thead", null, h("tr", null, heads)), body)),
    nothing);

  function draw() {
    const rows = [...shown];
    heads.forEach((head, index) => {
      if (order?.index === index) head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    if (order) {
      const by = columns[order.index].by;
      const least = (one, other) => (one < other ? -1 : one > other ? 1 : 0);
      rows.sort((one, other) => (order.down ? -1 : 1) * least(by(one), by(other)));
    }
    fill(body, rows.map((row) => h("tr", null, columns.map((column) =>
      h(column.head ? "th" : "td", { scope: column.head ? "row" : undefined, class: column.numeric ? "num" : column.tight ? "tight" : column.roomy ? "roomy" : "" }, column.of(row))))));
    nothing.hidden = rows.length > 0;
  }

  return { element, show(rows) { shown = rows; draw(); } };
}

/** Counts by word, the most first. */
export function countsTable(caption, word, empty, format) {
  const made = table({
    caption,
    empty,
    columns: [
      { name: word, head: true, of: ([name]) => name.replaceAll("_", " "), by: ([name]) => name },
      { name: "Count", numeric: true, of: ([, value]) => format(value), by: ([, value]) => value },
    ],
    sort: { index: 1, down: true },
  });
  return { element: made.element, show: (counts) => made.show(Object.entries(counts ?? {})) };
}
