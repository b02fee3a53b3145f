//! What an event becomes, and the plan that is made of it: messages with ids, each for a queue.
//!
//! The plan depends on the event's id and on what the routing function named, and on nothing else, so an event that is routed
//! again to the same jobs is planned alike. Nothing here stores or sends.

use crate::{
    codec::CodecError,
    engine::{Message, Name, Outgoing},
    jobs::Topic,
};
use std::collections::BTreeMap;

/// What an event becomes: any number of jobs, in their order, or none.
///
/// ```
/// use anabranch::{Codec, jobs::{Route, Topic}};
///
/// const WELCOME: Topic<String> = Topic::new("welcome", Codec::json());
/// const BADGE: Topic<u64> = Topic::new("badge", Codec::json());
///
/// let route = Route::to(&WELCOME, &"ann".to_owned()).and(&BADGE, &42);
/// assert_eq!(route.len(), 2);
/// assert!(Route::none().is_empty());
/// ```
#[derive(Debug, Default)]
#[must_use = "a route does nothing unless the routing function returns it"]
pub struct Route {
    jobs: Vec<Named>,
}

/// A job that was named. What cannot be written is said when the whole of it is looked at.
#[derive(Debug)]
struct Named {
    topic: String,
    message: Result<Message, CodecError>,
}

impl Route {
    /// Leads nowhere: the event is acknowledged, and that is all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Leads to one job.
    pub fn to<T>(topic: &Topic<T>, payload: &T) -> Self {
        Self::none().and(topic, payload)
    }

    /// Leads to a further job as well.
    pub fn and<T>(mut self, topic: &Topic<T>, payload: &T) -> Self {
        self.push(topic, payload);
        self
    }

    /// Adds a further job.
    pub fn push<T>(&mut self, topic: &Topic<T>, payload: &T) {
        self.jobs.push(Named { topic: topic.name().to_owned(), message: topic.message(payload) });
    }

    /// Returns how many jobs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Tells whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }
}

/// A job that an event became.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoutedJob {
    /// Its id: the event's, and which of its jobs it is.
    pub id: String,
    /// Its topic.
    pub topic: String,
    /// The queue that it is in.
    pub queue: String,
}

/// Why an event cannot be routed, whatever is tried: it becomes a dead letter, and none of its jobs is there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The router has no queue for a topic: name one with [`RouterBuilder::topic`](super::RouterBuilder::topic), and put the event
    /// back.
    #[error("the router knows no queue for the topic `{0}`")]
    UnknownTopic(String),
    /// A payload cannot be written.
    #[error("the payload of job {number} (`{topic}`) cannot be written")]
    Unwritable {
        /// Which of the event's jobs it is.
        number: usize,
        /// Its topic.
        topic: String,
        /// Why not.
        source: CodecError,
    },
    /// All jobs of an event leave in one commit, and it takes no more: route to one job that makes the others.
    #[error("{jobs} jobs are more than the {limit} that one commit takes: route to one job that makes the others")]
    TooMany {
        /// How many there are.
        jobs: usize,
        /// How many there may be.
        limit: usize,
    },
}

/// The queues of topics.
pub(super) type Queues = BTreeMap<String, Name>;

/// Makes the messages of an event's jobs.
pub(super) fn plan(event: &str, route: Route, queues: &Queues, limit: usize) -> Result<Vec<(RoutedJob, Outgoing)>, RouteError> {
    if route.len() > limit {
        return Err(RouteError::TooMany { jobs: route.len(), limit });
    }
    let planned = route.jobs.into_iter().enumerate().map(|(number, Named { topic, message })| {
        let Some(queue) = queues.get(&topic) else { return Err(RouteError::UnknownTopic(topic)) };
        let message = match message {
            Ok(message) => message,
            Err(source) => return Err(RouteError::Unwritable { number, topic, source }),
        };
        let id = format!("{event}/{number}");
        let job = RoutedJob { id: id.clone(), topic, queue: queue.to_string() };
        Ok((job, Outgoing { queue: queue.clone(), message: message.id(id) }))
    });
    planned.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;

    const WELCOME: Topic<String> = Topic::new("welcome", Codec::json());
    const ODD: Topic<f64> = Topic::new("odd", Codec::new("odd", |_| Err(CodecError::new::<f64>("odd")), |_| Ok(0.0)));

    fn queues() -> Queues {
        let name = |n: &str| Name::new(n).unwrap();
        [("welcome".to_owned(), name("mail")), ("odd".to_owned(), name("odd"))].into()
    }

    #[test]
    fn jobs_are_numbered_and_sent_to_the_queue_of_their_topic() {
        let route = Route::to(&WELCOME, &"ann".to_owned()).and(&WELCOME, &"bob".to_owned());
        let planned = plan("e-7", route, &queues(), 2).unwrap();
        let ids: Vec<_> = planned.iter().map(|(job, sent)| (job.id.as_str(), sent.message.id.as_deref().unwrap())).collect();
        assert_eq!(ids, [("e-7/0", "e-7/0"), ("e-7/1", "e-7/1")]);
        let (job, sent) = &planned[1];
        assert_eq!((job.queue.as_str(), sent.queue.as_str(), job.topic.as_str()), ("mail", "mail", "welcome"));
        assert_eq!(sent.message.payload, "\"bob\"");
    }

    #[test]
    fn one_job_that_cannot_be_sent_keeps_the_others_back() {
        let route = Route::to(&WELCOME, &"ann".to_owned()).and(&ODD, &1.0);
        assert!(matches!(plan("e", route, &queues(), 9), Err(RouteError::Unwritable { number: 1, .. })));
        let elsewhere = Topic::named("elsewhere", Codec::<String>::json());
        let route = Route::to(&WELCOME, &"ann".to_owned()).and(&elsewhere, &"bob".to_owned());
        assert!(matches!(plan("e", route, &queues(), 9), Err(RouteError::UnknownTopic(topic)) if topic == "elsewhere"));
    }

    #[test]
    fn more_jobs_than_a_commit_takes_are_refused_as_a_whole() {
        let route = (0..3).fold(Route::none(), |route, n| route.and(&WELCOME, &n.to_string()));
        assert!(matches!(plan("e", route, &queues(), 2), Err(RouteError::TooMany { jobs: 3, limit: 2 })));
    }
}
