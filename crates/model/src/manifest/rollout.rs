//! `[rollout]`: how a new version of an app takes over from the one before, and when it is taken back.

use std::time::Duration;

use super::reader::Reader;
use crate::parse_duration;

/// The terms on which a new version takes over. Without the table it takes over at once and is not watched.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// The percentage of the requests that it gets while it is watched.
    pub weight: u32,
    /// How long it is watched before it gets all of them.
    pub window: Duration,
    /// Calls it must have answered before it is judged by its errors and its latency.
    pub calls: u64,
    /// The fraction of its calls that may fail, 0 to 1.
    pub errors: f64,
    /// What 99 of 100 of its calls may take at most, until the head of the reply.
    pub latency: Option<Duration>,
    /// How often it may ask for what it is not granted.
    pub denials: Option<u64>,
}

impl Default for Rollout {
    fn default() -> Self {
        Self { weight: 10, window: Duration::from_secs(60), calls: 20, errors: 0.01, latency: None, denials: None }
    }
}

pub(super) fn read(mut reader: Reader<'_>) -> Rollout {
    let mut rollout = Rollout::default();
    if let Some(item) = reader.take("weight") {
        match item.number() {
            Some(weight @ 1..=100) => rollout.weight = weight,
            Some(weight) => item.problem(format!("`{weight}` is not a percentage of the requests; write 1 to 100")),
            None => {}
        }
    }
    if let Some(item) = reader.take("window") {
        match item.quantity(parse_duration) {
            Some(window) if window.is_zero() => item.problem("nothing can be watched for no time; write `60s`"),
            Some(window) => rollout.window = window,
            None => {}
        }
    }
    if let Some(calls) = reader.take("calls").and_then(|item| item.number()) {
        rollout.calls = calls;
    }
    if let Some(errors) = reader.take("errors").and_then(|item| item.parse("1%", parse_percent)) {
        rollout.errors = errors;
    }
    rollout.latency = reader.take("latency").and_then(|item| item.quantity(parse_duration));
    rollout.denials = reader.take("denials").and_then(|item| item.number());
    reader.finish();
    rollout
}

/// Reads a percentage, as a fraction.
fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let fraction = number.filter(|number| (0.0..=100.0).contains(number)).map(|number| number / 100.0);
    fraction.ok_or_else(|| format!("`{text}` is not a percentage; write `1%` or `0.5%`"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest::App;

    fn read(table: &str) -> Result<Option<Rollout>, String> {
        let app = App::parse(&format!("app.name = \"a\"\n[rollout]\n{table}"), Path::new("f"));
        app.map(|app| app.rollout).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_rollout_has_defaults_and_units() {
        assert_eq!(read(""), Ok(Some(Rollout::default())));
        let rollout =
            read("weight = 25\nwindow = \"5s\"\ncalls = 100\nerrors = \"0.5%\"\nlatency = \"200ms\"\ndenials = 0");
        let rollout = rollout.unwrap().unwrap();
        assert_eq!((rollout.weight, rollout.window, rollout.calls), (25, Duration::from_secs(5), 100));
        assert_eq!((rollout.latency, rollout.denials), (Some(Duration::from_millis(200)), Some(0)));
        assert!((rollout.errors - 0.005).abs() < 1e-9);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let check = |table: &str, message: &str| {
            let told = read(table).unwrap_err();
            assert!(told.contains(message), "{told}");
        };
        check("weight = 0", "`0` is not a percentage of the requests; write 1 to 100");
        check("weight = 101", "write 1 to 100");
        check("window = \"0s\"", "write `60s`");
        check("errors = \"1\"", "`1` is not a percentage; write `1%` or `0.5%`");
        check("errors = \"200%\"", "is not a percentage");
        check("latncy = \"1s\"", "did you mean `latency`?");
    }
}
