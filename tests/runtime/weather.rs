//! Chance and faults, the same for the same seed.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use lode::error::{Error, Kind, Result};

use super::numbers::Random;

/// Where something can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    Identify,
    OpenStream,
    Event,
    /// No error: the source has nothing more at hand just now.
    Lull,
    Append,
    AppendAnswer,
    Read,
    OpenSink,
    Write,
    WriteAnswer,
}

/// What goes wrong, and how slow everything is.
#[derive(Debug)]
pub struct Weather(Mutex<State>);

#[derive(Debug)]
struct State {
    rng: Random,
    sure: HashMap<Fault, u32>,
    delay_ms_max: u64,
}

impl Weather {
    /// Nothing goes wrong, and nothing takes time.
    pub fn fair(seed: u64) -> Weather {
        let state = State { rng: Random::new(seed), sure: HashMap::new(), delay_ms_max: 0 };
        Weather(Mutex::new(state))
    }

    /// Lets `fault` happen the next `times` times.
    pub fn strike(&self, fault: Fault, times: u32) {
        self.0.lock().unwrap().sure.insert(fault, times);
    }

    /// Everything takes up to so long.
    pub fn slow_down(&self, delay_ms_max: u64) {
        self.0.lock().unwrap().delay_ms_max = delay_ms_max;
    }

    pub fn clear_up(&self) {
        let mut state = self.0.lock().unwrap();
        state.sure.clear();
    }

    /// An error when the fault happens here.
    pub fn pass(&self, fault: Fault) -> Result<()> {
        let mut state = self.0.lock().unwrap();
        let sure = match state.sure.get_mut(&fault) {
            Some(times) if *times > 0 => {
                *times -= 1;
                true
            }
            _ => false,
        };
        if sure {
            return Err(Error::new(Kind::Unavailable, format!("struck by {fault:?}")));
        }
        Ok(())
    }

    pub async fn delay(&self) {
        let delay_ms = {
            let mut state = self.0.lock().unwrap();
            let most = state.delay_ms_max;
            if most == 0 { 0 } else { state.rng.below(most + 1) }
        };
        if delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
    }
}
