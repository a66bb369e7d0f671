//! The units that a head of values answers in.

/// A head's output `z` is the value `mean + deviation · z`. In the units of its labels a new head, which begins near 0 and
/// moves by about its learning rate a step, can have them all within reach, whatever they count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Units {
    /// The value of an output of 0.
    pub mean: f64,
    /// What an output of 1 adds; above 0.
    pub deviation: f64,
}

impl Units {
    /// Outputs are values.
    pub const PLAIN: Units = Units {
        mean: 0.0,
        deviation: 1.0,
    };

    /// Mean and deviation of values; those that are all the same have deviation 1.
    pub fn of(values: impl Iterator<Item = f64> + Clone) -> Units {
        let n = values.clone().count().max(1) as f64;
        let mean = values.clone().sum::<f64>() / n;
        let variance = values.map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
        // Below this the values differ by the rounding of their mean.
        let least = f64::from(f32::EPSILON) * mean.abs();
        Units {
            mean,
            deviation: match variance.sqrt() {
                d if d > least => d,
                _ => 1.0,
            },
        }
    }

    /// The value of an output.
    pub fn value(self, output: f64) -> f64 {
        self.mean + self.deviation * output
    }

    /// The output of a value.
    pub fn output(self, value: f64) -> f64 {
        (value - self.mean) / self.deviation
    }

    /// A squared error of values, where it is 1 of outputs.
    pub fn squared(self) -> f64 {
        self.deviation * self.deviation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `numpy.mean`, `numpy.std`.
    #[test]
    fn mean_and_deviation() {
        let units = Units::of([3.0, 5.0, 10.0].into_iter());
        assert_eq!(units.mean, 6.0);
        assert!((units.deviation - 2.943_920_288_775_949).abs() < 1e-15);
        assert_eq!(units.output(6.0), 0.0);
        assert!((units.value(units.output(5.0)) - 5.0).abs() < 1e-14);
        for same in [0.0, 4.0, 0.1, 1e30] {
            let units = Units::of([same; 7].into_iter());
            assert_eq!(units.deviation, 1.0, "{same}");
        }
        assert_eq!(Units::of(std::iter::empty()), Units::PLAIN);
    }
}
