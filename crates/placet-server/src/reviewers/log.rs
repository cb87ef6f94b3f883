//! The ledger's files, as C2SP tlog-tiles lays them out: the checkpoint, tiles, and entry bundles.

use std::io::ErrorKind;
use std::path::Path as FilePath;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::failure::{Failure, Outcome};
use crate::openapi::ReviewersProblems;

/// The newest signed checkpoint.
#[utoipa::path(
    get,
    path = "/log/checkpoint",
    tag = "audit",
    responses((status = 200, description = "A signed note", content_type = "text/plain", body = String), ReviewersProblems),
)]
pub(crate) async fn checkpoint(State(app): State<App>) -> Outcome<Response> {
    let bytes = read(&app.broker.log_dir().join("checkpoint")).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], bytes).into_response())
}

/// A tile or an entry bundle.
#[utoipa::path(
    get,
    path = "/log/tile/{path}",
    tag = "audit",
    params(("path" = String, Path, description = "`<level>/<index>` or `entries/<index>`, and `.p/<width>` if it is not full")),
    responses((status = 200, description = "The tile's bytes, which never change", content_type = "application/octet-stream", body = Vec<u8>), ReviewersProblems),
)]
pub(crate) async fn tile(State(app): State<App>, Path(path): Path<String>) -> Outcome<Response> {
    if !is_tile(&path) {
        return Err(Failure::not_found());
    }
    let bytes = read(&app.broker.log_dir().join("tile").join(path)).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, "private, max-age=31536000, immutable"),
    ];
    Ok((headers, bytes).into_response())
}

async fn read(path: &FilePath) -> Outcome<Vec<u8>> {
    match tokio::fs::read(path).await {
        Ok(bytes) => Ok(bytes),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(Failure::not_found())
        }
        Err(error) => Err(Failure::internal(&format!("read the log's files: {error}"))),
    }
}

/// Whether a path is in the one spelling that a tile's path has. Nothing else ever reaches the file system.
fn is_tile(path: &str) -> bool {
    let Some((level, rest)) = path.split_once('/') else { return false };
    let level_fits = level == "entries" || canonical_number(level).is_some_and(|level| level <= 63);
    let (index, width_fits) = match rest.split_once(".p/") {
        None => (rest, true),
        Some((index, width)) => {
            (index, canonical_number(width).is_some_and(|width| (1..=255).contains(&width)))
        }
    };
    level_fits && width_fits && is_index(index)
}

/// `x001/x234/067`: groups of three digits, all but the last with an x in front, no group of zeros in front.
fn is_index(index: &str) -> bool {
    let groups: Vec<&str> = index.split('/').collect();
    let three_digits = |group: &str| group.len() == 3 && group.bytes().all(|digit| digit.is_ascii_digit());
    let Some((last, front)) = groups.split_last() else { return false };
    let front_fits = front.iter().all(|group| group.strip_prefix('x').is_some_and(three_digits));
    front.len() <= 6 && three_digits(last) && front_fits && front.first() != Some(&"x000")
}

fn canonical_number(text: &str) -> Option<u32> {
    let digits = text.len() <= 3 && text.bytes().all(|digit| digit.is_ascii_digit());
    text.parse().ok().filter(|number: &u32| digits && number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_has_one_spelling_and_nothing_else_is_one() {
        for path in ["0/000", "0/000.p/1", "63/x001/x234/067", "entries/000", "entries/x001/000.p/255"] {
            assert!(is_tile(path), "{path}");
        }
        for path in [
            "",
            "0",
            "0/",
            "0/0",
            "0/0000",
            "00/000",
            "64/000",
            "-1/000",
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/01",
            "0/x000/001",
            "0/x001",
            "0/001/002",
            "data/000",
            "../checkpoint",
            "0/../../keys",
            "0/000/..",
            "0//000",
            "0/x001/../000",
            "entries/000.p/",
            "0/000.p/1/..",
            "0/٠٠٠",
        ] {
            assert!(!is_tile(path), "{path}");
        }
    }
}
