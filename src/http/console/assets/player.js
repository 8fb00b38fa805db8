// Plays one ad as a good player does, and tells what was really heard: nothing is reported that did not happen.

/** Audible time after which an ad counts as heard, in milliseconds. */
export const IMPRESSION_MS = 2000;
/** How long a sound may take to begin before it is taken for not playable. */
const BEGIN_MS = 5000;
const TICK_MS = 100;
/** A beacon is sent again so often until it is answered. */
const TRIES = 4;
const QUARTILES = [["q1", 0.25], ["mid", 0.5], ["q3", 0.75]];

/** Sends one of Segue's beacons. The tracking URL may name a host that only players reach, so its path is called on this server. */
export async function beacon(trackingUrl, event, playedMs) {
  const url = new URL(trackingUrl.replace("{event}", event), location.origin);
  const path = `${url.pathname}${playedMs === undefined ? "" : `?played_ms=${Math.round(playedMs)}`}`;
  for (let attempt = 1; ; attempt += 1) {
    const response = await fetch(path, { method: "POST", keepalive: true, credentials: "omit" }).catch(() => null);
    if (response && response.status !== 503) return response.status;
    if (attempt === TRIES) return response?.status ?? 0;
    await new Promise((done) => setTimeout(done, 300 * 2 ** attempt));
  }
}

/** The sound, once it plays; null where it can't be played. */
async function sound(ad, signal) {
  for (const { url } of ad.renditions) {
    const audio = new Audio();
    audio.preload = "auto";
    const playing = await new Promise((done) => {
      const timer = setTimeout(() => done(false), BEGIN_MS);
      const end = (plays) => { clearTimeout(timer); done(plays); };
      audio.addEventListener("playing", () => end(true), { once: true });
      audio.addEventListener("error", () => end(false), { once: true });
      signal.addEventListener("abort", () => end(false), { once: true });
      audio.src = url;
      audio.play().catch(() => end(false));
    });
    if (playing) return audio;
    audio.pause();
    audio.removeAttribute("src");
    if (signal.aborted) return null;
  }
  return null;
}

/**
 * Plays an ad. `speed`: the server's seconds in a real one; where it is not 1 playback is a countdown at that speed, as sound would be too late.
 * `onTick({ position, duration, simulated })`, `onBeacon({ event, status })`. Returns { done, skip(), setMuted(bool) }; `done` tells how it ended.
 */
export function playAd(ad, { speed = 1, signal, onTick, onBeacon }) {
  const duration = ad.duration_ms;
  const told = new Set();
  let audible = 0;
  let position = 0;
  let muted = false;
  let skipped = false;
  let audio = null;
  let sending = Promise.resolve();

  function tell(event) {
    if (told.has(event)) return;
    told.add(event);
    const at = position;
    onBeacon({ event, status: "sending" });
    // In order: a player's beacons are a story.
    sending = sending.then(() => beacon(ad.tracking_url, event, at)).then((status) => onBeacon({ event, status }));
  }

  async function run() {
    audio = speed === 1 ? await sound(ad, signal) : null;
    if (signal.aborted) { tell("void"); await sending; return "left"; }
    const simulated = audio === null;
    if (audio) audio.muted = muted;
    let before = performance.now();
    tell("start");
    while (position < duration && !skipped && !signal.aborted) {
      await new Promise((done) => setTimeout(done, TICK_MS));
      const now = performance.now();
      const passed = (now - before) * speed;
      before = now;
      const was = position;
      position = Math.min(duration, audio ? (audio.ended ? duration : audio.currentTime * 1000) : position + passed);
      if (!muted) audible += Math.max(0, position - was);
      onTick({ position, duration, simulated });
      if (audible >= Math.min(IMPRESSION_MS, duration)) tell("impression");
      for (const [event, part] of QUARTILES) if (position >= duration * part) tell(event);
    }
    audio?.pause();
    if (position >= duration) tell("complete");
    else tell("skip");
    await sending;
    return position >= duration ? "completed" : skipped ? "skipped" : "left";
  }

  return {
    done: run(),
    skip() { skipped = true; },
    setMuted(wanted) {
      if (muted === wanted) return;
      muted = wanted;
      if (audio) audio.muted = muted;
      told.delete(muted ? "mute" : "unmute");
      tell(muted ? "mute" : "unmute");
    },
  };
}

/** A track: a quiet chord for a while, or only its time. Returns { done, end() }. */
export function playTrack(ms, { audible, signal, onTick }) {
  let ended = false;
  let context = null;
  async function run() {
    if (audible && window.AudioContext) {
      context = new AudioContext();
      const gain = context.createGain();
      gain.gain.setValueAtTime(0, context.currentTime);
      gain.gain.linearRampToValueAtTime(0.04, context.currentTime + 0.4);
      gain.connect(context.destination);
      for (const hertz of [220, 277.18, 329.63]) {
        const tone = context.createOscillator();
        tone.frequency.value = hertz;
        tone.connect(gain);
        tone.start();
      }
    }
    const began = performance.now();
    while (!ended && !signal.aborted && performance.now() - began < ms) {
      onTick({ position: performance.now() - began, duration: ms });
      await new Promise((done) => setTimeout(done, TICK_MS));
    }
    await context?.close();
  }
  return { done: run(), end() { ended = true; } };
}
