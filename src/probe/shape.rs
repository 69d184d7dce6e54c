//! The shape of a text: the words of a fixed list stay, everything else becomes `_`.
//!
//! An error text of the service may quote a path, a name or a comment of the tenant. Only words
//! that are in this list can leave it, so nothing of the tenant can.

/// The longest shape, in characters.
const MAX_SHAPE: usize = 200;

/// In lower case.
const WORDS: &str = "\
    a abort aborted accept accepted access account action after again agent all allowed already \
    an and another any api are argument arguments as at available be because been before being \
    blocked by can cancel cancelled cannot change changed character characters check client \
    close closed code collect collected collection command commands complete completed connect \
    connection contact content could create created data defender denied device directory \
    disabled disk does doesn download downloaded due during empty enabled end ended endpoint \
    error errors execute executed execution exist exists exit expired fail failed failure file \
    files folder for found from full get handle has have hresult id in incorrect input internal \
    invalid is it its large library limit line live long lost machine match maximum may memory \
    message microsoft missing more name network no not number occurred of offline on only open \
    operation or other out output parameter parameters path pending permission please policy \
    powershell process read reason received refused remote request requested required resource \
    response result results return returned run running s script scripts second seconds sensor \
    server service session shell signature signed size space start started status stopped \
    successfully support supported system t terminated than that the there this time timed \
    timeout to too try unable unexpected unknown unsupported upload uploaded use used user valid \
    value values version wait waiting was were when which while will windows with within without \
    write written you your";

/// Returns the shape of an error text.
pub(super) fn shape_of(text: &str) -> String {
    let mut shape = String::new();
    for token in tokens(text) {
        let hresult = as_hresult(token);
        let word = token.to_ascii_lowercase();
        let shown = match hresult {
            Some(hresult) => hresult,
            None if is_known(&word) => word,
            None if token.trim().is_empty() => continue,
            None if matches!(token, "." | "," | ":") => {
                shape.push_str(token);
                continue;
            }
            // A quote before a word, or a path's separator, belongs to what cannot be shown.
            None if token.chars().all(|c| !c.is_alphanumeric()) => continue,
            None => "_".to_owned(),
        };
        if shown == "_" && shape.trim_end_matches(['.', ',', ':']).ends_with('_') {
            shape.truncate(shape.trim_end_matches(['.', ',', ':']).len());
            continue;
        }
        if !shape.is_empty() {
            shape.push(' ');
        }
        shape.push_str(&shown);
    }
    shape.chars().take(MAX_SHAPE).collect()
}

/// Returns whether a text has only words of the list, in ASCII.
pub(super) fn has_only_known_words(text: &str) -> bool {
    text.is_ascii()
        && !text.contains(|c: char| c.is_ascii_control())
        && tokens(text).all(|token| {
            let is_word = token.starts_with(|c: char| c.is_alphanumeric());
            !is_word || is_known(&token.to_ascii_lowercase())
        })
}

/// Splits a text into words and single other characters.
fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = if first.is_alphanumeric() {
            rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at_checked(end)?;
        rest = after;
        Some(token)
    })
}

fn is_known(word: &str) -> bool {
    WORDS.split_ascii_whitespace().any(|known| known == word)
}

/// Returns an HRESULT of a failure, such as `0x80070005`.
fn as_hresult(token: &str) -> Option<String> {
    let digits = token.strip_prefix("0x").or_else(|| token.strip_prefix("0X"))?;
    let is_failure = digits.len() == 8 && digits.starts_with("80");
    (is_failure && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then(|| format!("0x{}", digits.to_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_words_are_shown() {
        for (text, expected) in [
            ("The file 'C:\\Temp\\Müller.txt' is empty.", "the file _ is empty."),
            ("The script timed out after 600.0 seconds.", "the script timed out after _ seconds."),
            ("Access denied (0x80070005): \\\\srv-01\\share", "access denied 0x80070005: _"),
            ("0x12345678 0x8007000g", "_"),
            ("secret", "_"),
            ("a.b.c@example.test", "a. _"),
            ("", ""),
            (" \n", ""),
        ] {
            assert_eq!(shape_of(text), expected, "{text}");
        }
        assert!(shape_of(&"the file ".repeat(1000)).len() <= MAX_SHAPE);
    }

    #[test]
    fn a_suffix_is_known_if_each_word_is() {
        for (text, expected) in [
            (" (by API)", true),
            ("...", true),
            (" (by Contoso)", false),
            (" 42", false),
            ("\n", false),
            ("é", false),
        ] {
            assert_eq!(has_only_known_words(text), expected, "{text:?}");
        }
    }
}
