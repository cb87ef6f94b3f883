//! The long runs of the tests that look for what nobody thought of: the model test and the crash matrix.

use crate::exec::{Machine, Result};

/// What `model`'s options ask for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Histories {
    number: u64,
    seed: u64,
}

impl Histories {
    pub(crate) fn parse(options: &[&str]) -> std::result::Result<Self, String> {
        let mut histories = Histories { number: 2_000, seed: 1 };
        for pair in options.chunks(2) {
            let [name, value] = pair else { return Err(format!("{} needs a number", pair.join(" "))) };
            let value = value.parse().map_err(|_| format!("{name} needs a number, not {value}"))?;
            match *name {
                "--histories" => histories.number = value,
                "--seed" => histories.seed = value,
                other => return Err(format!("unknown option: {other}")),
            }
        }
        Ok(histories)
    }
}

/// Plays random histories on the real broker and on the naive model, on all cores.
pub(crate) fn model(machine: &Machine, histories: &Histories) -> Result<()> {
    let mut cargo = machine.cargo();
    cargo.args(["test", "--locked", "-p", "placet-broker", "--test", "model", "--", "random", "--nocapture"]);
    cargo.env("PLACET_MODEL_HISTORIES", histories.number.to_string());
    machine.run(cargo.env("PLACET_MODEL_SEED", histories.seed.to_string()))
}

/// Kills the binary before every so manieth write, mostly every one, and lets every such write fail.
pub(crate) fn crash(machine: &Machine, every: u32) -> Result<()> {
    let mut cargo = machine.cargo();
    cargo.args(["test", "--locked", "-p", "placet", "--test", "crash", "--", "--nocapture"]);
    machine.run(cargo.env("PLACET_CRASH", every.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_numbers_with_names() {
        assert_eq!(Histories::parse(&[]), Ok(Histories { number: 2_000, seed: 1 }));
        let given = Histories::parse(&["--seed", "7", "--histories", "9"]);
        assert_eq!(given, Ok(Histories { number: 9, seed: 7 }));
        for wrong in [&["--seed"][..], &["--seed", "x"], &["--sed", "1"]] {
            assert!(Histories::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
