// The frame: who is in, which page is shown, what is ended when it is left.
import { forgetKey, introduce, session } from "./api.js";
import { fill, h, problemBox, say } from "./dom.js";

const PAGES = [
  { pattern: /^\/live$/, module: "./pages/live.js" },
  { pattern: /^\/(advertisers|campaigns|line-items|creatives)$/, module: "./pages/lists.js", names: ["kind"] },
  { pattern: /^\/line-items\/(?!new$)([0-9a-f-]{36})$/, module: "./pages/line_item.js", names: ["id"] },
  { pattern: /^\/(advertisers|campaigns|line-items|creatives)\/(new|[0-9a-f-]{36})$/, module: "./pages/entity.js", names: ["kind", "id"] },
  { pattern: /^\/explain$/, module: "./pages/explain.js" },
  { pattern: /^\/listen$/, module: "./pages/listen.js" },
];

const NAV = [
  { href: "#/live", text: "Live", at: /^\/live/, roles: ["operator", "viewer"] },
  { href: "#/campaigns", text: "Campaigns", at: /^\/(advertisers|campaigns|line-items|creatives)/, roles: ["operator", "viewer", "advertiser"] },
  { href: "#/explain", text: "Explain", at: /^\/explain/, roles: ["operator"] },
  { href: "#/listen", text: "Listen as", at: /^\/listen/, roles: ["operator"] },
];

const main = document.getElementById("main");
let leaving = null;

/** Shows another page. */
export function go(hash) {
  if (location.hash === hash) route();
  else location.hash = hash;
}

/** Calls `work` now and again after each pause, while the page is looked at, until it is left. */
export function every(ms, signal, work) {
  let timer = 0;
  const turn = async () => {
    clearTimeout(timer);
    if (signal.aborted || document.hidden) return;
    await work().catch((error) => { if (error.name !== "AbortError") console.warn(error); });
    if (!signal.aborted && !document.hidden) timer = setTimeout(turn, ms);
  };
  document.addEventListener("visibilitychange", turn, { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  return turn();
}

function place() {
  const [path, query] = location.hash.replace(/^#/, "").split("?");
  return { path: path || home(), query: Object.fromEntries(new URLSearchParams(query ?? "")) };
}

function home() {
  return session.role === "advertiser" ? "/campaigns" : "/live";
}

function frame(path) {
  const nav = document.getElementById("nav");
  nav.hidden = !session.role;
  fill(nav, NAV.filter((one) => one.roles.includes(session.role)).map((one) =>
    h("a", { href: one.href, "aria-current": one.at.test(path) ? "page" : undefined }, one.text)));
  document.getElementById("logout").hidden = !session.role;
  document.getElementById("who").textContent = session.role ? `${session.network ? `${session.network.name} · ` : ""}${session.role}` : "";
}

async function route() {
  leaving?.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  if (session.key && !session.role) {
    try {
      await introduce(session.key);
    } catch (problem) {
      if (problem.status === 401 || problem.status === 403) forgetKey();
      else return void fill(main, problemBox(problem, h("button", { type: "button", onClick: route }, "Try again")));
    }
  }
  const { path, query } = place();
  frame(path);
  const root = h("div", { class: "page" });
  try {
    if (!session.role) {
      const login = await import("./pages/login.js");
      fill(main, root);
      return void login.show(root, { done: route });
    }
    const page = PAGES.find((one) => one.pattern.test(path));
    if (!page) {
      return void fill(main, h("h1", null, "No such page"), h("p", null, h("a", { href: `#${home()}` }, "Back to the start")));
    }
    const values = page.pattern.exec(path).slice(1);
    const params = Object.fromEntries((page.names ?? []).map((name, index) => [name, values[index]]));
    const { show } = await import(page.module);
    if (signal.aborted) return;
    fill(main, root);
    await show(root, { params, query, signal });
    if (signal.aborted) return;
    const heading = root.querySelector("h1");
    document.title = `${heading?.textContent ?? "Segue"} – Segue console`;
    say(`${heading?.textContent ?? "Page"} is shown`);
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return;
    fill(main, problemBox(error, h("button", { type: "button", onClick: route }, "Try again")));
  }
}

document.getElementById("logout").addEventListener("click", () => {
  forgetKey();
  location.hash = "";
  route();
  say("Logged out");
});
document.getElementById("skip").addEventListener("click", (event) => {
  // The hash is the page's; the link only moves the focus.
  event.preventDefault();
  main.focus();
});
window.addEventListener("segue:signed-out", () => {
  if (!session.role) return;
  forgetKey();
  route();
});
window.addEventListener("hashchange", () => {
  route();
  main.focus({ preventScroll: true });
  window.scrollTo(0, 0);
});
route();
