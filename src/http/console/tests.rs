//! The console's files: each is served as what it is, loads nothing from elsewhere, and finds what it loads.

use std::collections::BTreeSet;

use actix_web::{App, test as http};

use super::*;

/// The one address that names no host to ask: how a picture says that it is SVG.
const SVG_NAMESPACE: &str = "http://www.w3.org/2000/svg";

fn text(asset: &Asset) -> &'static str {
    std::str::from_utf8(asset.bytes).expect("files of the console are text")
}

#[actix_web::test]
async fn each_file_is_served_as_what_it_is() {
    let app = http::init_service(App::new().configure(configure)).await;
    for asset in ASSETS {
        let uri = format!("/console/{}", asset.path);
        let response = http::call_service(&app, http::TestRequest::get().uri(&uri).to_request()).await;
        assert_eq!(response.status().as_u16(), 200, "{uri}");
        let header =
            |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert_eq!(header("content-type"), asset.content_type(), "{uri}");
        assert_ne!(header("content-type"), "application/octet-stream", "{uri}");
        assert_eq!(header("content-security-policy"), CONTENT_SECURITY_POLICY, "{uri}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{uri}");
        let etag = header("etag").to_owned();
        let body = http::read_body(response).await;
        assert_eq!(&body[..], asset.bytes, "{uri}");
        assert!(!body.is_empty(), "{uri}");
        let again = http::TestRequest::get().uri(&uri).insert_header(("if-none-match", etag)).to_request();
        assert_eq!(http::call_service(&app, again).await.status().as_u16(), 304, "{uri}");
    }
}

#[actix_web::test]
async fn the_page_is_at_its_folder_and_other_names_are_not_there() {
    let app = http::init_service(App::new().configure(configure)).await;
    let cases = [
        ("/console", 302, ""),
        ("/console/", 200, "text/html; charset=utf-8"),
        ("/console/nothing.js", 404, "application/problem+json"),
        ("/console/../server.rs", 404, "application/problem+json"),
        ("/console/pages/", 404, "application/problem+json"),
    ];
    for (uri, status, content_type) in cases {
        let response = http::call_service(&app, http::TestRequest::get().uri(uri).to_request()).await;
        assert_eq!(response.status().as_u16(), status, "{uri}");
        let said = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert_eq!(said, content_type, "{uri}");
    }
}

#[test]
fn no_file_names_another_host() {
    for asset in ASSETS {
        let rest = text(asset).replace(SVG_NAMESPACE, "");
        for scheme in ["http://", "https://", "ws://", "wss://", "\"//", "'//", "url(//"] {
            assert!(!rest.contains(scheme), "{} names a host: {scheme}", asset.path);
        }
    }
}

#[test]
fn nothing_is_put_into_a_page_as_markup() {
    let ways = ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "srcdoc"];
    for asset in ASSETS.iter().filter(|asset| asset.content_type().starts_with("text/javascript")) {
        for way in ways {
            assert!(!text(asset).contains(way), "{} uses {way}", asset.path);
        }
    }
    let page = text(&ASSETS[0]);
    let scripts = page.matches("<script").count();
    assert_eq!((page.matches("<script type=\"module\" src=").count(), page.contains("style=")), (scripts, false));
    assert!(!page.contains("<style") && !page.contains(" onclick="));
}

#[test]
fn every_file_that_is_loaded_is_there_and_every_file_is_loaded() {
    let there: BTreeSet<String> = ASSETS.iter().map(|asset| asset.path.to_owned()).collect();
    let mut loaded = BTreeSet::from(["index.html".to_owned()]);
    for asset in ASSETS {
        let folder = asset.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let starts: &[&str] = match asset.path.rsplit_once('.').map(|(_, end)| end) {
            Some("js") => &["from \"", "import(\"", "module: \""],
            Some("html") => &["src=\"", "href=\""],
            Some(_) | None => &[],
        };
        for start in starts {
            let found = text(asset).split(start).skip(1).filter_map(|rest| rest.split('"').next());
            for name in found.filter(|name| !name.starts_with('#')) {
                let path = resolved(folder, name);
                assert!(there.contains(&path), "{} loads {name}, which is not there", asset.path);
                loaded.insert(path);
            }
        }
    }
    assert_eq!(loaded, there, "a file that nothing loads");
}

#[test]
fn every_file_in_the_folder_is_embedded() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/console/assets");
    let mut found = BTreeSet::new();
    for folder in ["", "pages"] {
        for entry in std::fs::read_dir(root.join(folder)).expect("the folder is there") {
            let path = entry.expect("readable").path();
            if path.is_file() {
                let name = path.strip_prefix(&root).expect("below it").to_str().expect("a plain name").to_owned();
                found.insert(name);
            }
        }
    }
    let embedded: BTreeSet<String> = ASSETS.iter().map(|asset| asset.path.to_owned()).collect();
    assert_eq!(found, embedded);
}

/// The path of what a file in `folder` names.
fn resolved(folder: &str, name: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in name.split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}
