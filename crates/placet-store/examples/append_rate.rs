//! How fast the embedded store appends, beside what the disk can do: rows a second and latencies of closed loops of
//! callers, and of a bare `fdatasync` after each 4 KiB.
//!
//! ```text
//! cargo run --release -p placet-store --features test-support --example append_rate [DIRECTORY]
//! ```

use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use placet_core::c14n::Value;
use placet_core::entropy::Entropy;
use placet_core::entry::{Draft, Kind};
use placet_core::id::EntryId;
use placet_core::time::{Clock, Timestamp};
use placet_store::conformance::{CountedEntropy, HandClock};
use placet_store::{Commit, Options, RootKeySource, SqliteStore, Transition};

/// How long each row of the table is measured.
const MEASURED: Duration = Duration::from_secs(2);
/// About 1 KiB of entry and disclosures together.
const FIELDS: usize = 6;

fn main() -> Result<(), Box<dyn Error>> {
    let base = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let space = tempfile::tempdir_in(base)?;
    println!("{:>28} {:>10} {:>10} {:>10}", "", "rows/s", "p50 ms", "p99 ms");
    let mut file = File::create(space.path().join("fdatasync"))?;
    let mut latencies = Vec::new();
    let began = Instant::now();
    while began.elapsed() < MEASURED {
        let one = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        latencies.push(one.elapsed());
    }
    print("fdatasync of 4 KiB", began.elapsed(), latencies);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    for callers in [1, 8, 64, 256, 1024] {
        let directory = space.path().join(format!("store-{callers}"));
        let clock: Arc<dyn Clock> = Arc::new(HandClock::at(Timestamp::from_millis(1_790_000_000_000)));
        let entropy: Arc<dyn Entropy> = Arc::new(CountedEntropy::new(1));
        let options = Options {
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            origin: "placet.example/rate".to_owned(),
            root_key: RootKeySource::Own,
        };
        let store = Arc::new(SqliteStore::open(&directory, options)?);
        let (elapsed, latencies) = runtime.block_on(closed_loop(store, clock, entropy, callers));
        print(&format!("store, {callers} callers"), elapsed, latencies);
    }
    Ok(())
}

/// Each caller commits its next entry when the last one is durable.
async fn closed_loop(
    store: Arc<SqliteStore>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    callers: usize,
) -> (Duration, Vec<Duration>) {
    let began = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (store, clock, entropy) = (Arc::clone(&store), Arc::clone(&clock), Arc::clone(&entropy));
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while began.elapsed() < MEASURED {
                    let one = Instant::now();
                    let draft = (0..FIELDS).fold(Draft::new(Kind::CapReached), |draft, _| {
                        draft.commit("field", Value::string("a value of about forty bytes, like a name"))
                    });
                    let entry = draft.seal(EntryId::new(clock.now(), entropy.as_ref()), entropy.as_ref());
                    let transition = Transition { entries: vec![entry], ..Transition::default() };
                    if let Err(error) = store.commit(transition).await {
                        eprintln!("{error}");
                        break;
                    }
                    latencies.push(one.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap_or_default());
    }
    (began.elapsed(), latencies)
}

fn print(what: &str, elapsed: Duration, mut latencies: Vec<Duration>) {
    latencies.sort_unstable();
    let at = |percent: usize| {
        let position = latencies.len().saturating_sub(1) * percent / 100;
        latencies.get(position).map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
    };
    let rate = latencies.len() as f64 / elapsed.as_secs_f64();
    println!("{what:>28} {rate:>10.0} {:>10.2} {:>10.2}", at(50), at(99));
}
