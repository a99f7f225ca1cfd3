//! The state of every alert, moved on by what is seen.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::condition::{Reading, time_words};
use super::{Because, CALM_MS, Observation, Rule, Told, Whom, alert_name, number};

/// So many lines the history has; then the oldest go.
pub const HISTORY_MAX: usize = 500;
/// So many mutes are kept; then the oldest go.
pub const MUTES_MAX: usize = 100;

/// Watches rules. It knows no clock: time comes with what is seen, and never goes back in effect.
#[derive(Debug, Default)]
pub struct Watch {
    rules: Vec<Rule>,
    kept: Kept,
    /// Conditions that hold, or held a moment ago, and do not fire yet: since when they hold.
    pending: BTreeMap<(String, Whom), i64>,
    now_ms: i64,
}

/// What outlives a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// What fires.
    #[serde(default)]
    pub firing: Vec<Firing>,
    /// When what was told last as firing, by rule and subject.
    #[serde(default)]
    pub lately: Vec<Lately>,
    /// Who is not to tell.
    #[serde(default)]
    pub mutes: Vec<Mute>,
    /// What was told, oldest first.
    #[serde(default)]
    pub history: VecDeque<Told>,
}

/// An alert that fires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Firing {
    /// What was last to be told of it.
    pub last: Told,
    /// When it began to fire, milliseconds since 1970 UTC.
    pub fired_ms: i64,
    /// Whether somebody was told; not while it is muted, or flaps.
    pub told: bool,
    /// Whether somebody has acknowledged it.
    #[serde(default)]
    pub acked: bool,
    /// Since when the condition does not hold.
    #[serde(default)]
    pub calm_since_ms: Option<i64>,
}

/// When somebody was told last that an alert fires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lately {
    rule: String,
    of: Whom,
    told_ms: i64,
}

impl Lately {
    fn is(&self, rule: &Rule, of: &Whom) -> bool {
        self.rule == rule.id && self.of == *of
    }
}

/// Alerts that tell nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mute {
    /// Which: `lag of sales`, `lag`, `sales`, or `all`.
    pub name: String,
    /// Until when, milliseconds since 1970 UTC; `None` is until somebody says so.
    pub until_ms: Option<i64>,
}

impl Watch {
    /// Watches nothing yet, and remembers what was kept.
    pub fn new(kept: Kept) -> Watch {
        Watch { kept, ..Watch::default() }
    }

    /// Watches these rules from now on. What fires by a rule that is gone fires no more, and nobody is told.
    pub fn set_rules(&mut self, rules: Vec<Rule>) {
        let known = |id: &str| rules.iter().any(|rule| rule.id == id);
        self.kept.firing.retain(|firing| known(&firing.last.rule));
        self.kept.lately.retain(|lately| known(&lately.rule));
        self.pending.retain(|(rule, _), _| known(rule));
        self.rules = rules;
    }

