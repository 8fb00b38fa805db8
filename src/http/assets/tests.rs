//! The handlers in process: real store, real writer, real files, no socket.

use actix_web::body::to_bytes;
use actix_web::http::Method;
use actix_web::rt::{System, SystemRunner};
use actix_web::test::{TestRequest, call_service, init_service};
use serde_json::{Value, json};

use super::{AssetsApi, FilesApi, configure, configure_files};
use crate::assets::testkit::{ogg, png, tone};
use crate::assets::{AssetStore, Limits, LoudnessRule, StoreSettings, UrlSigner};
use crate::clock::{Clock, ManualClock};
use crate::entropy::Entropy;
use crate::http::campaigns::{self, CampaignApi};
use crate::model::{AdvertiserId, ApiKeyId, AppKey, FileKind, MonotonicMs, Now, Role, WallMs};
use crate::roles::campaign::{CampaignWriter, Command, Requester, samples, start};
use crate::store::Store;
use crate::telemetry::Metrics;

const NOW: Now = Now { wall: WallMs(1_790_000_000_000), monotonic: MonotonicMs(0) };

struct World {
    assets: AssetsApi,
    files: FilesApi,
    campaigns: CampaignApi,
    system: SystemRunner,
    hand: ManualClock,
    _writer: CampaignWriter,
    _dir: tempfile::TempDir,
}

struct Answer {
    status: u16,
    headers: actix_web::http::header::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    fn code(&self) -> (u16, String) {
        (self.status, self.json()["code"].as_str().unwrap_or_default().to_owned())
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (clock, hand) = Clock::manual(NOW);
        let store = Store::open(dir.path(), NOW.wall, &Entropy::seeded(1)).expect("opens");
        let catalog = store.catalog().expect("opens");
        let (handle, writer) = start(catalog, store.identity().api_key_secret, Box::new(|_| {})).expect("starts");
        handle.import(samples::catalogue(), NOW).expect("the samples keep the rules");
        let limits = Limits {
            bytes_max: 100_000,
            duration_ms_min: 1_000,
            duration_ms_max: 10_000,
            kinds: vec![FileKind::Ogg],
            loudness_centi_lufs: (-2_400, -1_200),
            true_peak_centi_dbtp_max: 0,
            loudness_rule: LoudnessRule::Warn,
        };
        let settings = StoreSettings { dir: dir.path().join("assets"), limits };
        let kept = AssetStore::open(settings, clock.clone(), Entropy::real()).expect("opens");
        let signer = UrlSigner::new(&[5; 32], "https://cdn.example".to_owned());
        let metrics = Metrics::new();
        let assets = AssetsApi::new(kept.clone(), signer.clone(), handle.clone(), clock.clone(), metrics.clone());
        let files = FilesApi::new(kept.clone(), signer, clock.clone(), metrics.clone());
        let campaigns = CampaignApi { campaigns: handle, clock, entropy: Entropy::real(), metrics, assets: Some(kept) };
        Self { assets, files, campaigns, system: System::new(), hand, _writer: writer, _dir: dir }
    }

    fn key(&self, role: Role) -> String {
        let (id, bits) = (ApiKeyId::at(NOW.wall, Entropy::real().bytes()), Entropy::real().bytes());
        let campaigns = &self.campaigns.campaigns;
        let (key, secret) = campaigns.keys().make(id, samples::NETWORK, "test".into(), role, bits, NOW.wall);
        campaigns.submit_blocking(Command::AddKey { key }, Requester::Segue, NOW).expect("a good key");
        secret.reveal().to_owned()
    }

    fn send(&self, method: Method, path: &str, key: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.system.block_on(async {
            let app = actix_web::App::new()
                .configure(configure(self.assets.clone()))
                .configure(configure_files(self.files.clone()))
                .configure(campaigns::configure(self.campaigns.clone()));
            let service = init_service(app).await;
            let mut request = TestRequest::with_uri(path).method(method).set_payload(body.to_vec());
            if !key.is_empty() {
                request = request.insert_header(("Authorization", format!("Bearer {key}")));
            }
            for header in headers {
                request = request.insert_header(*header);
            }
            let response = call_service(&service, request.to_request()).await;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let Ok(body) = to_bytes(response.into_body()).await else { panic!("a body that can be read") };
            Answer { status, headers, body: body.to_vec() }
        })
    }

    fn post(&self, key: &str, query: &str, kind: &str, body: &[u8]) -> Answer {
        self.send(Method::POST, &format!("/v1/assets{query}"), key, &[("Content-Type", kind)], body)
    }

    fn get(&self, key: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, path, key, headers, &[])
    }
}

fn spot() -> Vec<u8> {
    ogg(&tone(2.0, 22_050), 22_050)
}

