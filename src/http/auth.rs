//! Who calls: the API key of a request.

use actix_web::HttpMessage as _;
use actix_web::HttpRequest;
use actix_web::http::{StatusCode, header};

use super::problem::Problem;
use crate::model::{Actor, Role};
use crate::store::KeyRing;

/// The header in which a player may send its app's key instead of `Authorization`.
pub const APP_KEY_HEADER: &str = "X-Segue-App-Key";
/// Longest header value looked at; a key has 68 characters.
const KEY_CHARS_MAX: usize = 256;

/// Whoever holds the key in `Authorization: Bearer <key>`, or in `X-Segue-App-Key` when that is absent.
///
/// # Errors
/// A [`Problem`] with status 401, the same for no key, a malformed one, a wrong one and a revoked one.
pub fn authenticate(request: &HttpRequest, keys: &KeyRing) -> Result<Actor, Problem> {
    let actor = key_of(request).and_then(|key| keys.open(key)).ok_or_else(Problem::unauthenticated)?;
    request.extensions_mut().insert(actor.clone());
    Ok(actor)
}

/// As [`authenticate`], for routes of players alone: an app's key, or an operator's to try things out.
///
/// # Errors
/// A [`Problem`] with status 401 or, for the keys of advertisers and viewers, 403; 503 while no keys are known at all, as where their store was away when
/// the server started: a player that is told 401 may never come back.
pub fn authenticate_player(request: &HttpRequest, keys: &KeyRing) -> Result<Actor, Problem> {
    if keys.is_empty() {
        let detail = "this server knows no keys yet; ask again in a moment";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "starting", detail));
    }
    let actor = authenticate(request, keys)?;
    match actor.role {
        Role::App(_) | Role::Operator => Ok(actor),
        Role::Advertiser(_) | Role::Viewer => Err(Problem::forbidden("ad breaks are asked for with an app's key")),
    }
}

fn key_of(request: &HttpRequest) -> Option<&str> {
    let headers = request.headers();
    let key = match headers.get(header::AUTHORIZATION) {
        Some(value) => {
            let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())?
        }
        None => headers.get(APP_KEY_HEADER)?.to_str().ok()?.trim(),
    };
    (key.len() <= KEY_CHARS_MAX).then_some(key)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::model::{ApiKeyId, AppKey, NetworkId, WallMs};
    use crate::store::Secret;

    fn ring(role: Role) -> (KeyRing, String) {
        let mut keys = KeyRing::new(Secret([1; 32]));
        let id = ApiKeyId::from_u128(5);
        let (key, secret) = keys.make(id, NetworkId::from_u128(1), "k".to_owned(), role, [2; 32], WallMs(0));
        keys.put(key);
        (keys, secret.reveal().to_owned())
    }

    #[test]
    fn both_headers_carry_a_key_and_nothing_else_does() {
        let (keys, key) = ring(Role::App(AppKey::new("player").expect("a key")));
        let cases = [
            ("Authorization", format!("Bearer {key}"), true),
            ("Authorization", format!("bearer  {key} "), true),
            (APP_KEY_HEADER, key.clone(), true),
            ("Authorization", key.clone(), false),
            ("Authorization", format!("Basic {key}"), false),
            ("Authorization", "Bearer".to_owned(), false),
            (APP_KEY_HEADER, String::new(), false),
            (APP_KEY_HEADER, "x".repeat(10_000), false),
            ("X-Other", key.clone(), false),
        ];
        for (header, value, opens) in cases {
            let request = TestRequest::default().insert_header((header, value.clone())).to_http_request();
            let answer = authenticate(&request, &keys);
            assert_eq!(answer.is_ok(), opens, "{header}: {value}");
            if let Err(problem) = answer {
                assert_eq!(problem, Problem::unauthenticated());
            }
        }
    }

    #[test]
    fn players_routes_want_an_app_or_an_operator() {
        let app = Role::App(AppKey::new("player").expect("a key"));
        let advertiser = Role::Advertiser(crate::model::AdvertiserId::from_u128(1));
        for (role, allowed) in [(app, true), (Role::Operator, true), (Role::Viewer, false), (advertiser, false)] {
            let (keys, key) = ring(role.clone());
            let request =
                TestRequest::default().insert_header(("Authorization", format!("Bearer {key}"))).to_http_request();
            let status = authenticate_player(&request, &keys).map_err(|problem| problem.status);
            assert_eq!(status.is_ok(), allowed, "{role:?}");
            assert!(status.is_ok() || status == Err(403));
        }
    }
}
