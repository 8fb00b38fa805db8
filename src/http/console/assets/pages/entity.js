// One advertiser, campaign or creative: its fields, what is below it, its history. Line items have more, in line_item.js.
import { callTagged, get, offers, session } from "../api.js";
import { go } from "../app.js";
import { KINDS, at, fieldsOf, mayWrite, mergePatch, put } from "../documents.js";
import { fill, h, problemBox, say, statusTag, tag } from "../dom.js";
import { form } from "../form.js";
import { diffTable, revisions } from "../history.js";
import { listOf } from "./lists.js";

/** Milliseconds after the last key before the API is asked whether it would take it. */
const CHECK_AFTER_MS = 500;

/** The way from the advertiser down, as links. */
export async function crumbs(kind, document, signal) {
  const way = [];
  let [at, one] = [kind, document];
  while (KINDS[at].parent && one[KINDS[at].parent.field]) {
    const { kind: above, field } = KINDS[at].parent;
    one = await get(`${KINDS[above].api}/${one[field]}`, {}, { signal }).catch((problem) => { if (problem.name === "AbortError") throw problem; return null; });
    if (!one) break;
    way.unshift(h("a", { href: `#/${above}/${one.id}` }, one.name), " / ");
    at = above;
  }
  return [h("a", { href: `#/${kind}` }, KINDS[kind].many), " / ", ...way];
}

/** The form of an entity. `saved(document, etag)` is called when the API has taken a change. */
export function editor(kind, { document, etag, isNew, signal, saved }) {
  const { api, one, sections } = KINDS[kind];
  const readOnly = !mayWrite(kind) || document.status === "archived";
  const trouble = h("div");
  const verdict = h("span", { class: "small soft", role: "status" });
  const save = h("button", { type: "submit", class: "primary" }, isNew ? `Create ${one}` : "Save");
  let timer;
  let turn = 0;
  let asked = false;

  const fields = form(sections, document, {
    isNew, readOnly, signal,
    changed: () => {
      clearTimeout(timer);
      timer = setTimeout(check, CHECK_AFTER_MS);
    },
  });

  /** What the form has of the document, and nothing of what it doesn't show. */
  const ofForm = (whole) => {
    const part = {};
    for (const { path } of fieldsOf(kind)) put(part, path, at(whole, path));
    return part;
  };
  const patchOf = (made) => mergePatch(ofForm(document), made);
  const request = (made, query, tagged = etag) => (isNew
    ? callTagged("POST", api, { body: made, query, signal })
    : callTagged("PATCH", `${api}/${document.id}`, { body: patchOf(made), etag: tagged, query, signal }));

  /** Asks the API whether it would take it, where it can be asked without writing. */
  async function check() {
    const mine = ++turn;
    if (asked) fields.errors([]);
    let made;
    try { made = fields.document(); } catch (unreadable) { verdict.textContent = unreadable.message; return; }
    const path = isNew ? api : `${api}/{id}`;
    if (!(await offers(isNew ? "post" : "patch", path, "dry_run"))) {
      verdict.textContent = "Checked by the API when it is saved.";
      return;
    }
    if (!isNew && !Object.keys(patchOf(made)).length) { fields.errors([]); verdict.textContent = "Nothing has changed."; return; }
    try {
      await request(made, { dry_run: "true" });
      if (mine !== turn) return;
      fields.errors([]);
      verdict.textContent = "The API would take this.";
    } catch (problem) {
      if (problem.name === "AbortError" || mine !== turn) return;
      const rest = fields.errors(problem.errors ?? [], { onlyTouched: isNew && !asked });
      verdict.textContent = problem.errors?.length ? `${problem.errors.length} to mend${rest.length ? `: ${rest.map((error) => `${error.path} ${error.message}`).join("; ")}` : "."}` : problem.message;
    }
  }

  async function submit(event) {
    event.preventDefault();
    clearTimeout(timer);
    turn += 1;
    asked = true;
    let made;
    try { made = fields.document(); } catch (unreadable) { verdict.textContent = unreadable.message; fields.focusFirstError(); return; }
    if (!isNew && !Object.keys(patchOf(made)).length) { verdict.textContent = "Nothing has changed."; return; }
    await write(made, etag);
  }

  async function write(made, tagged) {
    save.disabled = true;
    try {
      fields.errors([]);
      fill(trouble);
      const answer = await request(made, {}, tagged);
      say(`Saved as revision ${answer.document.revision}`);
      saved(answer.document, answer.etag);
    } catch (problem) {
      if (problem.name === "AbortError") return;
      if (problem.status === 412) return void conflict(made);
      const rest = fields.errors(problem.errors ?? []);
      fill(trouble, problemBox({ title: problem.title, message: problem.message, errors: rest }));
      trouble.scrollIntoView({ block: "nearest" });
      fields.focusFirstError();
    } finally {
      save.disabled = false;
    }
  }

  /** Somebody else was quicker: shows theirs beside ours, and lets people choose. */
  async function conflict(made) {
    const theirs = await callTagged("GET", `${api}/${document.id}`, { signal });
    fill(trouble, h("div", { class: "note-box warn", role: "alert" },
      h("p", null, h("strong", null, "Somebody else changed this meanwhile."), ` It was at revision ${document.revision} when you began and is at ${theirs.document.revision} now. Nothing of yours is saved yet.`),
      h("h3", null, "What they changed"), diffTable(document, theirs.document, "Their changes", ["When you began", "Now"]),
      h("h3", null, "What you changed"), diffTable(ofForm(document), made, "Your changes", ["When you began", "Yours"]),
      h("p", null, h("button", { type: "button", onClick: () => write(made, theirs.etag) }, "Put mine on top of theirs"), " ",
        h("button", { type: "button", onClick: () => saved(theirs.document, theirs.etag) }, "Take theirs, drop mine"))));
    trouble.scrollIntoView({ block: "start" });
  }

  return h("form", { class: "card", onSubmit: submit, novalidate: true, "aria-label": isNew ? `New ${one}` : `Fields of the ${one}` },
    trouble, fields.element,
    readOnly ? h("p", { class: "soft small" }, document.status === "archived" ? "It is archived and changes no more." : "Your key may read this and not change it.")
      : h("div", { class: "form-end" }, save, verdict));
}

