//! How fast an amount grows, and whether it does.

/// Seconds after which the weight of a sample has fallen to 1/e.
pub(super) const TIME_CONSTANT: f64 = 20.0;

/// How fast an amount grows.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Pace {
    /// Steps per second when it last advanced.
    pub rate: f64,
    /// Seconds since then.
    pub idle: f64,
    /// Seconds that usually pass between two samples that advanced.
    pub gap: f64,
}

impl Pace {
    /// From the words of the last sample: its time, its rate and the gap. `None` where the rate is
    /// not known.
    pub fn read([at, rate, gap]: [u64; 3], now: u64) -> Option<Self> {
        let rate = finite(rate);
        let idle = now.saturating_sub(at) as f64 / 1e9;
        (rate > 0.0).then(|| Self { rate, idle, gap: finite(gap) })
    }

    /// A pause that needs no explanation, in seconds.
    fn usual_pause(&self) -> f64 {
        TIME_CONSTANT.max(2.0 * self.gap)
    }

    /// Whether it has paused for so long that the rate says nothing about what follows.
    pub fn stands_still(&self) -> bool {
        self.idle > 2.0 * self.usual_pause()
    }

    /// Steps per second now: the rate, which fades in a pause that is longer than usual.
    pub fn current_rate(&self) -> f64 {
        let pause = self.usual_pause();
        self.rate * (-(self.idle - pause).max(0.0) / pause).exp()
    }
}

/// A float that is finite and not negative; damage reads as 0.
pub(super) fn finite(word: u64) -> f64 {
    let value = f64::from_bits(word);
    if value.is_finite() && value >= 0.0 { value } else { 0.0 }
}
