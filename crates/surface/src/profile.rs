//! A guest's profile as a file: the `.cpuprofile` of V8, which the Firefox Profiler (<https://profiler.firefox.com> reads it
//! in the browser, nothing is sent), Chrome's developer tools, VS Code and speedscope open.
//!
//! Source: `Profiler.Profile` of the Chrome DevTools protocol (<https://chromedevtools.github.io/devtools-protocol/v8/Profiler/>).
//! Firefox's own format has a library, which turns on a feature of one that the engine's compiler shares, and so rebuilds it.

use std::{
    collections::HashMap,
    time::{Duration, UNIX_EPOCH},
};

use samara_runtime::{MAX_FRAMES, Profile};
use serde::Serialize;

/// The outermost frame of a stack that was too deep to be kept whole.
const LEFT_OUT: &str = "(outer functions left out)";
/// The node that all others are under.
const ROOT: u32 = 1;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CpuProfile {
    nodes: Vec<Node>,
    /// Microseconds, as all times here.
    start_time: u64,
    end_time: u64,
    samples: Vec<u32>,
    time_deltas: Vec<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    id: u32,
    call_frame: CallFrame,
    hit_count: u32,
    children: Vec<u32>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CallFrame {
    function_name: String,
    script_id: &'static str,
    /// The module.
    url: String,
    line_number: i32,
    column_number: i32,
}

impl Node {
    fn new(id: u32, function: &str, module: &str) -> Self {
        let (function_name, url) = (function.to_owned(), module.to_owned());
        let call_frame = CallFrame { function_name, script_id: "0", url, line_number: -1, column_number: -1 };
        Self { id, call_frame, hit_count: 0, children: Vec::new() }
    }
}

/// The file's text.
///
/// # Errors
/// It does not serialise, which would be a mistake of ours.
pub fn cpu_profile(profile: &Profile) -> serde_json::Result<Vec<u8>> {
    let mut nodes = vec![Node::new(ROOT, "(root)", "")];
    let mut known: HashMap<(u32, &str, &str), u32> = HashMap::new();
    let mut innermost = Vec::with_capacity(profile.stacks.len());
    for stack in &profile.stacks {
        let left_out = (stack.0.len() >= MAX_FRAMES).then_some((LEFT_OUT, ""));
        let frames = stack.0.iter().rev().map(|frame| (frame.function.as_str(), frame.module.as_deref().unwrap_or("")));
        let mut parent = ROOT;
        for (function, module) in left_out.into_iter().chain(frames) {
            parent = *known.entry((parent, function, module)).or_insert_with(|| {
                let id = u32::try_from(nodes.len()).unwrap_or(u32::MAX).saturating_add(1);
                nodes.push(Node::new(id, function, module));
                if let Some(parent) = node(&mut nodes, parent) {
                    parent.children.push(id);
                }
                id
            });
        }
        innermost.push(parent);
    }
    let (mut samples, mut time_deltas, mut before) = (Vec::new(), Vec::new(), 0);
    for (at, stack) in &profile.samples {
        let id = innermost.get(*stack).copied().unwrap_or(ROOT);
        if let Some(node) = node(&mut nodes, id) {
            node.hit_count += 1;
        }
        samples.push(id);
        time_deltas.push(micros(*at).saturating_sub(before));
        before = micros(*at);
    }
    let start_time = micros(profile.began.duration_since(UNIX_EPOCH).unwrap_or_default());
    let end_time = start_time + micros(profile.duration);
    serde_json::to_vec(&CpuProfile { nodes, start_time, end_time, samples, time_deltas })
}

/// Ids count from 1, in the order of the nodes.
fn node(nodes: &mut [Node], id: u32) -> Option<&mut Node> {
    nodes.get_mut(usize::try_from(id).ok()?.checked_sub(1)?)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The functions that were running in most samples, with the share of samples that each has, itself and with all it calls.
pub fn hottest(profile: &Profile, count: usize) -> Vec<(String, f64, f64)> {
    let mut functions = std::collections::BTreeMap::<&str, (usize, usize)>::new();
    for (_, stack) in &profile.samples {
        let Some(stack) = profile.stacks.get(*stack) else { continue };
        let mut seen = std::collections::BTreeSet::new();
        for (depth, frame) in stack.0.iter().enumerate() {
            let (own, total) = functions.entry(&frame.function).or_default();
            *own += usize::from(depth == 0);
            // A recursion is in the sample once.
            *total += usize::from(seen.insert(frame.function.as_str()));
        }
    }
    let all = profile.samples.len().max(1) as f64;
    let mut hottest: Vec<_> = functions
        .into_iter()
        .map(|(name, (own, total))| (name.to_owned(), own as f64 / all, total as f64 / all))
        .collect();
    hottest.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.2.total_cmp(&a.2)));
    hottest.truncate(count);
    hottest
}

#[cfg(test)]
mod tests {
    use super::*;
    use samara_runtime::Backtrace;
    use std::time::SystemTime;

    fn profile() -> Profile {
        let frame = |function: &str| samara_runtime::Frame {
            module: Some("shop.wasm".into()),
            function: function.into(),
            offset: None,
            place: None,
        };
        Profile {
            began: SystemTime::UNIX_EPOCH,
            duration: Duration::from_millis(10),
            stacks: vec![
                Backtrace(vec![frame("leaf"), frame("walk"), frame("walk"), frame("run")]),
                Backtrace(vec![frame("run")]),
            ],
            samples: vec![(Duration::from_millis(1), 0), (Duration::from_millis(2), 0), (Duration::from_millis(4), 1)],
            left_out: 0,
        }
    }

    #[test]
    fn a_profile_is_a_tree_of_functions_and_samples_that_point_into_it() {
        let file: serde_json::Value = serde_json::from_slice(&cpu_profile(&profile()).unwrap()).unwrap();
        let nodes = file["nodes"].as_array().unwrap();
        let named: Vec<_> = nodes.iter().map(|node| node["callFrame"]["functionName"].as_str().unwrap()).collect();
        assert_eq!(named, ["(root)", "run", "walk", "walk", "leaf"], "the stacks share their outermost function");
        assert_eq!(nodes[1]["callFrame"]["url"], "shop.wasm");
        assert_eq!((&nodes[0]["children"], &nodes[4]["hitCount"]), (&serde_json::json!([2]), &2.into()));
        assert_eq!(
            (&file["samples"], &file["timeDeltas"]),
            (&serde_json::json!([5, 5, 2]), &serde_json::json!([1000, 1000, 2000]))
        );
        assert_eq!(file["endTime"].as_u64().unwrap() - file["startTime"].as_u64().unwrap(), 10_000);
    }

    #[test]
    fn the_hottest_functions_are_those_that_run_themselves() {
        let hottest = hottest(&profile(), 2);
        let names: Vec<_> = hottest.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["leaf", "run"]);
        assert!((hottest[0].1 - 2.0 / 3.0).abs() < 1e-9 && (hottest[1].2 - 1.0).abs() < 1e-9);
    }
}
