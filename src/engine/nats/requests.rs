//! Requests and their answers: all of a connection share one inbox, and those that are made at the same moment leave together.
//!
//! Answers arrive many at once, and wake whoever waits for them, who then makes his next request. The first of these requests wakes
//! the client, which runs before the others are made, and so hands each to the kernel for itself: that costs more than everything
//! else about a request. Here they gather until everybody who is ready to run has run, which takes no time where nobody else is.
//!
//! Who waits longer than an answer takes where nothing is the matter is told so, by one timer for all of them: one for each would cost
//! every request what nearly none needs.
//!
//! This file does not know what is asked, how long an answer is worth waiting for, or whether there is a connection.

use super::rounds::make_rounds;
use crate::{engine::locked, error::BoxError, gather::gather, time::Clock};
use async_nats::{Client, HeaderMap, Message, Subject, SubscribeError, message::OutboundMessage};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use std::{
    collections::BTreeMap,
    future::poll_fn,
    ops::Bound,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};
use tokio::{
    runtime::{Handle, Id},
    sync::{Notify, oneshot},
    task::AbortHandle,
};

/// How many wait where others are likely to ask within a moment. With fewer there is nothing to gain.
const CROWD: usize = 8;

/// How many ask alone after others were there before they are taken for alone.
const COMPANY: u8 = 32;

/// How often those who are ready are let run before what has gathered leaves, at most: among so many somebody may come for ever.
const LOOKS: usize = 8;

/// How long an answer takes at most where nothing is the matter. Who waits longer hears so within twice this.
pub(super) const SOON: Duration = Duration::from_millis(20);

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Silence {
    /// It cannot be sent as it is.
    Refused(BoxError),
    /// The client is gone.
    Gone,
}

pub(super) type Answer = Result<Message, Silence>;

/// What somebody who waits is told.
#[derive(Debug)]
enum Word {
    Answer(Answer),
    /// It takes its time; the rest is told here.
    Later(oneshot::Receiver<Self>),
}

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct Requests {
    office: Arc<Office>,
    /// Whoever sends, whoever gives out the answers, and whoever looks after those who wait long.
    staff: [AbortHandle; 3],
    /// The runtime that they run on.
    home: Id,
}

#[derive(Debug)]
struct Office {
    /// Where answers arrive, each with the number of its request behind this.
    inbox: String,
    /// Takes what leaves at once.
    outbox: Mutex<Client>,
    /// Told when there is something to send.
    bell: Notify,
    /// Told when somebody waits, and nobody looks after him.
    watch: Notify,
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
    /// Who waits for the answer to a request, by its number. One that is not here is not sent any more.
    waiting: BTreeMap<u64, oneshot::Sender<Word>>,
    /// Whether somebody looks after them.
    is_watched: bool,
    /// The last number at the look before the last one, and at the last one.
    looks: (u64, u64),
}

impl Books {
    /// Tells whether somebody who asks now is the only one, as those before him were: between two waves nobody waits either.
    fn is_alone(&mut self) -> bool {
        self.company = if self.waiting.is_empty() { self.company.saturating_sub(1) } else { COMPANY };
        self.company == 0
    }

    /// Looks whether somebody waits, and tells who does since the look before the last one, each of whom waits anew.
    fn look(&mut self) -> Option<Vec<(oneshot::Sender<Word>, oneshot::Receiver<Word>)>> {
        let (begin, end) = self.looks;
        self.looks = (end, self.last);
        self.is_watched = !self.waiting.is_empty();
        let late = self.waiting.range_mut((Bound::Excluded(begin), Bound::Included(end)));
        let anew = late.map(|(_, caller)| {
            let (anew, answer) = oneshot::channel();
            (std::mem::replace(caller, anew), answer)
        });
        self.is_watched.then(|| anew.collect())
    }
}

/// A request on its way out.
#[derive(Debug)]
struct Letter {
    number: u64,
    subject: Subject,
    headers: HeaderMap,
    payload: Bytes,
}

