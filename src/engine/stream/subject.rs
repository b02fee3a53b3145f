//! Subjects: dotted names, in which `*` stands for one token and a last `>` for one or more.
//!
//! The rules are NATS's for every engine. Nothing here knows streams.

use crate::engine::MAX_KEY_BYTES;

/// Tells whether it is a subject, perhaps with wildcards.
pub(super) fn is_pattern(text: &str) -> bool {
    let tokens: Vec<_> = text.split('.').collect();
    let last = tokens.len() - 1;
    text.len() <= MAX_KEY_BYTES
        && tokens.iter().enumerate().all(|(at, token)| {
            let plain = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'*' | b'>'));
            plain || *token == "*" || (*token == ">" && at == last)
        })
}

/// Tells whether it is one subject, which can be published on.
pub(super) fn is_literal(text: &str) -> bool {
    is_pattern(text) && !text.split('.').any(|token| matches!(token, "*" | ">"))
}

/// Tells whether a pattern has a subject.
pub(super) fn has(pattern: &str, subject: &str) -> bool {
    let (mut wanted, mut found) = (pattern.split('.'), subject.split('.'));
    loop {
        match (wanted.next(), found.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_dotted_and_its_wildcards_are_whole_tokens() {
        for good in ["a", "orders.new", "$JS.a", "a.*.c", "a.>", ">"] {
            assert!(is_pattern(good), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a*", "a.>.b", "a>", "a\n", &"a".repeat(MAX_KEY_BYTES + 1)] {
            assert!(!is_pattern(bad), "{bad:?}");
        }
        assert!(is_literal("orders.new") && !is_literal("orders.*") && !is_literal("orders.>"));
    }

    #[test]
    fn a_pattern_has_what_its_wildcards_stand_for() {
        for (pattern, subject) in
            [("a.b", "a.b"), ("a.*", "a.b"), ("a.>", "a.b"), ("a.>", "a.b.c"), ("*.b.*", "a.b.c"), (">", "a")]
        {
            assert!(has(pattern, subject), "{pattern} {subject}");
        }
        for (pattern, subject) in [("a.b", "a"), ("a.*", "a"), ("a.>", "a"), ("a.*", "a.b.c"), ("a", "a.b"), ("a.b", "a.c")] {
            assert!(!has(pattern, subject), "{pattern} {subject}");
        }
    }
}