fn of(advertiser: AdvertiserId) -> String {
    format!("?advertiser_id={advertiser}")
}

#[test]
fn a_file_is_taken_and_seen_by_its_advertiser_and_operators_alone() {
    let world = World::new();
    let own = world.key(Role::Advertiser(samples::ADVERTISER));
    let taken = world.post(&own, "", "audio/ogg", &spot());
    assert_eq!(taken.status, 201, "{}", taken.json());
    let asset = taken.json();
    let id = asset["id"].as_str().expect("an id").to_owned();
    assert_eq!(id, blake3::hash(&spot()).to_hex().as_str());
    assert_eq!(
        (&asset["kind"], &asset["duration_ms"], &asset["codec"]),
        (&json!("audio"), &json!(2_000), &json!("vorbis"))
    );
    assert!(asset["loudness_lufs"].as_f64().is_some_and(|loudness| (-17.0..-14.0).contains(&loudness)), "{asset}");
    let path = format!("/v1/assets/{id}");
    assert_eq!(taken.header("location"), path);
    let operator = world.key(Role::Operator);
    for key in [&own, &operator, &world.key(Role::Viewer)] {
        assert_eq!(world.get(key, &path, &[]).json(), asset);
    }
    let stranger = world.key(Role::Advertiser(samples::OTHER_ADVERTISER));
    assert_eq!(world.get(&stranger, &path, &[]).code(), world.get(&stranger, "/v1/assets/nonsense", &[]).code());
    assert_eq!(world.get(&stranger, &path, &[]).code(), (404, "not_found".to_owned()));
    assert_eq!(world.post(&operator, &of(samples::ADVERTISER), "", &spot()).json()["id"], asset["id"]);
}

#[test]
fn what_is_wrong_is_said() {
    let world = World::new();
    let operator = world.key(Role::Operator);
    let own = world.key(Role::Advertiser(samples::ADVERTISER));
    let app = world.key(Role::App(AppKey::new("player").expect("a key")));
    let check = |answer: Answer, status: u16, code: &str| assert_eq!(answer.code(), (status, code.to_owned()));
    check(world.post("", "", "audio/ogg", &spot()), 401, "unauthenticated");
    check(world.post(&app, "", "audio/ogg", &spot()), 403, "forbidden");
    check(world.post(&world.key(Role::Viewer), "", "audio/ogg", &spot()), 403, "forbidden");
    check(world.post(&operator, "", "audio/ogg", &spot()), 422, "invalid");
    check(world.post(&operator, &of(AdvertiserId::from_u128(77)), "audio/ogg", &spot()), 422, "invalid");
    check(world.post(&own, &of(samples::OTHER_ADVERTISER), "audio/ogg", &spot()), 422, "invalid");
    check(world.post(&own, "?x=1", "audio/ogg", &spot()), 400, "malformed_query");
    check(world.post(&own, "", "text/html", &spot()), 415, "type_not_taken");
    check(world.post(&own, "", "image/svg+xml", b"<svg/>"), 415, "svg_not_taken");
    check(world.post(&own, "", "audio/mpeg", &spot()), 422, "type_differs");
    check(world.post(&own, "", "audio/ogg", b""), 422, "empty");
    check(world.post(&own, "", "audio/ogg", &spot()[..1_000]), 422, "truncated");
    check(world.post(&own, "", "audio/ogg", &vec![0; 100_001]), 413, "too_large");
    check(world.post(&own, "", "audio/ogg", &ogg(&tone(11.0, 8_000), 8_000)), 422, "too_long");
}

#[test]
fn a_signed_url_serves_the_file_in_ranges() {
    let world = World::new();
    let own = world.key(Role::Advertiser(samples::ADVERTISER));
    let asset = world.post(&own, "", "audio/ogg", &spot()).json();
    let url = asset["url"].as_str().expect("a URL").strip_prefix("https://cdn.example").expect("the CDN's").to_owned();
    let size = spot().len();
    let whole = world.get("", &url, &[]);
    assert_eq!((whole.status, &whole.body), (200, &spot()));
    for (name, value) in [
        ("content-type", "audio/ogg"),
        ("cache-control", "public, max-age=31536000, immutable"),
        ("x-content-type-options", "nosniff"),
        ("accept-ranges", "bytes"),
    ] {
        assert_eq!(whole.header(name), value, "{name}");
    }
    let etag = whole.header("etag").to_owned();
    let part = world.get("", &url, &[("Range", "bytes=100-199")]);
    assert_eq!((part.status, &part.body[..]), (206, &spot()[100..200]));
    assert_eq!(part.header("content-range"), format!("bytes 100-199/{size}"));
    let end = world.get("", &url, &[("Range", "bytes=-10"), ("If-Range", &etag)]);
    assert_eq!((end.status, &end.body[..]), (206, &spot()[size - 10..]));
    assert_eq!(world.get("", &url, &[("Range", "bytes=-10"), ("If-Range", "\"other\"")]).status, 200);
    let beyond = world.get("", &url, &[("Range", &format!("bytes={size}-"))]);
    assert_eq!((beyond.status, beyond.header("content-range")), (416, format!("bytes */{size}").as_str()));
    assert_eq!(world.get("", &url, &[("If-None-Match", &etag)]).status, 304);
    let head = world.send(Method::HEAD, &url, "", &[], &[]);
    assert_eq!((head.status, head.header("etag")), (200, etag.as_str()));

    let code = |url: &str| world.get("", url, &[]).code();
    assert_eq!(code(url.split('?').next().expect("a path")), (403, "bad_signature".to_owned()));
    assert_eq!(code(&url.replace("&s=1", "&s=2")), (403, "bad_signature".to_owned()));
    assert_eq!(code(&url.replace(".ogg", ".mp3")), (403, "bad_signature".to_owned()));
    assert_eq!(code(&url.replace("/a/", "/a/x")), (404, "not_found".to_owned()));
    world.hand.advance(48 * 3_600_000);
    assert_eq!(code(&url), (410, "url_expired".to_owned()));
}

