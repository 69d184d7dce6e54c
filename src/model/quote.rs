//! Quotes arguments for the shell that runs a script.

/// Quotes and joins `args`: for PowerShell if the script is a `.ps1`, else for sh.
pub fn quote_args(script_name: &str, args: &[String]) -> String {
    let powershell = script_name.to_ascii_lowercase().ends_with(".ps1");
    let quote = if powershell { quote_powershell } else { quote_sh };
    args.iter().map(|arg| quote(arg)).collect::<Vec<_>>().join(" ")
}

fn quote_powershell(arg: &str) -> String {
    // Plain words stay unquoted: PowerShell reads a quoted '-Depth' as a value, not as a parameter.
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '\\');
    if !arg.is_empty() && arg.chars().all(plain) {
        return arg.to_owned();
    }
    let mut quoted = String::from("'");
    for c in arg.chars() {
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
        quote_args(script, &args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn powershell() {
        assert_eq!(
            quoted("a.PS1", &["-Depth", "2", "it's", "$x; rm", ""]),
            "-Depth 2 'it''s' '$x; rm' ''"
        );
        assert_eq!(quoted("a.ps1", &["\u{2019}; evil"]), "'\u{2019}\u{2019}; evil'");
    }

    proptest! {
        #[test]
        fn sh_receives_each_argument_unchanged(args in proptest::collection::vec("[^\0]{0,12}", 1..4)) {
            let line = format!("printf '%s\\0' {}", quote_args("a.sh", &args));
            let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
            let got: Vec<_> = output.stdout.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
            let want: Vec<_> = args.iter().map(|arg| arg.as_bytes().to_vec()).chain([Vec::new()]).collect();
            prop_assert_eq!(got, want);
        }
    }
}
