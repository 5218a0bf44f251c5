//! Scales sampled metrics up to estimates of all allocations. No other file does so.

use super::values::{Estimated, Observed, ValueType};

/// Mean bytes between samples: 0 = no stacks were recorded, 1 = every allocation was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SampleRate(pub u64);

impl SampleRate {
    /// Whether every allocation was recorded, so that nothing needs estimating.
    pub fn is_exact(self) -> bool {
        self.0 <= 1
    }
}

/// The estimate for samples of blocks of `size` bytes each.
///
/// The sampler takes each byte with probability 1/rate, so it takes a block of `size` bytes with probability
/// `1 - exp(-size / rate)`, and each block taken stands for the inverse of that. This is the formula of Go's
/// `scaleHeapSample`; because all blocks of a site have one size, the estimate has no bias from mixing sizes. Its
/// relative standard error is `1 / sqrt(blocks taken)`.
///
/// A metric is a whole number. Go cuts the fraction off, and rounding to the nearest is no better where many tests are added up: a
/// block that stands for 1.16 would count 1 in each of them. So a fraction is rounded up as often as it says: `dither`, which is from
/// 0 up to 1, says whether this one is, and is as good as random from one site to the next.
pub fn estimate(observed: &Observed, rate: SampleRate, size: u64, dither: f64) -> Estimated {
    let factor = if rate.is_exact() || size == 0 { 1.0 } else { 1.0 / -(-(size as f64) / rate.0 as f64).exp_m1() };
    let mut estimated = Estimated::default();
    for value in ValueType::ALL {
        let metric = observed[value];
        // Beyond 2^53 a product with 1.0 would not be exact.
        estimated[value] = if factor == 1.0 { metric } else { (metric as f64 * factor + dither).floor() as i64 };
    }
    estimated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(objects: i64, space: i64) -> Observed {
        let mut observed = Observed::default();
        observed[ValueType::AllocObjects] = objects;
        observed[ValueType::AllocSpace] = space;
        observed
    }

    #[test]
    fn metrics_of_an_exact_profile_are_left_as_they_are() {
        let seen = observed(3, i64::MAX - 1);
        for rate in [0, 1] {
            for value in ValueType::ALL {
                assert_eq!(estimate(&seen, SampleRate(rate), 64, 0.5)[value], seen[value]);
            }
        }
    }

    #[test]
    fn a_block_far_smaller_than_the_rate_stands_for_rate_over_size_blocks() {
        let scaled = estimate(&observed(1, 64), SampleRate(512 * 1024), 64, 0.5);
        // 1 / (1 - exp(-64 / 524288)) = 8192.5
        assert_eq!(scaled[ValueType::AllocObjects], 8193);
        assert_eq!(scaled[ValueType::AllocSpace], 524_320);
    }

    #[test]
    fn a_block_far_larger_than_the_rate_stands_for_itself() {
        let scaled = estimate(&observed(2, 2 << 30), SampleRate(512 * 1024), 1 << 30, 0.5);
        assert_eq!(scaled[ValueType::AllocObjects], 2);
        assert_eq!(scaled[ValueType::AllocSpace], 2 << 30);
    }

    #[test]
    fn fractions_are_rounded_up_as_often_as_they_say() {
        // 1 / (1 - exp(-2)) = 1.1565
        let of = |dither: f64| estimate(&observed(1, 1 << 20), SampleRate(512 * 1024), 1 << 20, dither);
        let sum: i64 = (0..1000).map(|i| of(f64::from(i) / 1000.0)[ValueType::AllocObjects]).sum();
        assert_eq!(sum, 1156);
        let none = estimate(&Observed::default(), SampleRate(512 * 1024), 1 << 20, 0.999);
        assert_eq!(none, Estimated::default());
    }
}