#[test]
fn creatives_name_assets_of_their_own_advertiser() {
    let world = World::new();
    let operator = world.key(Role::Operator);
    let mine = world.post(&operator, &of(samples::ADVERTISER), "", &spot()).json()["id"].clone();
    let other = ogg(&tone(2.5, 22_050), 22_050);
    let theirs = world.post(&operator, &of(samples::OTHER_ADVERTISER), "", &other).json()["id"].clone();
    let image = world.post(&operator, &of(samples::ADVERTISER), "", &png(4, 4)).json()["id"].clone();
    let create = |rendition: Value, duration_ms: Option<u32>| {
        let mut body = json!({
            "advertiser_id": samples::ADVERTISER.to_string(), "name": "Two seconds", "renditions": [rendition],
        });
        if let Some(duration_ms) = duration_ms {
            body["duration_ms"] = duration_ms.into();
        }
        let kind = [("Content-Type", "application/json")];
        world.send(Method::POST, "/v1/creatives", &operator, &kind, body.to_string().as_bytes())
    };
    let created = create(json!({"asset_id": mine}), None);
    assert_eq!(created.status, 201, "{}", created.json());
    let creative = created.json();
    assert_eq!(creative["duration_ms"], 2_000);
    assert_eq!(creative["renditions"][0]["format"], "ogg_vorbis");
    assert_eq!(creative["renditions"][0]["asset_id"], mine);
    let again = world.get(&operator, created.header("location"), &[]);
    assert_eq!(again.json(), creative);
    assert_eq!(create(json!({"asset_id": mine}), Some(2_400)).status, 201);

    let fault = |answer: Answer| {
        assert_eq!(answer.status, 422);
        let errors = answer.json()["errors"].clone();
        (errors[0]["path"].as_str().expect("a path").to_owned(), errors[0]["code"].as_str().expect("a code").to_owned())
    };
    let at = |field: &str, code: &str| (format!("renditions[0].{field}"), code.to_owned());
    assert_eq!(fault(create(json!({"asset_id": theirs}), None)), at("asset_id", "unknown"));
    assert_eq!(fault(create(json!({"asset_id": "x"}), Some(1))), at("asset_id", "malformed"));
    assert_eq!(fault(create(json!({"asset_id": image}), Some(1))), at("asset_id", "not_audio"));
    assert_eq!(fault(create(json!({"asset_id": mine}), Some(2_600))), at("asset_id", "duration_differs"));
    assert_eq!(fault(create(json!({"asset_id": mine, "format": "mp3"}), None)), at("format", "differs"));
    assert_eq!(
        fault(create(json!({"asset_id": mine, "url": "https://x.example/"}), Some(1))),
        at("asset_id", "not_with_url")
    );
    assert_eq!(fault(create(json!({"format": "mp3", "bitrate_kbps": 1}), Some(1))), at("url", "required"));

    let patch = json!({"name": "Renamed"}).to_string();
    let headers = [("Content-Type", "application/merge-patch+json"), ("If-Match", created.header("etag"))];
    let changed = world.send(Method::PATCH, created.header("location"), &operator, &headers, patch.as_bytes());
    assert_eq!((changed.status, &changed.json()["name"]), (200, &json!("Renamed")));
}

