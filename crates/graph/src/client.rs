//! One application in one tenant: token, lane, request, meaning.
//!
//! The typed operations all end in [`Graph::call`]. Rules kept: a refused token is
//! replaced once and the call repeated once; nothing else is repeated here; what
//! would be done twice by a repetition is never reported as certainly not done
//! unless that is certain.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Response, StatusCode, header::RETRY_AFTER};
use jiff::SignedDuration;
use postroom_model::{Clock, Entropy};
use serde::de::DeserializeOwned;

use crate::{
    answer::{Answer, Meaning, retry_after},
    call::{Call, Root, encoded},
    cloud::Endpoints,
    errors::{Failure, GraphError},
    lane::{Lane, LaneConfig, Outcome, Priority, Slot},
    mailbox::Mailbox,
    requests::{Operation, Requests},
    token::{Challenge, Credential, CredentialState, Token, TokenError, Tokens},
    transport::{Transport, TransportError},
    wire::{Incoming, Wire},
};

/// Subscriptions share a lane: Microsoft allows 5,000 requests in 20 s and tenant.
const SUBSCRIPTIONS: LaneConfig = LaneConfig {
    concurrency: 4,
    budget: 1_000,
    budget_window: SignedDuration::from_secs(20),
    upload_budget: u64::MAX,
};

/// What a client is made from.
pub struct GraphConfig {
    /// Where tokens and mails come from.
    pub endpoints: Endpoints,
    /// The application's id.
    pub client_id: String,
    /// The application's credentials, the preferred one first.
    pub credentials: Vec<Credential>,
    /// The limits of each mailbox.
    pub lane: LaneConfig,
}

/// One application in one tenant. Cheap to clone; clones share tokens and lanes.
#[derive(Clone)]
pub struct Graph(Arc<Inner>);

struct Inner {
    root: Root,
    wire: Arc<Wire>,
    tokens: Tokens,
    lane: LaneConfig,
    lanes: Mutex<BTreeMap<String, Arc<Lane>>>,
    subscriptions: Arc<Lane>,
}

impl Graph {
    /// A client. The clock must go as tokio's time goes.
    pub fn new(config: GraphConfig, transport: Transport, clock: Clock, entropy: Entropy) -> Self {
        let subscriptions = Lane::shared(SUBSCRIPTIONS, clock.clone(), entropy.clone());
        let wire = Arc::new(Wire { transport, clock, entropy, requests: Requests::default() });
        let GraphConfig { endpoints, client_id, credentials, lane } = config;
        Self(Arc::new(Inner {
            root: Root::new(&endpoints.graph),
            tokens: Tokens::new(&endpoints, client_id, credentials, Arc::clone(&wire)),
            wire,
            lane,
            lanes: Mutex::default(),
            subscriptions,
        }))
    }

    /// A mailbox by its address. The same address, in any case, has the same lane.
    pub fn mailbox(&self, address: &str) -> Mailbox {
        let mut lanes = self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.entry(address.to_lowercase()).or_insert_with(|| {
            Lane::of_mailbox(self.0.lane, self.0.wire.clock.clone(), self.0.wire.entropy.clone())
        });
        Mailbox::new(self.clone(), Arc::clone(lane), format!("/users/{}", encoded(address)))
    }

