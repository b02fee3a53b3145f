//! Calls that a limiter lets through, some at once and some from blocks.

use super::Site;
use crate::history::{Act, Answer};
use anabranch::{coordination::RateLimiter, core::coordination::Quota};
use std::{num::NonZeroU32, time::Duration};

/// What all workers may do together.
pub(crate) fn quota() -> Quota {
    Quota::per_second(20).and_then(|quota| quota.burst(5)).expect("the quota is valid")
}

pub(super) async fn call(site: Site) {
    let mut dice = site.dice(40);
    let limiter = RateLimiter::new(&site.straight, "api", quota()).expect("the name is valid");
    let block = NonZeroU32::new(2).expect("2 is not 0");
    let limiter = if site.worker == 0 { limiter.leased(block).expect("the block is below the burst") } else { limiter };
    while !site.is_over() {
        let op = site.history.call("api", Act::Pass);
        let answer = if dice.roll(3) == 0 {
            limiter.until_ready_within(Duration::from_secs(2)).await.map(|_| Answer::Done)
        } else {
            let checked = limiter.check_one().await;
            checked.map(|decision| if decision.is_allowed() { Answer::Done } else { Answer::Not })
        };
        let answer = match answer {
            Ok(answer) => answer,
            // Nobody was let through, whatever was spent.
            Err(error) => match site.told("api", &error) {
                Answer::Open => Answer::Not,
                answer => answer,
            },
        };
        site.history.back(op, answer);
        site.pause(&mut dice, 80).await;
    }
}
