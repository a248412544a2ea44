//! When it is time: every so often, or as a cron expression says in its time zone.

use std::{str::FromStr, time::Duration};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};

use super::TriggerError;

/// The shortest interval.
pub const MIN_EVERY: Duration = Duration::from_millis(100);

/// The longest interval: beyond that a calendar is meant.
const MAX_EVERY: Duration = Duration::from_secs(366 * 86_400);

/// Characters of a cron expression, at most.
const MAX_EXPRESSION: usize = 256;

/// Characters of somebody's text that an error repeats, at most.
const QUOTED_CHARACTERS: usize = 80;

/// A schedule.
#[derive(Clone, Debug)]
pub enum Schedule {
    /// Every so often, counted from the start. Made by [`Schedule::every`].
    Every(Duration),
    /// At the times of a calendar. Made by [`Schedule::cron`].
    Cron(Box<Calendar>),
}

/// The times that a cron expression names.
#[derive(Clone, Debug)]
pub struct Calendar {
    cron: Cron,
    zone: Tz,
}

impl Schedule {
    /// Every so often.
    ///
    /// # Errors
    /// It is shorter than [`MIN_EVERY`] or longer than a year.
    pub fn every(interval: Duration) -> Result<Self, TriggerError> {
        if !(MIN_EVERY..=MAX_EVERY).contains(&interval) {
            let (given, least) = (samara_model::format_duration(interval), samara_model::format_duration(MIN_EVERY));
            return Err(TriggerError(format!("every `{given}` cannot be; choose `{least}` to `8784h`")));
        }
        Ok(Self::Every(interval))
    }

    /// The times of a cron expression: minute, hour, day of the month, month and day of the week, and if there are six words
    /// the second in front; `@daily` and its kin too. `zone` is a name of the time-zone database, `None` is UTC.
    ///
    /// Where clocks are put forward, a time that does not exist is taken at the moment of the change; where they are put
    /// back, a fixed time that exists twice is taken once. That is the order of the Open Cron Pattern Specification.
    ///
    /// # Errors
    /// The expression or the zone is none, or it names no time that will ever be.
    pub fn cron(expression: &str, zone: Option<&str>) -> Result<Self, TriggerError> {
        let quoted =
            |text: &str| -> String { text.chars().take(QUOTED_CHARACTERS).flat_map(char::escape_debug).collect() };
        let wrong = |why: &dyn std::fmt::Display| {
            let expression = quoted(expression);
            TriggerError(format!("`{expression}` is no cron expression: {why}; write one such as `0 3 * * *`"))
        };
        if expression.len() > MAX_EXPRESSION {
            return Err(wrong(&format_args!("it has over {MAX_EXPRESSION} characters")));
        }
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(expression).map_err(|error| {
            let said = error.to_string();
            wrong(&said.trim_end_matches('.').to_lowercase())
        })?;
        let zone = match zone {
            None => Tz::UTC,
            Some(name) => Tz::from_str(name).map_err(|_| {
                let name = quoted(name);
                TriggerError(format!("`{name}` is no time zone; write one such as `Europe/Berlin`"))
            })?,
        };
        let calendar = Calendar { cron, zone };
        if calendar.after(Utc::now()).is_none() {
            return Err(wrong(&"it names no time that will ever be"));
        }
        Ok(Self::Cron(Box::new(calendar)))
    }
}

impl Calendar {
    /// The first time after a moment; `None` if there is none.
    pub(super) fn after(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let next = self.cron.find_next_occurrence(&moment.with_timezone(&self.zone), false).ok()?;
        // A calendar that went back would be a hot loop.
        Some(next.with_timezone(&Utc)).filter(|next| *next > moment)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests may fail fast")]

    use super::*;

    /// The times after a moment, as UTC.
    fn check(expression: &str, zone: &str, after: &str, expected: &[&str]) {
        let Schedule::Cron(calendar) = Schedule::cron(expression, Some(zone)).unwrap() else { panic!("{expression}") };
        let mut moment: DateTime<Utc> = after.parse().unwrap();
        for expected in expected {
            moment = calendar.after(moment).unwrap();
            assert_eq!(moment, expected.parse::<DateTime<Utc>>().unwrap(), "{expression} in {zone} after {after}");
        }
    }

    #[test]
    fn a_calendar_names_its_times() {
        check("0 3 * * *", "UTC", "2026-01-31T03:00:00Z", &["2026-02-01T03:00:00Z", "2026-02-02T03:00:00Z"]);
        check("*/15 * * * *", "UTC", "2026-01-01T00:01:00Z", &["2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z"]);
        check("*/20 * * * * *", "UTC", "2026-01-01T00:00:05Z", &["2026-01-01T00:00:20Z", "2026-01-01T00:00:40Z"]);
        check("* * * * * *", "UTC", "2026-01-01T00:00:00.5Z", &["2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z"]);
        check("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00Z"]);
        check("0 12 * * MON-FRI", "UTC", "2026-01-02T12:00:00Z", &["2026-01-05T12:00:00Z"]);
        check("@daily", "America/New_York", "2026-07-01T12:00:00Z", &["2026-07-02T04:00:00Z"]);
        check("30 3 * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", &["2026-01-01T22:00:00Z"]);
    }

    #[test]
    fn clocks_that_are_put_forward_and_back_neither_lose_nor_double_a_time() {
        // Berlin, 29 March 2026: 02:00 becomes 03:00, so that 02:30 does not exist.
        check("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        // 25 October 2026: 03:00 becomes 02:00, so that 02:30 is there twice.
        check("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        // What is relative goes on through both.
        check("0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", &["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"]);
    }

    #[test]
    fn what_is_no_schedule_says_what_would_be_one() {
        let long = "1,".repeat(1000);
        for bad in ["", "hello", "* * * *", "60 * * * *", "* * * * * * *", "0 0 30 2 *", "0 0 1 1 * 2020", "\0", &long]
        {
            let error = Schedule::cron(bad, None).unwrap_err().to_string();
            assert!(error.contains("write one such as `0 3 * * *`") && error.len() < 400, "{error}");
        }
        let error = Schedule::cron("0 3 * * *", Some("Mars/Phobos")).unwrap_err().to_string();
        assert!(error.contains("`Mars/Phobos` is no time zone; write one such as `Europe/Berlin`"), "{error}");
        for bad in [Duration::ZERO, Duration::from_millis(99), Duration::MAX] {
            assert!(Schedule::every(bad).unwrap_err().to_string().contains("`100ms` to `8784h`"));
        }
        assert!(Schedule::every(MIN_EVERY).is_ok());
    }
}
