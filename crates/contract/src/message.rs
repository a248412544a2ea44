//! What contracts whose guests take messages have in common: the message of a call, and what a guest said that failed.

use samara_model::{Call, Fault, Message};
use samara_runtime::Failure;

/// Characters of a guest's own words about a message that are repeated; they go to a log.
const SAID_CHARACTERS: usize = 512;

/// The message of a call.
pub(crate) fn message(call: Call) -> Result<Message, Failure> {
    let Call::Message(message) = call else {
        return Err(Fault::Host("a contract of messages was given another shape of call".into()).into());
    };
    Ok(message)
}

/// The failure of a message that a guest did not handle, in its own words.
pub(crate) fn failed(why: &str) -> Failure {
    let why: String = why.chars().take(SAID_CHARACTERS).collect();
    Fault::Guest(format!("it did not handle the message: {why}")).into()
}
