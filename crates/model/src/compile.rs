//! How a workload is compiled: what a manifest may say of it.

use std::str::FromStr;

/// How a workload that nobody compiled before comes to its code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compile {
    /// By the optimising compiler, before it serves.
    #[default]
    Optimized,
    /// By a fast compiler before it serves, and by the optimising one while it does.
    Tiered,
}

impl FromStr for Compile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "optimized" => Ok(Self::Optimized),
            "tiered" => Ok(Self::Tiered),
            _ => Err(format!("`{text}` is no way to compile; write `optimized` or `tiered`")),
        }
    }
}
