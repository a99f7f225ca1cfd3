//! Times of day in the five fields of cron.

/// Minutes at which a schedule runs, from `minute hour day month weekday`. Each field is a set of bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    /// As it is written.
    pub text: String,
    /// Minutes 0 to 59.
    pub minutes: u64,
    /// Hours 0 to 23.
    pub hours: u64,
    /// Days of the month 1 to 31.
    pub days: u64,
    /// Months 1 to 12.
    pub months: u64,
    /// Days of the week, Sunday is 0.
    pub weekdays: u64,
    /// Whether both kinds of days are restricted; then a day that fits either of them counts, as in cron.
    pub either_day: bool,
}

struct Field {
    name: &'static str,
    min: u32,
    max: u32,
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", min: 0, max: 59 },
    Field { name: "hour", min: 0, max: 23 },
    Field { name: "day of the month", min: 1, max: 31 },
    Field { name: "month", min: 1, max: 12 },
    Field { name: "day of the week", min: 0, max: 7 },
];

impl Cron {
    /// Reads the five fields: `*`, `5`, `1-5`, `*/15`, `8-18/2`, and lists of these with commas.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn parse(text: &str) -> Result<Cron, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.len() != FIELDS.len() {
            return Err(format!("it has {} fields, and five are needed", words.len()));
        }
        let mut sets = [0u64; 5];
        for ((set, field), word) in sets.iter_mut().zip(&FIELDS).zip(&words) {
            *set = field.set(word)?;
        }
        let [minutes, hours, days, months, weekdays] = sets;
        // Sunday may be written 0 or 7.
        let weekdays = (weekdays | weekdays >> 7) & 0x7f;
        let either_day = !words[2].starts_with('*') && !words[4].starts_with('*');
        Ok(Cron { text: words.join(" "), minutes, hours, days, months, weekdays, either_day })
    }
}

impl Field {
    fn set(&self, word: &str) -> Result<u64, String> {
        let mut set = 0;
        for part in word.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, self.number(step, 1, self.max)?),
                None => (part, 1),
            };
            let (from, to) = match (range, range.split_once('-')) {
                ("*", _) => (self.min, self.max),
                (_, Some((from, to))) => {
                    (self.number(from, self.min, self.max)?, self.number(to, self.min, self.max)?)
                }
                _ => {
                    let number = self.number(range, self.min, self.max)?;
                    (number, if part.contains('/') { self.max } else { number })
                }
            };
            if from > to {
                return Err(format!("the {} runs backwards in `{part}`", self.name));
            }
            for value in (from..=to).step_by(step as usize) {
                set |= 1 << value;
            }
        }
        Ok(set)
    }

    fn number(&self, text: &str, min: u32, max: u32) -> Result<u32, String> {
        match text.parse::<u32>() {
            Ok(number) if (min..=max).contains(&number) => Ok(number),
            _ => Err(format!("the {} is a number from {min} to {max}, not `{text}`", self.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_sets() {
        let cron = Cron::parse("*/15 8-18/5 1,31 * 7").unwrap();
        assert_eq!(cron.minutes, 1 | 1 << 15 | 1 << 30 | 1 << 45);
        assert_eq!(cron.hours, 1 << 8 | 1 << 13 | 1 << 18);
        assert_eq!(cron.days, 1 << 1 | 1 << 31);
        assert_eq!(cron.months, 0b1_1111_1111_1110);
        assert_eq!(cron.weekdays, 1);
        assert!(cron.either_day);
        assert!(!Cron::parse("0 2 * * 0").unwrap().either_day);
    }

    #[test]
    fn what_is_not_a_time_is_refused_with_its_field() {
        for (text, reason) in [
            ("0 2 * *", "4 fields"),
            ("60 2 * * *", "minute"),
            ("0 2 0 * *", "day of the month"),
            ("0 5-2 * * *", "backwards"),
            ("0 */0 * * *", "hour"),
            ("0 2 * x *", "month"),
        ] {
            assert!(Cron::parse(text).unwrap_err().contains(reason), "{text}");
        }
    }
}
