//! The doors over real listeners, a real broker and a real store.

mod admin;
mod agents;
mod hostile;
mod pages;
mod reviewers;
mod serving;
mod world;
