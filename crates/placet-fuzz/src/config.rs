//! Placet's own configuration. It is read by the binary, which is no library, so its files are read here by their place.

#![allow(dead_code, reason = "the binary uses the rest of it")]

#[path = "../../placet/src/config/keys.rs"]
mod keys;
#[path = "../../placet/src/config/settings.rs"]
mod settings;
#[path = "../../placet/src/config/typed.rs"]
mod typed;

pub(crate) use settings::{Environment, Origin, Settings};
pub(crate) use typed::Config;
