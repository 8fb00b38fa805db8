//! An invoice as one page that needs nothing else: it prints on A4 and loads nothing from anywhere.
//!
//! Amounts are exact: never fewer than two decimals, and as many of six as they need.

use std::fmt::Write as _;

use super::document::hex;
use crate::accounting::UnbilledReason;
use crate::accounting::invoice::{DraftReason, Invoice, InvoiceLine, InvoiceState};
use crate::model::{InvalidTraffic, MICROS_PER_UNIT, Micros, PriceModel};

/// The page's style.
const STYLE: &str = include_str!("page.css");
/// Decimals that money always has.
const DECIMALS_MIN: usize = 2;

/// The page.
#[must_use]
pub fn page(invoice: &Invoice) -> String {
    let mut html = String::with_capacity(16 << 10);
    head(&mut html, invoice);
    facts(&mut html, invoice);
    charges(&mut html, invoice);
    credits(&mut html, invoice);
    totals(&mut html, invoice);
    unbilled(&mut html, invoice);
    foot(&mut html, invoice);
    html
}

/// Writes to the page; a String takes everything.
macro_rules! put {
    ($html:expr, $($text:tt)*) => {
        let _ = write!($html, $($text)*);
    };
}

fn head(html: &mut String, invoice: &Invoice) {
    let (class, state) = match invoice.state {
        InvoiceState::Final => ("state", "Final"),
        InvoiceState::Draft(_) => ("state draft", "Draft"),
    };
    put!(
        html,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Invoice {number} – {advertiser}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header>\n<div class=\"from\">{network}</div>\n\
         <div class=\"title\"><h1>Invoice</h1><span class=\"{class}\">{state}</span></div>\n</header>\n",
        number = text(&invoice.number),
        advertiser = text(&invoice.advertiser.name),
        network = text(&invoice.network.name),
    );
}

fn facts(html: &mut String, invoice: &Invoice) {
    let month = invoice.month;
    put!(
        html,
        "<section class=\"facts\">\n<div><h2>Billed to</h2><p class=\"name\">{name}</p>\
         <p class=\"small\">Advertiser {id}</p></div>\n<dl>\
         <dt>Invoice number</dt><dd>{number}</dd>\
         <dt>Period</dt><dd>{first} to {last}</dd>\
         <dt>Time zone</dt><dd>{zone}</dd>\
         <dt>Currency</dt><dd>{currency}</dd>",
        name = text(&invoice.advertiser.name),
        id = invoice.advertiser.id,
        number = text(&invoice.number),
        first = month.first(),
        last = month.last(),
        zone = text(invoice.advertiser.zone.name()),
        currency = text(&invoice.network.currency),
    );
    if let InvoiceState::Draft(reason) = invoice.state {
        put!(html, "<dt>Draft because</dt><dd>{}</dd>", draft(reason));
    }
    html.push_str("</dl>\n</section>\n");
}

fn draft(reason: DraftReason) -> String {
    match reason {
        DraftReason::MonthRuns => "the month is not over".to_owned(),
        DraftReason::LeasesOpen(1) => "1 lease is not closed".to_owned(),
        DraftReason::LeasesOpen(count) => format!("{} leases are not closed", grouped(&count.to_string())),
        DraftReason::NotSealed => "it is not sealed yet".to_owned(),
    }
}

const COLUMNS: &str = "<thead><tr><th>Line item</th><th>Priced by</th><th class=\"n\">Quantity</th>\
                       <th class=\"n\">Price</th><th class=\"n\">Amount</th></tr></thead>\n";

fn charges(html: &mut String, invoice: &Invoice) {
    html.push_str("<h2>Charges</h2>\n");
    if invoice.amounts.charges.is_empty() {
        html.push_str("<p class=\"none\">Nothing was charged in this period.</p>\n");
        return;
    }
    put!(html, "<table>\n{COLUMNS}<tbody>\n");
    lines(html, &invoice.amounts.charges, |line| price_model(line.price_model).to_owned());
    html.push_str("</tbody>\n</table>\n");
}

fn credits(html: &mut String, invoice: &Invoice) {
    if invoice.amounts.credits.is_empty() {
        return;
    }
    put!(html, "<h2>Credits</h2>\n<table>\n{}<tbody>\n", COLUMNS.replace("Priced by", "Taken back for"));
    lines(html, &invoice.amounts.credits, |line| {
        line.reason.map_or_else(String::new, |reason| credit(reason).to_owned())
    });
    html.push_str("</tbody>\n</table>\n");
}

/// Lines under their campaigns.
fn lines(html: &mut String, lines: &[InvoiceLine], what: impl Fn(&InvoiceLine) -> String) {
    let mut campaign = None;
    for line in lines {
        if campaign != Some(line.campaign_id) {
            campaign = Some(line.campaign_id);
            put!(html, "<tr class=\"campaign\"><td colspan=\"5\">{}</td></tr>\n", text(&line.campaign));
        }
        put!(
            html,
            "<tr><td>{name}<span class=\"small\">{id}</span></td><td>{what}</td><td class=\"n\">{quantity}</td>\
             <td class=\"n\">{price}</td><td class=\"n\">{amount}</td></tr>\n",
            name = text(&line.line_item),
            id = line.line_item_id,
            what = what(line),
            quantity = grouped(&line.quantity.to_string()),
            price = price(line),
            amount = money(i128::from(line.amount.0)),
        );
    }
}

