//! When a head of values learns them in units of their own mean and deviation. The model that is saved answers the values
//! themselves, whatever it learned them in.

use crate::Targets;
use hone_bert::Units;
use serde::{Deserialize, Serialize};

/// When values are standardised: brought to mean 0 and deviation 1 for training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standardize {
    /// Where a head begins at random, and where one in plain units would hardly reach them, or miss them by more than they
    /// differ.
    Auto,
    /// Whatever they are.
    Always,
    /// Never.
    Never,
}

impl std::str::FromStr for Standardize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Standardize::Auto),
            "always" => Ok(Standardize::Always),
            "never" => Ok(Standardize::Never),
            _ => Err(format!("{text}: auto, always or never was expected")),
        }
    }
}

/// A mean this far from 0, or a deviation above it, is more than a few steps of a head away.
const FAR: f64 = 10.0;
/// Values that differ by less are lost in what a new head says by chance.
const NEAR: f64 = 0.1;

impl Standardize {
    /// The units that a run on these targets learns in, whose head begins at random or not; none: plain ones.
    pub fn units(self, targets: &Targets, random_head: bool) -> Option<Units> {
        let Targets::Values(values) = targets else {
            return None;
        };
        let units = Units::of(values.iter().map(|&v| f64::from(v)));
        let needed = match self {
            Standardize::Auto => random_head || hardly_reached(units),
            Standardize::Always => true,
            Standardize::Never => false,
        };
        needed.then_some(units)
    }
}

/// Whether a head that begins at random near 0 can hardly answer values of this mean and deviation.
pub(crate) fn hardly_reached(units: Units) -> bool {
    units.mean.abs().max(units.deviation) > FAR || units.deviation < NEAR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_values_out_of_reach_are_standardised_for_a_head_that_knows_some() {
        let units =
            |how: Standardize, values: &[f32]| how.units(&Targets::Values(values.to_vec()), false);
        let auto = |values: &[f32]| units(Standardize::Auto, values).is_some();
        // Five stars, similarities from 0 to 5, shares, all one and the same.
        for within in [
            &[1.0, 5.0, 4.0][..],
            &[0.0, 2.5, 5.0],
            &[0.0, 1.0, 0.4],
            &[3.0, 3.0],
        ] {
            assert!(!auto(within), "{within:?}");
        }
        // Per cent, prices, years, rates.
        for beyond in [
            &[0.0, 100.0][..],
            &[-1e6, 1e6],
            &[1999.0, 2001.0],
            &[0.01, 0.02],
            &[50.0, 50.0],
        ] {
            assert!(auto(beyond), "{beyond:?}");
            assert_eq!(units(Standardize::Never, beyond), None);
        }
        let stars = Targets::Values(vec![1.0, 3.0]);
        for how in [Standardize::Auto, Standardize::Always] {
            let units = how.units(&stars, true).unwrap();
            assert_eq!((units.mean, units.deviation), (2.0, 1.0));
            let classes = Targets::Classes(vec![Some(1)]);
            assert_eq!(how.units(&classes, true), None);
        }
        assert!(units(Standardize::Always, &[1.0, 3.0]).is_some());
        assert_eq!(Standardize::Never.units(&stars, true), None);
    }
}