    /// How many requests were made, by kind of request.
    pub fn requests(&self) -> BTreeMap<&'static str, u64> {
        self.0.wire.requests.view()
    }

    /// Asks for a token with exactly this credential and throws it away: a test
    /// that changes nothing for the calls.
    pub async fn try_credential(&self, name: &str) -> Result<(), TokenError> {
        self.0.tokens.try_credential(name).await
    }

    /// Other credentials from now on, without an interruption: lanes, budgets and what is under way stay.
    pub fn replace_credentials(&self, credentials: Vec<Credential>) {
        self.0.tokens.replace_credentials(credentials);
    }

    /// The next request asks for a new token: what was granted since the present one was made counts at once.
    pub fn renew_token(&self) {
        self.0.tokens.outdate();
    }

    /// Each credential, the preferred one first, and how it fared in this process.
    pub fn credential_states(&self) -> Vec<CredentialState> {
        self.0.tokens.credential_states()
    }

    pub(crate) fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    pub(crate) fn wire(&self) -> &Wire {
        &self.0.wire
    }

    pub(crate) fn root(&self) -> &Root {
        &self.0.root
    }

    /// A call that concerns subscriptions, in the lane they share.
    pub(crate) async fn call_shared(&self, call: Call) -> Result<Bytes, GraphError> {
        self.call(&self.0.subscriptions, Priority::Send, call).await
    }

    pub(crate) async fn call(
        &self,
        lane: &Arc<Lane>,
        priority: Priority,
        call: Call,
    ) -> Result<Bytes, GraphError> {
        let (slot, incoming) = self.open(lane, priority, &call).await?;
        match incoming.whole().await {
            Ok(response) => {
                slot.finish(Outcome::Fine);
                Ok(response.into_body())
            }
            Err(failure) => Err(no_answer(slot, call.operation, failure)),
        }
    }

    /// Makes a call up to the head of a good answer. The slot is to be finished after the last byte.
    pub(crate) async fn open(
        &self,
        lane: &Arc<Lane>,
        priority: Priority,
        call: &Call,
    ) -> Result<(Slot, Incoming), GraphError> {
        let mut slot = lane.enter(priority, call.upload(), call.operation.right()).await?;
        let mut token = self.0.tokens.token().await?;
        let mut repeated = false;
        loop {
            slot.begin();
            let incoming = match self.0.wire.open(call.operation, call.request(&token)).await {
                Ok(incoming) => incoming,
                Err(failure) => return Err(no_answer(slot, call.operation, failure)),
            };
            if incoming.status().is_success() {
                return Ok((slot, incoming));
            }
            let response = match incoming.whole().await {
                Ok(response) => response,
                Err(failure) => return Err(no_answer(slot, call.operation, failure)),
            };
            if repeated || !self.may_help(&token, call.operation, &response) {
                return Err(match call.question() {
                    Some(question) if is_failure(call.operation, &response) => {
                        self.witnessed(slot, call.operation, &response, &question, &token).await
                    }
                    _ => self.refused(slot, call.operation, &response),
                });
            }
            repeated = true;
            slot.go_on();
            token = self.0.tokens.token().await?;
        }
    }

    /// Whether another token than this one may be answered better, and will be had.
    fn may_help(&self, token: &Token, operation: Operation, response: &Response<Bytes>) -> bool {
        match response.status() {
            StatusCode::UNAUTHORIZED => self.0.tokens.reject(token, Challenge::of(response.headers())),
            StatusCode::FORBIDDEN => {
                Answer::read(operation, response).meaning() == Meaning::OutOfScope
                    && self.0.tokens.doubt(token)
            }
            _ => false,
        }
    }

    /// Graph failed at a call. Whether at the item alone or at the mailbox is found out by a small
    /// question in the same slot.
    async fn witnessed(
        &self,
        mut slot: Slot,
        operation: Operation,
        response: &Response<Bytes>,
        question: &Call,
        token: &Token,
    ) -> GraphError {
        slot.go_on();
        slot.begin();
        match self.0.wire.exchange(question.operation, question.request(token)).await {
            Ok(said) if said.status().is_success() => {
                let answer = Box::new(Answer::read(operation, response));
                if slot.finish(Outcome::ItemFailed).steady {
                    GraphError::ItemBroken(answer)
                } else {
                    GraphError::Unknown(Failure::Answered(answer))
                }
            }
            Ok(said) => self.refused(slot, question.operation, &said),
            Err(failure) => no_answer(slot, question.operation, failure),
        }
    }

    fn refused(&self, slot: Slot, operation: Operation, response: &Response<Bytes>) -> GraphError {
        let answer = Box::new(Answer::read(operation, response));
        let retry_after = retry_after(response, self.0.wire.clock.now());
        let meaning = match answer.meaning() {
            // With a time to come back it is the same as 429, whatever the reason.
            Meaning::Failed if answer.status == 503 && retry_after.is_some() => Meaning::Throttled,
            meaning => meaning,
        };
        let concurrency = answer.names_concurrency();
        let standing = slot.finish(match meaning {
            Meaning::Throttled => Outcome::Throttled { retry_after, concurrency },
            Meaning::OutOfScope if operation.right().is_some() => Outcome::NotAllowed,
            Meaning::Unauthorized | Meaning::OutOfScope | Meaning::MailboxMissing => Outcome::ShutOut,
            Meaning::Failed => Outcome::Failed { answered: true },
            Meaning::Gone | Meaning::SyncStateLost | Meaning::Refused | Meaning::Conflict => Outcome::Fine,
        });
        let server_error = answer.status >= 500;
        match meaning {
            // Behind a server's error a send may have happened.
            Meaning::Throttled | Meaning::Failed if server_error && operation.once_only() => {
                GraphError::Unknown(Failure::Answered(answer))
            }
            Meaning::Failed if standing.broken || operation.on_subscription() => {
                GraphError::Outage(Failure::Answered(answer))
            }
            Meaning::Failed | Meaning::Conflict => GraphError::Unknown(Failure::Answered(answer)),
            Meaning::Throttled => GraphError::Throttled { until: standing.rests_until, answer },
            Meaning::Gone => GraphError::Gone(answer),
            Meaning::SyncStateLost => GraphError::SyncStateLost(answer),
            Meaning::Unauthorized => GraphError::Unauthorized(answer),
            Meaning::OutOfScope => GraphError::OutOfScope(answer),
            Meaning::MailboxMissing => GraphError::MailboxMissing(answer),
            // It gives its properties all the same, as a rule.
            Meaning::Refused if operation == Operation::MessageBytes => GraphError::ItemBroken(answer),
            Meaning::Refused => GraphError::Refused(answer),
        }
    }
}

fn is_failure(operation: Operation, response: &Response<Bytes>) -> bool {
    Answer::read(operation, response).meaning() == Meaning::Failed
        && !response.headers().contains_key(RETRY_AFTER)
}

/// What it means that no complete answer came.
pub(crate) fn no_answer(slot: Slot, operation: Operation, failure: Failure) -> GraphError {
    let never_sent = matches!(
        failure,
        Failure::Transport(TransportError::Unreachable { .. } | TransportError::Insecure { .. })
    );
    let standing = slot.finish(Outcome::Failed { answered: never_sent });
    let outage = standing.broken || operation.on_subscription();
    if never_sent || (outage && !operation.once_only()) {
        GraphError::Outage(failure)
    } else {
        GraphError::Unknown(failure)
    }
}

/// Reads a good answer.
pub(crate) fn parsed<T: DeserializeOwned>(operation: Operation, body: &[u8]) -> Result<T, GraphError> {
    serde_json::from_slice(body)
        .map_err(|error| GraphError::Malformed { operation, reason: unexpected(&error) })
}

/// Where the answer is not as expected, without quoting it: it holds a mail's properties.
fn unexpected(error: &serde_json::Error) -> String {
    let what = if error.is_data() { "a value is missing or of another type" } else { "it is not JSON" };
    format!("{what} at line {} column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests;