#[test]
fn a_file_comes_in_parts_as_tus_has_it() {
    let world = World::new();
    let own = world.key(Role::Advertiser(samples::ADVERTISER));
    let (bytes, length) = (spot(), spot().len().to_string());
    let options = world.send(Method::OPTIONS, "/v1/uploads", "", &[], &[]);
    assert_eq!((options.header("tus-version"), options.header("tus-max-size")), ("1.0.0", "100000"));
    let begin = |headers: &[(&str, &str)]| world.send(Method::POST, "/v1/uploads", &own, headers, &[]);
    assert_eq!(begin(&[]).code(), (422, "invalid".to_owned()));
    assert_eq!(begin(&[("Upload-Length", "100001")]).code(), (413, "too_large".to_owned()));
    assert_eq!(begin(&[("Upload-Length", "1"), ("Tus-Resumable", "0.2")]).code(), (412, "tus_version".to_owned()));
    // "audio/ogg" in Base64.
    let begun = begin(&[
        ("Upload-Length", &length),
        ("Upload-Metadata", "filename eA==,filetype YXVkaW8vb2dn"),
        ("Tus-Resumable", "1.0.0"),
    ]);
    assert_eq!(begun.status, 201);
    let path = begun.header("location").to_owned();
    let part = |from: usize, to: usize| {
        let offset = from.to_string();
        let headers = [("Content-Type", "application/offset+octet-stream"), ("Upload-Offset", offset.as_str())];
        world.send(Method::PATCH, &path, &own, &headers, &bytes[from..to])
    };
    let first = part(0, 1_000);
    assert_eq!((first.status, first.header("upload-offset")), (204, "1000"));
    assert_eq!(part(0, 1_000).code(), (409, "offset_differs".to_owned()));
    let head = world.send(Method::HEAD, &path, &own, &[], &[]);
    assert_eq!(
        (head.status, head.header("upload-offset"), head.header("upload-length")),
        (200, "1000", length.as_str())
    );
    assert_eq!(world.get(&world.key(Role::Operator), &path, &[]).status, 404);
    let last = part(1_000, bytes.len());
    assert_eq!((last.status, last.header("upload-offset")), (204, length.as_str()));
    let asset = world.get(&own, last.header("location"), &[]);
    assert_eq!((asset.status, &asset.json()["duration_ms"]), (200, &json!(2_000)));
    assert_eq!(world.get(&own, &path, &[]).json()["asset_id"], asset.json()["id"]);

    assert_eq!(world.send(Method::DELETE, &path, &own, &[], &[]).status, 204);
    assert_eq!(world.get(&own, &path, &[]).status, 404);
    assert_eq!(world.get(&own, last.header("location"), &[]).status, 200);

    let bad = begin(&[("Upload-Length", "4")]).header("location").to_owned();
    let headers = [("Content-Type", "application/offset+octet-stream"), ("Upload-Offset", "0")];
    let refused = world.send(Method::PATCH, &bad, &own, &headers, b"nope");
    assert_eq!(refused.code(), (422, "not_audio_nor_image".to_owned()));
    assert_eq!(world.get(&own, &bad, &[]).status, 404);
    let given_up = begin(&[("Upload-Length", "4")]).header("location").to_owned();
    assert_eq!(world.send(Method::DELETE, &given_up, &own, &[], &[]).status, 204);
    assert_eq!(world.get(&own, &given_up, &[]).status, 404);
}

#[test]
fn over_a_socket_head_has_the_length_and_get_the_bytes() {
    let world = World::new();
    let own = world.key(Role::Advertiser(samples::ADVERTISER));
    // Longer than what is read at once.
    let long: Vec<u8> = (0..3_u8).flat_map(|_| spot()).collect();
    assert_eq!(world.post(&own, "", "audio/ogg", &long).status, 422);
    let asset = world.post(&own, "", "audio/ogg", &spot()).json();
    let path = asset["url"].as_str().expect("a URL").replace("https://cdn.example", "");
    let files = world.files.clone();
    world.system.block_on(async {
        let server =
            actix_web::HttpServer::new(move || actix_web::App::new().configure(configure_files(files.clone())))
                .workers(1)
                .disable_signals()
                .bind("127.0.0.1:0")
                .expect("a port");
        let url = format!("http://{}{path}", server.addrs()[0]);
        let running = server.run();
        let handle = running.handle();
        let served = actix_web::rt::spawn(running);
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let head = client.head(&url).send().await.expect("an answer");
        let length = head.headers().get("content-length").map(|value| value.to_str().expect("ASCII").to_owned());
        assert_eq!((head.status().as_u16(), length), (200, Some(spot().len().to_string())));
        let whole = client.get(&url).send().await.expect("an answer").bytes().await.expect("a body");
        assert_eq!(whole[..], spot()[..]);
        let part = client.get(&url).header("range", "bytes=5-").send().await.expect("an answer");
        assert_eq!((part.status().as_u16(), part.content_length()), (206, Some(spot().len() as u64 - 5)));
        drop((part, client));
        handle.stop(false).await;
        served.await.expect("no panic").expect("ends well");
    });
}
