//! When the next sample is due. Poisson: the gaps between samples are exponentially distributed over the bytes
//! allocated, so an allocation of `size` bytes is sampled with probability 1 - exp(-size / rate), whatever came before.

/// One lane's stream of gaps. The seed is the lane's number, so a test on one thread samples the same allocations on
/// every run.
#[derive(Debug)]
pub(super) struct Sampler {
    state: u64,
    rate: u64,
}

impl Sampler {
    pub(super) const fn new(seed: u64, rate: u64) -> Sampler {
        Sampler { state: seed, rate }
    }

    /// Bytes until the next sample, at least 1; `u64::MAX` at rate 0, where there is none.
    pub(super) fn gap(&mut self) -> u64 {
        if self.rate == 0 {
            return u64::MAX;
        }
        // Uniform in (0, 1]: 53 bits, as many as an f64 holds, and never 0, whose logarithm is infinite.
        let uniform = ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        // Inverse of the exponential distribution, rounded up to whole bytes. P(gap > n) is then exp(-n / rate) for
        // every whole n: rounding adds no bias.
        let gap = -uniform.ln() * self.rate as f64;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_have_the_mean_that_was_asked_for() {
        let mut sampler = Sampler::new(1, 524_288);
        let n = 100_000u32;
        let mean = (0..n).map(|_| sampler.gap() as f64).sum::<f64>() / f64::from(n);
        // The standard error of the mean is rate / sqrt(n), 0.3 %; five of them.
        assert!((mean / 524_288.0 - 1.0).abs() < 0.016, "{mean}");
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
            let trials = (4000.0 / p).min(2e6) as u64;
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
