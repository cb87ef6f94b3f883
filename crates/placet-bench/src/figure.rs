//! A figure: a number that was measured several times, beside a floor that was measured in between.

/// What one figure says.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// Its short name, unique.
    pub(crate) name: &'static str,
    /// What was measured, in words.
    pub(crate) what: String,
    /// What the numbers count.
    pub(crate) unit: &'static str,
    /// What is aimed at.
    pub(crate) aim: Aim,
    /// What the floor is; empty if there is none.
    pub(crate) floor: &'static str,
    /// What was measured, round by round.
    pub(crate) rounds: Vec<Round>,
    /// What a reader has to know beside it.
    pub(crate) note: String,
}

/// One round.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Round {
    /// The subject's number.
    pub(crate) value: f64,
    /// The floor's number, measured directly before.
    pub(crate) floor: Option<f64>,
    /// Cores that load generator and subject used, on average.
    pub(crate) cpu: Option<(f64, f64)>,
}

/// What is aimed at.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Aim {
    /// Nothing: it is good to know.
    Nothing,
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
    /// So many floors and so much, or less.
    Floors(f64, f64),
}

impl Figure {
    /// The number in the middle.
    pub(crate) fn median(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.value))
    }

    /// The smallest and the largest number.
    pub(crate) fn spread(&self) -> (f64, f64) {
        let values = || self.rounds.iter().map(|round| round.value);
        (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max))
    }

    /// The floor's number in the middle.
    pub(crate) fn floor_median(&self) -> Option<f64> {
        let floors: Vec<f64> = self.rounds.iter().filter_map(|round| round.floor).collect();
        (!floors.is_empty()).then(|| median(floors.into_iter()))
    }

    /// How many floors the subject is, round by round, in the middle: a busy second is busy for both.
    pub(crate) fn ratio(&self) -> Option<f64> {
        let ratio = |round: &Round| round.floor.filter(|floor| *floor > 0.0).map(|floor| round.value / floor);
        let ratios: Vec<f64> = self.rounds.iter().filter_map(ratio).collect();
        (!ratios.is_empty()).then(|| median(ratios.into_iter()))
    }

    /// Cores that generator and subject used, on average.
    pub(crate) fn cpu(&self) -> Option<(f64, f64)> {
        let used: Vec<(f64, f64)> = self.rounds.iter().filter_map(|round| round.cpu).collect();
        (!used.is_empty()).then(|| {
            (
                median(used.iter().map(|(generator, _)| *generator)),
                median(used.iter().map(|(_, subject)| *subject)),
            )
        })
    }

    /// The number that is aimed at, if there is one.
    pub(crate) fn aimed_at(&self) -> Option<f64> {
        match self.aim {
            Aim::Nothing => None,
            Aim::AtMost(number) | Aim::AtLeast(number) => Some(number),
            Aim::Floors(times, plus) => self.floor_median().map(|floor| times * floor + plus),
        }
    }

    /// Whether the aim is reached; none if there is no aim.
    pub(crate) fn reached(&self) -> Option<bool> {
        let aim = self.aimed_at()?;
        Some(match self.aim {
            Aim::AtLeast(_) => self.median() >= aim,
            _ => self.median() <= aim,
        })
    }
}

/// The number in the middle; of two, their mean.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.wrapping_sub(1)), at(middle)) }
}

/// The number below which this share of all lies.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let index = (share * last as f64).round() as usize;
    sorted.get(index.min(last)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(aim: Aim, rounds: &[(f64, f64)]) -> Figure {
        let rounds =
            rounds.iter().map(|(value, floor)| Round { value: *value, floor: Some(*floor), cpu: None });
        let (name, unit, floor) = ("test", "ms", "a floor");
        Figure { name, what: String::new(), unit, aim, floor, rounds: rounds.collect(), note: String::new() }
    }

    #[test]
    fn the_middle_of_odd_and_even() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert!(median([].into_iter()).is_nan());
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.5), 3.0);
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.99), 5.0);
    }

    #[test]
    fn a_ratio_is_of_one_round() {
        // A machine that became ten times slower in the second round is no different placet.
        let figure = figure(Aim::AtMost(5.0), &[(2.0, 1.0), (20.0, 10.0), (3.0, 1.5)]);
        assert_eq!(figure.ratio(), Some(2.0));
        assert_eq!(figure.median(), 3.0);
        assert_eq!(figure.spread(), (2.0, 20.0));
    }

    #[test]
    fn an_aim_is_reached_or_missed() {
        let rounds = [(2.0, 1.0)];
        for (aim, reached) in [
            (Aim::Nothing, None),
            (Aim::AtMost(2.0), Some(true)),
            (Aim::AtMost(1.9), Some(false)),
            (Aim::AtLeast(2.0), Some(true)),
            (Aim::AtLeast(2.1), Some(false)),
            (Aim::Floors(1.3, 0.8), Some(true)),
            (Aim::Floors(1.3, 0.6), Some(false)),
        ] {
            assert_eq!(figure(aim, &rounds).reached(), reached, "{aim:?}");
        }
    }
}
