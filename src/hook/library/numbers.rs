//! Numbers beyond what their types do themselves.

use rhai::{Engine, INT};

use super::super::decimal::Decimal;
use super::super::error::Outcome;
use super::{Function, table};

pub(super) const FUNCTIONS: &[Function] = table! { Numbers:
    "decimal", "decimal(text)\ndecimal(int)\ndecimal(float)", "An exact number: `-12.50`.", "decimal(\"0.1\") + decimal(\"0.2\")" => "0.3";
    "round", "x.round()\nx.round(digits)", "Rounds a DECIMAL half away from zero, as SQL does; adds zeros where there are fewer digits.", "decimal(\"2.345\").round(2)" => "2.35";
    "floor", "x.floor()\nx.floor(digits)", "Rounds a DECIMAL down.", "decimal(\"-2.345\").floor(2)" => "-2.35";
    "ceiling", "x.ceiling()\nx.ceiling(digits)", "Rounds a DECIMAL up.", "decimal(\"2.341\").ceiling(2)" => "2.35";
    "truncate", "x.truncate(digits)", "Cuts digits of a DECIMAL off.", "decimal(\"-2.349\").truncate(2)" => "-2.34";
    "scale", "x.scale", "Digits of a DECIMAL behind its point.", "decimal(\"2.340\").scale" => "3";
    "abs", "x.abs()", "The number without its sign.", "decimal(\"-2.5\").abs()" => "2.5";
    "min", "min(a, b)", "The smaller one of two numbers.", "min(decimal(\"2.5\"), 3)" => "2.5";
    "max", "max(a, b)", "The larger one of two numbers.", "max(decimal(\"2.5\"), 3)" => "3";
    "to_int", "x.to_int()", "The whole part, as INT.", "decimal(\"-2.9\").to_int()" => "-2";
    "to_float", "x.to_float()", "The nearest FLOAT.", "decimal(\"2.5\").to_float()" => "2.5";
};

pub(super) fn register(engine: &mut Engine) {
    engine
        .register_fn("floor", |x: &mut Decimal| x.floor(0))
        .register_fn("floor", |x: &mut Decimal, digits: INT| x.floor(digits))
        .register_fn("ceiling", |x: &mut Decimal| x.ceiling(0))
        .register_fn("ceiling", |x: &mut Decimal, digits: INT| x.ceiling(digits))
        .register_fn("truncate", |x: &mut Decimal, digits: INT| -> Outcome<Decimal> {
            if x.is_negative() { x.ceiling(digits) } else { x.floor(digits) }
        })
        .register_get("scale", |x: &mut Decimal| INT::from(x.scale()));
}
