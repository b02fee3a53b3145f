//! Whatever happens to a job, in any order: attempts are counted right, and an end is an end.

use anabranch::{
    Disposition, RetryPolicy,
    core::jobs::{Admission, Delivered, How, Lanes, Outcome, Record, State, Verdict, admit, settle},
    time::Timestamp,
};
use proptest::prelude::*;
use std::time::Duration;

#[derive(Debug, Clone)]
enum Step {
    /// The attempt fails.
    Fail,
    /// It asks for another time.
    Snooze,
    /// It is handed back.
    HandBack,
    /// Something is taken.
    Block,
    /// Its process dies.
    Crash,
    /// It fails, and the settlement is lost, so that the message comes again by itself.
    FailAndLose,
    Succeed,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Fail),
        4 => Just(Step::Snooze),
        4 => Just(Step::HandBack),
        4 => Just(Step::Block),
        2 => Just(Step::Crash),
        2 => Just(Step::FailAndLose),
        1 => Just(Step::Succeed),
    ]
}

proptest! {
    #[test]
    fn attempts_are_those_that_were_begun_and_not_spared(
        steps in prop::collection::vec(step(), 1..60),
        most in 1u32..8,
        crashes in 1u32..5,
        keep: bool,
    ) {
        let policy = RetryPolicy::default().max_attempts(most).max_crashes(crashes).fixed(Duration::from_secs(1)).jitter(0);
        let mut record: Option<Record> = None;
        let (mut burned, mut silent) = (0, 0);
        for (number, step) in (1..).zip(steps) {
            let delivered = Delivered { number, generation: 0 };
            match admit(record.as_ref(), delivered, &policy) {
                Admission::Run { attempt } => {
                    prop_assert_eq!(attempt, burned + 1);
                    prop_assert!(burned < most && silent < crashes);
                }
                Admission::Bury(_) => {
                    prop_assert!(burned >= most || silent >= crashes, "{} {}", burned, silent);
                    break;
                }
                other => prop_assert!(false, "{:?}", other),
            }
            let failed = |disposition| Outcome::Failed { how: How::Error, message: "no".into(), disposition };
            let retry = Disposition::Retry { after: None };
            let outcome = match step {
                Step::Crash => {
                    burned += 1;
                    silent += 1;
                    continue;
                }
                Step::Fail | Step::FailAndLose => {
                    burned += 1;
                    failed(retry)
                }
                Step::Snooze => failed(Disposition::Snooze { after: Duration::from_secs(1) }),
                Step::HandBack => Outcome::HandedBack,
                Step::Block => Outcome::Blocked(None),
                Step::Succeed => Outcome::Done(None),
            };
            let now = Timestamp::from_millis(i64::from(number) * 1000);
            let known = record.is_some();
            let decision = settle(record.as_ref(), delivered, "t", &outcome, &policy, (keep, now, 3));
            // The same question again has the same answer.
            if let Some(written) = &decision.record {
                let again = settle(Some(written), delivered, "t", &outcome, &policy, (keep, now, 3));
                prop_assert_eq!(again.record, None);
                if !written.is_ended() {
                    prop_assert_eq!(&again.verdict, &decision.verdict);
                }
                prop_assert_eq!(Record::decode(&written.encode()).ok(), Some(written.clone()));
            }
            record = decision.record.or(record);
            match decision.verdict {
                Verdict::Retry(_) => prop_assert!(record.as_ref().is_some_and(|r| !r.is_ended())),
                Verdict::Bury(_) => {
                    prop_assert_eq!(burned, most);
                    prop_assert!(matches!(record.as_ref().map(|r| &r.state), Some(State::Dead { .. })), "{:?}", record);
                    break;
                }
                Verdict::Ack => {
                    prop_assert!(matches!(outcome, Outcome::Done(_)));
                    prop_assert_eq!(record.is_some_and(|r| r.is_ended()), keep || known);
                    break;
                }
                Verdict::Leave => prop_assert!(false, "nobody else has it"),
            }
        }
    }

    #[test]
    fn lanes_are_served_by_their_weights_and_none_waits_longer_than_a_round(
        weights in prop::collection::vec(1u32..9, 1..6),
        picks in 1usize..400,
        idle in prop::collection::vec(any::<bool>(), 6),
    ) {
        let mut lanes = Lanes::new(weights.iter().copied());
        let has = |lane: usize| !idle[lane];
        let round: u32 = weights.iter().zip(&idle).filter(|(_, idle)| !**idle).map(|(w, _)| w).sum();
        let mut served = vec![0u32; weights.len()];
        let mut waited = vec![0u32; weights.len()];
        for _ in 0..picks {
            let Some(picked) = lanes.pick(has) else {
                prop_assert_eq!(round, 0);
                return Ok(());
            };
            prop_assert!(has(picked));
            served[picked] += 1;
            for (lane, waited) in waited.iter_mut().enumerate() {
                *waited = if lane == picked { 0 } else { *waited + 1 };
                prop_assert!(!has(lane) || *waited <= round, "lane {} waits", lane);
            }
        }
        let rounds = u32::try_from(picks).unwrap() / round;
        for lane in (0..weights.len()).filter(|lane| has(*lane)) {
            prop_assert!(served[lane] >= rounds * weights[lane] && served[lane] <= (rounds + 1) * weights[lane]);
        }
    }
}
