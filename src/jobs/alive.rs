//! Keeping a message alive while something is done with it: the queue is told three times in each `ack_wait`.
//!
//! It promises that no message goes to somebody else while its worker lives and reaches the queue, however long the handler takes
//! and whether it waits or runs. It does not know what is done.

use super::{
    events::{Bus, What},
    held::Held,
};
use std::{
    pin::{Pin, pin},
    time::Duration,
};

/// Does `work` and keeps the delivery alive meanwhile. Work that ends at once costs no timer.
pub(super) async fn alive<T>(
    held: &Held,
    bus: &Bus,
    ack_wait: Duration,
    // By reference: work that is moved in has its place twice, and it is large.
    mut work: Pin<&mut impl Future<Output = T>>,
) -> T {
    let clock = held.ledger.clock();
    // A third of the wait: two beats may fail before the message goes to somebody else.
    let beat = ack_wait / 3;
    let mut heard = None;
    loop {
        let begun = clock.instant();
        let heard_at = *heard.get_or_insert(begun);
        let beaten = clock.timeout(beat, &mut work).await;
        if let Some(done) = beaten {
            return done;
        }
        // Told while the work goes on: a queue that does not answer must hold nobody up.
        let told = {
            let mut extend = pin!(clock.timeout(beat, held.delivery.extend()));
            tokio::select! {
                biased;
                done = &mut work => return done,
                told = &mut extend => told,
            }
        };
        match told {
            Some(Ok(())) => {
                heard = Some(begun);
                bus.tell(held, || What::Working);
            }
            failed => {
                let error = failed.and_then(Result::err);
                tracing::warn!(job = held.id(), error = error.as_ref().map(tracing::field::display), "a job was not extended");
                if clock.instant().saturating_duration_since(heard_at) > ack_wait {
                    held.set_lost();
                }
            }
        }
    }
}
