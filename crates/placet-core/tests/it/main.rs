//! What core promises, tested through its public types: a module for each feature.

#[cfg(test)]
mod action;
#[cfg(test)]
mod c14n;
#[cfg(test)]
mod common;
#[cfg(test)]
mod decision;
#[cfg(test)]
mod directory;
#[cfg(test)]
mod entries;
#[cfg(test)]
mod ids;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod retry;
#[cfg(test)]
mod text;
#[cfg(test)]
mod votes;
