//! Quotes arguments for the shell that runs a script.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::command::split_suffix;

/// Quotes and joins `args` for what runs the script. No arguments are `None`: the service then
/// gets no `Args`.
pub fn quote_args(script_name: &str, args: &[String]) -> Option<String> {
    let quote = if is_powershell(script_name) { quote_powershell } else { quote_sh };
    (!args.is_empty()).then(|| args.iter().map(|arg| quote(arg)).collect::<Vec<_>>().join(" "))
}

/// Returns whether PowerShell runs the script: its name ends in `.ps1`, or has no suffix.
pub fn is_powershell(script_name: &str) -> bool {
    let (_, suffix) = split_suffix(script_name);
    suffix.is_empty() || suffix.eq_ignore_ascii_case(".ps1")
}

/// Encodes JSON as one argument that no shell changes: base64url without padding.
pub fn encode_json(json: &str) -> String {
    // Blanks after it make the length a multiple of 3. Then decoders need no padding.
    let blanks = (3 - json.len() % 3) % 3;
    URL_SAFE_NO_PAD.encode(format!("{json}{}", " ".repeat(blanks)))
}

fn quote_powershell(arg: &str) -> String {
    if let Some((parameter, value)) = split_parameter(arg) {
        let is_plain = value.is_empty() || (is_plain_word(value) && !value.starts_with('-'));
        return parameter.to_owned() + &if is_plain { value.to_owned() } else { literal(value) };
    }
    // Plain words stay unquoted: PowerShell reads a quoted '-Depth' as a value, not as a parameter.
    if is_plain_word(arg) { arg.to_owned() } else { literal(arg) }
}

fn is_plain_word(arg: &str) -> bool {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '\\');
    !arg.is_empty() && arg.chars().all(plain)
}

/// Splits `-Name:value` after its colon. PowerShell passes that value as it is, even if it begins
/// with a dash.
fn split_parameter(arg: &str) -> Option<(&str, &str)> {
    let (name, _) = arg.strip_prefix('-')?.split_once(':')?;
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts_like_a_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (starts_like_a_name && name.chars().all(is_word)).then(|| arg.split_at(name.len() + 2))
}

/// Returns a literal string of PowerShell.
fn literal(text: &str) -> String {
    let mut quoted = String::from("'");
    for c in text.chars() {
        // Each of these characters ends a literal string in PowerShell, unless it is doubled.
        if matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}') {
            quoted.push(c);
        }
        quoted.push(c);
    }
    quoted + "'"
}

fn quote_sh(arg: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !arg.is_empty() && arg.chars().all(plain) {
        return arg.to_owned();
    }
    format!("'{}'", arg.replace('\'', r#"'"'"'"#))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quoted(script: &str, args: &[&str]) -> String {
        let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
        quote_args(script, &args).unwrap()
    }

    #[test]
    fn powershell() {
        assert_eq!(
            quoted("a.PS1", &["-Depth", "2", "it's", "$x; rm", ""]),
            "-Depth 2 'it''s' '$x; rm' ''"
        );
        assert_eq!(quoted("a.ps1", &["\u{2019}; evil"]), "'\u{2019}\u{2019}; evil'");
        assert_eq!(quoted("triage", &["a b's"]), "'a b''s'");
        assert_eq!(quoted("triage.sh", &["a b's"]), r#"'a b'"'"'s'"#);
        assert_eq!(quote_args("a.ps1", &[]), None);
    }

    #[test]
    fn a_value_that_begins_with_a_dash() {
        for (arg, sent) in [
            ("-Name:-x", "-Name:'-x'"),
            ("-Name:-x's", "-Name:'-x''s'"),
            ("-Name:two words", "-Name:'two words'"),
            ("-Path:C:\\Temp", "-Path:C:\\Temp"),
            ("-Switch:$false", "-Switch:'$false'"),
            ("-2:x y", "'-2:x y'"),
            ("--", "--"),
        ] {
            assert_eq!(quoted("a.ps1", &[arg]), sent);
        }
    }

    #[test]
    fn json_needs_no_padding() {
        for json in ["{}", r#"{"a":1}"#, r#"{"a":"?>?>~~"}"#, r#"{"a":"Müller"}"#] {
            let encoded = encode_json(json);
            assert_eq!(encoded.len() % 4, 0);
            assert!(encoded.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)));
            assert_eq!(URL_SAFE_NO_PAD.decode(encoded).unwrap().trim_ascii_end(), json.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn sh_receives_each_argument_unchanged(args in proptest::collection::vec("[^\0]{0,12}", 1..4)) {
            let line = format!("printf '%s\\0' {}", quote_args("a.sh", &args).unwrap());
            let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
            let got: Vec<_> = output.stdout.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
            let want: Vec<_> = args.iter().map(|arg| arg.as_bytes().to_vec()).chain([Vec::new()]).collect();
            prop_assert_eq!(got, want);
        }
    }
}
