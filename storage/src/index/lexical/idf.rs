//! Inverse document frequency in integers, so that every machine ranks alike.
//!
//! `ln(1 + (n - df + 0.5) / (df + 0.5)) = ln((2n + 2) / (2 df + 1))`, in 1/1024. Source: BM25 as in Robertson and
//! Zaragoza (2009), in the never-negative form. The logarithm is computed bit by bit by squaring.

/// One unit of weight is this much of a natural logarithm.
pub(crate) const WEIGHT_UNIT: u64 = 1024;

/// ln 2 in 1/65536.
const LN2_Q16: u64 = 45_426;

/// The weight of a term that `df` of `n` slots have, in 1/1024; at least 1, below 2^15.
pub(crate) fn weight(n: u32, df: u32) -> u32 {
    let (above, below) = (2 * u64::from(n.max(df)) + 2, 2 * u64::from(df) + 1);
    let log2_q16 = log2_q16(above).saturating_sub(log2_q16(below));
    let scaled = (u64::from(log2_q16) * LN2_Q16 * WEIGHT_UNIT) >> 32;
    scaled.clamp(1, 1 << 15) as u32
}

/// `log2(x)` in 1/65536, for `1 <= x < 2^34`.
fn log2_q16(x: u64) -> u32 {
    let whole = x.max(1).ilog2();
    // x as a fraction in [1, 2), in 1/2^31.
    let mut fraction = if whole <= 31 { x << (31 - whole) } else { x >> (whole - 31) };
    let mut result = whole;
    for _ in 0..16 {
        fraction = (fraction * fraction) >> 31;
        result <<= 1;
        if fraction >= 1 << 32 {
            result |= 1;
            fraction >>= 1;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_floating_point_to_a_unit() {
        for n in [1u32, 2, 10, 999, 65_536, 1_000_000, 40_000_000, u32::MAX] {
            for df in [1u32, 2, 3, 7, 100, 12_345, 999_999] {
                if df > n {
                    continue;
                }
                let (n_real, df_real) = (f64::from(n), f64::from(df));
                let exact = (1.0 + (n_real - df_real + 0.5) / (df_real + 0.5)).ln() * 1024.0;
                let got = f64::from(weight(n, df));
                assert!((got - exact).abs() <= 1.5, "n {n} df {df}: {got} for {exact}");
            }
        }
    }

    #[test]
    fn rarer_is_never_worth_less() {
        let weights: Vec<u32> = (1..5000).map(|df| weight(5000, df)).collect();
        assert!(weights.windows(2).all(|pair| pair[0] >= pair[1]));
    }
}
