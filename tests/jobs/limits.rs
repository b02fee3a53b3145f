//! So many at once for a key, so often for a key: jobs that have to wait come again, and have used no attempt up.

use crate::kit::{ACK_WAIT, Journal, NUMBER, SECOND, jobs, left_in, many, some, space, until, worker};
use anabranch::{
    coordination::{RateLimiter, Semaphore},
    core::coordination::Quota,
    jobs::{Job, JobResult, TopicOptions, What},
    testing::pass,
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

#[tokio::test(start_paused = true)]
async fn so_many_jobs_of_a_key_run_at_once_in_all_workers_and_other_keys_do_not_wait() {
    let (space, journal) = (space().await, Journal::default());
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut workers = Vec::new();
    for _ in 0..2 {
        let (ran, now, most) = (journal.clone(), Arc::clone(&now), Arc::clone(&most));
        let options = TopicOptions::default()
            .concurrency_key(some(2), |n: &u64| if *n == 100 { String::new() } else { (n % 2).to_string() });
        let handler = move |job: Job<u64>| {
            let (ran, now, most) = (ran.clone(), Arc::clone(&now), Arc::clone(&most));
            async move {
                if job.payload.is_multiple_of(2) && job.payload < 100 {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    pass(SECOND).await;
                    now.fetch_sub(1, Ordering::SeqCst);
                }
                ran.note(format!("{} attempt {}", job.payload, job.attempt()));
                Ok(())
            }
        };
        workers.push(worker(&space).concurrency(many(20)).topic_with(NUMBER, options, handler).spawn().await.unwrap());
    }
    let jobs = jobs(&space).await;
    for n in [0, 2, 4, 6, 8, 10, 1, 100] {
        jobs.submit(&NUMBER, &n).await.unwrap();
    }
    let ran = journal.until(8).await;
    assert_eq!(most.load(Ordering::SeqCst), 2);
    let first: Vec<_> = ran[..2].iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert!(first.contains(&"1") && first.contains(&"100"), "{ran:?}");
    assert!(ran.iter().all(|line| line.ends_with("attempt 1")), "{ran:?}");
    for worker in workers {
        worker.drain().await;
    }
    assert_eq!(left_in(&space, "q", 3 * ACK_WAIT).await, []);
    let free = Semaphore::new(&space, "job/q/0", some(2), 15 * SECOND).unwrap().available().await.unwrap();
    assert_eq!(free, 2);
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_key_is_full_does_not_spin() {
    let space = space().await;
    let holder = Semaphore::new(&space, "job/q/k", some(1), 15 * SECOND).unwrap().acquire().await.unwrap();
    let options = TopicOptions::default().concurrency_key(some(1), |_| "k".to_owned()).keep_results();
    let mut builder = worker(&space).topic_with(NUMBER, options, async |job: Job<u64>| -> JobResult<u32> { Ok(job.attempt()) });
    let mut events = builder.events();
    let worker = builder.spawn().await.unwrap();
    let jobs = jobs(&space).await;
    let id = jobs.submit(&NUMBER, &1).await.unwrap().id;
    let until_then = space.clock().instant() + 120 * SECOND;
    let mut tries = 0;
    while space.clock().instant() < until_then {
        until(&mut events, |what| matches!(what, What::Blocked { .. })).await;
        tries += 1;
    }
    assert!(tries < 20, "{tries} times in two minutes");
    holder.release().await.unwrap();
    assert_eq!(jobs.outcome::<u32>(&id).await.unwrap(), 1);
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn jobs_of_a_key_run_as_often_as_its_quota_says_and_other_keys_do_not_wait() {
    let (space, journal) = (space().await, Journal::default());
    let limiter = RateLimiter::new(&space, "mails", Quota::per_minute(6).unwrap().burst(2).unwrap()).unwrap();
    let options = TopicOptions::default().rate_limit(limiter, |n: &u64| (n % 2).to_string());
    let (ran, begun) = (journal.clone(), space.clock().now());
    let worker = worker(&space)
        .topic_with(NUMBER, options, move |job: Job<u64>| {
            let after = job.clock().now().since(begun).as_secs();
            ran.note(format!("{} attempt {} after {after}", job.payload, job.attempt()));
            std::future::ready(Ok(()))
        })
        .spawn()
        .await
        .unwrap();
    let jobs = jobs(&space).await;
    for n in [0, 2, 4, 6, 1] {
        jobs.submit(&NUMBER, &n).await.unwrap();
    }
    let ran = journal.until(5).await;
    assert_eq!(ran.iter().filter(|line| line.ends_with("attempt 1 after 0")).count(), 3, "{ran:?}");
    assert!(ran[3].ends_with("attempt 1 after 10"), "{ran:?}");
    assert!(ran[4].ends_with("attempt 1 after 20"), "{ran:?}");
    worker.drain().await;
}
