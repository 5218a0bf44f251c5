//! From what was sampled to what there was. The only file that does so.

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
/// relative standard error is `1 / sqrt(blocks taken)`. Go cuts the fraction off the result; here it is rounded.
pub fn estimate(observed: &Observed, rate: SampleRate, size: u64) -> Estimated {
    let factor = if rate.is_exact() || size == 0 { 1.0 } else { 1.0 / -(-(size as f64) / rate.0 as f64).exp_m1() };
    let mut estimated = Estimated::default();
    for value in ValueType::ALL {
        let figure = observed[value];
        // Beyond 2^53 a product with 1.0 would not be exact.
        estimated[value] = if factor == 1.0 { figure } else { (figure as f64 * factor).round() as i64 };
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
    fn figures_of_an_exact_profile_are_left_as_they_are() {
        let seen = observed(3, i64::MAX - 1);
        for rate in [0, 1] {
            for value in ValueType::ALL {
                assert_eq!(estimate(&seen, SampleRate(rate), 64)[value], seen[value]);
            }
        }
    }

    #[test]
    fn a_block_far_smaller_than_the_rate_stands_for_rate_over_size_blocks() {
        let scaled = estimate(&observed(1, 64), SampleRate(512 * 1024), 64);
        // 1 / (1 - exp(-64 / 524288)) = 8192.5
        assert_eq!(scaled[ValueType::AllocObjects], 8193);
        assert_eq!(scaled[ValueType::AllocSpace], 524_320);
    }

    #[test]
    fn a_block_far_larger_than_the_rate_stands_for_itself() {
        let scaled = estimate(&observed(2, 2 << 30), SampleRate(512 * 1024), 1 << 30);
        assert_eq!(scaled[ValueType::AllocObjects], 2);
        assert_eq!(scaled[ValueType::AllocSpace], 2 << 30);
    }
}
