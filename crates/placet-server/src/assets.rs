//! The inbox's style, script and icon, each under the hash of its content: a browser may keep them for ever, and a new
//! version has a new address.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use placet_core::digest::Sha256Digest;

use crate::failure::{Failure, Outcome};

struct Asset {
    name: &'static str,
    media_type: &'static str,
    text: &'static str,
}

const STYLE: Asset = Asset {
    name: "inbox.css",
    media_type: "text/css; charset=utf-8",
    text: include_str!("../assets/inbox.css"),
};
const SCRIPT: Asset = Asset {
    name: "inbox.js",
    media_type: "text/javascript; charset=utf-8",
    text: include_str!("../assets/inbox.js"),
};
const PLAYER: Asset = Asset {
    name: "player.js",
    media_type: "text/javascript; charset=utf-8",
    text: include_str!("../assets/player.js"),
};
const ICON: Asset =
    Asset { name: "icon.svg", media_type: "image/svg+xml", text: include_str!("../assets/icon.svg") };

static HASHES: LazyLock<[(String, &Asset); 4]> =
    LazyLock::new(|| [&STYLE, &SCRIPT, &PLAYER, &ICON].map(|asset| (hash(asset.text), asset)));

fn hash(text: &str) -> String {
    Sha256Digest::of(text.as_bytes()).to_string().chars().take(16).collect()
}

fn path(asset: &Asset) -> String {
    format!("/assets/{}/{}", hash(asset.text), asset.name)
}

/// Where the style sheet is.
pub(crate) static STYLE_PATH: LazyLock<String> = LazyLock::new(|| path(&STYLE));
/// Where the script is.
pub(crate) static SCRIPT_PATH: LazyLock<String> = LazyLock::new(|| path(&SCRIPT));
/// Where the player of recordings is.
pub(crate) static PLAYER_PATH: LazyLock<String> = LazyLock::new(|| path(&PLAYER));
/// Where the icon is.
pub(crate) static ICON_PATH: LazyLock<String> = LazyLock::new(|| path(&ICON));

pub(crate) fn routes() -> Router {
    Router::new().route("/assets/{hash}/{name}", get(asset))
}

async fn asset(Path((hash, name)): Path<(String, String)>) -> Outcome<Response> {
    let found = HASHES.iter().find(|(known, asset)| *known == hash && asset.name == name);
    let (_, asset) = found.ok_or_else(Failure::not_found)?;
    let headers = [
        (header::CONTENT_TYPE, asset.media_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, asset.text).into_response())
}
