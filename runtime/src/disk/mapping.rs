//! A whole file as one slice of bytes.
//!
//! Both variants start at an address aligned to at least 64 bytes, so that an index format may
//! place vectors in it and read them with aligned loads in both worlds.

use std::ops::Deref;

/// One cache line; gives the copied variant the alignment that a page-aligned mapping has anyway.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

enum Bytes {
    Mapped(memmap2::Mmap),
    Copied { lines: Vec<Line>, len_bytes: usize },
}

/// The content of a file, mapped from the page cache (real disk) or copied through the fault
/// engine (simulated disk). Dereferences to the bytes.
pub struct Mapping(Bytes);

impl Mapping {
    /// A mapping of the real disk.
    pub(crate) fn mapped(map: memmap2::Mmap) -> Self {
        Self(Bytes::Mapped(map))
    }

    /// A private copy of `bytes`, aligned like a mapping.
    pub fn copied(bytes: &[u8]) -> Self {
        let lines = bytes
            .chunks(64)
            .map(|chunk| {
                let mut line = Line([0; 64]);
                line.0[..chunk.len()].copy_from_slice(chunk);
                line
            })
            .collect();
        Self(Bytes::Copied { lines, len_bytes: bytes.len() })
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Mapped(map) => map,
            Bytes::Copied { lines, len_bytes } => {
                // SAFETY: `Line` is 64 plain bytes without padding (repr(C), size == align == 64),
                // so the vector's buffer is `lines.len() * 64` initialised bytes, and
                // `len_bytes` never exceeds that: both were derived from the same slice.
                unsafe { std::slice::from_raw_parts(lines.as_ptr().cast::<u8>(), *len_bytes) }
            }
        }
    }
}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mapping({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_aligned_and_equal_at_every_length() {
        for len in [0usize, 1, 63, 64, 65, 1000] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mapping = Mapping::copied(&bytes);
            assert_eq!(&*mapping, &bytes[..]);
            assert_eq!(mapping.as_ptr() as usize % 64, 0);
        }
    }
}
