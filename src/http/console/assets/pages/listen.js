// Be a listener: play a track, hear the break that comes, and see in the books what was heard.
import { call, get, session } from "../api.js";
import { fill, h, problemBox, say, tag } from "../dom.js";
import { count, list, money, words } from "../format.js";
import { beacon, playAd, playTrack } from "../player.js";
import { table } from "../table.js";

const TRACK_MS = 8000;
const REPORT_MS = 2000;

const PEOPLE = {
  "Commuter in Stockholm": { listener: { age: 34, gender: "female", language: "sv" }, geo: { country: "SE", region: "SE-AB", city: "Stockholm", time_zone: "Europe/Stockholm" }, device: { platform: "ios", type: "phone", connection: "cellular" }, context: { genres: ["jazz"], moods: ["calm"] }, privacy: { consent: "granted" } },
  "At home in Berlin": { listener: { age: 52, gender: "male", language: "de" }, geo: { country: "DE", region: "DE-BE", city: "Berlin", time_zone: "Europe/Berlin" }, device: { platform: "speaker", type: "speaker", connection: "wifi" }, context: { genres: ["classical"], moods: ["focus"] }, privacy: { consent: "granted" } },
  "Refuses consent": { listener: { language: "en" }, geo: { country: "GB", time_zone: "Europe/London" }, device: { platform: "web", type: "computer" }, context: { genres: ["pop"] }, privacy: { consent: "denied" } },
};