impl Requests {
    /// Opens the inbox of a connection. It belongs to the runtime that this is called on, as the connection does.
    pub(super) async fn open(client: &Client, clock: &Clock) -> Result<Self, SubscribeError> {
        let inbox = client.new_inbox() + ".";
        let mut answers = client.subscribe(format!("{inbox}*")).await?;
        let (client, outbox) = (client.clone(), Mutex::new(client.clone()));
        let office = Arc::new(Office { inbox, outbox, bell: Notify::new(), watch: Notify::new(), books: Mutex::default() });
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
        let (duty, clock) = (Duty(Arc::clone(&office)), clock.clone());
        let watchman = Handle::current().spawn(async move {
            let duty = duty;
            duty.0.look_after(clock).await;
        });
        let staff = [porter, clerk, watchman].map(|task| task.abort_handle());
        Ok(Self { office, staff, home: Handle::current().id() })
    }

    /// Tells whether whoever calls this runs where requests are looked after: elsewhere he may wait while nothing runs there.
    pub(super) fn is_at_home(&self) -> bool {
        Handle::try_current().is_ok_and(|here| here.id() == self.home)
    }

    /// Asks, at once, and returns what becomes the answer. Dropping that takes back what has not left.
    pub(super) fn ask(&self, subject: Subject, headers: HeaderMap, payload: Bytes) -> Asked<'_> {
        let (caller, answer) = oneshot::channel();
        let number = self.office.post(caller, |number| Letter { number, subject, headers, payload });
        Asked { office: &self.office, number, answer, is_answered: false }
    }
}

/// What a task of the office has while it is at work.
#[derive(Debug)]
struct Duty(Arc<Office>);

impl Drop for Duty {
    /// Closes the office: without one of them somebody would never be answered, as where their runtime ends before a caller's.
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

/// The answer to a request, once it is there. It says `None` first, once, where that takes longer than [`SOON`].
#[derive(Debug)]
pub(super) struct Asked<'a> {
    office: &'a Office,
    number: u64,
    answer: oneshot::Receiver<Word>,
    is_answered: bool,
}

impl Future for Asked<'_> {
    type Output = Option<Answer>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        Poll::Ready(match ready!(Pin::new(&mut self.answer).poll(cx)) {
            Ok(Word::Later(answer)) => {
                self.answer = answer;
                None
            }
            Ok(Word::Answer(answer)) => {
                self.is_answered = true;
                Some(answer)
            }
            Err(_) => Some(Err(Silence::Gone)),
        })
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            locked(&self.office.books).waiting.remove(&self.number);
        }
    }
}

impl Office {
    /// Sends a request, alone at once and otherwise with those that leave next, and tells its number.
    fn post(&self, caller: oneshot::Sender<Word>, letter: impl FnOnce(u64) -> Letter) -> u64 {
        let mut books = locked(&self.books);
        books.last += 1;
        let number = books.last;
        if books.is_closed {
            // Whoever waits is told by what he waits with.
            return number;
        }
        let is_alone = books.is_alone();
        books.waiting.insert(number, caller);
        if !std::mem::replace(&mut books.is_watched, true) {
            self.watch.notify_one();
        }
        if is_alone {
            drop(books);
            // A task between would take its time, and for nothing.
            let mut outbox = locked(&self.outbox);
            if has_room(&mut outbox) {
                self.hand_over(letter(number), &mut outbox);
                return number;
            }
            drop(outbox);
            books = locked(&self.books);
            if books.is_closed {
                return number;
            }
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
            gather(LOOKS, || self.gathering()).await;
            let letters = std::mem::take(&mut locked(&self.books).leaving);
            for letter in letters {
                if poll_fn(|cx| client.poll_ready_unpin(cx)).await.is_err() {
                    self.answer(letter.number, Err(Silence::Gone));
                } else if locked(&self.books).waiting.contains_key(&letter.number) {
                    self.hand_over(letter, &mut client);
                }
            }
        }
    }

    /// Tells how many are to leave, where they are some of a crowd.
    fn gathering(&self) -> Option<usize> {
        let books = locked(&self.books);
        let there = books.leaving.len();
        (there > 0 && books.waiting.len() >= there + CROWD).then_some(there)
    }

    /// Gives a request to the client, which has room for it.
    fn hand_over(&self, letter: Letter, client: &mut Client) {
        let Letter { number, subject, headers, payload } = letter;
        // The client checks all but this.
        if subject.is_empty() || subject.bytes().any(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
            return self.answer(number, Err(Silence::Refused(format!("`{subject}` is no subject").into())));
        }
        let reply = Some([self.inbox.as_str(), &number.to_string()].concat().into());
        let message = OutboundMessage { subject, reply, payload, headers: Some(headers) };
        if let Err(error) = client.start_send_unpin(message) {
            self.answer(number, Err(Silence::Refused(error.into())));
        }
    }