fn price_model(model: PriceModel) -> &'static str {
    match model {
        PriceModel::Cpm => "impressions",
        PriceModel::Cpcl => "completed listens",
        PriceModel::Cpc => "clicks",
        PriceModel::Flat => "flat fee",
    }
}

/// A price as it was agreed: of a thousand impressions or listens, of one click.
fn price(line: &InvoiceLine) -> String {
    let Some(Micros(unit)) = line.unit_price else {
        return if line.price_model == PriceModel::Flat { "flat" } else { "various" }.to_owned();
    };
    let unit = i128::from(unit).abs();
    match line.price_model {
        PriceModel::Cpm | PriceModel::Cpcl => format!("{}<span class=\"small\">per 1,000</span>", money(unit * 1_000)),
        PriceModel::Cpc => format!("{}<span class=\"small\">per click</span>", money(unit)),
        PriceModel::Flat => "flat".to_owned(),
    }
}

fn credit(reason: InvalidTraffic) -> &'static str {
    match reason {
        InvalidTraffic::Robot => "invalid traffic: robot",
        InvalidTraffic::DataCentre => "invalid traffic: data centre",
        InvalidTraffic::ImpossibleActivity => "invalid traffic: impossible activity",
        InvalidTraffic::ListenerRate => "invalid traffic: rate of a listener",
        InvalidTraffic::AddressRate => "invalid traffic: rate of an address",
        InvalidTraffic::Reported => "invalid traffic: reported",
    }
}

fn totals(html: &mut String, invoice: &Invoice) {
    let amounts = &invoice.amounts;
    let row = |name: &str, amount: Micros| {
        format!("<tr><td>{name}</td><td class=\"n\">{}</td></tr>\n", money(i128::from(amount.0)))
    };
    html.push_str("<table class=\"totals\">\n");
    html.push_str(&row("Charges", amounts.charged));
    if !amounts.credits.is_empty() {
        html.push_str(&row("Credits", amounts.credited));
    }
    put!(
        html,
        "<tr class=\"due\"><td>Total</td><td class=\"n\">{} {}</td></tr>\n</table>\n",
        text(&invoice.network.currency),
        money(i128::from(amounts.total.0))
    );
}

fn unbilled(html: &mut String, invoice: &Invoice) {
    if invoice.unbilled.is_empty() {
        return;
    }
    html.push_str("<h2>Heard and not billed, for information</h2>\n<ul class=\"info\">\n");
    for (reason, count) in &invoice.unbilled {
        put!(html, "<li><span>{}</span><span>{}</span></li>\n", words(*reason), grouped(&count.to_string()));
    }
    html.push_str("</ul>\n");
}

/// A reason's name as words.
fn words(reason: UnbilledReason) -> String {
    let name = if reason == UnbilledReason::Late { "late" } else { reason.name() };
    name.replace('_', " ")
}

fn foot(html: &mut String, invoice: &Invoice) {
    put!(
        html,
        "<footer>\n<p>Made from {leases} leases and {entries} entries of the ledger. All amounts are exact.</p>\n",
        leases = grouped(&invoice.leases.to_string()),
        entries = grouped(&invoice.entries.to_string()),
    );
    let last = invoice.checkpoints.len().saturating_sub(1);
    for (place, sealing) in invoice.checkpoints.iter().enumerate() {
        let role = match invoice.state {
            _ if place < last => "Opening checkpoint",
            InvoiceState::Final => "Sealed by checkpoint",
            InvoiceState::Draft(_) => "Newest checkpoint",
        };
        put!(
            html,
            "<p>{role} {number}, {at}: <code>{digest}</code></p>\n",
            number = sealing.number,
            at = sealing.log_time.to_rfc3339(),
            digest = hex(&sealing.digest),
        );
    }
    html.push_str("</footer>\n</body>\n</html>\n");
}

/// An amount in units, with groups of three: exact, with two to six decimals.
fn money(micros: i128) -> String {
    let unit = i128::from(MICROS_PER_UNIT).unsigned_abs();
    let (magnitude, sign) = (micros.unsigned_abs(), if micros < 0 { "−" } else { "" });
    let mut decimals = format!("{:06}", magnitude % unit);
    while decimals.len() > DECIMALS_MIN && decimals.ends_with('0') {
        decimals.pop();
    }
    format!("{sign}{}.{decimals}", grouped(&(magnitude / unit).to_string()))
}

fn grouped(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Text that a page shows as it is.
fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_exact_and_has_two_decimals_at_least() {
        let cases = [
            (0, "0.00"),
            (1, "0.000001"),
            (4_500, "0.0045"),
            (1_000_000, "1.00"),
            (1_234_567_890_000, "1,234,567.89"),
            (-12_345_678, "−12.345678"),
            (i128::from(i64::MAX), "9,223,372,036,854.775807"),
        ];
        for (micros, expected) in cases {
            assert_eq!(money(micros), expected);
        }
    }

    #[test]
    fn names_are_shown_as_they_are() {
        assert_eq!(text("<b>\"Tom & Jerry's\"</b>"), "&lt;b&gt;&quot;Tom &amp; Jerry&#39;s&quot;&lt;/b&gt;");
    }
}
