//! The files of the console, as they lie in `assets/`.

/// A file of the console.
#[derive(Debug)]
pub(super) struct Asset {
    /// Its path below `/console/`.
    pub(super) path: &'static str,
    /// What is in it.
    pub(super) bytes: &'static [u8],
}

macro_rules! assets {
    ($($path:literal)*) => {
        /// Every file.
        pub(super) const ASSETS: &[Asset] =
            &[$(Asset { path: $path, bytes: include_bytes!(concat!("assets/", $path)) },)*];
    };
}

assets! {
    "index.html"
    "console.css"
    "icon.svg"
    "app.js"
    "api.js"
    "chart.js"
    "dom.js"
    "documents.js"
    "form.js"
    "format.js"
    "history.js"
    "table.js"
    "targeting.js"
    "theme.js"
    "player.js"
    "pages/login.js"
    "pages/live.js"
    "pages/lists.js"
    "pages/entity.js"
    "pages/line_item.js"
    "pages/explain.js"
    "pages/listen.js"
}

impl Asset {
    /// Its media type, by the end of its name.
    pub(super) fn content_type(&self) -> &'static str {
        match self.path.rsplit_once('.').map(|(_, end)| end) {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml",
            Some(_) | None => "application/octet-stream",
        }
    }

    /// A strong tag: half of a hash of what is in it.
    pub(super) fn etag(&self) -> String {
        let hash = blake3::hash(self.bytes).to_hex();
        format!("\"{}\"", &hash.as_str()[..32])
    }
}
