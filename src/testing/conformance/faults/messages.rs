//! Workers that take messages, lose some, and settle the rest; and what has to have been delivered at the end.

use super::{
    super::PATIENCE,
    book::Told,
    process::{ANSWER, Process},
};
use crate::engine::{Delivery, Message, Pull};
use futures_util::future::join_all;
use std::{num::NonZeroUsize, sync::PoisonError, time::Duration};
use tokio_util::sync::CancellationToken;

impl Process<'_> {
    /// Works on all queues until there is nothing more to come.
    pub(super) async fn work_until(&self, finished: &CancellationToken) {
        join_all((0..self.places.lanes.len()).map(|lane| self.work_on(lane, finished))).await;
    }

    async fn work_on(&self, lane: usize, finished: &CancellationToken) {
        let mut pull = self.until_done(async || self.places.lanes[lane].pull().await).await;
        loop {
            // What is settled is waited for, since nobody could say what became of it otherwise.
            let taken = tokio::select! {
                biased;
                () = finished.cancelled() => break,
                taken = self.take(&mut *pull) => taken,
            };
            for delivery in taken {
                self.settle(lane, delivery).await;
            }
        }
        // Handing back may hang as all else; it comes again all the same.
        let _ = self.places.clock().timeout(ANSWER, pull.close()).await;
    }

    async fn take(&self, pull: &mut dyn Pull) -> Vec<Delivery> {
        let some = NonZeroUsize::new(1 + usize::try_from(self.decide(3)).expect("it is small")).expect("it is not zero");
        if let Ok(taken) = pull.next(some).await {
            return taken;
        }
        self.places.clock().sleep(Duration::from_millis(5)).await;
        Vec::new()
    }

    async fn settle(&self, lane: usize, delivery: Delivery) {
        let payload = payload(&delivery);
        self.book.delivered(&payload, lane, delivery.sequence(), delivery.attempt());
        let told = match self.decide(10) {
            0..5 => self.ask(delivery.ack()).await.0,
            5 => self.ask(delivery.reject()).await.0,
            6 => {
                self.ask(delivery.extend()).await;
                self.ask(delivery.ack()).await.0
            }
            7 | 8 => {
                self.ask(delivery.retry(Duration::from_millis(self.decide(20)))).await;
                return;
            }
            // It comes again when we were silent for long enough.
            _ => return,
        };
        self.book.ended(&payload, told);
    }

    fn decide(&self, sides: u64) -> u64 {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).roll(sides)
    }
}

fn payload(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&delivery.message().payload).into_owned()
}

/// Takes what is left until everything that was sent has been delivered, and holds the queues to what was told.
pub(super) async fn check(process: &Process<'_>, once: bool) {
    join_all((0..process.places.lanes.len()).map(|lane| drain(process, lane, once))).await;
    let book = process.book;
    for (payload, mail) in &book.open().mails {
        let right = match mail.told {
            Told::Done => !mail.attempts.is_empty(),
            Told::Refused => mail.attempts.is_empty(),
            Told::Unclear => true,
        };
        assert!(right, "seed {}: {payload}: {mail:?}", book.seed);
    }
}

async fn drain(process: &Process<'_>, lane: usize, once: bool) {
    let (book, clock) = (process.book, process.places.clock());
    let is_left = || {
        let pages = book.open();
        let mut left =
            pages.mails.iter().filter(|(_, mail)| mail.lane == lane && mail.told == Told::Done && mail.end.is_none());
        left.next().map(|(payload, _)| payload.clone())
    };
    let queue = &process.places.lanes[lane];
    let mut pull = process.until_done(async || queue.pull().await).await;
    // Whatever is there comes before what is published last, except what is still with somebody.
    let last = book.name(process.number);
    book.sends(&last, lane, true);
    process.until_done(async || queue.publish(Message::new(last.clone())).await).await;
    book.sent(&last, Told::Done);
    while let Some(left) = is_left() {
        let Some(taken) = clock.timeout(PATIENCE, process.take(&mut *pull)).await else {
            panic!("seed {}: {left} was sent and does not come: {:?}", book.seed, book.mail(&left, |mail| format!("{mail:?}")));
        };
        for delivery in taken {
            let payload = payload(&delivery);
            book.delivered(&payload, lane, delivery.sequence(), delivery.attempt());
            let over = book.mail(&payload, |mail| mail.end == Some(Told::Done) && !mail.repeats);
            assert!(!(once && over), "seed {}: {payload} was acknowledged and comes again", book.seed);
            let (told, _) = process.ask(delivery.ack()).await;
            book.ended(&payload, told);
        }
    }
    pull.close().await;
}
