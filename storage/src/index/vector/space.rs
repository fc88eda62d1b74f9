//! A vector space and its entrance: which model made the vectors, and how one becomes a stored row.
//!
//! Invariants: vectors of two spaces never meet in one index; every stored vector has length one; a vector that has no
//! direction (zero, or not finite) never enters.

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use sha2::{Digest, Sha256};

use super::error::VectorError;
use super::kernel::padded;

/// Largest dimension an index takes. Bounds the row (32 KiB) and lets a Hamming distance fit 16 bits.
pub const MAX_DIMENSION: u16 = 16_384;

/// The space that vectors of one index live in. Two vectors may be compared only if all three are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    /// Name of the embedding model.
    pub model: String,
    /// Version of the model: other weights under the same name are another space.
    pub version: String,
    /// Numbers per vector, 1 to [`MAX_DIMENSION`].
    pub dimension: u16,
}

impl Space {
    /// Refuses a dimension outside the range.
    pub(super) fn check(&self) -> Result<(), VectorError> {
        if (1..=MAX_DIMENSION).contains(&self.dimension) {
            Ok(())
        } else {
            Err(VectorError::DimensionRange { dimension: self.dimension, max: MAX_DIMENSION })
        }
    }

    /// A digest that names the space in file headers. Fields are length-prefixed, so no two spaces share an encoding.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for field in [&self.model, &self.version] {
            hash.update((field.len() as u64).to_le_bytes());
            hash.update(field.as_bytes());
        }
        hash.update(self.dimension.to_le_bytes());
        hash.finalize().into()
    }

    /// The vector scaled to length one and padded with zeros to a row's length.
    pub(super) fn unit(&self, vector: &[f32]) -> Result<Vec<f32>, VectorError> {
        if vector.len() != usize::from(self.dimension) {
            return Err(VectorError::Dimension { expected: self.dimension, got: vector.len() });
        }
        if let Some(at) = vector.iter().position(|number| !number.is_finite()) {
            return Err(VectorError::NotFinite { at });
        }
        // In double precision neither a huge nor a tiny finite vector overflows or vanishes.
        let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        if length == 0.0 {
            return Err(VectorError::Zero);
        }
        let mut unit: Vec<f32> = vector.iter().map(|x| (f64::from(*x) / length) as f32).collect();
        unit.resize(padded(self.dimension), 0.0);
        Ok(unit)
    }
}

/// A unit vector as the half-precision bits a row stores.
pub(super) fn to_halves(unit: &[f32]) -> Vec<u16> {
    let mut halves = vec![f16::ZERO; unit.len()];
    halves.convert_from_f32_slice(unit);
    halves.iter().map(|number| number.to_bits()).collect()
}

/// A row's first numbers in single precision, as many as there is room for.
pub(super) fn to_singles(row: &[u16], singles: &mut [f32]) {
    let row: &[f16] = row.reinterpret_cast();
    row[..singles.len()].convert_to_f32_slice(singles);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(dimension: u16) -> Space {
        Space { model: "m".into(), version: "1".into(), dimension }
    }

    #[test]
    fn a_vector_without_direction_is_refused_with_its_reason() {
        let space = space(3);
        assert!(matches!(space.unit(&[0.0; 3]), Err(VectorError::Zero)));
        assert!(matches!(space.unit(&[1.0, f32::NAN, 0.0]), Err(VectorError::NotFinite { at: 1 })));
        assert!(matches!(
            space.unit(&[1.0, 0.0, f32::INFINITY]),
            Err(VectorError::NotFinite { at: 2 })
        ));
        assert!(matches!(
            space.unit(&[1.0; 4]),
            Err(VectorError::Dimension { expected: 3, got: 4 })
        ));
        assert!(space.check().is_ok());
        assert!(Space { dimension: 0, ..space.clone() }.check().is_err());
        assert!(Space { dimension: MAX_DIMENSION + 1, ..space }.check().is_err());
    }

    #[test]
    fn any_finite_vector_gets_length_one() {
        let space = space(2);
        for vector in [[3.0, 4.0], [f32::MAX, f32::MAX], [1e-40, 0.0]] {
            let unit = space.unit(&vector).expect("finite and not zero");
            let length: f32 = unit.iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-5, "{vector:?} became {unit:?}");
            assert_eq!(unit.len(), 32);
        }
    }

    #[test]
    fn each_field_of_a_space_changes_its_digest() {
        let base = Space { model: "ab".into(), version: "c".into(), dimension: 8 };
        for other in [
            Space { model: "a".into(), version: "bc".into(), dimension: 8 },
            Space { version: "d".into(), ..base.clone() },
            Space { dimension: 9, ..base.clone() },
        ] {
            assert_ne!(base.digest(), other.digest());
        }
    }
}
