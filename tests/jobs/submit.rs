//! Submitting: what a job's message is, and when two are one.

use crate::kit::{NUMBER, jobs, queue, space};
use anabranch::{
    Codec,
    engine::{Commit, Expect, Key, Name, PutOptions},
    jobs::{Jobs, JobsError, Topic},
};

pub const OTHER: Topic<String> = Topic::new("other", Codec::message_pack());

#[tokio::test(start_paused = true)]
async fn a_job_with_an_id_is_submitted_once_within_the_window_and_the_duplicate_is_told() {
    let space = space().await;
    let jobs = jobs(&space).await;
    let first = jobs.submit_as("order-1", &NUMBER, &1).await.unwrap();
    let again = jobs.submit_as("order-1", &NUMBER, &2).await.unwrap();
    assert_eq!((&*first.id, first.duplicate, again.duplicate), ("order-1", false, true));
    assert_eq!(first.sequence, again.sequence);
    let unnamed = jobs.submit(&NUMBER, &3).await.unwrap();
    assert_eq!(unnamed.id, format!("q-{}", unnamed.sequence));
}

#[tokio::test(start_paused = true)]
async fn a_job_is_enqueued_in_one_commit_with_state_or_not_at_all() {
    let space = space().await;
    let jobs = jobs(&space).await;
    let key = Key::new("order.1").unwrap();
    let commit = || {
        Commit::new()
            .put(key.clone(), "paid".into(), Expect::Absent, PutOptions::default())
            .send(Name::new("q").unwrap(), OTHER.message(&"ship".to_owned()).unwrap().id("ship-1"))
    };
    space.store().commit(commit()).await.unwrap();
    space.store().commit(commit()).await.unwrap_err();
    let left = crate::kit::left_in(&space, "q", crate::kit::SECOND).await;
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].id.as_deref(), left[0].headers.get("Job-Topic")), (Some("ship-1"), Some("other")));
    assert_eq!(OTHER.codec().decode(&left[0].payload).unwrap(), "ship");
    drop(jobs);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_submitted_is_an_error_and_leaves_nothing() {
    let space = space().await;
    assert!(matches!(Jobs::open(&space, "no name").await, Err(JobsError::Store(_))));
    let jobs = jobs(&space).await;
    assert!(matches!(jobs.submit_as("", &NUMBER, &1).await, Err(JobsError::Store(_))));
    let stubborn =
        Topic::new("stubborn", Codec::<u64>::new("stubborn", |_| Err(anabranch::CodecError::new::<u64>("no")), |_| Ok(0)));
    assert!(matches!(jobs.submit(&stubborn, &1).await, Err(JobsError::Codec(_))));
    assert_eq!(crate::kit::left_in(&space, "q", crate::kit::SECOND).await, []);
    drop(queue(&space, "q").await);
}
