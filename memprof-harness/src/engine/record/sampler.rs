//! When the next sample is due. Poisson: the gaps between samples are exponentially distributed over the bytes
//! allocated, so an allocation of `size` bytes is sampled with probability 1 - exp(-size / rate), whatever came before.

/// One lane's stream of gaps. The seed is made of the process's and the lane's number, so a test on one thread samples the same
/// allocations on every run, and two tests that do the same sample different ones.
#[derive(Debug)]
pub(crate) struct Sampler {
    state: u64,
    /// Bytes between samples in the mean; 0 = there are none.
    rate: f64,
}

impl Sampler {
    pub(crate) const fn new(seed: u64, rate: u64) -> Sampler {
        Sampler { state: seed, rate: rate as f64 }
    }

    pub(crate) fn of_lane(seed: u64, lane: u32, rate: u64) -> Sampler {
        Sampler::new(mix(seed, u64::from(lane)), rate)
    }

    /// Bytes until the next sample, at least 1; `u64::MAX` at rate 0, where there is none.
    pub(crate) fn gap(&mut self) -> u64 {
        if self.rate == 0.0 {
            return u64::MAX;
        }
        // Uniform in 1..=2^53: as many bits as an f64 holds, and never 0, whose logarithm is infinite.
        let uniform = (self.next() >> 11) + 1;
        // Inverse of the exponential distribution, rounded up to whole bytes. P(gap > n) is then exp(-n / rate) for
        // every whole n: rounding adds no bias.
        let gap = minus_ln(uniform) * self.rate;
        // Processors convert to signed numbers at once. No program allocates more bytes than those have.
        (gap as i64 as u64).saturating_add(1)
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): passes BigCrush, needs no warm-up after a small seed.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        scramble(self.state)
    }
}

/// What SplitMix64 adds to its state.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

