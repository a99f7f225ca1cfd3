//! Exact decimals in hooks.

use std::cmp::Ordering;
use std::fmt;

use bigdecimal::num_bigint::{BigInt, Sign};
use rhai::{Engine, INT};

use super::error::{Outcome, Problem};

/// Digits that a decimal may have in a hook; arithmetic beyond is an error. A column has at most 65.
pub const DECIMAL_DIGITS_MAX: u32 = 1000;

/// Digits behind the point that a division keeps, rounded half away from zero. A column has at most 30.
pub const DIVISION_SCALE: u32 = 30;

/// `digits * 10^-scale`. Two decimals are equal when their numbers are, whatever their scales.
#[derive(Clone, Debug)]
pub(super) struct Decimal {
    digits: BigInt,
    scale: u32,
}

impl Decimal {
    /// Reads `-12.50`. There is no exponent: it would let a short text stand for a huge number.
    pub fn parse(text: &str) -> Option<Decimal> {
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let digits = whole.len() + fraction.len();
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if digits == 0 || digits > DECIMAL_DIGITS_MAX as usize || !all_digits(whole) || !all_digits(fraction)
        {
            return None;
        }
        let scale = fraction.len() as u32;
        if digits <= 18 {
            let small =
                whole.bytes().chain(fraction.bytes()).fold(0, |sum, d| sum * 10 + i64::from(d - b'0'));
            let small = if text.starts_with('-') { -small } else { small };
            return Some(Decimal { digits: small.into(), scale });
        }
        let number = BigInt::parse_bytes(format!("{whole}{fraction}").as_bytes(), 10)?;
        Some(Decimal { digits: if text.starts_with('-') { -number } else { number }, scale })
    }

    /// The same number with `scale` digits behind the point; `None` when it needs more.
    pub fn rescale(&self, scale: u32) -> Option<Decimal> {
        if scale >= self.scale {
            let digits = if scale == self.scale {
                self.digits.clone()
            } else {
                &self.digits * power_of_ten(scale - self.scale)
            };
            return Some(Decimal { digits, scale });
        }
        let divisor = power_of_ten(self.scale - scale);
        let digits = &self.digits / &divisor;
        (&digits * divisor == self.digits).then_some(Decimal { digits, scale })
    }

    /// The whole number, when there is no fraction.
    pub fn to_integer(&self) -> Option<i128> {
        i128::try_from(self.rescale(0)?.digits).ok()
    }

    /// How many digits the number has, without leading zeros.
    pub fn precision(&self) -> usize {
        match self.digits.sign() {
            Sign::NoSign => 0,
            _ => self.digits.magnitude().to_string().len(),
        }
    }

    /// Digits behind the point.
    pub fn scale(&self) -> u32 {
        self.scale
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        self.digits.sign() == Sign::Minus
    }

    fn aligned(&self, other: &Decimal) -> (BigInt, BigInt, u32) {
        let scale = self.scale.max(other.scale);
        let raise = |number: &Decimal| match scale - number.scale {
            0 => number.digits.clone(),
            by => &number.digits * power_of_ten(by),
        };
        (raise(self), raise(other), scale)
    }

    fn bounded(digits: BigInt, scale: u32) -> Outcome<Decimal> {
        // 3.33 bits hold a digit, so this is never stricter than the limit.
        if digits.bits() > u64::from(DECIMAL_DIGITS_MAX) * 10 / 3 || scale > DECIMAL_DIGITS_MAX {
            return Err(Problem::new(format!("a DECIMAL grew over {DECIMAL_DIGITS_MAX} digits"))
                .advice("round intermediate results: `x.round(10)`")
                .into());
        }
        Ok(Decimal { digits, scale })
    }

    fn add(&self, other: &Decimal) -> Outcome<Decimal> {
        let (a, b, scale) = self.aligned(other);
        Decimal::bounded(a + b, scale)
    }

    fn subtract(&self, other: &Decimal) -> Outcome<Decimal> {
        let (a, b, scale) = self.aligned(other);
        Decimal::bounded(a - b, scale)
    }

    fn multiply(&self, other: &Decimal) -> Outcome<Decimal> {
        Decimal::bounded(&self.digits * &other.digits, self.scale + other.scale)
    }

    fn divide(&self, other: &Decimal) -> Outcome<Decimal> {
        let (a, b, _) = self.aligned(other);
        if b.sign() == Sign::NoSign {
            return Err(Problem::new("division by zero").into());
        }
        Decimal::bounded(divide_rounded(&(a * power_of_ten(DIVISION_SCALE)), &b), DIVISION_SCALE)
    }

