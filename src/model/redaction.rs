//! Removes script arguments from text of the service. They may be secret, and the service may repeat
//! them in an error, quoted or escaped in any way.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::command::Command;

const MASK: &str = "***";
/// The shortest single word of the arguments that is removed.
const MIN_WORD: usize = 4;
/// From this length on, a word is removed inside another word too, and its beginning where the
/// service cut it.
const MIN_PART: usize = 8;

/// The arguments of the commands of one submit.
#[derive(Clone, Default)]
pub struct ArgumentRedactor {
    /// By their first character.
    secrets: Arc<BTreeMap<char, Vec<Vec<char>>>>,
}

impl fmt::Debug for ArgumentRedactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArgumentRedactor(***)")
    }
}

impl ArgumentRedactor {
    /// Characters of a text in which arguments are searched. The rest is cut off.
    pub const MAX_SEARCHED: usize = 8192;

    pub fn new(commands: &[Command]) -> Self {
        let mut secrets: BTreeMap<char, Vec<Vec<char>>> = BTreeMap::new();
        let mut add = |text: &str, min: usize| {
            let secret = fold(text);
            let Some(first) = secret.first().filter(|_| secret.len() >= min) else { return };
            let known = secrets.entry(*first).or_default();
            if !known.contains(&secret) {
                known.push(secret);
            }
        };
        for args in commands.iter().filter_map(|command| command.param("Args")) {
            add(args, 1);
            let punctuation = |c: char| c.is_ascii_punctuation();
            for word in args.split_whitespace() {
                add(word, MIN_WORD);
                // The value of `-Key:value` or `key=value`, and a word without its quotes.
                for part in word.split(['=', ':', ',', ';']) {
                    add(part, MIN_WORD);
                    add(part.trim_matches(punctuation), MIN_WORD);
                }
            }
        }
        Self { secrets: Arc::new(secrets) }
    }

    /// Returns whether there are no arguments.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Returns `text` with `***` in place of the arguments.
    pub fn redact(&self, text: &str) -> String {
        if self.is_empty() {
            return text.to_owned();
        }
        let chars: Vec<char> = text.chars().take(Self::MAX_SEARCHED).collect();
        let mut shown = String::new();
        let mut at = 0;
        while let Some(c) = chars.get(at) {
            let end = self.longest_match(&chars, at);
            match end {
                Some(_) => shown.push_str(MASK),
                None => shown.push(*c),
            }
            at = end.unwrap_or(at + 1);
        }
        shown
    }

    /// Returns the end of the longest argument that begins at `start`.
    fn longest_match(&self, text: &[char], start: usize) -> Option<usize> {
        let firsts = decode(text, start).into_iter().filter_map(|(c, _)| c);
        firsts
            .flat_map(|first| self.secrets.get(&first).into_iter().flatten())
            .filter_map(|secret| match_end(text, start, secret))
            .max()
    }
}

/// Returns the characters that are compared: lower case, without blanks, quotes and escapes.
fn fold(text: &str) -> Vec<char> {
    text.chars().filter_map(compared).collect()
}

/// Returns the character as it is compared, or None for one that quoting and escaping change.
fn compared(c: char) -> Option<char> {
    let is_noise = c.is_whitespace()
        || c.is_control()
        || matches!(c, '\\' | '"' | '\'' | '`' | '^' | '+' | '“' | '”' | '‘' | '’');
    (!is_noise).then(|| c.to_lowercase().next().unwrap_or(c))
}

/// Returns the end of `secret` in `text` if it begins at `start`.
fn match_end(text: &[char], start: usize, secret: &[char]) -> Option<usize> {
    // Text may be read in more than one way, as `\u0041`. Each place is one way.
    let mut places = vec![start];
    let mut matched = 0;
    let mut end = start;
    for wanted in secret {
        let mut next = Vec::new();
        // Noise is skipped between characters. Its ways are added to the list while it is read.
        let mut i = 0;
        while let Some(&place) = places.get(i) {
            for (c, after) in decode(text, place) {
                match c {
                    Some(c) if c == *wanted && !next.contains(&after) => next.push(after),
                    None if matched > 0 && !places.contains(&after) => places.push(after),
                    _ => {}
                }
            }
            i += 1;
        }
        let Some(&furthest) = next.iter().max() else { break };
        end = furthest;
        matched += 1;
        places = next;
    }
    let before = start.checked_sub(1).and_then(|at| text.get(at));
    let after = text.get(end);
    let is_word = |c: Option<&char>| c.is_some_and(|c| c.is_alphanumeric());
    let is_whole =
        matched == secret.len() && (matched >= MIN_PART || !(is_word(before) || is_word(after)));
    let is_cut = matched >= MIN_PART
        && after.is_none_or(|c| matches!(c, '…' | '.' | '"' | '\'' | '\\' | '<' | '&'));
    (is_whole || is_cut).then_some(end)
}

