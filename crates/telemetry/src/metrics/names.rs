//! Every metric samara exposes: its name and what it counts. Dashboards depend on these: renaming one is a breaking
//! change.

/// A metric's name and its HELP text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name as Prometheus stores it; counters end in `_total`.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
}

impl Name {
    /// The name without the suffix that the encoder adds to counters (and to the one info metric) by itself.
    pub(super) fn family(self) -> &'static str {
        let stem = self.name.strip_suffix("_total").unwrap_or(self.name);
        stem.strip_suffix("_info").unwrap_or(stem)
    }
}

/// Declares the constants and the table of them all.
macro_rules! names {
    ($($ident:ident = $name:literal, $help:literal;)*) => {
        $(#[doc = $help] pub const $ident: Name = Name { name: $name, help: $help };)*
        /// Every metric, in the order of this file.
        pub const ALL: &[Name] = &[$($ident),*];
    };
}

names! {
    CALLS = "samara_calls_total", "Calls that ended, by outcome: ok, or who was to blame";
    CALL_SECONDS = "samara_call_seconds", "Wall time of calls, from admission to the end of the reply";
    GUEST_CPU = "samara_guest_cpu_seconds_total", "Time guests spent running";
    GUEST_MEMORY_MAX = "samara_guest_memory_bytes_max", "Most linear memory one instance has held";
    QUEUE_DEPTH = "samara_queue_depth", "Calls waiting for their turn";
    QUEUE_SECONDS = "samara_queue_wait_seconds_total", "Time calls spent waiting for their turn";
    IN_FLIGHT = "samara_calls_in_flight", "Calls being served";
    LONG_CALLS = "samara_long_calls_total", "Calls that went on in the lane, at lower priority, because they ran for long";
    KEPT = "samara_instances_kept", "Instances kept for another call (`reuse`)";
    BYTES_IN = "samara_call_bytes_in_total", "Bytes of the bodies and arguments of HTTP and function calls that guests were given";
    BYTES_OUT = "samara_call_bytes_out_total", "Bytes of the bodies and results of HTTP and function calls that were handed on";
    DENIALS = "samara_denials_total", "Times a guest asked for something it was not granted";
    CAPABILITY_SECONDS = "samara_capability_seconds", "Time that operations on granted stores and origins took, by what was done and whether it failed";
    LOG_DROPPED_LINES = "samara_log_dropped_lines_total", "Guest log lines dropped, over the log rate";
    LOG_DROPPED_BYTES = "samara_log_dropped_bytes_total", "Bytes of guest logs dropped, over the log rate or the line length";
    POOL_IN_USE = "samara_pool_calls_in_use", "Pool slots in use";
    POOL_CAPACITY = "samara_pool_calls_capacity", "Pool slots there are";
    CODE_CACHE_HITS = "samara_code_cache_hits_total", "Modules loaded from the code cache";
    CODE_CACHE_MISSES = "samara_code_cache_misses_total", "Modules the code cache did not have";
    CODE_CACHE_REJECTED = "samara_code_cache_rejected_total", "Files in the code cache that failed a check and were ignored";
    COMPILE_SECONDS = "samara_compile_seconds", "Wall time of compiling a module";
    ACCESS_LOG_DROPPED = "samara_access_log_dropped_lines_total", "Lines of the access log dropped because nobody took them in time";
    SPANS_DROPPED = "samara_spans_dropped_total", "Spans of traces that no collector took";
    COMPILE_FAILURES = "samara_compile_failures_total", "Modules that could not be compiled: refused, over a limit, or failed";
    BASELINE_WORKLOADS = "samara_baseline_workloads", "Versions of workloads that serve baseline code, of `compile = \"tiered\"`";
    TIER_SWAPS = "samara_tier_swaps_total", "Versions of workloads whose optimised code took over from their baseline code";
    TIER_FAILURES = "samara_tier_failures_total", "Versions of workloads that stay with their baseline code because optimised code could not be made";
    HTTP_CONNECTIONS = "samara_http_connections", "Open client connections";
    TLS_HANDSHAKE_FAILURES = "samara_tls_handshake_failures_total", "Connections that did not become TLS: broken off, refused, too slow";
    TLS_RELOADS = "samara_tls_reloads_total", "Times changed certificates were taken";
    TLS_RELOAD_FAILURES = "samara_tls_reload_failures_total", "Times changed certificates were refused and the old ones went on";
    TLS_CERTIFICATE_EXPIRY = "samara_tls_certificate_expiry_seconds", "When the first of the certificates served expires, in seconds since 1970; 0 without TLS";
    TAG_UPDATES = "samara_tag_updates_total", "Times a tag that a workload follows had moved, and what it names now took over";
    TAG_UPDATE_FAILURES = "samara_tag_update_failures_total", "Times a tag that a workload follows could not be followed, once per digest and reason; what served went on";
    BUILD = "samara_build_info", "The version that runs";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_each_with_what_it_counts() {
        let page = include_str!("../../../../docs/metrics.md");
        for Name { name, help } in ALL {
            let listed = page
                .lines()
                .any(|line| line.starts_with(&format!("| `{name}` |")) && line.ends_with(&format!("| {help} |")));
            assert!(listed, "docs/metrics.md has no line for {name}: {help}");
        }
    }

    #[test]
    fn names_are_unique_prefixed_and_explained() {
        let mut seen = std::collections::BTreeSet::new();
        for Name { name, help } in ALL {
            assert!(name.starts_with("samara_") && !help.is_empty() && !help.ends_with('.'), "{name}");
            assert!(seen.insert(name), "{name} is declared twice");
        }
    }
}
