//! The settings of an emulator.

use crate::config::Limits;
use crate::emulator::clock::EmulatorClock;
use crate::emulator::control::switches::Switches;

/// The settings of an emulator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The number of machines: `ws-0001.example.test` and so on, all online. The default is 3.
    pub machines: usize,
    pub limits: Limits,
    /// The seed of ids, durations and random faults. The default is 0.
    pub seed: u64,
    pub switches: Switches,
    pub clock: EmulatorClock,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            machines: 3,
            limits: Limits::default(),
            seed: 0,
            switches: Switches::default(),
            clock: EmulatorClock::default(),
        }
    }
}