export async function show(root, { signal }) {
  const speed = (await get("/v1/live", {}, { signal }).catch((problem) => { if (problem.name === "AbortError") throw problem; return { clock_speed: 1 }; })).clock_speed;
  const me = `console-${crypto.randomUUID().slice(0, 8)}`;
  const fields = listenerFields(me);
  const what = h("div", { class: "what", role: "status" }, "Nothing plays.");
  const note = h("p", { class: "small soft" });
  const bar = h("span");
  const companion = h("div", { class: "companion" }, "Companion");
  const beacons = table({
    caption: "Beacons that were sent, newest first",
    empty: "No beacon yet: they come when an ad plays.",
    columns: [
      { name: "Ad", head: true, of: (one) => one.ad },
      { name: "Event", of: (one) => one.event },
      { name: "Answer", of: (one) => (one.status === "sending" ? "…" : tag(one.status === 204 ? "204 kept" : String(one.status || "no answer"), one.status === 204 ? "good" : "bad")) },
    ],
  });
  const books = table({
    caption: "The books of the line items heard here: what came to their reports since the break was asked for, from other listeners too",
    empty: "Nothing heard yet.",
    columns: [
      { name: "Line item", head: true, of: (one) => h("a", { href: `#/line-items/${one.id}` }, one.name) },
      ...[["starts", "Starts"], ["impressions", "Heard"], ["completes", "Complete"], ["billed_impressions", "Billed"]].map(([name, title]) => ({ name: title, numeric: true, of: (one) => count(one.now[name] - one.before[name]) })),
      { name: "Money", numeric: true, of: (one) => money(one.now.billed_micros - one.before.billed_micros) },
      { name: "Not billed", of: (one) => Object.entries(one.now.unbilled).map(([reason, many]) => [reason, many - (one.before.unbilled[reason] ?? 0)]).filter(([, many]) => many > 0).map(([reason, many]) => `${words(reason)} ${many}`).join(", ") || "–" },
    ],
  });
  const trouble = h("div");
  const sent = [];
  const heard = new Map();
  let playing = null;
  let running = false;
  let lastBreak = null;

  const button = (text, action, extra) => h("button", { type: "button", class: extra ?? "", onClick: action }, text);
  const play = button("▶ Play a track, then a break", playOn, "primary");
  const next = button("Skip to the end", () => playing?.stop());
  const mute = button("Mute", () => { playing?.mute?.(); });
  const sound = h("input", { type: "checkbox", id: "audible", checked: true });
  next.disabled = mute.disabled = true;

  fill(root, h("div", { class: "page-head" }, h("h1", null, "Listen as")),
    h("p", { class: "soft" }, "A real listener of a real break: the ads are drawn, and what is heard is billed to its advertisers as it would be from a player's app."),
    speed > 1 ? h("div", { class: "note-box warn" }, h("p", null, `This server's clock runs ${speed} times faster than yours. Ads are played as countdowns at that speed, without sound, so that beacons come when they should.`)) : null,
    h("div", { class: "wide-left" },
      h("section", { class: "card" }, h("h2", null, "Who listens"), fields.element),
      h("div", null,
        h("section", { class: "card player", "aria-label": "Player" }, companion, what, h("div", { class: "meter", "aria-hidden": "true" }, bar), note,
          h("div", { class: "controls" }, play, next, mute), h("label", { class: "inline centre", for: "audible" }, sound, "Tracks make a sound"), trouble))),
    h("div", { class: "cards" }, h("section", { class: "card" }, h("h2", null, "Beacons"), h("div", { class: "log" }, beacons.element)), h("section", { class: "card" }, h("h2", null, "Into the books"), books.element)));
  beacons.show(sent);
  books.show([]);

  const progress = ({ position, duration }) => { bar.style.width = `${Math.min(100, (position / duration) * 100)}%`; };

  async function playOn() {
    if (running) return;
    running = true;
    play.disabled = true;
    next.disabled = false;
    fill(trouble);
    try {
      what.textContent = "A track plays";
      note.textContent = "Skip it whenever you like: a break may come after it.";
      fill(companion, "♪");
      const track = playTrack(TRACK_MS, { audible: sound.checked, signal, onTick: progress });
      playing = { stop: () => track.end() };
      await track.done;
      if (signal.aborted) return;
      await hearBreak();
    } catch (problem) {
      if (problem.name !== "AbortError") fill(trouble, problemBox(problem));
    } finally {
      running = false;
      playing = null;
      play.disabled = false;
      next.disabled = mute.disabled = true;
      bar.style.width = "0";
    }
  }

  async function hearBreak() {
    what.textContent = "Asking for a break…";
    const body = fields.body();
    if (lastBreak) body.since_last_break_ms = Math.round((performance.now() - lastBreak) * speed);
    const answer = await call("POST", "/v1/ad-breaks", { body, signal });
    if (answer.no_break) {
      what.textContent = `No break is due: ${words(answer.no_break)}`;
      note.textContent = `The server says to ask again after ${Math.round(answer.next_break.after_ms / 1000)} s. “New listener” begins anew.`;
      return;
    }
    lastBreak = performance.now();
    if (!answer.ads.length) {
      what.textContent = "An empty break";
      note.textContent = Object.entries(answer.no_fill_reasons).map(([reason, many]) => `${words(reason)} ${many}`).join(", ") || "No candidate.";
      return;
    }
    await Promise.all(answer.ads.map(async (ad) => {
      if (!heard.has(ad.line_item_id)) heard.set(ad.line_item_id, { id: ad.line_item_id, name: ad.advertiser_name, before: await totals(ad.line_item_id) });
    }));
    let isOver = false;
    const watching = watchBooks(() => isOver);
    for (const [index, ad] of answer.ads.entries()) {
      if (signal.aborted) {
        beacon(ad.tracking_url, "void");
        continue;
      }
      await hear(ad, `Ad ${index + 1} of ${answer.ads.length}`);
    }
    isOver = true;
    next.disabled = mute.disabled = true;
    what.textContent = "The break is over";
    note.textContent = "What was heard is in the books a moment later.";
    await watching;
  }

  async function hear(ad, title) {
    what.textContent = `${title}: ${ad.advertiser_name}`;
    say(`${title}: ${ad.advertiser_name}, ${ad.tier}`);
    showCompanion(ad);
    let muted = false;
    const one = playAd(ad, {
      speed, signal,
      onTick: (at) => {
        progress(at);
        note.textContent = `${(at.position / 1000).toFixed(0)} of ${(at.duration / 1000).toFixed(0)} s, ${ad.tier}, ${money(ad.price_micros)} an impression`
          + (at.simulated ? ". Its sound can't be played here: playback is simulated by a countdown." : "");
      },
      onBeacon: ({ event, status }) => {
        const known = sent.find((row) => row.ad_id === ad.tracking_url && row.event === event && row.status === "sending");
        if (known) known.status = status;
        else sent.unshift({ ad: ad.advertiser_name, ad_id: ad.tracking_url, event, status });
        beacons.show(sent.slice(0, 100));
      },
    });
    mute.disabled = false;
    mute.textContent = "Mute";
    playing = { stop: () => one.skip(), mute: () => { muted = !muted; one.setMuted(muted); mute.textContent = muted ? "Unmute" : "Mute"; } };
    await one.done;
  }

  function showCompanion(ad) {
    const image = (ad.companions ?? []).find((one) => one.url ?? one.image_url);
    if (!image) return void fill(companion, h("div", null, h("strong", null, ad.advertiser_name), h("div", { class: "small" }, "no companion"), ad.click_url ? clickButton(ad) : null));
    const picture = h("img", { src: image.url ?? image.image_url, alt: image.alt_text ?? image.alt ?? `Companion of ${ad.advertiser_name}`, onError: () => fill(companion, h("div", null, h("strong", null, ad.advertiser_name), h("div", { class: "small" }, "its companion can't be loaded here"))) });
    fill(companion, picture);
  }

  /** A click is told as a beacon: to open the advertiser's page is not what an operator came for. */
  function clickButton(ad) {
    return h("button", { type: "button", onClick: async (event) => {
      event.currentTarget.disabled = true;
      const status = await beacon(ad.tracking_url, "click");
      sent.unshift({ ad: ad.advertiser_name, ad_id: ad.tracking_url, event: "click", status });
      beacons.show(sent.slice(0, 100));
    } }, "Click");
  }

  async function totals(id) {
    const report = await get("/v1/reports", { line_item_id: id, group_by: "total" }, { signal });
    return report.rows[0] ?? { starts: 0, impressions: 0, completes: 0, billed_impressions: 0, billed_micros: 0, unbilled: {} };
  }

  /** Looks into the reports while the break plays, and a little longer. */
  async function watchBooks(isOver) {
    let turnsLeft = 3;
    while (turnsLeft > 0 && !signal.aborted) {
      if (isOver()) turnsLeft -= 1;
      await new Promise((done) => setTimeout(done, REPORT_MS));
      try {
        await Promise.all([...heard.values()].map(async (one) => { one.now = await totals(one.id); }));
        books.show([...heard.values()]);
      } catch (problem) {
        // The ads go on: what could not be read is read at the next turn.
        if (problem.name === "AbortError") return;
      }
    }
  }
}

