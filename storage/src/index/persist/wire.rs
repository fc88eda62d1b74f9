//! Little-endian numbers in a row, written and read back with every length checked.

/// Appends numbers.
#[derive(Debug, Default)]
pub(crate) struct Encoder(pub(crate) Vec<u8>);

impl Encoder {
    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A list of 32-bit numbers with its length.
    pub(crate) fn u32s(&mut self, values: &[u32]) {
        // Lists here are bounded by the slots of a chunk times its tags: far below u32.
        self.u32(values.len() as u32);
        values.iter().for_each(|value| self.u32(*value));
    }

    /// A list of 64-bit numbers with its length.
    pub(crate) fn u64s(&mut self, values: &[u64]) {
        self.u32(values.len() as u32);
        values.iter().for_each(|value| self.u64(*value));
    }

    /// A text with its length.
    pub(crate) fn text(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.0.extend_from_slice(text.as_bytes());
    }
}

/// Takes numbers off the front; `None` when the bytes run out.
#[derive(Debug)]
pub(crate) struct Decoder<'a>(pub(crate) &'a [u8]);

impl<'a> Decoder<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.take(8)?.try_into().ok().map(i64::from_le_bytes)
    }

    /// The number of entries that follow, each at least `entry_bytes` long: a wild number must not make anyone
    /// allocate.
    pub(crate) fn count(&mut self, entry_bytes: usize) -> Option<usize> {
        let count = self.u32()? as usize;
        (count.checked_mul(entry_bytes)? <= self.0.len()).then_some(count)
    }

    /// `count` numbers of `N` bytes each.
    pub(crate) fn numbers<const N: usize, T>(
        &mut self,
        count: usize,
        from: impl Fn([u8; N]) -> T,
    ) -> Option<Vec<T>> {
        let bytes = self.take(count.checked_mul(N)?)?;
        bytes.chunks_exact(N).map(|chunk| chunk.try_into().ok().map(&from)).collect()
    }

    pub(crate) fn u32s(&mut self) -> Option<Vec<u32>> {
        let count = self.count(4)?;
        self.numbers(count, u32::from_le_bytes)
    }

    pub(crate) fn u64s(&mut self) -> Option<Vec<u64>> {
        let count = self.count(8)?;
        self.numbers(count, u64::from_le_bytes)
    }

    pub(crate) fn text(&mut self) -> Option<String> {
        let len = self.count(1)?;
        String::from_utf8(self.take(len)?.to_vec()).ok()
    }

    /// Whether everything was taken.
    pub(crate) fn is_done(&self) -> bool {
        self.0.is_empty()
    }
}
