//! Secrets: values that are never printed, wiped when they are dropped.
