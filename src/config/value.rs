//! Values: durations, counts, shares, switches.
//!
//! Invariant: a parser says what would have fit.
//!
//! Not here: which setting has which type (`settings`).

use std::time::Duration;

/// Parses `500ms`, `30s`, `15m`, `6h`, `7d`; `never` and `none` are `None`.
pub(crate) fn duration(text: &str) -> Result<Option<Duration>, String> {
    if matches!(text, "never" | "none") {
        return Ok(None);
    }
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let fits =
        || format!("{text:?} is not a duration; write e.g. 500ms, 30s, 15m, 6h, 7d or never");
    let number: u64 = text[..split].parse().map_err(|_| fits())?;
    let unit_ms: u64 = match &text[split..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(fits()),
    };
    let ms = number.checked_mul(unit_ms).ok_or_else(fits)?;
    Ok(Some(Duration::from_millis(ms)))
}

/// Parses a whole number within a range.
pub(super) fn count(text: &str, low: u64, high: u64) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(number) if (low..=high).contains(&number) => Ok(number),
        _ => Err(format!("{text:?} is not a whole number from {low} to {high}")),
    }
}

/// Parses a limit; `none` is no limit.
pub(super) fn limit(text: &str) -> Result<Option<u64>, String> {
    if text == "none" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| format!("{text:?} is neither a whole number nor none"))
}

/// Parses a share from 0 to 1.
pub(super) fn share(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("{text:?} is not a number from 0 to 1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("6h"), Ok(Some(Duration::from_secs(21_600))));
        assert_eq!(duration("never"), Ok(None));
        for bad in ["", "6", "h", "6 h", "-1s", "99999999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges_are_inclusive() {
        assert_eq!((count("1", 1, 3), count("3", 1, 3)), (Ok(1), Ok(3)));
        assert!(count("0", 1, 3).is_err() && count("x", 1, 3).is_err());
        assert!(share("1.1").is_err() && share("NaN").is_err());
    }
}
