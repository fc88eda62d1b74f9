//! The inner loops of the vector index: half × single and half × half dot products, signs, Hamming distance.
//!
//! Invariant: the vector instructions and the portable loop give the same bits. Both keep 32 running sums, fuse each
//! multiply with its add, and fold the sums in one fixed order; so a score does not depend on the machine, and a replay
//! on another one ranks alike.
//!
//! Rows are padded with zeros to a multiple of [`LANES`], so no loop has a tail.
//!
//! Not here: 512-bit instructions. The scans are bound by memory: 256 bits already outrun it.

use half::f16;

/// Running sums per dot product, and the padding unit of a row, in numbers.
pub(super) const LANES: usize = 32;

/// Numbers in a stored row of `dimension`.
pub(super) fn padded(dimension: u16) -> usize {
    usize::from(dimension).next_multiple_of(LANES)
}

/// 64-bit words in the sign code of a vector of `dimension`.
pub(super) fn code_words(dimension: u16) -> usize {
    usize::from(dimension).div_ceil(64)
}

/// Dot product of a stored row with a query. Both have the same padded length.
#[inline]
pub(super) fn dot(row: &[u16], query: &[f32]) -> f32 {
    debug_assert!(row.len() == query.len() && row.len().is_multiple_of(LANES));
    #[cfg(target_arch = "x86_64")]
    if has_wide_halves() {
        // SAFETY: the instructions were detected, and both slices have `row.len()` numbers.
        return unsafe { x86::dot(row, query) };
    }
    portable_dot(row, |at| query[at])
}

/// Dot product of two stored rows of the same padded length.
#[inline]
pub(super) fn dot_rows(left: &[u16], right: &[u16]) -> f32 {
    debug_assert!(left.len() == right.len() && left.len().is_multiple_of(LANES));
    #[cfg(target_arch = "x86_64")]
    if has_wide_halves() {
        // SAFETY: the instructions were detected, and both slices have `left.len()` numbers.
        return unsafe { x86::dot_rows(left, right) };
    }
    portable_dot(left, |at| f16::from_bits(right[at]).to_f32())
}

/// Bit `i` of the result tells whether number `i` exceeds the centre's; at most 64 numbers, the rest clear.
#[inline]
pub(super) fn signs(numbers: &[f32], centre: &[f32]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if let (Some(numbers), Some(centre)) = (numbers.first_chunk(), centre.first_chunk())
        && has_wide_halves()
    {
        // SAFETY: the instructions were detected.
        return unsafe { x86::signs(numbers, centre) };
    }
    portable_signs(numbers, centre)
}

fn portable_signs(numbers: &[f32], centre: &[f32]) -> u64 {
    let bits = numbers.iter().zip(centre).take(64).enumerate();
    bits.fold(0, |word, (bit, (number, centre))| word | u64::from(number > centre) << bit)
}

/// Number of differing bits of two codes of equal length.
#[inline(always)]
pub(super) fn hamming(left: &[u64], right: &[u64]) -> u32 {
    left.iter().zip(right).map(|(a, b)| (a ^ b).count_ones()).sum()
}

/// Whether this machine counts bits in one instruction (decided once per scan, not per row).
#[inline]
pub(super) fn has_popcount() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("popcnt")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn has_wide_halves() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("fma")
        && std::arch::is_x86_feature_detected!("f16c")
}

fn portable_dot(row: &[u16], other: impl Fn(usize) -> f32) -> f32 {
    let mut sums = [0f32; LANES];
    for (block, numbers) in row.chunks_exact(LANES).enumerate() {
        for (lane, bits) in numbers.iter().enumerate() {
            let left = f16::from_bits(*bits).to_f32();
            sums[lane] = left.mul_add(other(block * LANES + lane), sums[lane]);
        }
    }
    fold(&sums)
}

