//! The bundle's `runner.toml` as this machine heeds it: parsed once for each bundle, with what the machine's own operator
//! says about who executes.

use std::sync::{Arc, Mutex, PoisonError};

use placet_core::digest::BundleDigest;

use super::config::{Config, RunAs};
use crate::authority::{AuthorityError, AuthorityErrorKind};

/// Reads the `runner.toml` of the bundle in force.
#[derive(Debug)]
pub struct Bundled {
    /// Who executes on this machine, if its operator said other than the bundle.
    run_as: Option<RunAs>,
    parsed: Mutex<Option<(BundleDigest, Arc<Config>)>>,
}

impl Bundled {
    /// A reader on a machine whose operator said this.
    pub fn new(run_as: Option<RunAs>) -> Self {
        Bundled { run_as, parsed: Mutex::new(None) }
    }

    /// What this bundle's text says here.
    pub fn read(&self, bundle: BundleDigest, text: Option<&str>) -> Result<Arc<Config>, AuthorityError> {
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = parsed.as_ref().filter(|(digest, _)| *digest == bundle) {
            return Ok(config.clone());
        }
        let unusable =
            |message: String| AuthorityError::new(AuthorityErrorKind::Forbidden, "no_runner", message);
        let text = text.ok_or_else(|| {
            unusable("The active policy has no runner.toml, so placet executes no commands.".to_owned())
        })?;
        let mut config = Config::parse(text)
            .map_err(|error| unusable(format!("The active policy's runner.toml cannot be used: {error}.")))?;
        if let Some(run_as) = &self.run_as {
            config.run_as = run_as.clone();
        }
        let config = Arc::new(config);
        *parsed = Some((bundle, config.clone()));
        Ok(config)
    }
}
