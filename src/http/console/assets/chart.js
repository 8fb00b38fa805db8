// A chart of the server's, with its numbers beside it as a table.
import { get, getBlob } from "./api.js";
import { fill, h } from "./dom.js";
import { count, hour, money } from "./format.js";
import { table } from "./table.js";
import { theme } from "./theme.js";

/** Delivery by hour against plan. Returns { element, load() }; without a line item it is the network's spend. */
export function deliveryChart({ title, lineItemId, hours = 24, signal }) {
  const image = h("img", { alt: "", hidden: true });
  const empty = h("p", { class: "empty" }, "Loading…");
  let unit = "micros";
  let address = null;
  const amount = (value) => (value === undefined ? "–" : unit === "micros" ? money(value) : count(value));
  const numbers = table({
    caption: `${title}: the numbers, newest hour first, in UTC`,
    empty: "No hours.",
    columns: [
      { name: "Hour", head: true, of: (point) => hour(point.hour), by: (point) => point.hour },
      { name: "Delivered", numeric: true, of: (point) => amount(point.delivered), by: (point) => point.delivered },
      { name: "Plan", numeric: true, of: (point) => amount(point.planned), by: (point) => point.planned ?? -1 },
    ],
  });
  const planKey = h("span", { class: "plan" }, "plan");
  // On a phone the picture is wider than the screen, and now is at its right.
  const frame = h("div", { class: "chart", tabindex: "0", role: "group", "aria-label": title }, image, empty);
  image.addEventListener("load", () => { frame.scrollLeft = frame.scrollWidth; }, { once: true });
  const element = h("figure", { class: "card" },
    h("h2", null, title),
    h("div", { class: "key", "aria-hidden": "true" }, h("span", { class: "bar" }, "delivered"), planKey),
    frame,
    h("details", null, h("summary", null, "Numbers"), numbers.element));
  element.style.marginInline = "0";

  async function load() {
    const query = { line_item_id: lineItemId, hours };
    const [said, blob] = await Promise.all([
      get("/console/charts/delivery.json", query, { signal }),
      getBlob("/console/charts/delivery.svg", { ...query, theme: theme() }, signal),
    ]);
    unit = said.unit;
    numbers.show([...said.points].reverse());
    const delivered = said.points.reduce((sum, point) => sum + point.delivered, 0);
    const hasPlan = said.points.some((point) => point.planned > 0);
    planKey.hidden = !hasPlan;
    const nothing = delivered === 0 && !hasPlan;
    image.hidden = nothing;
    empty.hidden = !nothing;
    fill(empty, `Nothing was delivered or planned in the last ${hours} hours.`);
    image.alt = `${title}: ${amount(delivered)} delivered in the last ${hours} hours. The numbers follow as a table.`;
    const old = address;
    address = URL.createObjectURL(blob);
    image.src = address;
    if (old) URL.revokeObjectURL(old);
  }

  const again = () => { if (address) load().catch(() => {}); };
  window.addEventListener("segue:theme", again);
  signal.addEventListener("abort", () => {
    window.removeEventListener("segue:theme", again);
    if (address) URL.revokeObjectURL(address);
  });
  return { element, load };
}