/** Pause, resume, approve, reject, archive: at once, on the revision that is shown. */
export function actions(kind, { document, etag, signal, saved }) {
  const { api } = KINDS[kind];
  if (!mayWrite(kind) || document.status === "archived") return { buttons: [], trouble: null };
  const trouble = h("div");
  const act = (text, what, method, path, body, extra = "") => h("button", { type: "button", class: extra, onClick: async (event) => {
    const { currentTarget } = event;
    if (extra === "danger" && !window.confirm(`${text} “${document.name}”? It never delivers again.`)) return;
    currentTarget.disabled = true;
    try {
      const answer = await callTagged(method, path, { body, etag, signal });
      say(`${document.name}: ${what}`);
      saved(answer.document, answer.etag);
    } catch (problem) {
      if (problem.name === "AbortError") return;
      fill(trouble, problemBox(problem, problem.status === 412 ? h("button", { type: "button", onClick: async () => { const now = await callTagged("GET", `${api}/${document.id}`, { signal }); saved(now.document, now.etag); } }, "Show it as it is now") : null));
      currentTarget.disabled = false;
    }
  } }, text);
  const path = `${api}/${document.id}`;
  const buttons = [
    document.status === "active" ? act("Pause now", "paused", "PATCH", path, { status: "paused" }) : act("Resume", "active", "PATCH", path, { status: "active" }),
    kind === "creatives" && session.role === "operator" && document.approval !== "approved" ? act("Approve", "approved", "POST", `${path}/approve`, undefined, "primary") : null,
    kind === "creatives" && session.role === "operator" && document.approval !== "rejected" ? act("Reject", "rejected", "POST", `${path}/reject`) : null,
    act("Archive", "archived", "DELETE", path, undefined, "danger"),
  ];
  return { buttons, trouble };
}

/** Head of an entity's page: where it is, what it is called, how it stands, what can be done. */
export function head(kind, document, made, way) {
  return [
    h("nav", { class: "crumbs", "aria-label": "Where this is" }, way),
    h("div", { class: "page-head" }, h("h1", null, document.name), statusTag(document.status), document.approval ? statusTag(document.approval) : null, tag(`revision ${document.revision}`),
      h("div", { class: "actions" }, made.buttons)),
    made.trouble,
  ];
}

/** Sheets of a page, chosen by `?tab=`. */
export function tabs(path, names, chosen) {
  return h("nav", { class: "tabs", "aria-label": "Sheets" }, Object.entries(names).map(([name, text]) =>
    h("a", { href: `#${path}?tab=${name}`, "aria-current": name === chosen ? "page" : undefined }, text)));
}

async function create(root, kind, query, signal) {
  const { one, parent } = KINDS[kind];
  const given = parent && query[parent.field] ? { [parent.field]: query[parent.field] } : {};
  fill(root, h("nav", { class: "crumbs", "aria-label": "Where this is" }, h("a", { href: `#/${kind}` }, KINDS[kind].many), " /"),
    h("div", { class: "page-head" }, h("h1", null, `New ${one}`)),
    editor(kind, { document: given, isNew: true, signal, saved: (document) => go(`#/${kind}/${document.id}`) }));
}

export async function show(root, { params: { kind, id }, query, signal }) {
  if (id === "new") return create(root, kind, query, signal);
  const { api, children, one } = KINDS[kind];
  const read = await callTagged("GET", `${api}/${id}`, { signal });
  const way = await crumbs(kind, read.document, signal);
  const names = { ...(children.length ? { below: children.map((child) => KINDS[child].many).join(" and ") } : {}), edit: "Fields", history: "History" };
  const chosen = query.tab in names ? query.tab : Object.keys(names)[0];

  function draw(document, etag) {
    const saved = (next, tagged) => draw(next, tagged);
    const made = actions(kind, { document, etag, signal, saved });
    const field = `${one.replace(" ", "_")}_id`;
    fill(root, head(kind, document, made, way), tabs(`/${kind}/${id}`, names, chosen),
      chosen === "below" ? children.map((child) => [h("h2", null, KINDS[child].many), listOf(child, { parents: { [field]: id }, signal })])
        : chosen === "history" ? revisions(`${api}/${id}`, signal)
          : [kind === "creatives" ? sounds(document) : null, editor(kind, { document, etag, signal, saved })]);
  }
  draw(read.document, read.etag);
}

/** The creative's sound, where a browser can play it. */
function sounds(document) {
  const rows = document.renditions.filter((one) => one.url).map((one) => {
    const note = h("span", { class: "soft small", role: "status" });
    return h("li", null, h("div", null, `${one.format}, ${one.bitrate_kbps} kbit/s: `, h("code", null, one.url)),
      h("audio", { controls: true, preload: "none", src: one.url, onError: () => { note.textContent = "can't be played here"; } }), note);
  });
  return h("section", { class: "card" }, h("h2", null, "Listen"), rows.length ? h("ul", null, rows) : h("p", { class: "soft" }, "Its files are this server's own: “Listen as” plays them."), document.click_url ? h("p", { class: "small" }, "A click leads to ", h("code", null, document.click_url)) : null);
}
