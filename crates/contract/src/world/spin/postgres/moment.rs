//! Days and times as Spin's interfaces write them, in tuples.

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, Timelike as _, Utc};
use samara_capability::sql::SqlError;

/// Year, month and day.
pub(super) type Day = (i32, u8, u8);
/// Hour, minute, second and nanosecond.
pub(super) type Clock = (u8, u8, u8, u32);
/// Both.
pub(super) type DayAndClock = (i32, u8, u8, u8, u8, u8, u32);

fn none(what: &str) -> SqlError {
    SqlError::Parameter(format!("there is no such {what}"))
}

pub(super) fn date((year, month, day): Day) -> Result<NaiveDate, SqlError> {
    NaiveDate::from_ymd_opt(year, month.into(), day.into()).ok_or_else(|| none("day"))
}

pub(super) fn time((hour, minute, second, nanosecond): Clock) -> Result<NaiveTime, SqlError> {
    let time = NaiveTime::from_hms_nano_opt(hour.into(), minute.into(), second.into(), nanosecond);
    time.ok_or_else(|| none("time of day"))
}

pub(super) fn both(
    (year, month, day, hour, minute, second, nanosecond): DayAndClock,
) -> Result<NaiveDateTime, SqlError> {
    Ok(date((year, month, day))?.and_time(time((hour, minute, second, nanosecond))?))
}

/// Seconds since 1970.
pub(super) fn instant(seconds: i64) -> Result<DateTime<Utc>, SqlError> {
    DateTime::from_timestamp(seconds, 0).ok_or_else(|| none("moment"))
}

pub(super) fn day(date: NaiveDate) -> Option<Day> {
    Some((date.year(), u8::try_from(date.month()).ok()?, u8::try_from(date.day()).ok()?))
}

pub(super) fn clock(time: NaiveTime) -> Option<Clock> {
    let part = |number: u32| u8::try_from(number).ok();
    Some((part(time.hour())?, part(time.minute())?, part(time.second())?, time.nanosecond()))
}

pub(super) fn day_and_clock(both: NaiveDateTime) -> Option<DayAndClock> {
    let ((year, month, day), (hour, minute, second, nanosecond)) = (day(both.date())?, clock(both.time())?);
    Some((year, month, day, hour, minute, second, nanosecond))
}
