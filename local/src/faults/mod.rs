//! Faults on the wire between the functions and AWS, call by call.
//!
//! A [`Faults`] layer records every call that functions make, in order, and makes one
//! or more of them go wrong as they are told. Answers are in the service's own
//! protocol and with its own codes, so that the SDK takes them for the real thing:
//! it retries, times out and parses as it would on AWS. Calls of people and of
//! services pass unharmed.
//!
//! Kinds that concern a process (killed, invoked twice) need functions that run in
//! this process.

mod call;
mod kind;
mod wire;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use time::OffsetDateTime;

pub use call::{Call, Recorded};
pub use kind::Fault;

use call::{function, last_change, operation};

use crate::lambda::{Lambda, Running};
use crate::layer::{Answer, Layer, Severed};
use crate::request::{Caller, Request, Response};
use crate::world::World;

/// A fault that waits for its call.
struct Armed {
    call: Call,
    fault: Fault,
    state: State,
}

/// How far an armed fault has come.
enum State {
    Waiting,
    /// So many attempts are still to be hit, of any call of this operation.
    Attempts(u32),
    /// Every attempt of this call of the SDK is hit.
    ThisCall(String),
    /// Every call of this invocation is hit.
    ThisInvocation(Option<String>),
    /// Every call of this operation by this function is hit.
    Forever,
    /// Reads like this one are answered so, until then.
    Stale {
        body: Bytes,
        answer: Response,
        until: OffsetDateTime,
    },
    Over,
}

/// What the layer has heard and what it is to do.
#[derive(Default)]
struct Book {
    recorded: Vec<Recorded>,
    /// The SDK names a call the same on each attempt.
    known: HashMap<String, Call>,
    counts: BTreeMap<(String, String, String), u32>,
    armed: Vec<Armed>,
    /// Reads to be made just before a change, for those that shall be stale after it.
    staged: Vec<(Call, Request)>,
    answers_before: HashMap<Bytes, Response>,
    reached: HashSet<(Call, Fault)>,
    /// Calls whose answer is what goes wrong, by the SDK's name for them.
    spoilt: HashMap<String, Fault>,
}

/// Records the calls of functions and makes some of them fail.
pub struct Faults {
    world: Weak<World>,
    lambda: Weak<Lambda>,
    book: Mutex<Book>,
}

