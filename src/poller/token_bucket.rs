//! A token bucket: it limits the calls of a burst, and is refilled at a steady rate.

/// The rate and the size of a bucket.
#[derive(Clone, Copy, Debug)]
pub struct RefillRate {
    /// Seconds between two tokens.
    pub every: f64,
    /// Tokens in a full bucket.
    pub burst: f64,
}

/// Counts the tokens that were taken, so that the default is a full bucket.
#[derive(Default)]
pub struct TokenBucket {
    taken: f64,
    at: f64,
}

impl TokenBucket {
    fn refill(&mut self, now: f64, rate: RefillRate) {
        self.taken = (self.taken - (now - self.at).max(0.0) / rate.every).max(0.0);
        self.at = now;
    }

    /// Returns the time at which the bucket has a token.
    pub fn ready_at(&mut self, now: f64, rate: RefillRate) -> f64 {
        self.refill(now, rate);
        now + (self.taken + 1.0 - rate.burst).max(0.0) * rate.every
    }

    /// Takes a token, even if there is none: later calls then wait longer.
    pub fn take(&mut self, now: f64, rate: RefillRate) {
        self.refill(now, rate);
        self.taken += 1.0;
    }

    /// Returns a token that was taken and not used.
    pub fn refund(&mut self) {
        self.taken = (self.taken - 1.0).max(0.0);
    }

    /// Takes a token if there is one.
    pub fn try_take(&mut self, now: f64, rate: RefillRate) -> bool {
        let ready = self.ready_at(now, rate) <= now;
        if ready {
            self.taken += 1.0;
        }
        ready
    }
}
