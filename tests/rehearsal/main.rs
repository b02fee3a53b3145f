//! A topology of an application, rehearsed: copy this file for your own. The application is in `shop.rs`, and knows nothing of tests.
//!
//! Each test says what goes wrong, lets time pass, and asks what came of it. Nothing here waits for real, and nothing is left to chance.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kit;
mod shop;

use anabranch::{
    core::snapshot::RunStatus,
    runtime::RunError,
    testing::rehearsal::{Fault, Rehearsal},
};
use shop::{APPROVAL, Approval, Order, Receipt, Shop, fulfilment};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Stands for the bank: it remembers what it was asked to pay, by key, as real ones do. It outlives the processes of the shop.
#[derive(Clone, Default)]
struct Bank(Arc<Mutex<Vec<(String, u64)>>>);

impl shop::Bank for Bank {
    fn pay(&self, key: &str, cents: u64) -> Result<(), String> {
        let mut paid = self.0.lock().unwrap();
        if !paid.iter().any(|(known, _)| known == key) {
            paid.push((key.to_owned(), cents));
        }
        Ok(())
    }
}

impl Bank {
    fn payments(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

fn rehearsal(bank: &Bank) -> Rehearsal<Order, Receipt, Shop> {
    let bank = bank.clone();
    Rehearsal::new(fulfilment().unwrap(), move || Shop { bank: Box::new(bank.clone()) })
}

fn order(cents: u64) -> Order {
    Order { items: vec!["spade".into(), "rake".into(), "hoe".into()], cents }
}

#[test]
fn a_small_order_is_charged_once_and_shipped_without_anybodys_approval() {
    let bank = Bank::default();
    let mut shop = rehearsal(&bank);
    shop.start("order-1", order(4_999));
    let receipt = shop.outcome("order-1").unwrap();
    assert_eq!(receipt, Receipt { parcels: 3, cents: 4_999, approved_by: None });
    assert_eq!(bank.payments(), 1);
    let timeline = shop.timeline("order-1");
    timeline.expect_order(["reserve", "charge", "ship"]).expect_status(RunStatus::Completed);
    timeline.node("approve").expect_skipped();
}

#[test]
fn a_bank_that_is_away_twice_is_asked_again_after_ten_and_twenty_seconds() {
    let bank = Bank::default();
    let mut shop = rehearsal(&bank);
    shop.inject("charge", 1..=2, Fault::error("the bank is away"));
    shop.start("order-1", order(4_999));
    assert_eq!(shop.outcome("order-1").unwrap().cents, 4_999);
    let timeline = shop.timeline("order-1");
    let charge = timeline.node("charge");
    charge.expect_failures(["the bank is away", "the bank is away"]).expect_waits([10 * SECOND, 20 * SECOND]);
}

#[test]
fn a_card_that_is_declined_ends_the_order_and_nothing_is_shipped() {
    let mut shop = rehearsal(&Bank::default());
    shop.inject("charge", 1, Fault::terminal("the card is declined"));
    shop.start("order-1", order(4_999));
    let Err(RunError::Failed { failures, .. }) = shop.outcome("order-1") else { panic!("it did not fail") };
    assert_eq!((failures[0].node.as_str(), failures[0].message.as_str()), ("charge", "the card is declined"));
    let timeline = shop.timeline("order-1");
    timeline.node("charge").expect_attempts(1).expect_gave_up();
    timeline.node("ship").expect_attempts(0);
}

#[test]
fn a_bank_that_does_not_answer_is_given_up_after_three_attempts_of_thirty_seconds() {
    let mut shop = rehearsal(&Bank::default());
    shop.inject("charge", .., Fault::hang());
    shop.start("order-1", order(4_999));
    assert!(shop.outcome("order-1").is_err());
    let timeline = shop.timeline("order-1");
    timeline.node("charge").expect_attempts(3).expect_waits([10 * SECOND, 20 * SECOND]).expect_gave_up();
    // Three seconds to reserve, three attempts, and the two waits between them.
    assert_eq!(timeline.duration().as_secs(), 3 + 3 * 30 + 10 + 20, "{timeline}");
}

#[test]
fn a_large_order_waits_for_days_until_somebody_approves_it() {
    let mut shop = rehearsal(&Bank::default());
    shop.start("order-1", order(250_000));
    shop.skip(3 * DAY);
    shop.timeline("order-1").expect_status(RunStatus::Suspended).node("ship").expect_attempts(0);
    shop.signal("order-1", APPROVAL, Approval { by: "ann".into() });
    assert_eq!(shop.outcome("order-1").unwrap().approved_by.as_deref(), Some("ann"));
    assert!(shop.timeline("order-1").duration() > 3 * DAY);
}

#[test]
fn a_process_that_dies_while_it_ships_goes_on_with_the_parcels_that_are_left() {
    let mut shop = rehearsal(&Bank::default());
    shop.inject("ship", 1, Fault::crash().after_saves(2));
    shop.start("order-1", order(4_999));
    assert_eq!(shop.outcome("order-1").unwrap().parcels, 3);
    let timeline = shop.timeline("order-1");
    let parcels = timeline.node("ship");
    parcels.expect_attempts(2).expect_failures(["the process died"]).expect_completed();
    assert_eq!(parcels.saved(), ["1", "2", "3"]);
}

#[test]
fn a_process_that_dies_after_it_paid_does_not_pay_twice() {
    let bank = Bank::default();
    let mut shop = rehearsal(&bank).workers(2);
    shop.inject("charge", 1, Fault::crash().after_body());
    shop.start("order-1", order(4_999));
    assert_eq!(shop.outcome("order-1").unwrap().cents, 4_999);
    shop.timeline("order-1").node("charge").expect_attempts(2).expect_completed();
    // Both attempts asked for it, under one key.
    assert_eq!(bank.payments(), 1);
}

#[test]
fn whatever_happens_every_order_ends_and_is_paid_once() {
    use anabranch::testing::sim::Trouble;
    let bank = Bank::default();
    let mut shop = rehearsal(&bank).workers(3);
    shop.trouble(Trouble::crash(20 * SECOND).lasting(5 * SECOND)).trouble(Trouble::cut(20 * SECOND).lasting(3 * SECOND));
    for number in 0..5 {
        shop.start(&format!("order-{number}"), order(4_999));
    }
    shop.skip(60 * SECOND);
    shop.simulation().calm();
    for number in 0..5 {
        let run = format!("order-{number}");
        assert!(shop.outcome(&run).is_ok(), "{}", shop.timeline(&run));
    }
    assert_eq!(bank.payments(), 5);
}