    fn remainder(&self, other: &Decimal) -> Outcome<Decimal> {
        let (a, b, scale) = self.aligned(other);
        if b.sign() == Sign::NoSign {
            return Err(Problem::new("division by zero").into());
        }
        Decimal::bounded(a % b, scale)
    }

    /// Rounds half away from zero, as SQL does; adds zeros when there are fewer digits.
    fn round(&self, scale: INT) -> Outcome<Decimal> {
        let Some(scale) = u32::try_from(scale).ok().filter(|scale| *scale <= DECIMAL_DIGITS_MAX) else {
            return Err(
                Problem::new(format!("a DECIMAL is rounded to 0 to {DECIMAL_DIGITS_MAX} digits")).into()
            );
        };
        match self.rescale(scale) {
            Some(exact) => Decimal::bounded(exact.digits, scale),
            None => {
                let digits = divide_rounded(&self.digits, &power_of_ten(self.scale - scale));
                Ok(Decimal { digits, scale })
            }
        }
    }

    /// The next number below with so many digits behind the point.
    pub fn floor(&self, scale: INT) -> Outcome<Decimal> {
        let rounded = self.round(scale)?;
        if rounded <= *self {
            Ok(rounded)
        } else {
            rounded.subtract(&Decimal { digits: 1.into(), scale: rounded.scale })
        }
    }

    /// The next number above with so many digits behind the point.
    pub fn ceiling(&self, scale: INT) -> Outcome<Decimal> {
        let rounded = self.round(scale)?;
        if rounded >= *self {
            Ok(rounded)
        } else {
            rounded.add(&Decimal { digits: 1.into(), scale: rounded.scale })
        }
    }

    fn to_int(&self) -> Outcome<INT> {
        let truncated = &self.digits / power_of_ten(self.scale);
        INT::try_from(truncated)
            .map_err(|_| Problem::new("the DECIMAL is outside of the 64 bits of an INT").into())
    }

    fn to_float(&self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }
}

impl From<INT> for Decimal {
    fn from(value: INT) -> Self {
        Decimal { digits: value.into(), scale: 0 }
    }
}

impl From<u64> for Decimal {
    fn from(value: u64) -> Self {
        Decimal { digits: value.into(), scale: 0 }
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.scale == other.scale {
            return self.digits.cmp(&other.digits);
        }
        let (a, b, _) = self.aligned(other);
        a.cmp(&b)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.digits.magnitude().to_string();
        let scale = self.scale as usize;
        if self.is_negative() {
            f.write_str("-")?;
        }
        if scale == 0 {
            return f.write_str(&digits);
        }
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        write!(f, "{whole}.{fraction}")
    }
}

/// Adds the type with its operators and functions.
pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Decimal>("DECIMAL");
    arithmetic(engine, "+", Decimal::add);
    arithmetic(engine, "-", Decimal::subtract);
    arithmetic(engine, "*", Decimal::multiply);
    arithmetic(engine, "/", Decimal::divide);
    arithmetic(engine, "%", Decimal::remainder);
    comparison(engine, "==", Ordering::is_eq);
    comparison(engine, "!=", Ordering::is_ne);
    comparison(engine, "<", Ordering::is_lt);
    comparison(engine, "<=", Ordering::is_le);
    comparison(engine, ">", Ordering::is_gt);
    comparison(engine, ">=", Ordering::is_ge);
    engine
        .register_fn("-", |a: Decimal| Decimal { digits: -a.digits, scale: a.scale })
        .register_fn("+", |a: Decimal| a)
        .register_fn("abs", |a: &mut Decimal| Decimal {
            digits: a.digits.magnitude().clone().into(),
            scale: a.scale,
        })
        .register_fn("round", |a: &mut Decimal| a.round(0))
        .register_fn("round", |a: &mut Decimal, scale: INT| a.round(scale))
        .register_fn("min", |a: Decimal, b: Decimal| a.min(b))
        .register_fn("max", |a: Decimal, b: Decimal| a.max(b))
        .register_fn("min", |a: Decimal, b: INT| a.min(b.into()))
        .register_fn("max", |a: Decimal, b: INT| a.max(b.into()))
        .register_fn("min", |a: INT, b: Decimal| b.min(a.into()))
        .register_fn("max", |a: INT, b: Decimal| b.max(a.into()))
        .register_fn("to_string", |a: &mut Decimal| a.to_string())
        .register_fn("to_debug", |a: &mut Decimal| a.to_string())
        .register_fn("to_int", |a: &mut Decimal| a.to_int())
        .register_fn("to_float", |a: &mut Decimal| a.to_float())
        .register_fn("decimal", |a: Decimal| a)
        .register_fn("decimal", |a: INT| Decimal::from(a))
        .register_fn("decimal", |a: f64| parse(&a.to_string()))
        .register_fn("decimal", parse);
}

