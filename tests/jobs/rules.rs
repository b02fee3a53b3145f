//! What becomes of a job, as stories of deliveries: how attempts are counted, and what an end means.

use anabranch::{
    Disposition, RetryPolicy,
    core::jobs::{
        Admission, Decision, Delivered, Failure, How, MOST_FAILURES, Outcome, Progress, Record, State, Verdict, admit, settle,
    },
    time::Timestamp,
};
use bytes::Bytes;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A job between its deliveries.
struct Story {
    record: Option<Record>,
    delivery: u32,
    generation: u32,
    policy: RetryPolicy,
    keep: bool,
    now: Timestamp,
}

impl Story {
    fn new(policy: RetryPolicy) -> Self {
        Self { record: None, delivery: 0, generation: 0, policy, keep: false, now: Timestamp::from_millis(1_000_000) }
    }

    fn keeping(mut self) -> Self {
        self.keep = true;
        self
    }

    fn delivered(&self) -> Delivered {
        Delivered { number: self.delivery, generation: self.generation }
    }

    /// The message is delivered once more.
    fn comes(&mut self) -> Admission {
        self.delivery += 1;
        admit(self.record.as_ref(), self.delivered(), &self.policy)
    }

    fn decide(&self, outcome: &Outcome) -> Decision {
        settle(self.record.as_ref(), self.delivered(), "mail", outcome, &self.policy, (self.keep, self.now, 0))
    }

    fn ends(&mut self, outcome: &Outcome) -> Verdict {
        let Decision { record, verdict } = self.decide(outcome);
        self.record = record.or(self.record.take());
        verdict
    }

    fn state(&self) -> &State {
        &self.record.as_ref().unwrap().state
    }
}

fn three() -> RetryPolicy {
    RetryPolicy::default().max_attempts(3).delays([SECOND, 5 * SECOND]).jitter(0)
}

fn fails(message: &str) -> Outcome {
    Outcome::Failed { how: How::Error, message: message.into(), disposition: Disposition::Retry { after: None } }
}

fn wishes(disposition: Disposition) -> Outcome {
    Outcome::Failed { how: How::Error, message: "no".into(), disposition }
}

#[test]
fn a_first_success_leaves_no_record() {
    let mut story = Story::new(three());
    assert_eq!(story.comes(), Admission::Run { attempt: 1 });
    assert_eq!(story.ends(&Outcome::Done(None)), Verdict::Ack);
    assert_eq!(story.record, None);
}

#[test]
fn a_result_that_is_kept_is_recorded_before_the_acknowledgement_and_answers_later_deliveries() {
    let mut story = Story::new(three()).keeping();
    story.comes();
    assert_eq!(story.ends(&Outcome::Done(Some(Bytes::from_static(b"7")))), Verdict::Ack);
    assert_eq!(*story.state(), State::Completed { result: Some(Bytes::from_static(b"7")) });
    assert_eq!(story.comes(), Admission::Ended);
}

#[test]
fn of_two_that_run_a_job_the_first_to_record_its_result_wins() {
    let mut story = Story::new(three()).keeping();
    story.comes();
    story.comes();
    assert_eq!(story.ends(&Outcome::Done(Some(Bytes::from_static(b"second")))), Verdict::Ack);
    story.delivery = 1;
    assert_eq!(story.ends(&Outcome::Done(Some(Bytes::from_static(b"first")))), Verdict::Ack);
    assert_eq!(story.ends(&fails("late")), Verdict::Ack, "nor does a failure that comes late");
    assert_eq!(*story.state(), State::Completed { result: Some(Bytes::from_static(b"second")) });
}

/// D19: nothing is left behind for ever when all attempts have failed.
#[test]
fn d19_attempts_are_repeated_as_the_policy_says_and_the_last_failure_buries() {
    let mut story = Story::new(three());
    assert_eq!(story.comes(), Admission::Run { attempt: 1 });
    assert_eq!(story.ends(&fails("a")), Verdict::Retry(SECOND));
    assert_eq!(story.record.as_ref().unwrap().resume_at, Some(story.now + SECOND));
    assert_eq!(story.comes(), Admission::Run { attempt: 2 });
    assert_eq!(story.ends(&fails("b")), Verdict::Retry(5 * SECOND));
    assert_eq!(story.comes(), Admission::Run { attempt: 3 });
    assert_eq!(story.ends(&fails("c")), Verdict::Bury("all 3 attempts failed: c".into()));
    let record = story.record.as_ref().unwrap();
    let messages: Vec<_> = record.failures.iter().map(|f| (f.attempt, &*f.message)).collect();
    assert_eq!(messages, [(1, "a"), (2, "b"), (3, "c")]);
    assert_eq!(story.comes(), Admission::Ended, "a rejection that was lost is made good");
}

