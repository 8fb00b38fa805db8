//! The console in a real browser: what a person does there is done, and what they see is what the API says.

mod browser;

use std::path::Path;

use serde_json::{Value, json};

use self::browser::Browser;
use crate::first_ad::Operator;
use crate::harness::{Server, folder, wait_until};

/// A server, its operator, and a browser that is logged in to its console.
struct Console<'s> {
    server: &'s Server,
    browser: Browser,
    operator: Operator<'s>,
}

impl<'s> Console<'s> {
    fn open(test: &str, server: &'s Server, data: &Path) -> Option<Self> {
        let browser = Browser::open(test)?;
        let key = std::fs::read_to_string(data.join("operator.key")).expect("the operator's key");
        browser.visit(&format!("{}/console/", server.url()));
        browser.fill("API key", key.trim());
        browser.click("Log in");
        browser.see("Log out");
        Some(Self { server, browser, operator: Operator::of(server, data) })
    }

    /// Goes to a page by its hash.
    fn go(&self, hash: &str) {
        self.browser.visit(&format!("{}/console/#{hash}", self.server.url()));
    }

    /// The id of what was just created: the page goes to it.
    fn created(&self, kind: &str, name: &str) -> String {
        self.browser.find(&format!("//h1[normalize-space()=\"{name}\"]"));
        let url = self.browser.url();
        let (_, id) = url.rsplit_once(&format!("/{kind}/")).unwrap_or_else(|| panic!("{url} is no {kind}"));
        id.to_owned()
    }

    /// What the API's report says of a line item.
    fn report(&self, line_item: &str) -> Value {
        let target = format!("/v1/reports?line_item_id={line_item}&group_by=total");
        self.operator.call("GET", &target, &Value::Null).json()["rows"][0].clone()
    }

    /// Plays a track as a listener in a city, and skips to the break.
    fn play_as_somebody_in(&self, city: &str) {
        self.go("/listen");
        self.browser.click("New listener");
        self.browser.fill("City", city);
        self.browser.click("\u{25b6} Play a track, then a break");
        self.browser.click("Skip to the end");
    }
}

#[test]
fn a_campaign_is_made_heard_billed_and_paused_in_a_browser() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let data = folder.path().join("data");
    let Some(console) = Console::open("a_campaign_in_a_browser", &server, &data) else { return };
    let browser = &console.browser;

    console.go("/advertisers/new");
    browser.fill("Name", "Brook Coffee");
    browser.click("Create advertiser");
    let advertiser = console.created("advertisers", "Brook Coffee");

    console.go(&format!("/creatives/new?advertiser_id={advertiser}"));
    browser.fill("Name", "Brook, five seconds");
    browser.fill("Length, ms", "5000");
    browser.click("Add an encoding");
    browser.fill("URL", "https://cdn.example.com/brook.mp3");
    browser.click("Create creative");
    let creative = console.created("creatives", "Brook, five seconds");

    console.go(&format!("/campaigns/new?advertiser_id={advertiser}"));
    browser.fill("Name", "Spring");
    browser.click("Create campaign");
    let campaign = console.created("campaigns", "Spring");

    console.go(&format!("/line-items/new?campaign_id={campaign}"));
    browser.fill("Name", "Stockholm only");
    browser.set_moment("Start (UTC)", "2026-01-01T00:00");
    browser.set_moment("End (UTC)", "2030-01-01T00:00");
    browser.choose("Pacing", "as_fast_as_possible");
    browser.fill("Price", "8");
    browser.fill("Lifetime budget", "10");
    browser.click("+ Row");
    browser.choose_called("Attribute", "city");
    browser.fill_called("Values of city", "SE/Stockholm");
    browser.click("Add a creative");
    browser.choose("Creative", &creative);
    browser.click("Create line item");
    let line_item = console.created("line-items", "Stockholm only");
    let document = console.operator.call("GET", &format!("/v1/line-items/{line_item}"), &Value::Null).json();
    assert_eq!(document["targeting"], json!({"city": ["se/stockholm"]}), "{document}");

    // A lease comes a moment after the line item.
    wait_until("the line item has a lease", || {
        let target = format!("/v1/line-items/{line_item}/diagnosis");
        console.operator.call("GET", &target, &Value::Null).json()["standing"]["spending"]["has_lease"] == true
    });

    console.play_as_somebody_in("Gothenburg");
    browser.see("An empty break");

    console.play_as_somebody_in("Stockholm");
    browser.see("Brook Coffee");
    browser.see("The break is over");
    wait_until("all of it is in the books", || console.report(&line_item)["completes"] == 1);
    let report = console.report(&line_item);
    let seen = (&report["impressions"], &report["completes"], &report["billed_micros"]);
    assert_eq!(seen, (&json!(1), &json!(1), &json!(8_000)));

    console.go(&format!("/line-items/{line_item}"));
    let figure = |name: &str| browser.text(&format!("//dt[.=\"{name}\"]/following-sibling::dd/div[@class=\"value\"]"));
    wait_until("the page shows what the API says", || figure("Impressions") == "1");
    assert!(figure("Billed").contains("0.008"), "{}", figure("Billed"));

    browser.click("Pause now");
    browser.find("//button[normalize-space()=\"Resume\"]");
    console.play_as_somebody_in("Stockholm");
    browser.see("An empty break");
    assert_eq!(console.report(&line_item)["impressions"], 1);
}

