//! Parsers of headers that registries send.

/// `bytes FIRST-LAST/TOTAL`, where the total may be `*`.
pub(crate) fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let total = if total == "*" { None } else { Some(number(total)?) };
    Some((number(first)?, number(last)?, total))
}

/// Number of bytes that a `Range: 0-LAST` acknowledges. Registries send `0-0` both for no byte and for one. A first
/// piece is never one byte long, so it means none.
pub(crate) fn acknowledged(text: &str) -> Option<u64> {
    let (first, last) = text.trim_start_matches("bytes=").split_once('-')?;
    let last: u64 = last.parse().ok()?;
    if first != "0" {
        None
    } else if last == 0 {
        Some(0)
    } else {
        last.checked_add(1)
    }
}

/// The target of a link to the next page: `<URL>; rel="next"`.
pub(crate) fn next_link(text: &str) -> Option<&str> {
    let (target, rest) = text.trim().strip_prefix('<')?.split_once('>')?;
    let params = rest.split([';', ',']).map(|param| param.trim().to_ascii_lowercase().replace([' ', '"'], ""));
    params.into_iter().any(|param| param == "rel=next").then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(content_range("bytes 0-9/10"), Some((0, 9, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, 9, None)));
        for bad in ["", "bytes", "0-9/10", "bytes */10", "bytes 0-/10", "bytes -1-2/3", "bytes 0-9", "bytes 0-9/+1"] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn acknowledged_ranges() {
        assert_eq!(acknowledged("0-1023"), Some(1024));
        assert_eq!(acknowledged("bytes=0-9"), Some(10));
        assert_eq!(acknowledged("0-0"), Some(0));
        for bad in ["", "5-9", "0-", "0--1", "0-18446744073709551615", "x"] {
            assert_eq!(acknowledged(bad), None, "{bad}");
        }
    }

    #[test]
    fn links() {
        let next = r#"</v2/a/tags/list?last=x&n=5>; rel="next""#;
        assert_eq!(next_link(next), Some("/v2/a/tags/list?last=x&n=5"));
        assert_eq!(next_link("<https://h/x>; title=\"a\"; rel=next"), Some("https://h/x"));
        for none in ["", "<x>", "<x>; rel=prev", "x; rel=next", "<x; rel=next"] {
            assert_eq!(next_link(none), None, "{none}");
        }
    }
}