impl Faults {
    /// A layer that records, over the functions of this world. Add it with [`World::add_layer`].
    #[must_use]
    pub fn new(world: &Arc<World>, lambda: &Arc<Lambda>) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::downgrade(world),
            lambda: Arc::downgrade(lambda),
            book: Mutex::default(),
        })
    }

    /// Makes this call go wrong when it is made.
    ///
    /// For a stale read, `recording` is the run in which the read was seen: it tells which request will be made and
    /// after which change.
    pub fn arm(&self, call: Call, fault: Fault, recording: &[Recorded]) {
        let mut book = self.book();
        if fault == Fault::StaleRead
            && let Some(place) = recording.iter().position(|made| made.call == call)
            && let Some(change) = last_change(&recording[place], &recording[..place])
        {
            let read = recording[place].request.clone();
            book.staged.push((change.call.clone(), read));
        }
        book.armed.push(Armed {
            call,
            fault,
            state: State::Waiting,
        });
    }

    /// The calls so far, in order.
    #[must_use]
    pub fn recorded(&self) -> Vec<Recorded> {
        self.book().recorded.clone()
    }

    /// Whether this fault has struck.
    #[must_use]
    pub fn reached(&self, call: &Call, fault: Fault) -> bool {
        self.book().reached.contains(&(call.clone(), fault))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which call this request is an attempt of; the first attempt is recorded.
    fn identify(&self, request: &Request, function: &str, now: OffsetDateTime) -> (Call, String) {
        let sdk_call = sdk_call(request).to_owned();
        let mut book = self.book();
        if let Some(call) = book.known.get(&sdk_call) {
            return (call.clone(), sdk_call);
        }
        let operation = operation(request);
        let key = (
            function.to_owned(),
            request.service.clone(),
            operation.clone(),
        );
        let count = book.counts.entry(key).or_insert(0);
        *count += 1;
        let call = Call {
            function: function.to_owned(),
            service: request.service.clone(),
            operation,
            occurrence: *count,
        };
        book.known.insert(sdk_call.clone(), call.clone());
        book.recorded.push(Recorded {
            call: call.clone(),
            at: now,
            invocation: Running::current().map(|running| running.request_id.clone()),
            request: request.clone(),
        });
        (call, sdk_call)
    }

    /// Reads, before a change, what is to be read again after it as if nothing had happened.
    async fn read_ahead(&self, world: &World, call: &Call) {
        let staged: Vec<Request> = self
            .book()
            .staged
            .iter()
            .filter(|(change, _)| change == call)
            .map(|(_, read)| read.clone())
            .collect();
        for read in staged {
            let body = read.body.clone();
            let answer = world.handle(read).await;
            self.book().answers_before.insert(body, answer);
        }
    }

    /// The fault that strikes this attempt, if one does.
    fn strike(&self, attempt: &Attempt<'_>) -> Option<Fault> {
        let book = &mut *self.book();
        let mut struck = None;
        for armed in &mut book.armed {
            if matches!(armed.state, State::Waiting) && armed.call == *attempt.call {
                armed.state = armed.begin(attempt, &mut book.answers_before);
                // A read of which nothing was staged is not stale.
                if !matches!(armed.state, State::Over) {
                    book.reached.insert((armed.call.clone(), armed.fault));
                }
            }
            if armed.hits(attempt) {
                struck.get_or_insert(armed.fault);
            }
        }
        struck
    }

    fn stale_answer(&self, attempt: &Attempt<'_>) -> Option<Response> {
        self.book()
            .armed
            .iter()
            .find_map(|armed| match &armed.state {
                State::Stale {
                    body,
                    answer,
                    until,
                } if *body == attempt.request.body && attempt.now < *until => Some(answer.clone()),
                _ => None,
            })
    }

    /// Invokes the current function with its event once more.
    fn invoke_again(&self, attempt: &Attempt<'_>, fault: Fault) {
        let (Some(world), Some(lambda), Some(running)) = (
            self.world.upgrade(),
            self.lambda.upgrade(),
            Running::current(),
        ) else {
            return;
        };
        let caller = Caller {
            principal: format!("arn:aws:iam::{}:root", attempt.request.caller.account),
            ..attempt.request.caller.clone()
        };
        let clock = Arc::clone(world.clock());
        world.spawn(async move {
            match fault {
                Fault::InvokedAgain => running.ended().await,
                Fault::InvokedLate => clock.sleep(Fault::INVOKED_LATE_BY).await,
                _ => {}
            }
            let again = lambda.invoke(&caller, &running.function, running.payload.clone());
            if let Err(error) = again.await {
                tracing::warn!(%error, "a function was not invoked again");
            }
        });
    }

    /// Hands a request to its service after a while, when nobody waits for the answer any more.
    fn land_late(&self, request: &Request) {
        let Some(world) = self.world.upgrade() else {
            return;
        };
        let (clock, request) = (Arc::clone(world.clock()), request.clone());
        let weak = Arc::downgrade(&world);
        world.spawn(async move {
            clock.sleep(Fault::LATE_BY).await;
            if let Some(world) = weak.upgrade() {
                world.handle(request).await;
            }
        });
    }
}

/// One attempt of a call.
struct Attempt<'a> {
    call: &'a Call,
    sdk_call: &'a str,
    request: &'a Request,
    invocation: Option<String>,
    now: OffsetDateTime,
}

impl Armed {
    /// What the fault will hit from its first moment on.
    fn begin(&self, attempt: &Attempt<'_>, answers_before: &mut HashMap<Bytes, Response>) -> State {
        match self.fault {
            Fault::ThrottledOnce
            | Fault::InternalErrorOnce
            | Fault::ResetBefore
            | Fault::KilledBefore
            | Fault::ResetAfter
            | Fault::InternalErrorAfter
            | Fault::TruncatedAfter
            | Fault::KilledAfter
            | Fault::InvokedTwice
            | Fault::InvokedAgain
            | Fault::InvokedLate => State::Attempts(1),
            Fault::ThrottledEightTimes => State::Attempts(8),
            Fault::ConnectionRefused
            | Fault::HangBefore
            | Fault::HangAfter
            | Fault::LandsLate
            | Fault::WrittenElsewhere => State::ThisCall(attempt.sdk_call.to_owned()),
            Fault::UnavailableForTheInvocation | Fault::ExpiredToken => {
                State::ThisInvocation(attempt.invocation.clone())
            }
            Fault::AccessDenied => State::Forever,
            Fault::StaleRead => match answers_before.remove(&attempt.request.body) {
                Some(answer) => State::Stale {
                    body: attempt.request.body.clone(),
                    answer,
                    until: attempt.now + Fault::STALE_FOR,
                },
                None => State::Over,
            },
        }
    }

