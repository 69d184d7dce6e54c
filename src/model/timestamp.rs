//! Times in the format of the service: UTC, ISO 8601, up to seven digits after the second.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::lenient::{Field, plain_string};

/// A time in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(OffsetDateTime);

impl Timestamp {
    /// Parses a time of the service.
    pub fn parse(text: &str) -> Option<Self> {
        // Some times have no zone. All times of the service are UTC.
        let parsed = OffsetDateTime::parse(text, &Rfc3339)
            .or_else(|_| OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339));
        parsed.ok().map(|time| Self(time.to_offset(time::UtcOffset::UTC)))
    }

    /// Creates a time from seconds since the Unix epoch.
    pub fn from_unix(seconds: f64) -> Option<Self> {
        let nanoseconds = (seconds * 1e9) as i128;
        OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok().map(Self)
    }

    /// Returns the seconds since the Unix epoch.
    pub fn to_unix(self) -> f64 {
        self.0.unix_timestamp_nanos() as f64 / 1e9
    }

    /// Returns the time as an `OffsetDateTime`.
    pub fn datetime(self) -> OffsetDateTime {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(format!("{text:?} is not a time")))
    }
}

impl Field for Timestamp {
    fn read(json: &str) -> Option<Self> {
        match plain_string(json) {
            Some(text) => Self::parse(text),
            None => serde_json::from_str(json).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_seven_fraction_digits_are_parsed() {
        for (text, unix) in [
            ("2021-02-04T15:36:52.7788848Z", 1_612_453_012.778_885),
            ("2022-02-07T14:33:07Z", 1_644_244_387.0),
            ("2019-01-01T00:00:59.2Z", 1_546_300_859.2),
            ("2019-01-01T00:00:58.42", 1_546_300_858.42),
        ] {
            assert!((Timestamp::parse(text).unwrap().to_unix() - unix).abs() < 2e-6, "{text}");
        }
        assert!(Timestamp::parse("yesterday").is_none());
    }
}
