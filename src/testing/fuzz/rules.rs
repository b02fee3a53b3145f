//! Any text as the rule of a schedule.

use super::NOW;
use crate::{core::schedule::Rule, time::Timestamp};

/// Reads bytes as a text that says when a schedule fires.
///
/// # Panics
///
/// When a rule that was accepted is another one after it was written, or its times do not go forward.
pub fn rules(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(rule) = text.parse::<Rule>() else { return };
    let again: Rule = rule.to_string().parse().expect("what was written can be read");
    assert_eq!(again, rule, "a rule is the same after it was written");
    for start in [NOW, Timestamp::EPOCH, Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX)] {
        let mut at = start;
        for _ in 0..3 {
            let Some(next) = rule.next_after(at) else { break };
            assert!(next > at, "the next time is later: {rule} after {at} is {next}");
            assert_eq!(rule.last_until(next), Some(next), "a time that is next is one: {rule}");
            at = next;
        }
        if let Some(last) = rule.last_until(start) {
            assert!(last <= start, "the last time is not later: {rule} until {start} was {last}");
        }
    }
    assert!(rule.next_after(NOW).is_some(), "what was accepted fires: {rule}");
}