    /// The rules that are watched.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule with this id.
    pub fn rule(&self, id: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    /// What is to be kept over a restart.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Looks at what was seen; answers with what is to be told, in the order of the rules.
    pub fn look(&mut self, seen: &Observation) -> Vec<Told> {
        // A clock that was set back holds time for a while, and makes nothing happen twice.
        self.now_ms = self.now_ms.max(seen.at_ms);
        let now_ms = self.now_ms;
        self.kept.mutes.retain(|mute| mute.until_ms.is_none_or(|until| now_ms < until));
        self.forget_old();
        let mut told = Vec::new();
        for rule in std::mem::take(&mut self.rules) {
            let concerned: Vec<_> = seen.seen.iter().filter(|seen| rule.concerns(seen)).collect();
            for seen in &concerned {
                let reading = rule.read(seen);
                match reading.holds {
                    Some(true) => told.extend(self.holds(&rule, &seen.whom, reading)),
                    Some(false) => told.extend(self.is_calm(&rule, &seen.whom)),
                    None => {}
                }
            }
            // What is there no more has nothing to tell of.
            let firing = self.kept.firing.iter().filter(|firing| firing.last.rule == rule.id);
            let gone: Vec<Whom> = firing
                .map(|firing| firing.last.of.clone())
                .filter(|of| !concerned.iter().any(|seen| seen.whom == *of))
                .collect();
            for of in gone {
                told.extend(self.is_calm(&rule, &of));
            }
            self.rules.push(rule);
        }
        self.kept.history.extend(told.iter().cloned());
        let surplus = self.kept.history.len().saturating_sub(HISTORY_MAX);
        self.kept.history.drain(..surplus);
        told
    }

    /// The condition holds at this moment.
    fn holds(&mut self, rule: &Rule, of: &Whom, reading: Reading) -> Option<Told> {
        let now_ms = self.now_ms;
        let muted = self.is_muted(&alert_name(rule.metric, of), of);
        let key = (rule.id.clone(), of.clone());
        let told_ms = self.kept.lately.iter().find(|lately| lately.is(rule, of)).map(|lately| lately.told_ms);
        let place = self.kept.firing.iter().position(|firing| firing.is(rule, of));
        let place = match place {
            Some(place) => place,
            None => {
                let since_ms = *self.pending.entry(key.clone()).or_insert(now_ms);
                if now_ms - since_ms < millis(rule.hold) {
                    return None;
                }
                self.pending.remove(&key);
                let last = told(rule, of, reading.clone(), since_ms, now_ms, Because::Fires);
                let (fired_ms, told, acked, calm_since_ms) = (now_ms, false, false, None);
                self.kept.firing.push(Firing { last, fired_ms, told, acked, calm_since_ms });
                self.kept.firing.len() - 1
            }
        };
        let firing = &mut self.kept.firing[place];
        firing.calm_since_ms = None;
        let because = if firing.told { Because::Repeats } else { Because::Fires };
        // The table stays that of the beginning: what a hook did to it is undone when the alert is resolved.
        let table = firing.last.table.clone().or_else(|| reading.table.clone());
        firing.last = told(rule, of, Reading { table, ..reading }, firing.last.since_ms, now_ms, because);
        let repeats = !firing.told || !rule.repeat.is_zero();
        let is_due = repeats && told_ms.is_none_or(|told_ms| now_ms - told_ms >= millis(rule.repeat));
        if muted || firing.acked || !is_due {
            return None;
        }
        firing.told = true;
        let last = firing.last.clone();
        self.kept.lately.retain(|lately| !lately.is(rule, of));
        self.kept.lately.push(Lately { rule: rule.id.clone(), of: of.clone(), told_ms: now_ms });
        Some(last)
    }

    /// What was told long ago holds nothing up any more.
    fn forget_old(&mut self) {
        let Watch { rules, kept, now_ms, .. } = self;
        let repeat =
            |lately: &Lately| rules.iter().find(|rule| rule.id == lately.rule).map(|rule| rule.repeat);
        let fires = |lately: &Lately| {
            kept.firing.iter().any(|firing| firing.last.rule == lately.rule && firing.last.of == lately.of)
        };
        kept.lately.retain(|lately| {
            fires(lately) || repeat(lately).is_some_and(|repeat| *now_ms - lately.told_ms < millis(repeat))
        });
    }

    /// The condition does not hold at this moment.
    fn is_calm(&mut self, rule: &Rule, of: &Whom) -> Option<Told> {
        let now_ms = self.now_ms;
        self.pending.remove(&(rule.id.clone(), of.clone()));
        let place = self.kept.firing.iter().position(|firing| firing.is(rule, of))?;
        let calm_since_ms = *self.kept.firing[place].calm_since_ms.get_or_insert(now_ms);
        if now_ms - calm_since_ms < CALM_MS {
            return None;
        }
        let firing = self.kept.firing.remove(place);
        // Who was not told that it fires need not be told that it is over.
        if !firing.told || self.is_muted(&firing.last.name, of) {
            return None;
        }
        let lasted = time_words((calm_since_ms - firing.last.since_ms) as f64);
        Some(Told {
            at_ms: now_ms,
            because: Because::Resolved,
            message: format!("resolved after {lasted}: {}", firing.last.message),
            ..firing.last
        })
    }

    /// Has alerts tell nobody until a moment, or until [`unmute`](Self::unmute).
    pub fn mute(&mut self, name: &str, until_ms: Option<i64>) {
        self.kept.mutes.retain(|mute| mute.name != name);
        if self.kept.mutes.len() >= MUTES_MAX {
            self.kept.mutes.remove(0);
        }
        self.kept.mutes.push(Mute { name: name.to_owned(), until_ms });
    }

    /// Has them tell again. False when they were not muted.
    pub fn unmute(&mut self, name: &str) -> bool {
        let before = self.kept.mutes.len();
        self.kept.mutes.retain(|mute| name != "all" && mute.name != name);
        self.kept.mutes.len() < before
    }

    /// Has what fires under a name tell no more until it is resolved. Gives the names.
    pub fn ack(&mut self, name: &str) -> Vec<String> {
        let firing =
            self.kept.firing.iter_mut().filter(|firing| means(name, &firing.last.name, &firing.last.of));
        firing
            .map(|firing| {
                firing.acked = true;
                firing.last.name.clone()
            })
            .collect()
    }

    /// Whether a name means something that is watched or fires.
    pub fn knows(&self, name: &str) -> bool {
        let of = |rule: &Rule| rule.of.as_ref().map(crate::check::written::subject_text);
        name == "all"
            || self.kept.firing.iter().any(|firing| means(name, &firing.last.name, &firing.last.of))
            || self.rules.iter().any(|rule| {
                let metric = rule.metric.as_str();
                let subject = name.strip_prefix(metric).and_then(|rest| rest.strip_prefix(" of "));
                name == metric
                    || of(rule).as_deref() == Some(name)
                    || subject.is_some_and(|named| of(rule).is_none_or(|of| of == named))
            })
    }

    fn is_muted(&self, name: &str, of: &Whom) -> bool {
        self.kept.mutes.iter().any(|mute| means(&mute.name, name, of))
    }
}

impl Firing {
    fn is(&self, rule: &Rule, of: &Whom) -> bool {
        self.last.rule == rule.id && self.last.of == *of
    }
}

/// Whether people mean this alert: by its name, its metric, or its subject.
fn means(said: &str, name: &str, of: &Whom) -> bool {
    said == "all"
        || said == name
        || name.strip_prefix(said).is_some_and(|rest| rest.starts_with(" of "))
        || said == of.to_string()
}

fn told(rule: &Rule, of: &Whom, reading: Reading, since_ms: i64, at_ms: i64, because: Because) -> Told {
    Told {
        at_ms,
        name: alert_name(rule.metric, of),
        rule: rule.id.clone(),
        metric: rule.metric.as_str().to_owned(),
        of: of.clone(),
        because,
        value: reading.value.and_then(number),
        threshold: reading.threshold.and_then(number),
        table: reading.table,
        since_ms,
        message: reading.message,
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