    /// Gives an answer to whoever waits for it. One that comes too late is nobody's.
    fn answer(&self, number: u64, answer: Answer) {
        let caller = locked(&self.books).waiting.remove(&number);
        if let Some(caller) = caller {
            drop(caller.send(Word::Answer(answer)));
        }
    }

    /// Tells those who wait long, each once, for as long as there is an office.
    async fn look_after(&self, clock: Clock) {
        make_rounds(&clock, SOON, &self.watch, || {
            let late = locked(&self.books).look();
            let is_anybody_there = late.is_some();
            for (caller, anew) in late.into_iter().flatten() {
                drop(caller.send(Word::Later(anew)));
            }
            is_anybody_there
        })
        .await;
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

    /// The requests of a client whose server is not there, and not needed: the client keeps what it is given, and nobody answers.
    async fn deserted() -> Requests {
        let client = async_nats::ConnectOptions::new().retry_on_initial_connect().connect("127.0.0.1:9").await.unwrap();
        Requests::open(&client, &Clock::system()).await.unwrap()
    }

    /// They waited as long as for a server that says nothing, and what was asked was kept.
    #[test]
    fn requests_after_their_runtime_has_ended_are_told_so_at_once() {
        let ended = runtime();
        let requests = ended.block_on(deserted());
        let ask = || requests.ask(Subject::from_static("a"), HeaderMap::new(), Bytes::new());
        let waiting = [ask(), ask()];
        drop(ended);
        let answers = waiting.into_iter().chain([ask(), ask()]).map(FutureExt::now_or_never);
        assert!(answers.into_iter().all(|answer| matches!(answer, Some(Some(Err(Silence::Gone))))));
        let books = locked(&requests.office.books);
        assert!(books.leaving.is_empty() && books.waiting.is_empty());
    }

    /// What a server would answer.
    fn answer() -> Message {
        let (subject, reply, payload) = (Subject::from_static("a"), None, Bytes::from_static(b"here"));
        Message { subject, reply, payload, headers: None, status: None, description: None, length: 0 }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_long_hears_so_once_and_is_answered_all_the_same() {
        let requests = deserted().await;
        let clock = Clock::system();
        let begun = clock.instant();
        let ask = || requests.ask(Subject::from_static("a"), HeaderMap::new(), Bytes::new());
        let (mut first, mut second) = (ask(), ask());
        for asked in [&mut first, &mut second] {
            assert!(asked.await.is_none());
            let waited = clock.instant() - begun;
            assert!((SOON..=2 * SOON + Duration::from_millis(1)).contains(&waited), "{waited:?}");
        }
        let again = clock.timeout(100 * SOON, &mut first).await;
        assert!(again.is_none(), "it is said once: {again:?}");
        requests.office.answer(second.number, Ok(answer()));
        requests.office.answer(first.number, Ok(answer()));
        for asked in [first, second] {
            let answer = asked.await;
            assert!(matches!(&answer, Some(Ok(message)) if message.payload == "here"), "{answer:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_looks_after_requests_when_there_are_none() {
        let requests = deserted().await;
        let ask = || requests.ask(Subject::from_static("a"), HeaderMap::new(), Bytes::new());
        for _ in 0..3 {
            // Answered before anybody would hear that it takes long, and after that.
            let (mut soon, mut late) = (ask(), ask());
            requests.office.answer(soon.number, Ok(answer()));
            assert!(matches!((&mut soon).await, Some(Ok(_))));
            assert!((&mut late).await.is_none());
            assert!(locked(&requests.office.books).is_watched);
            drop(late);
            Clock::system().sleep(2 * SOON).await;
            let books = locked(&requests.office.books);
            assert!(books.waiting.is_empty() && !books.is_watched);
        }
    }

    #[test]
    fn what_is_no_subject_is_refused_and_not_sent() {
        runtime().block_on(async {
            let requests = deserted().await;
            let ask = |subject: &str| requests.ask(subject.into(), HeaderMap::new(), Bytes::new());
            for subject in ["", "a b", "a\r\nPUB b 0"] {
                assert!(matches!(ask(subject).await, Some(Err(Silence::Refused(_)))), "{subject:?}");
            }
            let given_up = ask("a");
            let under_way = || locked(&requests.office.books).waiting.len();
            assert_eq!(under_way(), 1, "who is alone sends at once");
            drop(given_up);
            assert_eq!(under_way(), 0);
        });
    }
}
