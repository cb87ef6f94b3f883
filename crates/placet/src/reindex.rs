//! `placet audit reindex`: the search index made anew, by the placet that runs, or by this command if none does.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use placet_api::audit::{ReindexDocument, ReindexResult};
use placet_core::entropy::Entropy;
use placet_core::time::Clock;
use placet_store::Commit as _;

use crate::admin::Admin;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::machine::{self, OsEntropy, SystemClock};
use crate::output::Output;
use crate::up;

/// How often to ask whether it is done.
const POLL: Duration = Duration::from_millis(250);

/// Does it.
pub(crate) async fn run(config: Config, output: Output) -> Result<Exit, Failure> {
    let admin = Admin::of(&config.dir);
    let made = match admin.send(Method::POST, &["audit", "index"]).await {
        Ok(()) => by_the_running(&admin).await?,
        // If there is one and it only does not answer, its lock on the directory says so.
        Err(failure) if failure.exit == Exit::NoBroker => alone(&config, failure).await?,
        Err(failure) => return Err(failure),
    };
    output.result(&made, || told(&made))?;
    Ok(Exit::Done)
}

async fn by_the_running(admin: &Admin) -> Result<ReindexResult, Failure> {
    loop {
        let state: ReindexDocument = admin.get(&["audit", "index"]).await?;
        match (state.last, state.error) {
            _ if state.running => tokio::time::sleep(POLL).await,
            (Some(made), _) => return Ok(made),
            (None, Some(error)) => {
                return Err(Failure::new(Exit::Found, format!("make the search index: {error}")));
            }
            (None, None) => {
                return Err(Failure::new(
                    Exit::NoBroker,
                    "make the search index: placet was restarted meanwhile",
                )
                .hint("Ask again."));
            }
        }
    }
}

/// Nobody serves the directory: we open it ourselves, and nobody else can meanwhile.
async fn alone(config: &Config, nobody: Failure) -> Result<ReindexResult, Failure> {
    if !config.dir.join("placet.db").exists() {
        return Err(nobody);
    }
    machine::close_to_others(config.limits.connections)
        .map_err(|error| Failure::of(Exit::Configuration, &error))?;
    let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(SystemClock), Arc::new(OsEntropy));
    let store = up::open_store(&config.dir, config, &clock, &entropy)
        .map_err(|error| Failure::of(Exit::Configuration, &error))?;
    let made = store.reindex().await.map_err(|error| Failure::of(Exit::Found, &error))?;
    Ok(ReindexResult {
        entries: made.entries,
        erased: made.erased,
        facts: made.facts,
        missing: made.missing,
        surplus: made.surplus,
    })
}

fn told(made: &ReindexResult) -> String {
    let ReindexResult { entries, erased, facts, missing, surplus } = made;
    let mut text = format!("made the search index anew: {facts} facts from {entries} entries\n");
    if *missing == 0 && *surplus == 0 {
        text.push_str("the one that was there said exactly the same\n");
    } else {
        text.push_str(&format!(
            "the one that was there lacked {missing} facts and had {surplus} that no entry tells\n"
        ));
    }
    if *erased > 0 {
        text.push_str(&format!("{erased} entries were erased: they are found by what stands in clear\n"));
    }
    text
}
