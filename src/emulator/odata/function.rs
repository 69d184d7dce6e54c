//! The functions of a `$filter`, after OData 4.0 (docs/service.md, section 3.4).

use std::borrow::Cow;

use time::OffsetDateTime;

use super::{FieldType, FieldValue};

/// A function. `now` is none of these: the parser replaces it with the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulator) enum Function {
    StartsWith,
    EndsWith,
    Contains,
    ToLower,
    ToUpper,
    Trim,
    Concat,
    Length,
    IndexOf,
    Substring,
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

impl Function {
    const ALL: [(&'static str, Self); 16] = [
        ("startswith", Self::StartsWith),
        ("endswith", Self::EndsWith),
        ("contains", Self::Contains),
        ("tolower", Self::ToLower),
        ("toupper", Self::ToUpper),
        ("trim", Self::Trim),
        ("concat", Self::Concat),
        ("length", Self::Length),
        ("indexof", Self::IndexOf),
        ("substring", Self::Substring),
        ("year", Self::Year),
        ("month", Self::Month),
        ("day", Self::Day),
        ("hour", Self::Hour),
        ("minute", Self::Minute),
        ("second", Self::Second),
    ];

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|it| it.1)
    }

    /// Returns the type of what the function returns.
    pub fn result(self) -> FieldType {
        match self {
            Self::StartsWith | Self::EndsWith | Self::Contains => FieldType::Bool,
            Self::ToLower | Self::ToUpper | Self::Trim | Self::Concat | Self::Substring => {
                FieldType::Text
            }
            _ => FieldType::Number,
        }
    }

    /// Returns the types of the arguments. The last one of `substring` may be omitted.
    pub fn parameters(self) -> &'static [FieldType] {
        match self {
            Self::StartsWith | Self::EndsWith | Self::Contains | Self::Concat | Self::IndexOf => {
                &[FieldType::Text, FieldType::Text]
            }
            Self::ToLower | Self::ToUpper | Self::Trim | Self::Length => &[FieldType::Text],
            Self::Substring => &[FieldType::Text, FieldType::Number, FieldType::Number],
            _ => &[FieldType::Time],
        }
    }

    /// Returns whether the function accepts arguments of these types. `null` has no type.
    pub fn accepts(self, kinds: &[Option<FieldType>]) -> bool {
        let parameters = self.parameters();
        let required = if self == Self::Substring { 2 } else { parameters.len() };
        let fits = |(at, kind): (usize, &Option<FieldType>)| {
            let Some(wanted) = parameters.get(at) else { return false };
            match kind {
                None => true,
                Some(FieldType::Key) => *wanted == FieldType::Text,
                // A search in a list searches each of its strings.
                Some(FieldType::List) => at == 0 && self.result() == FieldType::Bool,
                Some(kind) => kind == wanted,
            }
        };
        kinds.len() >= required && kinds.iter().enumerate().all(fits)
    }

    /// Returns the function's value. A function of null is null.
    pub fn evaluate(self, arguments: &[Cow<'_, FieldValue<'_>>]) -> FieldValue<'static> {
        let first = arguments.first().map(Cow::as_ref);
        match (first, arguments.get(1).map(Cow::as_ref)) {
            (Some(FieldValue::Time(tick)), None) => self.part_of_time(*tick),
            (Some(FieldValue::Text(text)), None) => self.of_text(text),
            (Some(FieldValue::Text(text)), Some(FieldValue::Text(other))) => {
                self.of_texts(text, other)
            }
            (Some(FieldValue::List(items)), Some(FieldValue::Text(text))) => {
                let found = |item: &String| self.of_texts(item, text) == FieldValue::Bool(true);
                FieldValue::Bool(items.iter().any(found))
            }
            (Some(FieldValue::Text(text)), Some(FieldValue::Number(start))) => {
                match arguments.get(2).map(Cow::as_ref) {
                    None => substring(text, *start, f64::INFINITY),
                    Some(FieldValue::Number(length)) => substring(text, *start, *length),
                    Some(_) => FieldValue::Null,
                }
            }
            _ => FieldValue::Null,
        }
    }

    fn of_text(self, value: &str) -> FieldValue<'static> {
        match self {
            Self::ToLower => text(value.to_lowercase()),
            Self::ToUpper => text(value.to_uppercase()),
            Self::Trim => text(value.trim().to_owned()),
            Self::Length => FieldValue::Number(value.chars().count() as f64),
            _ => FieldValue::Null,
        }
    }

    fn of_texts(self, value: &str, other: &str) -> FieldValue<'static> {
        match self {
            Self::StartsWith => FieldValue::Bool(value.starts_with(other)),
            Self::EndsWith => FieldValue::Bool(value.ends_with(other)),
            Self::Contains => FieldValue::Bool(value.contains(other)),
            Self::Concat => text(format!("{value}{other}")),
            Self::IndexOf => {
                let at = value.split_once(other).map(|(before, _)| before.chars().count() as f64);
                FieldValue::Number(at.unwrap_or(-1.0))
            }
            _ => FieldValue::Null,
        }
    }

    fn part_of_time(self, tick: i64) -> FieldValue<'static> {
        let Ok(time) = OffsetDateTime::from_unix_timestamp_nanos(i128::from(tick) * 100) else {
            return FieldValue::Null;
        };
        FieldValue::Number(match self {
            Self::Year => f64::from(time.year()),
            Self::Month => f64::from(u8::from(time.month())),
            Self::Day => f64::from(time.day()),
            Self::Hour => f64::from(time.hour()),
            Self::Minute => f64::from(time.minute()),
            Self::Second => f64::from(time.second()),
            _ => return FieldValue::Null,
        })
    }
}

fn text(value: String) -> FieldValue<'static> {
    FieldValue::Text(Cow::Owned(value))
}

fn substring(value: &str, start: f64, length: f64) -> FieldValue<'static> {
    // A number below 0 becomes 0, and a large one the largest.
    text(value.chars().skip(start as usize).take(length as usize).collect())
}
