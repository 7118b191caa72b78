//! Token bucket: a burst of tokens, and a steady rate at which they come back. Pure: times are arguments, monotonic,
//! counted from any fixed point.

use std::time::Duration;

use super::time::Monotonic;

/// A rate limit.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    burst: u32,
    every: Duration,
    /// When all tokens are there again.
    full_at: Monotonic,
}

impl TokenBucket {
    /// A full bucket of `burst` tokens, one of which comes back each `every`.
    pub const fn new(burst: u32, every: Duration) -> TokenBucket {
        TokenBucket { burst, every, full_at: Monotonic::ZERO }
    }

    /// Takes a token, or gives the time until there is one.
    pub fn take(&mut self, now: Monotonic) -> Result<(), Duration> {
        let before = self.full_at;
        match self.borrow(now) {
            Duration::ZERO => Ok(()),
            wait => {
                self.full_at = before;
                Err(wait)
            }
        }
    }

    /// Takes a token ahead of time. Gives the time until it is there, in which others queue up behind it.
    pub fn borrow(&mut self, now: Monotonic) -> Duration {
        self.full_at = self.full_at.max(now) + self.every;
        self.full_at.since(now).saturating_sub(self.burst * self.every)
    }

    /// Whether more than so many tokens are there.
    pub fn has_more_than(&self, tokens: u32, now: Monotonic) -> bool {
        let whole = self.full_at.since(now) + self.every;
        whole <= self.burst.saturating_sub(tokens) * self.every
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        let (mut bucket, now) = (TokenBucket::new(3, SECOND), Monotonic::after_start(100 * SECOND));
        assert!((0..3).all(|_| bucket.take(now) == Ok(())));
        assert_eq!(bucket.take(now), Err(SECOND));
        assert_eq!(bucket.take(now + SECOND / 2), Err(SECOND / 2), "nothing was taken by that");
        assert_eq!(bucket.take(now + SECOND), Ok(()));
        assert_eq!(bucket.take(now + SECOND), Err(SECOND));
        assert!((0..3).all(|_| bucket.take(now + 60 * SECOND) == Ok(())), "no more than a burst");
        assert!(bucket.take(now + 60 * SECOND).is_err());
    }

    #[test]
    fn what_is_borrowed_queues_up() {
        let (mut bucket, now) = (TokenBucket::new(1, SECOND), Monotonic::after_start(SECOND));
        let waits = [0, 1, 2].map(|_| bucket.borrow(now));
        assert_eq!(waits, [Duration::ZERO, SECOND, 2 * SECOND]);
        assert_eq!(bucket.borrow(now + 3 * SECOND), Duration::ZERO);
    }

    #[test]
    fn what_is_left_can_be_asked() {
        let (mut bucket, now) = (TokenBucket::new(4, SECOND), Monotonic::after_start(SECOND));
        assert!(bucket.has_more_than(3, now));
        assert!(!bucket.has_more_than(4, now));
        let _ = (bucket.take(now), bucket.take(now));
        assert!(bucket.has_more_than(1, now));
        assert!(!bucket.has_more_than(2, now));
        assert!(bucket.has_more_than(2, now + SECOND));
        assert!(!bucket.has_more_than(2, now + SECOND / 2), "half a token is none");
    }
}
