//! Requests and their answers: all of a connection share one inbox, and those that are made at the same moment leave together.
//!
//! Answers arrive many at once, and wake whoever waits for them, who then makes his next request. The first of these requests wakes
//! the client, which runs before the others are made, and so hands each to the kernel for itself: that costs more than everything
//! else about a request. Here they gather until everybody who is ready to run has run, which takes no time where nobody else is.
//!
//! This file does not know what is asked, how long an answer is worth waiting for, or whether there is a connection.

use crate::{engine::locked, error::BoxError};
use async_nats::{Client, HeaderMap, Message, Subject, SubscribeError, message::OutboundMessage};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use std::{
    collections::HashMap,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker, ready},
};
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
    task::{AbortHandle, yield_now},
};

/// How many wait where others are likely to ask within a moment. With fewer there is nothing to gain.
const CROWD: usize = 8;

/// How many ask alone after others were there before they are taken for alone.
const COMPANY: u8 = 32;

/// For how many that wait there is room while nobody does, at most.
const ROOM: usize = 4096;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Silence {
    /// It cannot be sent as it is.
    Refused(BoxError),
    /// The client is gone.
    Gone,
}

pub(super) type Answer = Result<Message, Silence>;

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct Requests {
    office: Arc<Office>,
    /// Whoever sends, and whoever gives out the answers.
    staff: [AbortHandle; 2],
}

#[derive(Debug)]
struct Office {
    /// Where answers arrive, each with the number of its request behind this.
    inbox: String,
    /// Takes what leaves at once.
    outbox: Mutex<Client>,
    /// Told when there is something to send.
    bell: Notify,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    /// The number of the last request.
    last: u64,
    /// How many must ask alone before they are taken for such.
    company: u8,
    /// Whether nobody is there any more who sends and gives out answers.
    is_closed: bool,
    /// Those that leave next, oldest first.
    leaving: Vec<Letter>,
    /// Who waits for the answer to one that has left, by its number.
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
}

impl Books {
    /// Tells whether somebody who asks now is the only one, as those before him were: between two waves nobody waits either.
    fn is_alone(&mut self) -> bool {
        let company = !self.waiting.is_empty() || !self.leaving.is_empty();
        self.company = if company { COMPANY } else { self.company.saturating_sub(1) };
        self.company == 0
    }

    /// Takes whoever waits for an answer off the list, and gives back the room of a crowd when it is gone.
    fn strike(&mut self, number: u64) -> Option<oneshot::Sender<Answer>> {
        let caller = self.waiting.remove(&number);
        if self.waiting.is_empty() && self.waiting.capacity() > ROOM {
            self.waiting = HashMap::new();
        }
        caller
    }
}

/// A request on its way out.
#[derive(Debug)]
struct Letter {
    number: u64,
    subject: Subject,
    headers: HeaderMap,
    payload: Bytes,
    caller: oneshot::Sender<Answer>,
}

impl Requests {
    /// Opens the inbox of a connection. It belongs to the runtime that this is called on, as the connection does.
    pub(super) async fn open(client: &Client) -> Result<Self, SubscribeError> {
        let inbox = client.new_inbox() + ".";
        let mut answers = client.subscribe(format!("{inbox}*")).await?;
        let (client, outbox) = (client.clone(), Mutex::new(client.clone()));
        let office = Arc::new(Office { inbox, outbox, bell: Notify::new(), books: Mutex::default() });
        let duty = Duty(Arc::clone(&office));
        let porter = Handle::current().spawn(async move {
            // As a whole: of a capture by fields nothing is dropped.
            let duty = duty;
            duty.0.send(client).await;
        });
        let duty = Duty(Arc::clone(&office));
        let clerk = Handle::current().spawn(async move {
            let duty = duty;
            let Duty(office) = &duty;
            while let Some(answer) = answers.next().await {
                let number = answer.subject.strip_prefix(office.inbox.as_str()).and_then(|number| number.parse().ok());
                if let Some(number) = number {
                    office.answer(number, Ok(answer));
                }
            }
        });
        Ok(Self { office, staff: [porter.abort_handle(), clerk.abort_handle()] })
    }

    /// Asks, at once, and returns what becomes the answer. Dropping that takes back what has not left.
    pub(super) fn ask(&self, subject: Subject, headers: HeaderMap, payload: Bytes) -> Asked<'_> {
        let (caller, answer) = oneshot::channel();
        let number = self.office.post(|number| Letter { number, subject, headers, payload, caller });
        Asked { office: &self.office, number, answer, is_answered: false }
    }
}

/// What a task of the office has while it is at work.
#[derive(Debug)]
struct Duty(Arc<Office>);

impl Drop for Duty {
    /// Closes the office: without one of the two nobody would ever be answered, as where their runtime ends before a caller's.
    fn drop(&mut self) {
        let mut books = locked(&self.0.books);
        books.is_closed = true;
        let left = (std::mem::take(&mut books.leaving), std::mem::take(&mut books.waiting));
        drop(books);
        // Whoever waits is told by what he waits with.
        drop(left);
    }
}