#[test]
fn an_error_says_itself_whether_and_when_it_is_tried_again() {
    let mut story = Story::new(three());
    story.comes();
    assert_eq!(story.ends(&wishes(Disposition::Retry { after: Some(9 * SECOND) })), Verdict::Retry(9 * SECOND));
    story.comes();
    assert_eq!(story.ends(&wishes(Disposition::Terminal)), Verdict::Bury("no".into()));
    let mut last = Story::new(RetryPolicy::never());
    last.comes();
    let wish = wishes(Disposition::Retry { after: Some(SECOND) });
    assert_eq!(last.ends(&wish), Verdict::Bury("all 1 attempts failed: no".into()), "a wish is no attempt more");
}

#[test]
fn a_snooze_a_full_key_and_a_drain_burn_no_attempt() {
    let mut story = Story::new(three());
    let spared = [wishes(Disposition::Snooze { after: SECOND }), Outcome::HandedBack, Outcome::Blocked(Some(SECOND))];
    for _ in 0..50 {
        for outcome in &spared {
            assert_eq!(story.comes(), Admission::Run { attempt: 1 });
            assert!(matches!(story.ends(outcome), Verdict::Retry(_)));
        }
    }
    assert_eq!(story.comes(), Admission::Run { attempt: 1 });
    assert_eq!(story.ends(&fails("a")), Verdict::Retry(SECOND));
    assert_eq!(story.comes(), Admission::Run { attempt: 2 });
}

#[test]
fn a_job_whose_key_is_full_comes_again_later_and_later() {
    let mut story = Story::new(three());
    let mut waits = Vec::new();
    for _ in 0..12 {
        story.comes();
        let Verdict::Retry(wait) = story.ends(&Outcome::Blocked(None)) else { panic!("handed back") };
        waits.push(wait);
    }
    assert!(
        waits[0] >= Duration::from_millis(100) && waits.windows(2).all(|w| w[0] < w[1] || w[1] >= 20 * SECOND),
        "{waits:?}"
    );
    assert!(waits.iter().all(|wait| *wait <= 30 * SECOND));
}

#[test]
fn an_attempt_that_left_no_trace_counts_and_too_many_of_them_are_poison() {
    let mut story = Story::new(RetryPolicy::default().max_attempts(9).max_crashes(3).jitter(0));
    assert_eq!(story.comes(), Admission::Run { attempt: 1 });
    assert_eq!(story.comes(), Admission::Run { attempt: 2 }, "the first one took its process down");
    story.ends(&fails("a"));
    assert_eq!(story.comes(), Admission::Run { attempt: 3 });
    assert_eq!(story.comes(), Admission::Run { attempt: 4 });
    assert_eq!(story.comes(), Admission::Bury("3 attempts ended without a word".into()));
    let verdict = story.ends(&Outcome::Hopeless("3 attempts ended without a word".into()));
    assert!(matches!(verdict, Verdict::Bury(_)));
    let mut few = Story::new(RetryPolicy::default().max_attempts(2).max_crashes(9));
    few.comes();
    few.comes();
    assert_eq!(few.comes(), Admission::Bury("all 2 attempts failed".into()), "and never more attempts than there are");
}

#[test]
fn a_decision_whose_answer_was_lost_is_made_alike_and_counts_once() {
    let mut story = Story::new(three());
    story.comes();
    story.ends(&fails("a"));
    let before = story.record.clone();
    assert_eq!(story.ends(&fails("a")), Verdict::Retry(SECOND));
    assert_eq!(story.record, before);
    story.comes();
    story.ends(&Outcome::HandedBack);
    assert_eq!(story.ends(&Outcome::HandedBack), Verdict::Retry(Duration::ZERO));
    assert_eq!(story.record.as_ref().unwrap().spared, 1);
}

