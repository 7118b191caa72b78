//! Randomness: the only place that draws numbers. What needs to be the same in a test takes the numbers as an argument.

/// A name that nobody else draws: 16 hexadecimal digits.
pub fn id() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// A number below a bound.
pub fn below(bound: usize) -> usize {
    fastrand::usize(..bound)
}

/// A number from 0 to 1, 1 excluded.
pub fn fraction() -> f64 {
    fastrand::f64()
}
