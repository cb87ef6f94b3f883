//! How long "who exported which dataset on Tuesday afternoon" takes over a long past, how fast that past was written, and
//! how long it takes to make the search index anew.
//!
//! ```text
//! cargo run --release -p placet-store --features test-support --example search_rate [REQUESTS] [DIRECTORY]
//! ```

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use placet_core::action::{ActionName, Principal};
use placet_core::request::Status;
use placet_core::time::{Clock, Timestamp};
use placet_store::conformance::{CountedEntropy, HandClock};
use placet_store::filler::{Past, agent, dataset, fill, reviewer};
use placet_store::{Happened, Options, RootKeySource, SearchFilter, SqliteStore, Store};

/// How often each question is asked.
const TIMES: usize = 21;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let requests = arguments.next().map_or(Some(100_000), |count| count.to_str()?.parse().ok());
    let requests: u64 = requests.ok_or("write how many requests")?;
    let base = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let space = tempfile::tempdir_in(base)?;
    let clock = Arc::new(HandClock::at(Timestamp::from_millis(1_790_000_000_000)));
    let entropy = Arc::new(CountedEntropy::new(1));
    let options = Options {
        clock: Arc::<HandClock>::clone(&clock),
        entropy: Arc::<CountedEntropy>::clone(&entropy),
        origin: "placet.example/rate".to_owned(),
        root_key: RootKeySource::Own,
    };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&space.path().join("data"), options)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        // A month, whatever the number.
        let pace = Duration::from_secs(30 * 86_400) / u32::try_from(requests.max(1))?;
        let past = Past { requests, agents: 20, datasets: 500, pace, reviewed_every: 5 };
        let began = Instant::now();
        fill(Arc::clone(&store), &clock, entropy, past).await;
        let took = began.elapsed();
        let size = store.log().await?.frontier.size();
        let rate = requests as f64 / took.as_secs_f64();
        println!("{requests} requests, {size} entries in {took:.1?}: {rate:.0} requests/s");
        questions(store.as_ref(), &clock).await?;
        let began = Instant::now();
        let made = store.reindex().await?;
        println!("reindex {:.1?}: {made:?}", began.elapsed());
        Ok::<_, Box<dyn Error>>(())
    })?;
    Ok(())
}

async fn questions(store: &dyn Store, clock: &HandClock) -> Result<(), Box<dyn Error>> {
    let before = |days: i64, hours: i64| {
        Timestamp::from_millis(clock.now().as_millis() - days * 86_400_000 + hours * 3_600_000)
    };
    let afternoon = SearchFilter {
        action: Some(ActionName::parse("data.export")?),
        from: Some(before(10, 12)),
        to: Some(before(10, 18)),
        limit: 50,
        ..SearchFilter::default()
    };
    let by = vec![Principal::Agent(agent(3))];
    let on = Some(dataset(17));
    println!("{:>44} {:>8} {:>10} {:>10}", "", "found", "p50 ms", "max ms");
    for (what, filter) in [
        ("action, afternoon", afternoon.clone()),
        ("action, afternoon, dataset", SearchFilter { resource: on.clone(), ..afternoon.clone() }),
        ("action, afternoon, agent", SearchFilter { by: by.clone(), ..afternoon.clone() }),
        (
            "action, afternoon, agent, dataset, started",
            SearchFilter {
                by: by.clone(),
                resource: on.clone(),
                happened: Happened::Started,
                ..afternoon.clone()
            },
        ),
        ("dataset, whole month", SearchFilter { resource: on, limit: 50, ..SearchFilter::default() }),
        (
            "reviewer, whole month",
            SearchFilter { reviewers: vec![reviewer()], limit: 50, ..SearchFilter::default() },
        ),
        (
            "nothing fits: action, afternoon, denied",
            SearchFilter { statuses: vec![Status::Denied], ..afternoon.clone() },
        ),
        (
            "nothing fits: agent, whole month, ended never",
            SearchFilter { by, statuses: vec![Status::Pending], limit: 50, ..SearchFilter::default() },
        ),
        ("all of the afternoon, 200", SearchFilter { limit: 200, ..afternoon }),
    ] {
        let mut latencies = Vec::new();
        let mut found = 0;
        for _ in 0..TIMES {
            let began = Instant::now();
            found = store.search(filter.clone()).await?.found.len();
            latencies.push(began.elapsed());
        }
        latencies.sort_unstable();
        let ms = |latency: Option<&Duration>| latency.map_or(0.0, |latency| latency.as_secs_f64() * 1000.0);
        let (middle, last) = (ms(latencies.get(TIMES / 2)), ms(latencies.last()));
        println!("{what:>44} {found:>8} {middle:>10.2} {last:>10.2}");
    }
    Ok(())
}
