//! The broker over a real store and the real starter bundles: what is done, what is refused, and what is recorded.

mod deadlines;
mod refusals;
mod retries;
mod way;
mod world;