/// Returns each way to read the text at `at`: the character, None if it is noise, and its end.
fn decode(text: &[char], at: usize) -> Vec<(Option<char>, usize)> {
    let Some(&c) = text.get(at) else { return Vec::new() };
    let mut ways = vec![(compared(c), at + 1)];
    let escaped = match c {
        '\\' => match text.get(at + 1) {
            Some('u' | 'U') => hex(text, at + 2, 4).map(|code| (code, at + 6)),
            Some('x') => hex(text, at + 2, 2).map(|code| (code, at + 4)),
            Some('n' | 'r' | 't' | 'b' | 'f' | '0') => Some((u32::from(' '), at + 2)),
            _ => None,
        },
        '%' => percent(text, at),
        '&' => entity(text, at),
        _ => None,
    };
    let escaped = escaped.and_then(|(code, end)| Some((compared(char::from_u32(code)?), end)));
    ways.extend(escaped);
    ways
}

fn hex(text: &[char], from: usize, digits: usize) -> Option<u32> {
    let digits: String = text.get(from..from + digits)?.iter().collect();
    u32::from_str_radix(&digits, 16).ok()
}

/// Decodes `%41` and the UTF-8 of `%C3%A4`.
fn percent(text: &[char], at: usize) -> Option<(u32, usize)> {
    let byte = |n: usize| {
        let from = at + 3 * n;
        (text.get(from) == Some(&'%')).then(|| hex(text, from + 1, 2)).flatten()
    };
    let first = byte(0)?;
    let length = match first {
        0..=0x7f => 1,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    let bytes: Option<Vec<u8>> =
        (0..length).map(|n| byte(n).and_then(|byte| u8::try_from(byte).ok())).collect();
    let decoded = String::from_utf8(bytes?).ok()?.chars().next()?;
    Some((u32::from(decoded), at + 3 * length))
}

/// Decodes `&quot;`, `&#39;` and `&#x27;`.
fn entity(text: &[char], at: usize) -> Option<(u32, usize)> {
    let length = text.iter().skip(at).take(10).position(|c| *c == ';')?;
    let name: String = text.get(at + 1..at + length)?.iter().collect();
    let code = match (name.as_str(), name.strip_prefix('#')) {
        ("quot" | "apos" | "nbsp", _) => u32::from(' '),
        ("amp", _) => u32::from('&'),
        ("lt", _) => u32::from('<'),
        ("gt", _) => u32::from('>'),
        (_, Some(number)) => match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None => number.parse().ok()?,
        },
        _ => return None,
    };
    Some((code, at + length + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redactor(args: &str) -> ArgumentRedactor {
        ArgumentRedactor::new(&[Command::run_script("a.ps1", Some(args)).unwrap()])
    }

    #[test]
    fn arguments_are_removed_in_every_quoting() {
        let args = r#"-Token "p@ss<w>\örd's" -N 2"#;
        let redactor = redactor(args);
        let json = serde_json::to_string(args).unwrap();
        let html = args.replace('&', "&amp;").replace('"', "&quot;").replace('\'', "&#39;");
        let html = html.replace('<', "&lt;").replace('>', "&gt;");
        let url: String =
            percent_encoding::utf8_percent_encode(args, percent_encoding::NON_ALPHANUMERIC)
                .collect();
        let unicode: String = args.chars().map(|c| format!("\\u{:04X}", u32::from(c))).collect();
        let shapes = [
            args.to_owned(),
            args.to_uppercase(),
            args.replace(' ', "\n  "),
            args.replace('\'', "''"),
            url.replace("%20", "+"),
            format!("{json:?}"),
            json,
            html,
            url,
            unicode,
        ];
        for shape in shapes {
            let shown = redactor.redact(&format!("The value {shape} is refused"));
            let left = shown.to_lowercase();
            assert!(!["ss", "rd", "token", "p@"].iter().any(|it| left.contains(it)), "{shown}");
            assert!(shown.starts_with("The value ") && shown.ends_with(" is refused"), "{shown}");
        }
        let word = redactor.redact(r#"argument 'p@ss<w>\\\\örd''s' is wrong"#);
        assert_eq!(word, "argument '***' is wrong");
    }

    #[test]
    fn a_part_that_the_service_cut_is_removed() {
        let redactor = redactor("correct-horse-battery-staple");
        assert_eq!(redactor.redact("bad: correct-horse-batt"), "bad: ***");
        assert_eq!(redactor.redact("bad: 'correct-horse…"), "bad: '***…");
        assert_eq!(redactor.redact("correct it"), "correct it");
    }

    #[test]
    fn short_arguments_are_removed_as_words_only() {
        assert_eq!(redactor("2").redact("2 of 12 are 2."), "*** of 12 are ***.");
        assert_eq!(redactor("").redact("as it is"), "as it is");
        assert_eq!(redactor("' '").redact("as it is"), "as it is");
    }

    proptest! {
        #[test]
        fn no_argument_of_random_characters_is_left(
            args in "[!-~äß]{8,40}", before in "[a-z ]{0,9} ", after in " [a-z ]{0,9}"
        ) {
            prop_assume!(fold(&args).len() >= MIN_WORD);
            let shown = redactor(&args).redact(&format!("{before}{args}{after}"));
            prop_assert!(!shown.contains(&args), "{shown}");
            let quoted = serde_json::to_string(&args).unwrap();
            prop_assert!(!redactor(&args).redact(&quoted).contains(&quoted));
        }
    }
}
