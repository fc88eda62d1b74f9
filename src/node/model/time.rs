//! Times as people write them: RFC 3339, to and from Unix milliseconds.
//!
//! Invariant: `to_text` and `from_text` are inverse for every instant up to the year 9999.
//!
//! Not here: the clock.

use jiff::Timestamp;
use types::Invalid;

/// Formats Unix milliseconds, e.g. `2026-03-01T12:00:00.000Z`. An instant beyond the year 9999 is
/// shown as that year's end.
pub fn to_text(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    format!("{:.3}", at.unwrap_or(Timestamp::MAX))
}

/// Parses an RFC 3339 instant of `field`.
///
/// # Errors
/// [`Invalid`] naming the field when the text is not one, or lies before 1970.
pub fn from_text(field: &'static str, text: &str) -> Result<u64, Invalid> {
    let at: Timestamp = text.parse().map_err(|_| {
        Invalid::new(
            field,
            format!("{text:?} is not an RFC 3339 time such as 2026-03-01T12:00:00Z"),
        )
    })?;
    u64::try_from(at.as_millisecond()).map_err(|_| Invalid::new(field, "lies before 1970"))
}

/// Parses an optional instant.
///
/// # Errors
/// As [`from_text`].
pub fn from_option(field: &'static str, text: Option<&str>) -> Result<Option<u64>, Invalid> {
    text.map(|t| from_text(field, t)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_round_trip() {
        for ms in [0, 1, 999, 1_772_366_400_123, 253_402_207_200_000] {
            assert_eq!(from_text("t", &to_text(ms)), Ok(ms));
        }
        assert_eq!(to_text(1_772_366_400_123), "2026-03-01T12:00:00.123Z");
        assert_eq!(from_text("t", "2026-03-01T13:00:00.123+01:00"), Ok(1_772_366_400_123));
        assert_eq!(from_text("t", "yesterday").expect_err("not a time").field, "t");
        assert!(from_text("t", "1969-12-31T23:59:59Z").is_err());
    }
}
