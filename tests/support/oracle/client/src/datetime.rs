//! Dates, timestamps and intervals.

use std::ffi::c_char;

use oracledb::{OracleIntervalDS, OracleTimestamp};

use crate::error::Failure;
use crate::handle::known;
use crate::oci::{self, Pointer, Status};
use crate::session::text;

/// A timestamp's descriptor.
#[derive(Clone, Copy, Default)]
pub struct Timestamp {
    pub year: i16,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub nanosecond: u32,
}

/// An INTERVAL DAY TO SECOND's descriptor; all parts have the same sign.
#[derive(Clone, Copy, Default)]
pub struct Interval {
    pub days: i32,
    pub hours: i32,
    pub minutes: i32,
    pub seconds: i32,
    pub nanoseconds: i32,
}

impl Timestamp {
    /// For the driver, which has no range checks of its own; the numbers are those that Oracle refuses with.
    pub fn for_driver(self) -> Result<OracleTimestamp, Failure> {
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        let days = match self.month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return Err(Failure::new(1843, "not a valid month")),
        };
        if !(-4712..=9999).contains(&self.year) || self.year == 0 {
            let text = "(full) year must be between -4713 and +9999, and not be 0";
            return Err(Failure::new(1841, text));
        }
        if !(1..=31).contains(&self.day) {
            return Err(Failure::new(1847, "day of month must be between 1 and last day of month"));
        }
        if self.day > days {
            return Err(Failure::new(1839, "date not valid for month specified"));
        }
        for (value, max, code, name) in [
            (self.hour, 23, 1850, "hour must be between 0 and 23"),
            (self.minute, 59, 1851, "minutes must be between 0 and 59"),
            (self.second, 59, 1852, "seconds must be between 0 and 59"),
        ] {
            if value > max {
                return Err(Failure::new(code, name));
            }
        }
        Ok(OracleTimestamp::new_timestamp(
            self.year,
            self.month,
            self.day,
            self.hour,
            self.minute,
            self.second,
            self.nanosecond,
        ))
    }

    pub fn of_driver(found: &OracleTimestamp) -> Timestamp {
        Timestamp {
            year: found.year(),
            month: found.month(),
            day: found.day(),
            hour: found.hour(),
            minute: found.minute(),
            second: found.second(),
            nanosecond: found.nanoseconds(),
        }
    }
}

impl Interval {
    pub fn for_driver(self) -> Result<OracleIntervalDS, Failure> {
        const DAYS_MAX: u32 = 999_999_999;
        if self.days.unsigned_abs() > DAYS_MAX {
            return Err(Failure::new(1873, "the leading precision of the interval is too small"));
        }
        let small = |value: i32, max: i32| i8::try_from(value).ok().filter(|_| value.abs() <= max);
        match (small(self.hours, 23), small(self.minutes, 59), small(self.seconds, 59)) {
            (Some(hours), Some(minutes), Some(seconds)) => {
                Ok(OracleIntervalDS::new(self.days, hours, minutes, seconds, self.nanoseconds))
            }
            _ => Err(Failure::new(1867, "the interval is invalid")),
        }
    }

    pub fn of_driver(found: &OracleIntervalDS) -> Interval {
        Interval {
            days: found.days(),
            hours: found.hours().into(),
            minutes: found.minutes().into(),
            seconds: found.seconds().into(),
            nanoseconds: found.nanoseconds(),
        }
    }
}

/// Reads an `OCIDate`: a year of two bytes, then five of one.
///
/// # Safety
/// `start` has seven bytes.
pub unsafe fn date(start: *const u8) -> Result<Timestamp, Failure> {
    let part = |at| unsafe { *start.add(at) };
    Ok(Timestamp {
        year: unsafe { start.cast::<i16>().read_unaligned() },
        month: part(2),
        day: part(3),
        hour: part(4),
        minute: part(5),
        second: part(6),
        nanosecond: 0,
    })
}

/// Writes an `OCIDate`.
///
/// # Safety
/// `start` has seven bytes.
pub unsafe fn write_date(start: *mut u8, value: &Timestamp) {
    unsafe { start.cast::<i16>().write_unaligned(value.year) };
    for (at, part) in [value.month, value.day, value.hour, value.minute, value.second].into_iter().enumerate()
    {
        unsafe { *start.add(2 + at) = part };
    }
}

/// The driver below sends no time zone, so a time with one must be in UTC, which is the session's zone here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIDateTimeConstruct(
    _environment: Pointer,
    error: Pointer,
    descriptor: Pointer,
    year: i16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    nanosecond: u32,
    zone: *const c_char,
    zone_length: usize,
) -> Status {
    let target = known!(descriptor, Timestamp);
    let zone = unsafe { text(zone, zone_length) };
    if !matches!(zone.as_str(), "" | "+00:00" | "-00:00") {
        return unsafe {
            Failure::new(1882, "timezone region not found: the stand-in has UTC only").report(error)
        };
    }
    let value = Timestamp { year, month, day, hour, minute, second, nanosecond };
    if let Err(failure) = value.for_driver() {
        return unsafe { failure.report(error) };
    }
    *target = value;
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIDateTimeGetDate(
    _environment: Pointer,
    _error: Pointer,
    descriptor: Pointer,
    year: *mut i16,
    month: *mut u8,
    day: *mut u8,
) -> Status {
    let value = known!(descriptor, Timestamp);
    unsafe { (*year, *month, *day) = (value.year, value.month, value.day) };
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIDateTimeGetTime(
    _environment: Pointer,
    _error: Pointer,
    descriptor: Pointer,
    hour: *mut u8,
    minute: *mut u8,
    second: *mut u8,
    nanosecond: *mut u32,
) -> Status {
    let value = known!(descriptor, Timestamp);
    unsafe {
        (*hour, *minute, *second, *nanosecond) = (value.hour, value.minute, value.second, value.nanosecond)
    };
    oci::SUCCESS
}

/// The driver gives times with a time zone in UTC.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIDateTimeGetTimeZoneOffset(
    _environment: Pointer,
    _error: Pointer,
    _descriptor: Pointer,
    hours: *mut i8,
    minutes: *mut i8,
) -> Status {
    unsafe { (*hours, *minutes) = (0, 0) };
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIIntervalSetDaySecond(
    _environment: Pointer,
    error: Pointer,
    days: i32,
    hours: i32,
    minutes: i32,
    seconds: i32,
    nanoseconds: i32,
    descriptor: Pointer,
) -> Status {
    let target = known!(descriptor, Interval);
    let value = Interval { days, hours, minutes, seconds, nanoseconds };
    if let Err(failure) = value.for_driver() {
        return unsafe { failure.report(error) };
    }
    *target = value;
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIIntervalGetDaySecond(
    _environment: Pointer,
    _error: Pointer,
    days: *mut i32,
    hours: *mut i32,
    minutes: *mut i32,
    seconds: *mut i32,
    nanoseconds: *mut i32,
    descriptor: Pointer,
) -> Status {
    let value = known!(descriptor, Interval);
    for (place, part) in [days, hours, minutes, seconds, nanoseconds].into_iter().zip([
        value.days,
        value.hours,
        value.minutes,
        value.seconds,
        value.nanoseconds,
    ]) {
        unsafe { *place = part };
    }
    oci::SUCCESS
}
