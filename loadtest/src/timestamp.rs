//! The service's timestamps: RFC 3339 in UTC, as far as two of them are to be compared.

use std::time::Duration;

/// From one timestamp to a later one; none when it is no later. `None` when one of them is no timestamp.
#[must_use]
pub fn between(from: &str, to: &str) -> Option<Duration> {
    Some(Duration::from_millis(milliseconds(to)?.saturating_sub(milliseconds(from)?)))
}

/// Milliseconds since 1970 of a timestamp such as `2026-11-26T00:18:28.123Z`; its fraction may be left out.
fn milliseconds(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut clock = clock.splitn(3, ':').map(number);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let is_time = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    let thousandths = number(&format!("{fraction:0<3}")[..3])?;
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    is_time.then_some(seconds * 1000 + thousandths)
}

fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Days since 1970-01-01 in the Gregorian calendar. Years begin in March, so that the day that comes and goes is the last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let before_year = year * 365 + year / 4 - year / 100 + year / 400;
    let before_month = (153 * month + 2) / 5;
    // 719,469 such days lie before 1970-01-01, counted from 1.
    (before_year + before_month + day).saturating_sub(719_469)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_so_many_milliseconds_after_1970() {
        let known = [
            ("1970-01-01T00:00:00.000Z", 0),
            ("1970-03-01T00:00:00Z", 59 * 86_400_000),
            ("2000-02-29T12:00:00.5Z", 951_825_600_500),
            ("2026-11-26T00:18:28.123Z", 1_795_652_308_123),
            ("2038-01-19T03:14:07.999Z", 2_147_483_647_999),
        ];
        for (text, expected) in known {
            assert_eq!(milliseconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "soon", "2026-11-26", "2026-11-26T00:18Z", "2026-13-26T00:18:28Z", "2026-11-26T00:18:28+01:00"]
        {
            assert_eq!(milliseconds(text), None, "{text}");
        }
    }

    #[test]
    fn the_time_between_two_of_them_is_never_negative() {
        let (early, late) = ("2026-11-30T23:59:59.900Z", "2026-12-01T00:00:00.100Z");
        assert_eq!(between(early, late), Some(Duration::from_millis(200)));
        assert_eq!(between(late, early), Some(Duration::ZERO));
    }
}
