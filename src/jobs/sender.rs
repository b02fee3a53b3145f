//! Which schedule sent a message: the one place that knows how that is written in its headers.
//!
//! It does not know schedules. They write these headers, and whoever gets the message reads them: a job, a run, an event. They are
//! what the message says; whoever may send to the queue may say so too.

use crate::{
    engine::{Headers, Message},
    time::Timestamp,
};

/// The header that names the schedule that sent a message.
pub const SCHEDULE_NAME: &str = "Schedule-Name";
/// The header that tells for which time a schedule sent a message, in RFC 3339.
pub const SCHEDULE_TIME: &str = "Schedule-Time";

/// Says in a message which schedule sends it, and for which time.
pub(crate) fn sent_by(message: Message, schedule: &str, due: Timestamp) -> Message {
    message.header(SCHEDULE_NAME, schedule).header(SCHEDULE_TIME, due.to_string())
}

/// Returns which schedule sent a message, and for which time; `None` when none did, or when the time is none.
pub(crate) fn sender_of(headers: &Headers) -> Option<(&str, Timestamp)> {
    Some((headers.get(SCHEDULE_NAME)?, Timestamp::parse_rfc3339(headers.get(SCHEDULE_TIME)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_says_of_its_schedule_is_read_as_it_was_written() {
        let due = Timestamp::from_millis(1_700_000_000_123);
        let message = sent_by(Message::new("x"), "nightly", due);
        assert_eq!(sender_of(&message.headers), Some(("nightly", due)));
    }

    #[test]
    fn half_of_a_sender_is_none() {
        assert_eq!(sender_of(&Message::new("x").headers), None);
        assert_eq!(sender_of(&Message::new("x").header(SCHEDULE_NAME, "nightly").headers), None);
        let odd = Message::new("x").header(SCHEDULE_NAME, "nightly").header(SCHEDULE_TIME, "two o'clock");
        assert_eq!(sender_of(&odd.headers), None);
    }
}
