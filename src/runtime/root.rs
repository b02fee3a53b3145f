//! The actor that all run actors are linked to: it survives their deaths, and theirs follows from its own.

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::mpsc;

/// The root is told nothing: it only watches.
#[derive(Debug)]
pub(super) enum RootMsg {}

pub(super) struct Root;

impl Actor for Root {
    type Msg = RootMsg;
    /// Where failed actors are reported.
    type State = mpsc::UnboundedSender<ActorId>;
    type Arguments = mpsc::UnboundedSender<ActorId>;

    async fn pre_start(&self, _: ActorRef<RootMsg>, failures: Self::Arguments) -> Result<Self::State, ActorProcessingErr> {
        Ok(failures)
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<RootMsg>,
        event: SupervisionEvent,
        failures: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        // An actor that ended in good order has said why; one that panicked is restarted from the store.
        if let SupervisionEvent::ActorFailed(actor, error) = event {
            tracing::error!(%error, "a run's actor failed and is restarted from the store");
            let _ = failures.send(actor.get_id());
        }
        Ok(())
    }
}
