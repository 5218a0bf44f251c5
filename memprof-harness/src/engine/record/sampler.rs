//! When the next sample is due. Poisson: the gaps between samples are exponentially distributed over the bytes
//! allocated, so an allocation of `size` bytes is sampled with probability 1 - exp(-size / rate), whatever came before.

/// One lane's stream of gaps. The seed is the lane's number, so a test on one thread samples the same allocations on
/// every run.
#[derive(Debug)]
pub(crate) struct Sampler {
    state: u64,
    rate: u64,
}

impl Sampler {
    pub(crate) const fn new(seed: u64, rate: u64) -> Sampler {
        Sampler { state: seed, rate }
    }

    /// Bytes until the next sample, at least 1; `u64::MAX` at rate 0, where there is none.
    pub(crate) fn gap(&mut self) -> u64 {
        if self.rate == 0 {
            return u64::MAX;
        }
        // Uniform in 1..=2^53: as many bits as an f64 holds, and never 0, whose logarithm is infinite.
        let uniform = (self.next() >> 11) + 1;
        // Inverse of the exponential distribution, rounded up to whole bytes. P(gap > n) is then exp(-n / rate) for
        // every whole n: rounding adds no bias.
        let gap = minus_ln(uniform) * self.rate as f64;
        (gap as u64).saturating_add(1)
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): passes BigCrush, needs no warm-up after a small seed.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// -ln(k / 2^53) for k in 1..=2^53. std's `ln` is libm's, which every test's process would load for this alone; and
/// this one is the same on every system.
///
/// k is m * 2^e with m in [sqrt(1/2), sqrt(2)); ln m = 2 artanh s with s = (m - 1) / (m + 1), whose series needs eleven terms,
/// because s is at most 0.172.
fn minus_ln(k: u64) -> f64 {
    let mut exponent = 63 - i64::from(k.leading_zeros());
    let mut m = k as f64 / (1u64 << exponent) as f64;
    if m > std::f64::consts::SQRT_2 {
        m /= 2.0;
        exponent += 1;
    }
    let s = (m - 1.0) / (m + 1.0);
    let series = (0..11).rev().fold(0.0, |sum, i| sum * s * s + 1.0 / f64::from(2 * i + 1));
    (53 - exponent) as f64 * std::f64::consts::LN_2 - 2.0 * s * series
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
