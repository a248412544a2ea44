//! The two files of a deployment: an app's `samara.toml` and the operator's host file.
