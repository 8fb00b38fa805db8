//! A real Chromium, driven as a person would: by labels and words on the page.

use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::harness::engine;

/// What a browser with a window says of itself. One without says that it has none, which is the mark of a robot, and robots get no paid ads.
const USER_AGENT: &str = "--user-agent=Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36";
/// Most that is waited for something on a page, real time.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) struct Browser {
    runtime: Runtime,
    /// None once it is closed.
    client: Option<Client>,
}

impl Browser {
    /// A browser of its own under the driver that runs beside the tests; none, and the test counted as skipped, where none runs.
    pub(super) fn open(test: &str) -> Option<Self> {
        let driver = engine("SEGUE_TEST_WEBDRIVER", test)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        // Root may not use the sandbox, and small machines have little shared memory.
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--mute-audio", USER_AGENT];
        let options = json!({"goog:chromeOptions": {"args": arguments}});
        let Value::Object(options) = options else { unreachable!("it is an object") };
        let connecting = async { ClientBuilder::new(connector()).capabilities(options).connect(&driver).await };
        let client = Some(runtime.block_on(connecting).expect("a session"));
        Some(Self { runtime, client })
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("it is open")
    }

    pub(super) fn visit(&self, url: &str) {
        self.runtime.block_on(self.client().goto(url)).expect("the page loads");
    }

    /// Pixels of the window.
    pub(super) fn resize(&self, width: u32, height: u32) {
        self.runtime.block_on(self.client().set_window_size(width, height)).expect("it is resized");
    }

    pub(super) fn url(&self) -> String {
        self.runtime.block_on(self.client().current_url()).expect("a page").to_string()
    }

    /// Waits until something is there, by `XPath`.
    pub(super) fn find(&self, path: &str) -> Element {
        let waiting = self.client().wait().at_most(PATIENCE);
        let found = self.runtime.block_on(async { waiting.for_element(Locator::XPath(path)).await });
        found.unwrap_or_else(|error| panic!("{path} is not on the page: {error}\n{}", self.words()))
    }

    /// Waits until these words are on the page.
    pub(super) fn see(&self, words: &str) {
        self.find(&format!("//body//*[contains(normalize-space(), {})]", quoted(words)));
    }

    /// All words of the page.
    pub(super) fn words(&self) -> String {
        self.run("return document.body.innerText", Vec::new()).as_str().unwrap_or_default().to_owned()
    }

    /// Clicks a button or link by its words.
    pub(super) fn click(&self, words: &str) {
        let words = quoted(words);
        let element = self.find(&format!("//*[self::button or self::a][normalize-space()={words}][not(@disabled)]"));
        // As a person would: forms end in a bar that stays in sight and may lie over it.
        let reference = serde_json::to_value(&element).expect("a reference");
        self.run("arguments[0].scrollIntoView({ block: 'center' })", vec![reference]);
        self.runtime.block_on(element.click()).unwrap_or_else(|error| panic!("{words}: {error}"));
    }

    /// Types into the field of a label, in place of what is in it.
    pub(super) fn fill(&self, label: &str, text: &str) {
        self.type_into(&self.find(&labelled(label)), text);
    }

    /// Types into the field that a screen reader would call so.
    pub(super) fn fill_called(&self, name: &str, text: &str) {
        self.type_into(&self.find(&format!("//*[@aria-label={}]", quoted(name))), text);
    }

    fn type_into(&self, element: &Element, text: &str) {
        let typing = async {
            element.clear().await?;
            element.send_keys(text).await
        };
        self.runtime.block_on(typing).expect("it takes text");
    }

    /// Chooses what a value stands for in the list of a label, once it is offered.
    pub(super) fn choose(&self, label: &str, value: &str) {
        self.choose_in(&labelled(label), value);
    }

    /// The same, in the list that a screen reader would call so.
    pub(super) fn choose_called(&self, name: &str, value: &str) {
        self.choose_in(&format!("//*[@aria-label={}]", quoted(name)), value);
    }

    fn choose_in(&self, path: &str, value: &str) {
        self.find(&format!("{path}/option[@value={}]", quoted(value)));
        let element = self.find(path);
        self.runtime.block_on(element.select_by_value(value)).expect("it is offered");
    }

    /// Sets a day and time, which no two locales type alike.
    pub(super) fn set_moment(&self, label: &str, moment: &str) {
        let element = serde_json::to_value(self.find(&labelled(label))).expect("a reference");
        let script =
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}));";
        self.run(script, vec![element, json!(moment)]);
    }

    /// The words of an element, by `XPath`.
    pub(super) fn text(&self, path: &str) -> String {
        self.runtime.block_on(self.find(path).text()).expect("it has words")
    }

    /// Runs a script and answers with what it returns.
    pub(super) fn run(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.runtime.block_on(self.client().execute(script, arguments)).expect("the script runs")
    }

    /// The same, of a script that calls its last argument with what it has found out.
    pub(super) fn run_async(&self, script: &str) -> Value {
        self.runtime.block_on(self.client().execute_async(script, Vec::new())).expect("the script runs")
    }

    /// What is seen, as PNG.
    pub(super) fn screenshot(&self) -> Vec<u8> {
        self.runtime.block_on(self.client().screenshot()).expect("a picture")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            // A driver that is gone has ended its browsers.
            let _ = self.runtime.block_on(client.close());
        }
    }
}

fn connector() -> hyper_util::client::legacy::connect::HttpConnector {
    hyper_util::client::legacy::connect::HttpConnector::new()
}

/// The field of a label, whatever stars stand beside its words.
fn labelled(label: &str) -> String {
    format!("//*[@id=//label[normalize-space(text()[1])={}]/@for]", quoted(label))
}

/// A text for `XPath`, which has no way to escape quotes.
fn quoted(text: &str) -> String {
    assert!(!text.contains('"'), "{text}");
    format!("\"{text}\"")
}
