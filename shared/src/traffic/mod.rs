//! Requests through a mesh: sent from a pod, counted by who answered, held against what was expected.
//!
//! A checked [`Request`] becomes a configuration file for the curl of a pod, which gets it by standard input. What curl writes is taken
//! apart while it comes ([`Answer`]), and counted ([`Recorder`]). Who answered is known from the counters of the client's
//! sidecar and from what answers say ([`attribution`]); what failed is traced to its cause ([`explain`]).
//!
//! Nothing here prints.

mod answer;
mod ask;
pub mod attribution;
mod client;
mod deploy;
mod error;
mod evidence;
mod expectation;
pub mod explain;
mod failover;
mod failure;
mod followed;
mod ingress;
mod junit;
mod latency;
mod load;
mod plaintext;
mod prepare;
#[cfg(test)]
mod real;
mod report;
mod request;
mod restore;
mod script;
mod send;
mod service;
mod switch;
mod tally;

pub use answer::{Answer, GrpcStatus};
pub use ask::{Known, Question, Step, ask};
pub use client::{Client, Senders, senders};
pub use deploy::{add_curl, deploy, finds_curl, remove};
pub use error::TrafficError;
pub use expectation::{Expectation, ExpectationError, Facts, Judged};
pub use failover::{Done, Failover};
pub use failure::FailureKind;
pub use followed::{PathReport, StageReport, Word, followed};
pub use ingress::{Ingress, ingress};
pub use junit::junit;
pub use latency::{Latencies, Latency};
pub use load::{Amount, Load, MOST_REQUESTS, MOST_STREAMS, Rate, RateError, Share};
pub use plaintext::PlaintextReport;
pub use prepare::{Prepared, Victim, prepare};
pub use report::{Failed, MatrixReport, Parts, Sender, TrafficReport};
pub use request::{Body, Header, Method, Protocol, Request, RequestPartError, Url};
pub use restore::{RECORD, TakenAway, bring_back, recorded, take_away, taken_away};
pub use script::POD_HEADERS;
pub use send::{Course, Sent, send};
pub use service::{Behind, behind, gateways};

pub use crate::path::ServiceName;
pub use switch::fail_over;
pub use tally::{Failures, Moment, Recorder, Tally};