fn scramble(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A seed for each of the `parts` of what has this one. Scrambled twice, so that no two streams are the same but for where they
/// begin, as those are whose states differ by a few steps.
pub(crate) fn mix(seed: u64, part: u64) -> u64 {
    scramble(seed ^ scramble(part.wrapping_add(1).wrapping_mul(STEP)))
}

/// -ln(k / 2^53) for k in 1..=2^53. std's `ln` is libm's, which every test's process would load for this alone; and
/// this one is the same on every system.
///
/// k is m * 2^e with m in [1, 2), and m = c (1 + r), where c is the middle of that of 128 equal parts which m lies in. The series of
/// ln(1 + r) needs six terms, because r is at most 2^-8: what is left out is less than 2^-58. There is no division and no branch,
/// for the same reason as terms are added up in pairs (Estrin's scheme): the processor need not wait.
fn minus_ln(k: u64) -> f64 {
    const MANTISSA_BITS: u32 = 52;
    const MANTISSA: u64 = (1 << MANTISSA_BITS) - 1;
    const ONE: u64 = 1023;
    // Exact: an f64 has 53 bits. Processors convert from signed numbers at once.
    let bits = (k as i64 as f64).to_bits();
    let mantissa = bits & MANTISSA;
    let m = f64::from_bits(mantissa | ONE << MANTISSA_BITS);
    let exponent = (bits >> MANTISSA_BITS) as i64 - ONE as i64;
    let Part { inverse, ln } = PARTS[(mantissa >> (MANTISSA_BITS - PARTS.len().ilog2())) as usize % PARTS.len()];
    let r = m * inverse - 1.0;
    let r2 = r * r;
    let series = r + r2 * ((r * (1.0 / 3.0) - 0.5) + r2 * ((r * 0.2 - 0.25) - r2 * (1.0 / 6.0)));
    (53 - exponent) as f64 * std::f64::consts::LN_2 - (ln + series)
}

/// Of one of the parts of [1, 2), by its middle.
#[derive(Clone, Copy)]
struct Part {
    inverse: f64,
    ln: f64,
}

static PARTS: [Part; 128] = {
    let mut parts = [Part { inverse: 0.0, ln: 0.0 }; 128];
    let mut i = 0;
    while i < parts.len() {
        let middle = 1.0 + (i as f64 + 0.5) / parts.len() as f64;
        // ln c = 2 artanh s with s = (c - 1) / (c + 1), which is less than 1/3: of its series nineteen terms are more than an f64 holds.
        let s = (middle - 1.0) / (middle + 1.0);
        let (mut artanh, mut n) = (0.0, 19);
        while n > 0 {
            n -= 1;
            artanh = artanh * s * s + 1.0 / (2 * n + 1) as f64;
        }
        parts[i] = Part { inverse: 1.0 / middle, ln: 2.0 * s * artanh };
        i += 1;
    }
    parts
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Seed;

    #[test]
    #[cfg_attr(miri, ignore = "Miri's own logarithm differs from run to run")]
    fn the_logarithm_is_that_of_the_library() {
        let mut sampler = Sampler::new(3, 1);
        let random = (0..100_000).map(|i| (sampler.next() >> 11 >> (i % 53)) + 1);
        for k in random.chain([1, 2, 3, (1 << 53) - 1, 1 << 53]) {
            let truth = -(k as f64 / (1u64 << 53) as f64).ln();
            assert!((minus_ln(k) - truth).abs() <= 1e-15 + 4e-16 * truth, "{k}: {} for {truth}", minus_ln(k));
        }
    }

    #[test]
    fn gaps_have_the_mean_that_was_asked_for() {
        let mut sampler = Sampler::new(1, 524_288);
        let n = if cfg!(miri) { 1000u32 } else { 100_000 };
        let mean = (0..n).map(|_| sampler.gap() as f64).sum::<f64>() / f64::from(n);
        // The standard error of the mean is rate / sqrt(n); five of them.
        assert!((mean / 524_288.0 - 1.0).abs() < 5.0 / f64::from(n).sqrt(), "{mean}");
    }

    #[test]
    fn rate_zero_never_samples() {
        assert_eq!(Sampler::new(1, 0).gap(), u64::MAX);
    }

    #[test]
    fn every_size_is_sampled_as_often_as_the_formula_says() {
        for (rate, size) in [(4096u64, 16u64), (4096, 1000), (4096, 4096), (4096, 100_000), (2, 1), (524_288, 1 << 20)]
        {
            let p = 1.0 - (-(size as f64) / rate as f64).exp();
            // Enough trials for a few thousand hits, and not more than two million.
            let trials = (4000.0 / p).min(if cfg!(miri) { 500.0 } else { 2e6 }) as u64;
            let mut sampler = Sampler::new(7, rate);
            let (mut clock, mut due, mut hits) = (0u64, sampler.gap(), 0u64);
            for _ in 0..trials {
                clock += size;
                if clock >= due {
                    hits += 1;
                    due = clock + sampler.gap();
                }
            }
            let expected = p * trials as f64;
            let sigma = (trials as f64 * p * (1.0 - p)).sqrt().max(1.0);
            assert!((hits as f64 - expected).abs() <= 5.0 * sigma, "rate {rate} size {size}: {hits} of {expected}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "some million gaps")]
    fn the_mean_over_a_thousand_tests_is_the_truth_and_their_errors_cancel() {
        const TESTS: u64 = 1000;
        let rate = 524_288u64;
        for size in [16u64, 100, 1000, 5000, 65_536, 524_288, 2 << 20] {
            let p = 1.0 - (-(size as f64) / rate as f64).exp();
            // One or two samples in each test.
            let blocks = rate.div_ceil(size) * 2;
            let estimates = (0..TESTS).map(|test| {
                let seed = Seed::of_test("package", "target", "src/lib.rs", &format!("tests::of_{test}"), 0);
                let mut sampler = Sampler::of_lane(seed.0, 1, rate);
                let (mut due, mut hits) = (sampler.gap(), 0u64);
                loop {
                    // The number of the block in which the sample is due.
                    let block = due.div_ceil(size);
                    if block > blocks {
                        break hits as f64 / p;
                    }
                    hits += 1;
                    due = block * size + sampler.gap();
                }
            });
            let (sum, truth) = (estimates.sum::<f64>(), (TESTS * blocks) as f64);
            // The variance of a sum is that of its parts only where they are independent.
            let bound = 4.0 * (truth * (1.0 - p) / p).sqrt();
            assert!((sum - truth).abs() <= bound, "{size} bytes: {sum} for {truth} ± {bound}");
        }
    }
}
