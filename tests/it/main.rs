//! The binary as its users meet it: started as a process, judged by what it prints, answers and exits with.
//!
//! One module per surface or user story, and `tidy` and `fit_matrix` for what a program can check of the code itself.
//! [`samara`] starts the binary; in its command line `{name}` stands for the guest of that name under `guests/`. Tests use
//! loopback, port 0 and folders of their own; they share nothing but the code cache, which is content-addressed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests may fail fast"
)]

mod artifacts;
mod bad_input;
mod call;
mod command_line;
mod console;
mod convert;
#[cfg(feature = "external-tests")]
mod databases;
mod explain;
#[cfg(feature = "external-tests")]
mod external;
mod files;
mod fit_matrix;
mod golden;
mod guest_stores;
mod hostile;
mod inside;
mod origins;
mod process;
#[cfg(feature = "external-tests")]
mod registries;
mod registry;
mod run;
mod see;
mod serve;
mod serving;
mod stores;
mod swap;
mod tidy;
mod tiered;
mod tls;
mod traces;
mod triggers;

pub(crate) use process::{guest, guests, samara};
