//! Ways in: each folder turns something outside (a command line, an HTTP connection) into a `Call` and a `Reply` or a
//! `Fault` back into what the outside expects. No folder here knows a guest ABI.

pub mod admin;
pub mod command;
pub mod deploy;
pub mod gateway;
pub mod profile;
pub mod source;