    /// Whether it hits this attempt; counts it.
    fn hits(&mut self, attempt: &Attempt<'_>) -> bool {
        let same_operation = self.call.function == attempt.call.function
            && self.call.service == attempt.call.service
            && self.call.operation == attempt.call.operation;
        match &mut self.state {
            State::Attempts(left) if same_operation && *left > 0 => {
                *left -= 1;
                true
            }
            State::ThisCall(sdk_call) => sdk_call == attempt.sdk_call,
            State::ThisInvocation(invocation) => *invocation == attempt.invocation,
            State::Forever => same_operation,
            _ => false,
        }
    }
}

#[async_trait]
impl Layer for Faults {
    async fn before(&self, request: &Request) -> ControlFlow<Answer> {
        let (Some(function), Some(world)) = (function(request), self.world.upgrade()) else {
            return ControlFlow::Continue(());
        };
        let now = world.now();
        let (call, sdk_call) = self.identify(request, function, now);
        self.read_ahead(&world, &call).await;
        let attempt = Attempt {
            call: &call,
            sdk_call: &sdk_call,
            request,
            invocation: Running::current().map(|running| running.request_id.clone()),
            now,
        };
        let struck = self.strike(&attempt);
        if let Some(answer) = self.stale_answer(&attempt) {
            return ControlFlow::Break(Ok(answer));
        }
        let Some(fault) = struck else {
            return ControlFlow::Continue(());
        };
        tracing::debug!(%call, %fault, "a fault strikes");
        match fault {
            Fault::ThrottledOnce | Fault::ThrottledEightTimes => {
                ControlFlow::Break(wire::throttled(request))
            }
            Fault::InternalErrorOnce => ControlFlow::Break(wire::internal_error(request)),
            Fault::UnavailableForTheInvocation => ControlFlow::Break(wire::unavailable(request)),
            Fault::AccessDenied => {
                ControlFlow::Break(wire::access_denied(request, &call.operation))
            }
            Fault::ExpiredToken => ControlFlow::Break(wire::expired_token(request)),
            Fault::WrittenElsewhere => ControlFlow::Break(wire::written_elsewhere(request)),
            Fault::ConnectionRefused => ControlFlow::Break(Err(Severed::Refused)),
            Fault::ResetBefore => ControlFlow::Break(Err(Severed::Reset)),
            Fault::HangBefore => ControlFlow::Break(hang().await),
            Fault::KilledBefore => ControlFlow::Break(kill().await),
            Fault::LandsLate => {
                if is_first_attempt(request) {
                    self.land_late(request);
                }
                ControlFlow::Break(Err(Severed::Reset))
            }
            Fault::InvokedTwice | Fault::InvokedAgain | Fault::InvokedLate => {
                self.invoke_again(&attempt, fault);
                ControlFlow::Continue(())
            }
            // The service acts, and its answer is what goes wrong.
            _ => {
                self.book().spoilt.insert(sdk_call, fault);
                ControlFlow::Continue(())
            }
        }
    }

    async fn after(&self, request: &Request, answer: Answer) -> Answer {
        let spoilt = self.book().spoilt.remove(sdk_call(request));
        let Some(fault) = spoilt else {
            return answer;
        };
        match fault {
            Fault::ResetAfter => Err(Severed::Reset),
            Fault::InternalErrorAfter => wire::internal_error(request),
            Fault::TruncatedAfter => answer.map(truncated),
            Fault::HangAfter => hang().await,
            Fault::KilledAfter => kill().await,
            _ => answer,
        }
    }
}

/// The SDK's name for a call, the same on each attempt.
fn sdk_call(request: &Request) -> &str {
    let header = request.headers.get("amz-sdk-invocation-id");
    header.and_then(|id| id.to_str().ok()).unwrap_or_default()
}

/// `amz-sdk-request: attempt=1; max=3`
fn is_first_attempt(request: &Request) -> bool {
    let header = request.headers.get("amz-sdk-request");
    let attempt = header.and_then(|header| header.to_str().ok());
    attempt.is_none_or(|attempt| attempt.contains("attempt=1;"))
}

/// Ends with the caller's patience.
async fn hang() -> Answer {
    std::future::pending().await
}

/// Ends with the caller.
async fn kill() -> Answer {
    if let Some(running) = Running::current() {
        running.kill();
    }
    hang().await
}

/// The first half, under headers that promise it all.
fn truncated(mut answer: Response) -> Response {
    let whole = answer.body().len();
    answer
        .headers_mut()
        .insert(http::header::CONTENT_LENGTH, whole.into());
    answer.map(|body| body.slice(..whole / 2))
}
