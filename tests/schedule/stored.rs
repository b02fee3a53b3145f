//! What was stored is there after a restart, and what a release has stored is read for ever.
//!
//! A new release adds its files with `ANABRANCH_UPDATE=1 cargo test --test schedule stored`; files of earlier releases never change.

use super::{
    place::{Place, Road, ids, schedule, seconds, to_target},
    ticks::{all, noon, plan},
};
use anabranch::{
    core::schedule::{Letter, Liveness, Overlap, Record, Waiting},
    engine::Engine,
    schedule::{Delayed, Missed, Placed, Schedules},
    time::{Clock, Timestamp},
};
use std::{fs, num::NonZeroU32, path::PathBuf};

/// A process that has a file, from a moment on.
async fn process(url: &str, begins: Timestamp) -> Place {
    let engine = Engine::open_with(url, Clock::following_tokio(begins)).await.unwrap();
    Place::new(vec![engine.space("schedules").await.unwrap()], Road::Timers)
}

#[tokio::test(start_paused = true)]
async fn what_was_due_while_no_process_had_the_file_is_made_up_for_when_one_has() {
    let scratch = tempfile::tempdir().unwrap();
    let url = format!("file:{}", scratch.path().join("schedules").display());
    let began = Timestamp::parse_rfc3339("2026-11-25T12:00:00.5Z").unwrap();
    {
        let place = process(&url, began).await;
        let every_hour = schedule("0 * * * *").missed(Missed::All(NonZeroU32::new(100).unwrap()));
        Schedules::new(place.space()).unwrap().create(&every_hour).await.unwrap();
        let delayed = Delayed::new(place.space()).unwrap();
        for (key, hours) in [("soon", 1), ("later", 100)] {
            let placed = delayed.after(key, seconds(hours * 3600), &to_target(key)).await.unwrap();
            assert!(matches!(placed, Placed::Scheduled { .. }));
        }
    }
    let place = process(&url, began + seconds(5 * 3600)).await;
    let mut inbox = place.inbox().await;
    let worker = place.scheduler(0).await;
    let came = inbox.take(6).await;
    let (fired, sent): (Vec<_>, Vec<_>) = came.into_iter().partition(|m| m.headers.get("Schedule-Name").is_some());
    assert_eq!(ids(&fired), [13, 14, 15, 16, 17].map(|hour| format!("s@2026-11-25T{hour}:00:00Z")));
    assert_eq!(sent.iter().map(|message| message.payload.clone()).collect::<Vec<_>>(), ["soon"]);
    assert_eq!(ids(&inbox.within(seconds(60)).await), [""; 0]);
    worker.drain().await;
}

/// A schedule in which every field has a value.
fn everything() -> Record {
    let mut plan = plan("CRON_TZ=Europe/Berlin */10 2 * * MON-FRI", all(7), Overlap::Queue);
    let headers = vec![("Job-Topic".to_owned(), "report".to_owned())];
    plan.letter = Letter { queue: "reports".into(), id: Some("mine".into()), headers, payload: "{}".into() };
    let mut record = Record::new(plan, noon(0));
    record.trigger("nightly", noon(5), 0x0123_4567_89ab_cdef);
    let mut record = record.tick("nightly", noon(14 * 3600), Liveness::Done).record;
    record = record.tick("nightly", noon(86_400 + 13 * 3600 + 1300), Liveness::Running).record;
    record.pending = record.running.clone().into_iter().collect();
    (record.paused, record.lost) = (true, 5);
    record
}

fn interval() -> Record {
    let mut plan = plan("@every 90s", Missed::Skip, Overlap::Allow);
    plan.rule = plan.rule.anchored(noon(7));
    Record::new(plan, noon(0))
}

fn waiting() -> Waiting {
    let letter = Letter { queue: "mails".into(), id: None, headers: Vec::new(), payload: "hello".into() };
    Waiting { due: noon(60), token: 7, letter, leaving: true }
}

fn golden(file: &str, bytes: &[u8]) -> bytes::Bytes {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os("ANABRANCH_UPDATE").is_some() && !path.exists() {
        fs::write(&path, bytes).unwrap();
    }
    fs::read(path).unwrap().into()
}

#[test]
fn what_each_release_has_stored_of_schedules_is_read() {
    for (file, record) in [("schedule-v0.1.0.bin", everything()), ("interval-v0.1.0.bin", interval())] {
        assert_eq!(Record::decode(golden(file, &record.encode())).unwrap(), record, "{file}");
    }
    let record = everything();
    assert!(record.skipped > 0 && record.queued.is_some() && record.running.is_some() && record.last.is_some(), "{record:?}");
    assert_eq!(Waiting::decode(golden("delayed-v0.1.0.bin", &waiting().encode())).unwrap(), waiting());
}
