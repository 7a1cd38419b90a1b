//! What counts as a number in a value.

/// The number that a value writes, if it does: `0`, or digits without a leading zero, at most
/// `u64::MAX`. Exactly what plain mode's `increment` accepts.
pub fn parse(value: &[u8]) -> Option<u64> {
    let canonical = match value {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}