#[test]
fn whoever_was_replaced_changes_nothing_but_by_success() {
    let mut story = Story::new(three());
    story.comes();
    story.comes();
    story.ends(&fails("of the second"));
    story.delivery = 1;
    let before = story.record.clone();
    assert_eq!(story.ends(&fails("of the first")), Verdict::Leave);
    assert_eq!(story.record, before);
    assert_eq!(story.ends(&Outcome::Done(None)), Verdict::Ack, "what is done late is done");
    assert_eq!(*story.state(), State::Completed { result: None });
}

#[test]
fn a_job_that_waits_is_cancelled_at_once_and_one_that_may_run_is_asked() {
    let mut story = Story::new(three());
    story.comes();
    story.ends(&fails("a"));
    let mut waits = story.record.clone().unwrap();
    assert!(waits.cancel(story.now) && waits.state == State::Cancelled);
    let mut runs = story.record.clone().unwrap();
    assert!(!runs.cancel(story.now + SECOND) && runs.state == State::Open);
    story.record = Some(runs);
    assert_eq!(story.comes(), Admission::Cancel);
    assert_eq!(story.ends(&Outcome::Cancelled), Verdict::Ack);
    assert_eq!(*story.state(), State::Cancelled);
    assert_eq!(story.comes(), Admission::Ended);
}

#[test]
fn a_job_that_was_put_back_starts_anew_and_its_old_message_does_not() {
    let mut story = Story::new(RetryPolicy::never());
    story.comes();
    story.ends(&fails("a"));
    (story.generation, story.delivery) = (1, 0);
    assert_eq!(story.comes(), Admission::Run { attempt: 1 }, "also before its record is written");
    assert_eq!(story.ends(&Outcome::Done(None)), Verdict::Ack);
    assert_eq!(story.record, story.record.clone().filter(|r| r.generation == 1 || r.is_ended()));
    story.record = Some(Record { generation: 1, ..Record::default() });
    story.generation = 0;
    assert_eq!(story.comes(), Admission::Ended);
    assert_eq!(story.ends(&fails("a")), Verdict::Ack);
}

#[test]
fn a_report_is_kept_of_the_attempt_that_is_under_way_and_of_no_other() {
    let progress = |percent| Progress { percent: Some(percent), ..Progress::default() };
    let mut record = Record::default();
    let first = Delivered { number: 1, generation: 0 };
    assert!(record.report(first, "mail", progress(10)));
    record.decided = 1;
    assert!(!record.report(first, "mail", progress(20)), "its end is recorded");
    assert!(record.report(Delivered { number: 2, ..first }, "mail", progress(30)));
    assert_eq!(record.progress, Some(progress(30)));
    record.state = State::Cancelled;
    assert!(!record.report(Delivered { number: 3, ..first }, "mail", progress(40)));
}

#[test]
fn a_record_keeps_its_newest_failures_and_counts_all() {
    let mut story = Story::new(RetryPolicy::default().max_attempts(1000).max_crashes(1000));
    for attempt in 1..=40 {
        story.comes();
        story.ends(&fails(&format!("no. {attempt}")));
    }
    let record = story.record.unwrap();
    assert_eq!((record.failed, record.failures.len()), (40, MOST_FAILURES));
    assert_eq!(record.failures.last().unwrap().message, "no. 40");
}

#[test]
fn a_record_reads_back_as_it_was_and_nothing_else_is_one() {
    let at = Timestamp::from_micros(77);
    let failure = |how, attempt| Failure { attempt, how, message: "m".into(), at };
    for state in [
        State::Open,
        State::Completed { result: None },
        State::Completed { result: Some(Bytes::new()) },
        State::Cancelled,
        State::Dead { reason: String::new() },
    ] {
        let record = Record {
            topic: "mail".into(),
            generation: 2,
            state,
            decided: 3,
            spared: 4,
            blocked: 5,
            failed: 6,
            failures: vec![failure(How::Error, 1), failure(How::Panic, 2), failure(How::Timeout, 3)],
            progress: Some(Progress { percent: Some(0), text: "t".into(), data: Some(Bytes::new()), at }),
            resume_at: Some(at),
            cancel: true,
            ended_at: Some(at),
        };
        assert_eq!(Record::decode(&record.encode()), Ok(record));
    }
    for bytes in [&b""[..], b"nonsense", &[8, 4], &[8, 9, 66, 4, 8, 1, 16, 9], &[8, 9, 74, 3, 8, 200, 1]] {
        assert!(Record::decode(bytes).is_err(), "{bytes:?}");
    }
}