/** Who listens, as fields. */
function listenerFields(me) {
  const input = (label, value = "", help) => {
    const id = `who-${label.toLowerCase().replaceAll(" ", "-")}`;
    const field = h("input", { type: "text", id, autocomplete: "off", value });
    return { field, element: h("div", { class: "field" }, h("label", { for: id }, label), field, help ? h("div", { class: "help" }, help) : null) };
  };
  const choice = (label, choices) => {
    const id = `who-${label.toLowerCase().replaceAll(" ", "-")}`;
    const field = h("select", { id }, choices.map((one) => h("option", { value: one }, one.replaceAll("_", " ") || "not said")));
    return { field, element: h("div", { class: "field" }, h("label", { for: id }, label), field) };
  };
  const all = {
    id: input("Listener", me),
    country: input("Country"), region: input("Region"), city: input("City"), zone: input("Time zone", "", "The listener's own hour of the week follows from it."),
    age: input("Age"), gender: choice("Gender", ["", "female", "male", "other"]), language: input("Language"),
    consent: choice("Consent", ["granted", "denied", "not_required", ""]),
    platform: choice("Platform", ["", "ios", "android", "web", "desktop", "tv", "speaker", "car", "console"]), type: input("Device"), connection: choice("Connection", ["", "wifi", "cellular", "wired"]),
    genres: input("Genres"), moods: input("Moods"), segments: input("Segments"),
    placement: choice("Placement", (session.network?.placements ?? []).map((one) => one.key)),
    ads: input("Most ads", "2"), seconds: input("Longest, s", "60"),
  };
  const take = (person) => {
    const { listener, geo, device, context, privacy } = PEOPLE[person];
    const values = { country: geo.country, region: geo.region, city: geo.city, zone: geo.time_zone, age: listener.age, gender: listener.gender, language: listener.language, consent: privacy.consent, platform: device.platform, type: device.type, connection: device.connection, genres: context.genres?.join(", "), moods: context.moods?.join(", ") };
    for (const [name, value] of Object.entries(values)) all[name].field.value = value ?? "";
  };
  take(Object.keys(PEOPLE)[0]);
  const text = (name) => all[name].field.value.trim() || undefined;
  const several = (name) => (text(name) ? list(text(name)) : undefined);
  const number = (name) => (text(name) === undefined ? undefined : Number(text(name)));
  return {
    element: h("div", null,
      h("div", { class: "row", role: "group", "aria-label": "Somebody ready-made" }, Object.keys(PEOPLE).map((person) => h("button", { type: "button", onClick: () => take(person) }, person)),
        h("button", { type: "button", onClick: () => { all.id.field.value = `console-${crypto.randomUUID().slice(0, 8)}`; } }, "New listener")),
      h("div", { class: "fields short" }, Object.values(all).map((one) => one.element))),
    body: () => JSON.parse(JSON.stringify({
      request_id: `console-${crypto.randomUUID()}`,
      listener: { id: text("id"), session_id: `${text("id") ?? "console"}-session`, age: number("age"), gender: text("gender"), language: text("language") },
      break: { placement: text("placement"), max_ads: number("ads"), max_duration_ms: (number("seconds") ?? 60) * 1000, position: "mid_roll" },
      geo: { country: text("country"), region: text("region"), city: text("city"), time_zone: text("zone") },
      device: { platform: text("platform"), type: text("type"), connection: text("connection") },
      context: { genres: several("genres"), moods: several("moods") },
      privacy: { consent: text("consent") },
      segments: several("segments"),
    })),
  };
}