/// A page of the console, and words that are there once it is whole.
type Shown = (&'static str, String, &'static str);

fn pages(operator: &Operator<'_>) -> Vec<Shown> {
    let line_item = operator.advertise(10_000_000);
    operator.hear_one();
    let document = operator.call("GET", &format!("/v1/line-items/{line_item}"), &Value::Null).json();
    let [advertiser, campaign] =
        ["advertiser_id", "campaign_id"].map(|name| document[name].as_str().expect("an id").to_owned());
    let creative = document["creatives"][0]["creative_id"].as_str().expect("an id").to_owned();
    vec![
        ("live", "/live".to_owned(), "Live"),
        ("advertisers", "/advertisers".to_owned(), "Brook Coffee"),
        ("advertiser", format!("/advertisers/{advertiser}"), "Spring"),
        ("campaigns", "/campaigns".to_owned(), "Spring"),
        ("campaign", format!("/campaigns/{campaign}?tab=edit"), "Save"),
        ("line-items", "/line-items".to_owned(), "Everybody"),
        ("line-item", format!("/line-items/{line_item}"), "Balances"),
        ("line-item-fields", format!("/line-items/{line_item}?tab=edit"), "Save"),
        ("line-item-history", format!("/line-items/{line_item}?tab=history"), "created"),
        ("line-item-new", format!("/line-items/new?campaign_id={campaign}"), "Create line item"),
        ("creatives", "/creatives".to_owned(), "Brook, 15 s"),
        ("creative", format!("/creatives/{creative}?tab=edit"), "Save"),
        ("explain", "/explain".to_owned(), "Explain"),
        ("listen", "/listen".to_owned(), "Listen as"),
    ]
}

/// Of every page in light and dark, on a desktop and a phone, an accessibility checker says nothing serious. With `SEGUE_SCREENSHOTS` naming a folder the pictures
/// are put there, to be looked at.
#[test]
fn every_page_is_accessible_in_light_and_dark_on_desktop_and_phone() {
    let test = "every_page_is_accessible";
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let Some(axe) = crate::harness::engine("SEGUE_TEST_AXE", test) else { return };
    let axe = std::fs::read_to_string(axe).expect("the checker");
    let Some(console) = Console::open(test, &server, &folder.path().join("data")) else { return };
    let pictures = std::env::var_os("SEGUE_SCREENSHOTS").filter(|folder| !folder.is_empty());
    let mut found = Vec::new();
    let mut checked = 0;
    for (name, hash, words) in pages(&console.operator) {
        for (device, width) in [("desktop", 1_280), ("phone", 390)] {
            console.browser.resize(width, 900);
            console.go(&hash);
            console.browser.see(words);
            for theme in ["light", "dark"] {
                console.browser.run("document.documentElement.dataset.theme = arguments[0]", vec![json!(theme)]);
                if let Some(folder) = &pictures {
                    let file = Path::new(folder).join(format!("{name}-{device}-{theme}.png"));
                    std::fs::write(file, console.browser.screenshot()).expect("written");
                }
                found.extend(
                    serious(&console.browser, &axe).into_iter().map(|what| format!("{name} {device} {theme}: {what}")),
                );
                checked += 1;
            }
            let wider = console.browser.run("return document.documentElement.scrollWidth - innerWidth", Vec::new());
            assert!(wider.as_i64() <= Some(0), "{name} on a {device} is {wider} pixels wider than its window");
        }
    }
    println!("accessibility: {checked} pages, {} serious findings", found.len());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// What the checker calls serious or critical on the page as it is.
fn serious(browser: &Browser, axe: &str) -> Vec<String> {
    browser.run(axe, Vec::new());
    let said = browser.run_async("const done = arguments[0]; axe.run({ resultTypes: ['violations'] }).then(done, (error) => done(String(error)));");
    let violations = said["violations"].as_array().unwrap_or_else(|| panic!("the checker says {said}"));
    let serious = violations.iter().filter(|one| matches!(one["impact"].as_str(), Some("serious" | "critical")));
    serious.map(|one| format!("{}: {} {}", one["id"], one["help"], one["nodes"][0]["html"])).collect()
}
