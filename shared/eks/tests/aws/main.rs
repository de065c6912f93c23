//! What is said of clusters by the real AWS SDK: asked of moto, an emulator of AWS on loopback, where it can answer so, and of
//! a few prepared answers where it cannot.
//!
//! The SDK is told where AWS is as any user would tell it: by the environment of a process. So every question is asked by a
//! process of its own, which is this program with the test [`question::asked_by_the_other_tests`].

#![expect(
    clippy::unwrap_used,
    reason = "clippy knows only functions that are tests themselves, and not what they call"
)]

mod credentials;
mod emulated;
mod moto;
mod prepared;
mod question;
mod responder;