impl Drop for Requests {
    /// Closes the inbox, which would keep the connection.
    fn drop(&mut self) {
        self.staff.iter().for_each(AbortHandle::abort);
    }
}

/// The answer to a request, once it is there.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    office: &'a Office,
    number: u64,
    answer: oneshot::Receiver<Answer>,
    is_answered: bool,
}

impl Future for Asked<'_> {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        self.is_answered = true;
        Poll::Ready(answer.unwrap_or(Err(Silence::Gone)))
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            // Closed first: what leaves at this moment either finds it so, or is in the books already.
            self.answer.close();
            locked(&self.office.books).strike(self.number);
        }
    }
}

impl Office {
    /// Sends a request, alone at once and otherwise with those that leave next, and tells its number.
    fn post(&self, letter: impl FnOnce(u64) -> Letter) -> u64 {
        let mut books = locked(&self.books);
        books.last += 1;
        let number = books.last;
        if books.is_alone() {
            drop(books);
            // A task between would take its time, and for nothing.
            let mut outbox = locked(&self.outbox);
            if has_room(&mut outbox) {
                self.hand_over(letter(number), &mut outbox);
                return number;
            }
            drop(outbox);
            books = locked(&self.books);
        }
        if books.is_closed {
            // Whoever waits is told by what he waits with.
            return number;
        }
        books.leaving.push(letter(number));
        let is_first = books.leaving.len() == 1;
        drop(books);
        if is_first {
            self.bell.notify_one();
        }
        number
    }

    /// Sends what gathers, for as long as there is a client.
    async fn send(&self, mut client: Client) {
        loop {
            self.bell.notified().await;
            if locked(&self.books).waiting.len() >= CROWD {
                // Until all who are ready to run have run.
                yield_now().await;
            }
            let letters = std::mem::take(&mut locked(&self.books).leaving);
            for letter in letters {
                // One that is dropped here tells its caller that the client is gone.
                if poll_fn(|cx| client.poll_ready_unpin(cx)).await.is_ok() {
                    self.hand_over(letter, &mut client);
                }
            }
        }
    }

    /// Gives a request to the client, which has room for it, unless nobody waits for the answer any more.
    fn hand_over(&self, letter: Letter, client: &mut Client) {
        let Letter { number, subject, headers, payload, caller } = letter;
        // The client checks all but this.
        if subject.is_empty() || subject.contains([' ', '\t', '\r', '\n']) {
            drop(caller.send(Err(Silence::Refused(format!("`{subject}` is no subject").into()))));
            return;
        }
        let mut books = locked(&self.books);
        if books.is_closed || caller.is_closed() {
            return;
        }
        books.waiting.insert(number, caller);
        drop(books);
        let reply = Some([self.inbox.as_str(), &number.to_string()].concat().into());
        let message = OutboundMessage { subject, reply, payload, headers: Some(headers) };
        if let Err(error) = client.start_send_unpin(message) {
            self.answer(number, Err(Silence::Refused(error.into())));
        }
    }

    /// Gives an answer to whoever waits for it. One that comes too late is nobody's.
    fn answer(&self, number: u64, answer: Answer) {
        let caller = locked(&self.books).strike(number);
        if let Some(caller) = caller {
            drop(caller.send(answer));
        }
    }
}

/// Tells whether a client takes one more message now. Nobody is woken when it does not, and does later.
fn has_room(client: &mut Client) -> bool {
    matches!(client.poll_ready_unpin(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// They waited as long as for a server that says nothing, and what was asked was kept.
    #[test]
    fn requests_after_their_runtime_has_ended_are_told_so_at_once() {
        let ended = runtime();
        let requests = ended.block_on(async {
            // No server is there, and none is needed: the client keeps what it is given.
            let client = async_nats::ConnectOptions::new().retry_on_initial_connect().connect("127.0.0.1:9").await.unwrap();
            Requests::open(&client).await.unwrap()
        });
        let ask = || requests.ask(Subject::from_static("a"), HeaderMap::new(), Bytes::new());
        let waiting = [ask(), ask()];
        drop(ended);
        let answers = waiting.into_iter().chain([ask(), ask()]).map(FutureExt::now_or_never);
        assert!(answers.into_iter().all(|answer| matches!(answer, Some(Err(Silence::Gone)))));
        let books = locked(&requests.office.books);
        assert!(books.leaving.is_empty() && books.waiting.is_empty());
    }

    #[test]
    fn what_is_no_subject_is_refused_and_not_sent() {
        runtime().block_on(async {
            let client = async_nats::ConnectOptions::new().retry_on_initial_connect().connect("127.0.0.1:9").await.unwrap();
            let requests = Requests::open(&client).await.unwrap();
            let ask = |subject: &str| requests.ask(subject.into(), HeaderMap::new(), Bytes::new());
            for subject in ["", "a b", "a\r\nPUB b 0"] {
                assert!(matches!(ask(subject).await, Err(Silence::Refused(_))), "{subject:?}");
            }
            let given_up = ask("a");
            let under_way = || locked(&requests.office.books).waiting.len();
            assert_eq!(under_way(), 1, "who is alone sends at once");
            drop(given_up);
            assert_eq!(under_way(), 0);
        });
    }
}
