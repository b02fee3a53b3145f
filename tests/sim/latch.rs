//! A latch, which hosts count down that die and say so again, and for which others wait.

use crate::{
    stage::{self, Log, SECOND, Skew, idle, space},
    try_seeds,
};
use anabranch::{
    coordination::{Ended, Latch},
    error::BoxError,
    testing::sim::{Host, SERVER, Simulation},
};
use std::{collections::BTreeSet, time::Duration};

/// They count down as two each, but for those who only wait.
const WAITERS: [&str; 2] = ["d", "e"];
const ALL: [&str; 5] = ["a", "b", "c", "d", "e"];
const COUNT: u32 = 6;
const ANY_TIME: Duration = Duration::from_secs(3 * 3600);
const MOST_DRIFT: i64 = 50_000;

/// What happened, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// Somebody begins to count down as this one, perhaps again.
    Asked(String),
    /// So many are left, says the answer to the one that was asked at that place of the list.
    Counted { asked: usize, id: String, left: u32 },
    /// A host has got past the latch.
    Passed(String),
}

type Seens = Log<Seen>;

fn run(sim: &mut Simulation) {
    let (mut dice, seens) = (stage::dice(sim), Seens::default());
    for name in ALL {
        let seens = seens.clone();
        sim.host(name, move |host| work(host, seens.clone()));
        Skew::draw(&mut dice, ANY_TIME, MOST_DRIFT).set(sim, name);
    }
    Skew::draw(&mut dice, ANY_TIME, MOST_DRIFT).set(sim, SERVER);
    stage::everything_goes_wrong(sim, &mut dice, &ALL, 3 * SECOND);
    sim.run_for(8 * SECOND);
    stage::calm(sim, &ALL);
    let has_passed = |seens: &[Seen], name: &str| seens.contains(&Seen::Passed(name.to_owned()));
    let passed = sim.run_until(60 * SECOND, |_| seens.look(|seens| ALL.iter().all(|name| has_passed(seens, name))));
    seens.look(check);
    assert!(passed, "everybody has counted down, and not everybody gets past: {:?}", seens.look(<[Seen]>::to_vec));
}

async fn work(host: Host, seens: Seens) -> Result<(), BoxError> {
    let latch = Latch::new(&space(&host).await, "opening", COUNT)?;
    if !WAITERS.contains(&host.name()) {
        for number in 0..2 {
            idle(&host, 4 * SECOND).await;
            count_down(&host, &seens, &latch, format!("{}.{number}", host.name())).await;
        }
    }
    loop {
        match latch.wait().await {
            Ok(ended) => {
                assert_eq!(ended, Ended::Zero, "nobody removes it");
                seens.push(Seen::Passed(host.name().to_owned()));
                return std::future::pending().await;
            }
            Err(_) => idle(&host, SECOND / 2).await,
        }
    }
}

/// Counts down until that is known to have happened, and now and then once more.
async fn count_down(host: &Host, seens: &Seens, latch: &Latch, id: String) {
    loop {
        let asked = seens.len();
        seens.push(Seen::Asked(id.clone()));
        if let Ok(left) = latch.count_down_as(&id).await {
            seens.push(Seen::Counted { asked, id: id.clone(), left });
            if host.roll(3) > 0 {
                return;
            }
        }
        idle(host, SECOND / 2).await;
    }
}

/// Nobody gets past before all have asked to count down, and what is said to be left is no fewer than have not, and no more than are not
/// known to have.
fn check(seens: &[Seen]) {
    let mut asked = BTreeSet::new();
    for (at, seen) in seens.iter().enumerate() {
        match seen {
            Seen::Asked(id) => {
                asked.insert(id);
            }
            Seen::Counted { asked: begun, id, left } => {
                let known =
                    seens[..*begun].iter().filter_map(|seen| if let Seen::Counted { id, .. } = seen { Some(id) } else { None });
                let known: BTreeSet<_> = known.chain([id]).collect();
                let most = COUNT - u32::try_from(known.len()).unwrap();
                let least = COUNT - u32::try_from(asked.len()).unwrap();
                assert!(
                    (least..=most).contains(left),
                    "{id} is told that {left} are left, of {least} to {most}, in {:?}",
                    &seens[..=at]
                );
            }
            Seen::Passed(name) => {
                let missing = COUNT - u32::try_from(asked.len()).unwrap();
                assert_eq!(missing, 0, "{name} gets past a latch, and only {asked:?} have asked to count down");
            }
        }
    }
}

#[test]
fn a_latch_opens_when_all_have_counted_down_and_not_before_whoever_dies_and_says_so_again() {
    try_seeds(40, run);
}