fn parse(text: &str) -> Outcome<Decimal> {
    Decimal::parse(text.trim())
        .ok_or_else(|| Problem::new("the text is no decimal number such as `-12.50`").into())
}

fn arithmetic(engine: &mut Engine, name: &str, op: fn(&Decimal, &Decimal) -> Outcome<Decimal>) {
    engine
        .register_fn(name, move |a: Decimal, b: Decimal| op(&a, &b))
        .register_fn(name, move |a: Decimal, b: INT| op(&a, &b.into()))
        .register_fn(name, move |a: INT, b: Decimal| op(&a.into(), &b))
        .register_fn(name, |_: Decimal, _: f64| -> Outcome<Decimal> { Err(mixed()) })
        .register_fn(name, |_: f64, _: Decimal| -> Outcome<Decimal> { Err(mixed()) });
}

fn comparison(engine: &mut Engine, name: &str, holds: fn(Ordering) -> bool) {
    engine
        .register_fn(name, move |a: Decimal, b: Decimal| holds(a.cmp(&b)))
        .register_fn(name, move |a: Decimal, b: INT| holds(a.cmp(&b.into())))
        .register_fn(name, move |a: INT, b: Decimal| holds(Decimal::from(a).cmp(&b)))
        // Without these, Rhai would answer `false`, as for any two types that it cannot compare.
        .register_fn(name, |_: Decimal, _: f64| -> Outcome<bool> { Err(mixed()) })
        .register_fn(name, |_: f64, _: Decimal| -> Outcome<bool> { Err(mixed()) })
        .register_fn(name, |_: Decimal, _: &str| -> Outcome<bool> { Err(mixed_text()) })
        .register_fn(name, |_: &str, _: Decimal| -> Outcome<bool> { Err(mixed_text()) });
}

fn mixed() -> Box<rhai::EvalAltResult> {
    Problem::new("a DECIMAL and a FLOAT do not mix, as one is exact and the other is not")
        .advice("write the constant as `decimal(\"1.5\")`, or the column as `row.amount.to_float()`")
        .into()
}

fn mixed_text() -> Box<rhai::EvalAltResult> {
    Problem::new("a DECIMAL cannot be compared with a text")
        .advice("write the constant as a number, or as `decimal(\"1.5\")`")
        .into()
}

fn power_of_ten(exponent: u32) -> BigInt {
    match 10_u64.checked_pow(exponent) {
        Some(small) => small.into(),
        None => BigInt::from(10).pow(exponent),
    }
}

/// Half away from zero.
fn divide_rounded(a: &BigInt, b: &BigInt) -> BigInt {
    let (a, negative) = (a.magnitude(), (a.sign() == Sign::Minus) != (b.sign() == Sign::Minus));
    let b = b.magnitude();
    let rounded = BigInt::from((a * 2_u8 + b) / (b * 2_u8));
    if negative { -rounded } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap_or_else(|| panic!("{text} is a decimal"))
    }

    #[test]
    fn text_round_trips() {
        for text in ["0", "0.00", "-0.01", "1.50", "-12345678901234567890.000000000000000001"] {
            assert_eq!(decimal(text).to_string(), text);
        }
        for text in ["", ".", "1e5", "1.2.3", "--1", "0x10", " 1", &"9".repeat(1001)] {
            assert!(Decimal::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn division_rounds_half_away_from_zero_at_a_bounded_place() {
        let third = decimal("1").divide(&decimal("3")).unwrap();
        assert_eq!(third.to_string(), format!("0.{}", "3".repeat(30)));
        let two_thirds = decimal("-2").divide(&decimal("3")).unwrap();
        assert_eq!(two_thirds.to_string(), format!("-0.{}7", "6".repeat(29)));
        assert_eq!(decimal("2.345").round(2).unwrap().to_string(), "2.35");
        assert_eq!(decimal("-2.345").round(2).unwrap().to_string(), "-2.35");
        assert!(decimal("1").divide(&decimal("0.00")).is_err());
    }

    #[test]
    fn equal_numbers_are_equal_whatever_their_scale() {
        assert_eq!(decimal("1.50"), decimal("1.5"));
        assert!(decimal("1.51") > decimal("1.5"));
        assert_eq!(decimal("1.50").rescale(1).unwrap().to_string(), "1.5");
        assert!(decimal("1.55").rescale(1).is_none());
    }
}
