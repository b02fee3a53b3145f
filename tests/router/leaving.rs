//! How a router leaves: nothing new, what is in hand is routed, and the rest is somebody else's at once.

use super::kit::*;
use anabranch::{
    Codec,
    jobs::{Job, JobResult, Route, Router},
};
use std::sync::Arc;
use tokio::sync::watch;

#[tokio::test(start_paused = true)]
async fn a_drained_router_routes_what_it_has_and_leaves_the_rest_to_others_at_once() {
    let space = space(&engine().await).await;
    let gate = Arc::new(watch::Sender::new(0));
    let code = {
        let gate = Arc::clone(&gate);
        move |event: Job<Joined>| {
            let gate = Arc::clone(&gate);
            async move {
                gate.send_modify(|begun| *begun += 1);
                time_passes(event.clock(), SECOND).await;
                by_number(event).await
            }
        }
    };
    let router = Router::builder(&space, "events", Codec::protobuf(), code).concurrency(many(2));
    let router = router.topic(&WELCOME, "letters").spawn().await.unwrap();
    let source = queue(&space, "events").await;
    for name in ["a", "b", "c", "d", "e"] {
        source.publish(joined(name, 1)).await.unwrap();
    }
    in_time("two events", gate.subscribe().wait_for(|begun| *begun == 2)).await.unwrap();
    let begun = space.clock().now();
    router.drain().await;
    assert!(space.clock().now().since(begun) <= SECOND, "no longer than what was in hand takes");
    let mut pull = source.pull().await.unwrap();
    let left = in_time("the rest", pull.next(many(9))).await.unwrap();
    assert!(space.clock().now().since(begun) <= SECOND, "nothing waits for the silence of the router");
    let left: Vec<_> = left.iter().map(|delivery| (delivery.message().id.clone().unwrap(), delivery.attempt())).collect();
    assert_eq!(left.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["e-c", "e-d", "e-e"]);
    assert_eq!(ids_in(&space, "letters").await, ["e-a/0", "e-b/0"]);
}

/// A routing function that hangs holds up its own event and the drain's time, and nothing else.
#[tokio::test(start_paused = true)]
async fn a_drain_ends_although_a_routing_function_never_does() {
    let space = space(&engine().await).await;
    let code = async |event: Job<Joined>| -> JobResult<Route> {
        if event.payload.name == "stuck" {
            std::future::pending::<()>().await;
        }
        by_number(event).await
    };
    let router = Router::builder(&space, "events", Codec::protobuf(), code).topic(&WELCOME, "letters");
    let router = router.worker(|worker| worker.drain_timeout(5 * SECOND)).spawn().await.unwrap();
    let mut events = router.events();
    let source = queue(&space, "events").await;
    source.publish(joined("stuck", 1)).await.unwrap();
    source.publish(joined("ann", 1)).await.unwrap();
    assert_eq!(routed(&mut events).await, ["e-ann/0"]);
    let begun = space.clock().now();
    in_time("the drain", router.drain()).await;
    assert!(space.clock().now().since(begun) <= 6 * SECOND);
    assert_eq!(ids_in(&space, "events").await, ["e-stuck"], "it is handed back");
}
