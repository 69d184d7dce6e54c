//! Makes text from outside safe to show in a message, a log, a terminal or a notebook.

/// The hint for a path of Windows with a control character.
pub(crate) const RAW_STRING_HINT: &str = r#"write a raw string, r"C:\Temp\new", or double each backslash: in "C:\new", \n is a line break"#;

/// Returns `text` on one line of at most `limit` characters, without control, bidirectional and
/// invisible characters, and with tokens and signatures replaced by `***`.
pub(crate) fn sanitize(text: &str, limit: usize) -> String {
    let mut shown = String::new();
    let mut left = limit;
    // A gateway's error page may repeat the request that it received, token included.
    let mut secret_follows = false;
    for word in text.split_whitespace() {
        let word: String = word.chars().filter(|&c| is_displayable(c)).collect();
        if word.is_empty() {
            continue;
        }
        if left == 0 {
            shown.push('…');
            break;
        }
        if !shown.is_empty() {
            shown.push(' ');
            left -= 1;
        }
        let word_shown =
            if secret_follows || looks_like_secret(&word) { "***" } else { word.as_str() };
        secret_follows =
            word.trim_matches(|c: char| !c.is_ascii_alphabetic()).eq_ignore_ascii_case("bearer");
        let end = word_shown.char_indices().nth(left).map(|(at, _)| at);
        let Some(end) = end else {
            shown.push_str(word_shown);
            left -= word_shown.chars().count();
            continue;
        };
        shown.push_str(word_shown.get(..end).unwrap_or_default());
        shown.push('…');
        break;
    }
    shown
}

/// Returns `text` without control, bidirectional and invisible characters. A line break or tab
/// becomes a blank.
pub(crate) fn printable(text: &str) -> std::borrow::Cow<'_, str> {
    if text.chars().all(is_displayable) {
        return text.into();
    }
    let shown = text.chars().filter_map(|c| match c {
        '\n' | '\r' | '\t' => Some(' '),
        c => is_displayable(c).then_some(c),
    });
    shown.collect::<String>().into()
}

fn is_displayable(c: char) -> bool {
    // Soft hyphen, joiners, bidirectional controls, byte order mark, specials and tags.
    let hidden = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}' | '\u{e0000}'..='\u{e0fff}');
    !c.is_control() && !hidden
}

/// Returns whether `c` reorders the characters around it.
pub(crate) fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn looks_like_secret(word: &str) -> bool {
    let starts_token = |(at, _): (usize, &str)| {
        word.get(..at)
            .and_then(|before| before.chars().next_back())
            .is_none_or(|c| !c.is_ascii_alphanumeric())
    };
    // A JWT begins with `eyJ`, which is `{"` in base64; a signed link has `sig=` in its query.
    word.contains("sig=") || word.match_indices("eyJ").any(starts_token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whitespace_is_folded_and_invisible_characters_are_dropped() {
        assert_eq!(sanitize(" a\r\n\tb\0\u{1b}[31m c\u{202e}d\u{feff} \u{7} ", 99), "a b[31m cd");
        assert_eq!(sanitize("", 9), "");
        assert_eq!(sanitize("\u{fffd}\u{fffd}", 9), "");
    }

    #[test]
    fn printable_text_is_kept_as_it_is() {
        assert_eq!(printable("a  b ü"), "a  b ü");
        assert_eq!(printable("a\u{1b}[2Jb\u{7}\u{202e}c\nd\u{9b}e"), "a[2Jbc de");
    }

    #[test]
    fn the_limit_counts_characters() {
        assert_eq!(sanitize("äöüß", 4), "äöüß");
        assert_eq!(sanitize("äöüßx", 4), "äöüß…");
        assert_eq!(sanitize("ab cd", 2), "ab…");
        assert_eq!(sanitize("ab cd", 4), "ab c…");
        assert_eq!(sanitize(&"x".repeat(1_000_000), 200).chars().count(), 201);
    }

    #[test]
    fn tokens_and_signatures_are_masked() {
        let echo = "Authorization: Bearer opaque-1 cookie=eyJhbGciOi.x.y https://h.example.test/c?se=1&sig=AbC monkeyJob";
        assert_eq!(sanitize(echo, 999), "Authorization: Bearer *** *** *** monkeyJob");
        assert_eq!(sanitize("e\u{200b}yJhbGci", 999), "***");
    }
}
