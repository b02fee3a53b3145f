//! Several cells changed as one.

use crate::kit::{elsewhere, faulty, number, numbers, raw, space};
use anabranch::{
    Codec,
    cell::{CellError, Cells, UpdateError, together, try_together},
    engine::{Rejection, Store},
    testing::{
        Dice,
        faulty::{Fault, FaultyStore, Odds},
    },
};
use futures_util::{FutureExt as _, future::join_all};
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

#[tokio::test(start_paused = true)]
async fn cells_of_several_types_change_as_one() {
    let space = space().await;
    let stock = number(&space, "stock");
    let orders = Cells::<Vec<String>>::new(&space, Codec::json()).cell("orders").unwrap();
    stock.update(|n| *n = 3).await.unwrap();
    let left = together((&stock, &orders), |(stock, orders)| {
        *stock -= 1;
        orders.push("lamp".to_owned());
        *stock
    })
    .await
    .unwrap();
    assert_eq!(left, 2);
    assert_eq!(raw(&space, "orders").await.unwrap(), "[\"lamp\"]");
    let (stock, orders) = (stock.read().await.unwrap().unwrap(), orders.read().await.unwrap().unwrap());
    assert_eq!((stock.value, orders.revision.get()), (2, stock.revision.get() + 1), "one commit");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_several_that_is_given_up_changes_nothing() {
    let space = space().await;
    let cells = [number(&space, "a"), number(&space, "b")];
    cells[0].update(|n| *n = 1).await.unwrap();
    // What the process knows is out of date: the closure has to see the truth before it gives up.
    elsewhere(&space, "a", "5").await;
    let outcome = try_together(&cells[..], |mut values| {
        *values[0] += 1;
        *values[1] += 1;
        Err::<(), _>(*values[0])
    })
    .await;
    assert!(matches!(outcome, Err(UpdateError::Aborted(6))), "{outcome:?}");
    assert_eq!(raw(&space, "a").await.unwrap(), "5");
    assert_eq!(raw(&space, "b").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_several_that_panics_changes_nothing_and_holds_up_nobody() {
    let space = space().await;
    let (a, b) = (number(&space, "a"), number(&space, "b"));
    let panicked = AssertUnwindSafe(together((&a, &b), |(a, b)| {
        *a += 1;
        assert!(*b > 0, "there is nothing");
    }))
    .catch_unwind()
    .await;
    assert_eq!(*panicked.unwrap_err().downcast::<&str>().unwrap(), "there is nothing");
    assert_eq!(
        a.update(|n| {
            *n += 1;
            *n
        })
        .await
        .unwrap(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn cells_that_cannot_change_as_one_are_refused() {
    let (space, other) = (space().await, space().await);
    let (a, b) = (number(&space, "a"), number(&other, "b"));
    for outcome in [
        together((&a, &a), |_| ()).await,
        together((&a, &b), |_| ()).await,
        together(&[] as &[anabranch::cell::Cell<u64>], |_| ()).await,
    ] {
        assert!(matches!(outcome, Err(CellError::Rejected(Rejection::InvalidOption(_)))), "{outcome:?}");
    }
    elsewhere(&space, "b", "no number").await;
    let outcome = together((&a, &number(&space, "b")), |(a, _)| *a += 1).await;
    assert!(matches!(outcome, Err(CellError::Corrupt { .. })), "{outcome:?}");
    assert_eq!((raw(&space, "a").await, raw(&space, "b").await.unwrap()), (None, "no number".into()));
}

/// Money moves between accounts, each of which is updated alone as well, in three processes and under everything a store may do.
#[tokio::test(start_paused = true)]
async fn money_that_moves_between_cells_is_neither_made_nor_lost() {
    for seed in 0..20 {
        let (space, store) = faulty(seed).await;
        let accounts = ["a", "b", "c", "d"];
        for account in accounts {
            number(&space, account).update(|n| *n = 1000).await.unwrap();
        }
        store.odds(Odds { unknown: 30, conflict: 60, unavailable: 30, latency: Duration::from_millis(5) });
        let processes: Vec<_> =
            (0..3).map(|_| space.clone().with_store(Arc::<FaultyStore>::clone(&store) as Arc<dyn Store>)).collect();
        let movers = processes.iter().enumerate().flat_map(|(process, space)| (0..4).map(move |i| (process * 4 + i, space)));
        let uncertain = join_all(movers.map(|(number_of_mover, space)| async move {
            let mut dice = Dice::new(seed * 100 + number_of_mover as u64);
            let mut uncertain = 0;
            for _ in 0..8 {
                let from = usize::try_from(dice.roll(4)).unwrap();
                let to = (from + 1 + usize::try_from(dice.roll(3)).unwrap()) % 4;
                let cells = numbers(space);
                let (from, to) = (cells.cell(accounts[from]).unwrap(), cells.cell(accounts[to]).unwrap());
                match together((&from, &to), |(from, to)| {
                    *from -= 1;
                    *to += 1;
                })
                .await
                {
                    Ok(()) => {}
                    Err(CellError::Unknown(_)) => uncertain += 1,
                    Err(error) => panic!("{error}"),
                }
                // An update that changes nothing, in between.
                match from.update(|n| *n += 0).await {
                    Ok(()) | Err(CellError::Unknown(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            uncertain
        }))
        .await;
        store.behave();
        let mut sum = 0;
        for account in accounts {
            sum += number(&space, account).read().await.unwrap().unwrap().value;
        }
        assert_eq!(sum, 4000, "seed {seed}");
        assert!(uncertain.iter().sum::<u32>() < 30, "seed {seed}: hardly anything was found out: {uncertain:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn changes_of_several_that_meet_in_any_order_do_not_wait_for_each_other() {
    let space = space().await;
    let cells: Vec<_> = ["a", "b", "c"].map(|label| number(&space, label)).into();
    let orders = [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]];
    let all = join_all((0..40).map(|i| {
        let chosen: Vec<_> = orders[i % 4].iter().map(|at| cells[*at].clone()).collect();
        async move { together(&chosen[..], |values| values.into_iter().for_each(|n| *n += 1)).await }
    }));
    let alone = join_all((0..40).map(|i| cells[i % 3].update(|n| *n += 1)));
    let (all, alone) = tokio::join!(all, alone);
    all.into_iter().chain(alone).for_each(Result::unwrap);
    let mut sum = 0;
    for cell in &cells {
        sum += cell.read().await.unwrap().unwrap().value;
    }
    assert_eq!(sum, 160);
    assert_eq!(numbers(&space).counts().conflicts, 0, "nobody of this process comes in between");
}

#[tokio::test(start_paused = true)]
async fn the_lost_answer_of_a_change_of_several_is_found() {
    for applied in [true, false] {
        let (space, store) = faulty(1).await;
        let (a, b) = (number(&space, "a"), number(&space, "b"));
        together((&a, &b), |(a, b)| (*a, *b) = (1, 1)).await.unwrap();
        store.once(Fault::Unknown { applied }, |call| call.op.writes());
        together((&a, &b), |(a, b)| {
            *a += 1;
            *b += 1;
        })
        .await
        .unwrap();
        for cell in [a, b] {
            assert_eq!(cell.read().await.unwrap().unwrap().value, 2, "applied: {applied}");
        }
    }
}
