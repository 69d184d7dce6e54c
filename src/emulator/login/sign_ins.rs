//! What the codes and refresh tokens of persons stand for.

use std::collections::HashMap;

use crate::emulator::clock::Tick;
use crate::emulator::login::tokens::Person;

/// What a person may do for an application at an audience.
#[derive(Clone, Debug)]
pub struct SignIn {
    pub application: usize,
    pub audience: String,
    pub person: Person,
}

/// The sign-ins that a code or a refresh token stands for.
#[derive(Debug, Default)]
pub struct SignIns {
    /// With the time at which the code expires.
    pub device_codes: HashMap<String, (SignIn, Tick)>,
    pub refresh_tokens: HashMap<String, SignIn>,
}