/// Adds the running sums pairwise, halving their number each time: the order every implementation keeps.
fn fold(sums: &[f32; LANES]) -> f32 {
    let mut sums = *sums;
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! The same loops in 256-bit instructions: four registers of eight running sums.

    use std::arch::x86_64::*;

    use super::LANES;

    /// Eight halves from `at`, widened.
    ///
    /// # Safety
    /// Eight numbers must be readable at `at`, and the machine must have AVX and F16C.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn widen(at: *const u16) -> __m256 {
        // SAFETY: the caller vouches for 16 readable bytes; the load needs no alignment.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(at.cast())) }
    }

    /// Adds the running sums in the order of [`super::fold`]: lanes 16, 8, 4, 2 and 1 apart.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn fold_registers([first, second, third, fourth]: [__m256; 4]) -> f32 {
        let sixteen = (_mm256_add_ps(first, third), _mm256_add_ps(second, fourth));
        let eight = _mm256_add_ps(sixteen.0, sixteen.1);
        let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        let one = _mm_add_ss(two, _mm_shuffle_ps::<1>(two, two));
        _mm_cvtss_f32(one)
    }

    /// # Safety
    /// The machine must have AVX2, FMA and F16C; `query` is as long as `row`, a multiple of [`LANES`].
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn dot(row: &[u16], query: &[f32]) -> f32 {
        let mut sums = [_mm256_setzero_ps(); 4];
        for (halves, singles) in row.chunks_exact(LANES).zip(query.chunks_exact(LANES)) {
            for (part, sum) in sums.iter_mut().enumerate() {
                // SAFETY: part < 4, so the eight numbers lie inside the 32 of the block.
                unsafe {
                    let left = widen(halves.as_ptr().add(part * 8));
                    let right = _mm256_loadu_ps(singles.as_ptr().add(part * 8));
                    *sum = _mm256_fmadd_ps(left, right, *sum);
                }
            }
        }
        fold_registers(sums)
    }

    /// # Safety
    /// The machine must have AVX2, FMA and F16C.
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn signs(numbers: &[f32; 64], centre: &[f32; 64]) -> u64 {
        let mut word = 0;
        let eights = numbers.chunks_exact(8).zip(centre.chunks_exact(8));
        for (shift, (number, centre)) in (0..64).step_by(8).zip(eights) {
            // SAFETY: both chunks are eight numbers long.
            let above = unsafe {
                let (number, centre) =
                    (_mm256_loadu_ps(number.as_ptr()), _mm256_loadu_ps(centre.as_ptr()));
                _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(number, centre))
            };
            word |= u64::from(above as u8) << shift;
        }
        word
    }

    /// # Safety
    /// The machine must have AVX2, FMA and F16C; both rows are equally long, a multiple of [`LANES`].
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn dot_rows(left: &[u16], right: &[u16]) -> f32 {
        let mut sums = [_mm256_setzero_ps(); 4];
        for (first, second) in left.chunks_exact(LANES).zip(right.chunks_exact(LANES)) {
            for (part, sum) in sums.iter_mut().enumerate() {
                // SAFETY: part < 4, so the eight numbers lie inside the 32 of the block.
                unsafe {
                    let a = widen(first.as_ptr().add(part * 8));
                    let b = widen(second.as_ptr().add(part * 8));
                    *sum = _mm256_fmadd_ps(a, b, *sum);
                }
            }
        }
        fold_registers(sums)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn halves(numbers: &[f32]) -> Vec<u16> {
        numbers.iter().map(|number| f16::from_f32(*number).to_bits()).collect()
    }

    proptest! {
        #[test]
        fn every_implementation_gives_the_same_bits(
            left in proptest::collection::vec(-1f32..1.0, 96),
            right in proptest::collection::vec(-1f32..1.0, 96),
        ) {
            let rows = (halves(&left), halves(&right));
            let portable = portable_dot(&rows.0, |at| right[at]);
            prop_assert_eq!(dot(&rows.0, &right).to_bits(), portable.to_bits());
            let portable = portable_dot(&rows.0, |at| f16::from_bits(rows.1[at]).to_f32());
            prop_assert_eq!(dot_rows(&rows.0, &rows.1).to_bits(), portable.to_bits());
        }

        #[test]
        fn the_dot_product_is_the_dot_product(
            left in proptest::collection::vec(-1f32..1.0, 64),
            right in proptest::collection::vec(-1f32..1.0, 64),
        ) {
            let exact: f64 =
                left.iter().zip(&right).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            prop_assert!((f64::from(dot(&halves(&left), &right)) - exact).abs() < 0.02);
        }
    }

    proptest! {
        #[test]
        fn signs_are_those_of_the_portable_loop(
            numbers in proptest::collection::vec(-1f32..1.0, 0..70),
            centre in proptest::collection::vec(-1f32..1.0, 64),
        ) {
            prop_assert_eq!(signs(&numbers, &centre), portable_signs(&numbers, &centre));
            prop_assert_eq!(signs(&centre, &centre), 0);
        }
    }

    #[test]
    fn hamming_counts_differing_bits() {
        assert_eq!(hamming(&[0b1011, u64::MAX], &[0b0001, 0]), 2 + 64);
        assert_eq!(padded(384), 384);
        assert_eq!(padded(5), 32);
        assert_eq!(code_words(384), 6);
        assert_eq!(code_words(65), 2);
    }
}
