//! The actor of one run: it takes turns, the [`Driver`] does the work.
//!
//! The actor only arbitrates. Bodies and writes are tasks that report back, so that a signal or a cancellation is heard while
//! either is under way. An actor's death is never an outcome: whoever waits for the run looks at the store.

use super::{
    claim::Held,
    driver::Driver,
    hosted::{Hosted, Progress},
    message::Msg,
};
use crate::newest;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::{marker::PhantomData, sync::Arc};

/// The actor of one run.
pub(super) struct RunActor<C>(PhantomData<fn() -> C>);

impl<C> RunActor<C> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<C: Send + Sync + 'static> Actor for RunActor<C> {
    type Msg = Msg;
    /// On the heap: the framework moves it through several futures when an actor starts and when it ends.
    type State = Box<Driver<C>>;
    type Arguments = (Arc<Hosted<C>>, Box<Held>, newest::Sender<Progress>);

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        (hosted, held, progress): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(Box::new(Driver::new(hosted, *held, progress, myself)))
    }

    async fn post_start(&self, _: ActorRef<Msg>, driver: &mut Self::State) -> Result<(), ActorProcessingErr> {
        driver.begin();
        Ok(())
    }

    async fn handle(&self, _: ActorRef<Msg>, message: Msg, driver: &mut Self::State) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Happened(event, reply) => driver.happened(event, reply),
            Msg::Ended(node, attempt, end) => driver.body_ended(node, attempt, end),
            Msg::Written(number, outcome) => driver.written(number, outcome).await,
            Msg::Broken(why) => return Err(why.into()),
            Msg::GoOn => {}
            Msg::Nudged => driver.nudged().await,
            Msg::Due => driver.due(),
            Msg::LookAgain => driver.look_again().await,
            Msg::Release => driver.release(),
            Msg::ReleaseNow => driver.release_now(),
        }
        driver.go_on().await;
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Msg>, driver: &mut Self::State) -> Result<(), ActorProcessingErr> {
        driver.leave();
        Ok(())
    }
}
