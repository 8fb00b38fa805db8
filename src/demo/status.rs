//! What a person sees: one line a second, and a summary at the end.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use super::checker::Verdict;
use super::evidence::{TIERS, tier_name};
use super::sounds::SoundCounts;
use super::tally::{Counts, units};
use super::{Options, Performance, Summary};
use crate::model::Micros;

/// Where the words for people go.
#[derive(Debug)]
pub(super) struct Screen {
    /// Standard error when standard output carries JSON.
    to_stderr: bool,
    /// Whether the line of the second before is written over.
    rewrites: bool,
}

impl Screen {
    /// Standard output, or standard error when the last line of standard output is to be JSON.
    #[must_use]
    pub(super) fn new(json: bool) -> Self {
        let rewrites = if json { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
        Self { to_stderr: json, rewrites }
    }

    /// A line that stays.
    pub(super) fn say(&self, line: &str) {
        self.put(&format!("{line}\n"));
    }

    /// The line of this second.
    pub(super) fn status(&self, line: &str) {
        if self.rewrites {
            self.put(&format!("\r\x1b[2K{line}"));
        } else {
            self.say(line);
        }
    }

    /// Ends a line that would be written over.
    pub(super) fn end_status(&self) {
        if self.rewrites {
            self.put("\n");
        }
    }

    fn put(&self, text: &str) {
        // Whoever closed the screen wants no more of it; the demo goes on to its checked end.
        let _ = if self.to_stderr {
            std::io::stderr().lock().write_all(text.as_bytes())
        } else {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        };
    }
}

/// The line of a second: what happened in it, and the last decision in words.
#[must_use]
pub(super) fn line(elapsed: Duration, before: &Counts, now: &Counts, sounds: SoundCounts) -> String {
    let percent = |part: u64, whole: u64| (part * 100).checked_div(whole).unwrap_or(0);
    format!(
        "{:>4} s  {:>4} breaks/s  fill {:>3} %  paid {:>3} %  p50 {} p99 {}  {:>5} beacons/s  sound {} ({} MB, {} failed)  spent {}  {}",
        elapsed.as_secs(),
        now.breaks - before.breaks,
        percent(now.filled, now.breaks),
        percent(now.paid, now.breaks),
        millis(now.latency_us.value_at_quantile(0.5)),
        millis(now.latency_us.value_at_quantile(0.99)),
        now.beacons - before.beacons,
        sounds.fetched,
        sounds.bytes / 1_000_000,
        sounds.failed,
        units(now.spent),
        now.last,
    )
}

fn millis(us: u64) -> String {
    format!("{}.{} ms", us / 1_000, us % 1_000 / 100)
}

/// The whole demo in numbers.
#[must_use]
pub(super) fn summary(options: &Options, performance: &Performance, verdict: &Verdict) -> Summary {
    let Performance { evidence, counts, played, .. } = performance;
    let reasons = |names: &[&str]| names.iter().filter_map(|name| evidence.reasons.get(*name)).sum();
    let milliseconds = u64::try_from(played.as_millis()).unwrap_or(u64::MAX).max(1);
    Summary {
        breaks: counts.breaks,
        filled_breaks: counts.filled,
        paid_breaks: counts.paid,
        not_due: evidence.not_due.values().sum(),
        billable_impressions: verdict.billable_impressions,
        billed_impressions: verdict.billed_impressions,
        unbilled_impressions: verdict.unbilled_impressions,
        refused_by_cap: reasons(&["capped"]),
        refused_by_separation: reasons(&["same_advertiser", "category_separation", "heard_in_last_break"]),
        throttled: reasons(&["throttled"]),
        beacons_acknowledged: evidence.beacons_acknowledged,
        beacons_lost: evidence.beacons_lost,
        beacons_repeated: evidence.beacons_repeated,
        beacons_late: evidence.beacons_late,
        requests_repeated: evidence.requests_repeated,
        cap_violations: verdict.findings.caps,
        separation_violations: verdict.findings.separation,
        other_violations: verdict.findings.others,
        violations: verdict.findings.kept.iter().take(20).map(ToString::to_string).collect(),
        errors: evidence.error_count,
        error_examples: evidence.errors.clone(),
        tunes: performance.tunes as u64,
        sounds_fetched: performance.sounds.fetched,
        sound_bytes: performance.sounds.bytes,
        sounds_failed: performance.sounds.failed,
        balanced: verdict.balanced,
        heard_by_tier: TIERS.iter().zip(verdict.heard_by_tier).map(|(&tier, heard)| (tier_name(tier), heard)).collect(),
        spent_micros: verdict.billed_micros,
        refused: evidence.reasons.clone(),
        seed: options.seed,
        seconds: milliseconds / 1_000,
        breaks_per_second: counts.breaks * 1_000 / milliseconds,
        p50_us: counts.latency_us.value_at_quantile(0.5),
        p99_us: counts.latency_us.value_at_quantile(0.99),
        p999_us: counts.latency_us.value_at_quantile(0.999),
    }
}

impl Summary {
    /// The summary for people.
    #[must_use]
    pub(super) fn in_words(&self) -> String {
        let share = |part: u64| if self.breaks == 0 { 0.0 } else { percent(part, self.breaks) };
        let tiers: Vec<String> = self.heard_by_tier.iter().map(|(tier, heard)| format!("{tier} {heard}")).collect();
        let mut text = format!(
            "{} breaks in {} s ({} a second); {:.1} % filled, {:.1} % with a paid ad; {} more asked before one was due\n\
             answers: p50 {}, p99 {}, p99.9 {}\n\
             heard: {}\n\
             beacons: {} acknowledged, {} lost on the way, {} repeated, {} late\n\
             sound: {} tunes, fetched {} times, {} bytes, {} failed\n\
             held back: {} by caps, {} by separation, {} by pacing\n\
             money: {} impressions billable, {} billed for {}, {} unbilled with a reason\n\
             checked by what players saw and by the event log: {} cap violations, {} separation violations, {} others, {} errors; {}\n",
            self.breaks,
            self.seconds,
            self.breaks_per_second,
            share(self.filled_breaks),
            share(self.paid_breaks),
            self.not_due,
            millis(self.p50_us),
            millis(self.p99_us),
            millis(self.p999_us),
            tiers.join(", "),
            self.beacons_acknowledged,
            self.beacons_lost,
            self.beacons_repeated,
            self.beacons_late,
            self.tunes,
            self.sounds_fetched,
            self.sound_bytes,
            self.sounds_failed,
            self.refused_by_cap,
            self.refused_by_separation,
            self.throttled,
            self.billable_impressions,
            self.billed_impressions,
            units(Micros(self.spent_micros)),
            self.unbilled_impressions,
            self.cap_violations,
            self.separation_violations,
            self.other_violations,
            self.errors,
            if self.is_right() { "the books balance" } else { "SOMETHING IS WRONG" },
        );
        for line in self.violations.iter().chain(&self.error_examples) {
            text.push_str("  ");
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole as f64
}
