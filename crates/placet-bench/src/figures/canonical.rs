//! The canonical form of a document and its digest, against what cannot be left out of it: one hash, and one parse.

use placet_core::c14n::Value;
use placet_core::digest::ActionDigest;

use super::Bench;
use crate::Result;
use crate::figure::{Aim, Figure, Round};
use crate::floor::{each_us, json_us, sha256_us};

pub(super) fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (name, what, bytes) in [("canonical-1k", "1 KB", 1_000), ("canonical-1m", "1 MB", 1_000_000)] {
        let document = document(bytes);
        let times = bench.by_scale(9, 20_000_000, 100_000_000) / bytes;
        let mut rounds = Vec::new();
        for _ in 0..bench.rounds() {
            let floor = json_us(document.as_bytes(), times) + sha256_us(document.as_bytes(), times);
            let value = each_us(times, || {
                let value = Value::parse(document.as_bytes());
                value.map(|value| ActionDigest::of_canonical(&value.canonical()))
            });
            rounds.push(Round { value, floor: Some(floor), cpu: None });
        }
        figures.push(Figure {
            name,
            what: format!("Canonical form and digest of a document of {what}"),
            unit: "µs",
            aim: Aim::Nothing,
            floor: "one serde_json parse and one SHA-256 of the same bytes",
            rounds,
            note: String::new(),
        });
    }
    Ok(figures)
}

/// A document of about this size, with what documents have: names, numbers, texts with escapes, lists.
fn document(bytes: usize) -> String {
    let mut text = String::from("{\"rows\":[");
    for number in 0_u32.. {
        if text.len() + 100 > bytes {
            break;
        }
        if number > 0 {
            text.push(',');
        }
        text.push_str(&format!(
            "{{\"id\":{number},\"name\":\"row \\\"{number}\\\"\",\"ratio\":{number}.25e-3,\"tags\":[\"a\",\"été\",null,true]}}"
        ));
    }
    text.push_str("]}");
    text
}
