// The API, with the key of this tab. The key is kept in the tab's session storage and goes nowhere but into the Authorization header.
const KEY = "segue.key";

/** What the API said no with (RFC 9457), or what kept it from saying anything. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail ?? `the server answered ${status}`);
    this.status = status;
    this.title = body.title ?? (status ? `Error ${status}` : "No answer");
    this.code = body.code ?? "";
    this.errors = Array.isArray(body.errors) ? body.errors : [];
    this.currentRevision = body.current_revision;
  }
}

export const session = { key: sessionStorage.getItem(KEY), role: null, network: null };

export function keepKey(key) {
  session.key = key;
  sessionStorage.setItem(KEY, key);
}

export function forgetKey() {
  session.key = session.role = session.network = null;
  sessionStorage.removeItem(KEY);
}

async function send(method, path, { body, query, etag, signal, key, type } = {}) {
  const url = new URL(path, location.origin);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, value);
  }
  const headers = {};
  const with_key = key ?? session.key;
  if (with_key) headers.authorization = `Bearer ${with_key}`;
  if (etag) headers["if-match"] = etag;
  if (body !== undefined) headers["content-type"] = type ?? (method === "PATCH" ? "application/merge-patch+json" : "application/json");
  let response;
  try {
    response = await fetch(url, { method, headers, signal, cache: "no-store", credentials: "omit", body: body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { title: "No answer", detail: "the server can't be reached" });
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  const problem = new Problem(response.status, said);
  if (response.status === 401 && key === undefined) window.dispatchEvent(new CustomEvent("segue:signed-out", { detail: problem }));
  throw problem;
}

/** The JSON of an answer. */
export async function call(method, path, options) {
  const response = await send(method, path, options);
  return response.status === 204 ? null : response.json();
}

/** The JSON of an answer, with its ETag. */
export async function callTagged(method, path, options) {
  const response = await send(method, path, options);
  return { document: await response.json(), etag: response.headers.get("etag") };
}

export const get = (path, query, options) => call("GET", path, { query, ...options });

/** A picture that only the key opens. */
export async function getBlob(path, query, signal) {
  return (await send("GET", path, { query, signal })).blob();
}

/** How the process is: answered with 503 where it isn't well, which is an answer too. */
export async function health(path, signal) {
  try {
    const response = await fetch(path, { signal, cache: "no-store" });
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return { ok: false, checks: { server: "can't be reached" } };
  }
}

let described;
/** What this server's API has, by its own description: whether an operation has a parameter, or is there at all. */
export async function offers(method, path, parameter) {
  described ??= fetch("/v1/openapi.json").then((response) => response.json()).catch(() => ({ paths: {} }));
  const operation = (await described).paths?.[path]?.[method];
  if (!operation) return false;
  return parameter === undefined || (operation.parameters ?? []).some((one) => one.name === parameter);
}

/** All pages of a list, up to `most` entities. */
export async function all(path, query, most = 500, signal) {
  const items = [];
  let cursor;
  do {
    const page = await get(path, { ...query, limit: Math.min(500, most), cursor }, { signal });
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor && items.length < most);
  return { items, isCut: Boolean(cursor) };
}

/** Learns what the key is: its role, and the network where it may be seen. */
export async function introduce(key) {
  const ask = { key };
  await call("GET", "/v1/advertisers", { ...ask, query: { limit: 1 } });
  let network = null;
  let role = "advertiser";
  try {
    network = (await call("GET", "/v1/networks", ask)).items[0] ?? null;
    role = "viewer";
    await call("GET", "/v1/servers", ask);
    role = "operator";
  } catch (problem) {
    if (problem.status === 503) role = "operator";
    else if (problem.status !== 403) throw problem;
  }
  session.role = role;
  session.network = network;
}
