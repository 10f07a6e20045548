//! When shoppers arrive: intended times from options and a seed, and nothing else. The load is open: nobody waits for
//! an earlier shopper's answer.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Most arrivals a second: beyond it the generator itself is what would be measured.
pub const RATE_MAX: f64 = 200_000.0;
/// Most pieces of a staircase.
pub const STEPS_MAX: u32 = 1_000;

/// How the rate goes over time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// The same rate, at even distances.
    Constant,
    /// The same rate on average, each arrival independent of all others.
    Poisson,
    /// A staircase from the rate to the peak, all steps equally long.
    Step {
        /// How many, two at least.
        steps: u32,
        /// The rate of the last one.
        peak: f64,
    },
    /// The rate, and the peak for a while.
    Spike {
        /// When it begins.
        from: Duration,
        /// How long it lasts.
        length: Duration,
        /// The rate meanwhile.
        peak: f64,
    },
}

/// A schedule, from which the same times come each time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrivals {
    /// How the rate goes.
    pub shape: Shape,
    /// Arrivals a second.
    pub rate: f64,
    /// How long shoppers arrive.
    pub duration: Duration,
    /// For what is random in it.
    pub seed: u64,
}

impl Arrivals {
    /// Whether a schedule follows from this.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn check(&self) -> Result<(), String> {
        let is_rate = |rate: f64| rate > 0.0 && rate <= RATE_MAX;
        let peak = match self.shape {
            Shape::Constant | Shape::Poisson => self.rate,
            Shape::Step { peak, .. } | Shape::Spike { peak, .. } => peak,
        };
        if !is_rate(self.rate) || !is_rate(peak) {
            return Err(format!("a rate is above 0 and at most {RATE_MAX} a second"));
        }
        match self.shape {
            Shape::Step { steps, .. } if !(2..=STEPS_MAX).contains(&steps) => {
                Err(format!("a staircase has 2 to {STEPS_MAX} steps"))
            }
            Shape::Spike { from, length, .. } if from + length > self.duration => {
                Err("the spike ends after the run".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// The intended times, from the beginning of the run, in order.
    #[must_use]
    pub fn times(&self) -> Times {
        let whole = self.duration.as_secs_f64();
        let parts: Vec<(f64, f64)> = match self.shape {
            Shape::Constant | Shape::Poisson => vec![(whole, self.rate)],
            Shape::Step { steps, peak } => {
                let share = |n: u32| f64::from(n) / f64::from(steps.max(2) - 1);
                (0..steps).map(|n| (whole / f64::from(steps), self.rate + (peak - self.rate) * share(n))).collect()
            }
            Shape::Spike { from, length, peak } => {
                let (from, length) = (from.as_secs_f64(), length.as_secs_f64());
                vec![(from, self.rate), (length, peak), (whole - from - length, self.rate)]
            }
        };
        let (mut starts_s, mut starts_at) = (0.0, 0.0);
        let mut pieces = Vec::with_capacity(parts.len());
        for (length_s, rate) in parts {
            let ends_at = starts_at + length_s * rate;
            pieces.push(Piece { starts_s, starts_at, ends_at, rate });
            (starts_s, starts_at) = (starts_s + length_s, ends_at);
        }
        let random = (self.shape == Shape::Poisson).then(|| StdRng::seed_from_u64(self.seed));
        Times { pieces, piece: 0, arrivals: 0.0, random }
    }
}

/// A stretch of one rate. Time is also counted in arrivals expected so far: there, every schedule has the rate one.
#[derive(Clone, Copy, Debug)]
struct Piece {
    starts_s: f64,
    starts_at: f64,
    ends_at: f64,
    rate: f64,
}

/// Intended times, from [`Arrivals::times`].
#[derive(Debug)]
pub struct Times {
    pieces: Vec<Piece>,
    piece: usize,
    /// Where the next one is, in arrivals expected so far.
    arrivals: f64,
    random: Option<StdRng>,
}

impl Iterator for Times {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let gap = match &mut self.random {
            Some(random) => -(1.0 - random.random::<f64>()).ln(),
            None => 1.0,
        };
        // Independent arrivals do not begin with one; even ones do.
        let at = if self.random.is_some() { self.arrivals + gap } else { self.arrivals };
        self.arrivals += gap;
        while at >= self.pieces.get(self.piece)?.ends_at {
            self.piece += 1;
        }
        let piece = self.pieces[self.piece];
        Some(Duration::from_secs_f64(piece.starts_s + (at - piece.starts_at) / piece.rate))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arrivals(shape: Shape, rate: f64, seconds: f64, seed: u64) -> Arrivals {
        Arrivals { shape, rate, duration: Duration::from_secs_f64(seconds), seed }
    }

    fn within(times: &[Duration], from_s: f64, to_s: f64) -> usize {
        times.iter().filter(|time| (from_s..to_s).contains(&time.as_secs_f64())).count()
    }

    #[test]
    fn constant_arrivals_stand_at_even_distances() {
        let times: Vec<_> = arrivals(Shape::Constant, 4.0, 1.0, 0).times().collect();
        assert_eq!(times, [0, 250, 500, 750].map(Duration::from_millis));
    }

    #[test]
    fn a_staircase_rises_from_the_rate_to_the_peak() {
        let times: Vec<_> = arrivals(Shape::Step { steps: 3, peak: 300.0 }, 100.0, 3.0, 0).times().collect();
        let counts = [within(&times, 0.0, 1.0), within(&times, 1.0, 2.0), within(&times, 2.0, 3.0)];
        assert_eq!(counts, [100, 200, 300]);
    }

    #[test]
    fn a_spike_has_its_peak_only_meanwhile() {
        let spike = Shape::Spike { from: Duration::from_secs(2), length: Duration::from_secs(1), peak: 1000.0 };
        let times: Vec<_> = arrivals(spike, 10.0, 4.0, 0).times().collect();
        let counts = [within(&times, 0.0, 2.0), within(&times, 2.0, 3.0), within(&times, 3.0, 4.0)];
        assert_eq!(counts, [20, 1000, 10]);
    }

    #[test]
    fn independent_arrivals_have_the_spread_of_a_poisson_process() {
        let times: Vec<_> = arrivals(Shape::Poisson, 100.0, 1000.0, 7).times().collect();
        let counts: Vec<f64> =
            (0..1000).map(|second| within(&times, f64::from(second), f64::from(second) + 1.0) as f64).collect();
        let mean = counts.iter().sum::<f64>() / 1000.0;
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 1000.0;
        // Mean and variance are both the rate; even arrivals would have a variance of 0.
        assert!((mean - 100.0).abs() < 2.0, "{mean}");
        assert!((variance - 100.0).abs() < 20.0, "{variance}");
    }

    #[test]
    fn what_gives_no_schedule_is_refused() {
        assert!(arrivals(Shape::Constant, 0.0, 1.0, 0).check().is_err());
        assert!(arrivals(Shape::Constant, f64::NAN, 1.0, 0).check().is_err());
        assert!(arrivals(Shape::Step { steps: 1, peak: 9.0 }, 1.0, 1.0, 0).check().is_err());
        let late = Shape::Spike { from: Duration::from_secs(1), length: Duration::from_secs(1), peak: 9.0 };
        assert!(arrivals(late, 1.0, 1.5, 0).check().is_err());
        assert!(arrivals(late, 1.0, 2.0, 0).check().is_ok());
    }

    fn shapes() -> impl Strategy<Value = Shape> {
        prop_oneof![
            Just(Shape::Constant),
            Just(Shape::Poisson),
            (2..20_u32, 0.5..2000.0).prop_map(|(steps, peak)| Shape::Step { steps, peak }),
            (0..1000_u64, 0..1000_u64, 0.5..2000.0).prop_map(|(from, length, peak)| Shape::Spike {
                from: Duration::from_millis(from),
                length: Duration::from_millis(length),
                peak
            }),
        ]
    }

    proptest! {
        /// In order, within the run, as many as the rates say, and the same each time.
        #[test]
        fn a_schedule_is_ordered_bounded_complete_and_repeatable(
            shape in shapes(), rate in 0.5..2000.0, seconds in 2.0..4.0, seed: u64,
        ) {
            let arrivals = arrivals(shape, rate, seconds, seed);
            prop_assert!(arrivals.check().is_ok());
            let times: Vec<_> = arrivals.times().collect();
            prop_assert!(times.is_sorted());
            prop_assert!(times.last().is_none_or(|last| *last <= arrivals.duration + Duration::from_nanos(1)));
            let expected = match shape {
                Shape::Constant | Shape::Poisson => rate * seconds,
                Shape::Step { peak, .. } => (rate + peak) / 2.0 * seconds,
                Shape::Spike { length, peak, .. } => rate * seconds + (peak - rate) * length.as_secs_f64(),
            };
            // Six standard deviations of a Poisson count.
            let slack = if shape == Shape::Poisson { 6.0 * expected.sqrt() + 6.0 } else { 1.001 };
            prop_assert!((times.len() as f64 - expected).abs() <= slack, "{} of {expected}", times.len());
            prop_assert_eq!(times, arrivals.times().collect::<Vec<_>>());
        }
    }
}
