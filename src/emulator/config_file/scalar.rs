//! The values of YAML's scalars.

use saphyr_parser::{ScalarStyle, Tag};
use serde_json::{Number, Value};

/// Returns the value of a scalar by YAML's core schema: `yes` and `no` are texts.
pub fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    match tag {
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => {
            return Ok(Value::from(text));
        }
        Some(tag) => return Err(format!("the tag {tag} is not supported")),
        None if style != ScalarStyle::Plain => return Ok(Value::from(text)),
        None => {}
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => match number(text)? {
            Some(number) => Value::Number(number),
            None => Value::from(text),
        },
    })
}

fn number(text: &str) -> Result<Option<Number>, String> {
    let radix = [("0x", 16), ("0o", 8)];
    for (prefix, radix) in radix {
        if let Some(digits) = text.strip_prefix(prefix)
            && digits.chars().all(|digit| digit.is_digit(radix))
        {
            return Ok(u64::from_str_radix(digits, radix).ok().map(Number::from));
        }
    }
    if matches!(text.trim_start_matches(['+', '-']), ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN") {
        return Err(format!("{text} is no number that JSON can represent"));
    }
    let is_number = text.contains(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E'));
    if !is_number {
        return Ok(None);
    }
    if let Ok(whole) = text.parse::<u64>() {
        return Ok(Some(whole.into()));
    }
    if let Ok(whole) = text.parse::<i64>() {
        return Ok(Some(whole.into()));
    }
    let Ok(float) = text.parse::<f64>() else { return Ok(None) };
    let in_range = Number::from_f64(float);
    in_range.map(Some).ok_or_else(|| format!("the number {text} is too large"))
}
