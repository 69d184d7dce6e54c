//! Safe local file names, made from names that a machine sends. The machine may be hostile.

use crate::text::is_bidi_control;

/// The name of a file if its own name has no usable character.
const DEFAULT_NAME: &str = "file.bin";
/// Longest name in bytes. File systems allow 255; the rest is for prefixes.
const MAX_BYTES: usize = 200;
const MAX_EXTENSION: usize = 20;

/// Returns the last component of `name`, safe for any file system: it cannot lead to another
/// folder, name a device, or reorder the text around it.
pub fn sanitize(name: &str) -> String {
    non_empty_or(sanitize_component(name, MAX_BYTES), DEFAULT_NAME)
}

/// Returns the name of a collected file: the original name in the payload if it is usable, else the
/// name in the path.
pub fn for_collected_file(original: Option<&str>, remote_path: &str) -> String {
    let original =
        original.map(|name| sanitize_component(name, MAX_BYTES)).filter(|name| !name.is_empty());
    original.unwrap_or_else(|| sanitize(remote_path))
}

/// Returns the folder name for the files of one action: `<machine name>_<action id>`.
pub fn folder_name(machine: &str, action_id: &str) -> String {
    let machine = non_empty_or(sanitize_component(machine, 120), "machine");
    let action_id = non_empty_or(sanitize_component(action_id, 60), "action");
    format!("{machine}_{action_id}")
}

/// Returns the file name for the command at `index`: `<index>_<name>`.
pub fn indexed_name(index: usize, name: &str) -> String {
    format!("{index}_{}", sanitize(name))
}

fn non_empty_or(name: String, other: &str) -> String {
    if name.is_empty() { other.to_owned() } else { name }
}

fn sanitize_component(name: &str, max: usize) -> String {
    let last = name.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next().unwrap_or_default();
    let kept: String = last.chars().filter(|c| !is_invisible(*c)).map(replace_reserved).collect();
    // Twice: truncating may leave the name of a device.
    escape_device_name(truncate(&escape_device_name(trim_dots_and_spaces(&kept).to_owned()), max))
}

fn escape_device_name(name: String) -> String {
    if is_device(&name) { format!("_{name}") } else { name }
}

/// Returns whether a character is a control character, is invisible, or reorders the text around
/// it.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || is_bidi_control(c)
        || matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
        || matches!(c, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Replaces a character that Windows does not allow in a name. A colon would start an alternate
/// data stream.
fn replace_reserved(c: char) -> char {
    if matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*') { '_' } else { c }
}

/// Trims leading spaces, and trailing dots and spaces. Windows drops those at the end, so two names
/// could become the same file.
fn trim_dots_and_spaces(name: &str) -> &str {
    name.trim_start().trim_end_matches(|c: char| c == '.' || c.is_whitespace())
}

/// Returns whether Windows treats the name as a device. The extension does not matter.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    if matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" | "CLOCK$") {
        return true;
    }
    let port = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    let mut number = port.unwrap_or_default().chars();
    matches!((number.next(), number.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
}

/// Shortens the name to `max` bytes and keeps its extension.
fn truncate(name: &str, max: usize) -> String {
    if name.len() <= max {
        return name.to_owned();
    }
    let (stem, extension) = match name.rfind('.').and_then(|dot| name.split_at_checked(dot)) {
        Some((stem, extension)) if extension.len() <= MAX_EXTENSION => (stem, extension),
        _ => (name, ""),
    };
    let mut end = max.saturating_sub(extension.len());
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{extension}", trim_dots_and_spaces(stem.get(..end).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_names() {
        for (name, expected) in [
            (r"C:\Temp\triage.zip", "triage.zip"),
            ("/var/log/auth.log", "auth.log"),
            (r"..\..\Windows\System32\evil.dll", "evil.dll"),
            ("../../../etc/passwd", "passwd"),
            ("/etc/cron.d/", "cron.d"),
            (r"\\server\share\a.txt", "a.txt"),
            (r"\\?\C:\a.txt", "a.txt"),
            ("..", "file.bin"),
            ("a/..", "file.bin"),
            ("", "file.bin"),
            (" . . ", "file.bin"),
            ("\0\u{202e}", "file.bin"),
            ("a\0b\r\n\u{1b}[31m.txt", "ab[31m.txt"),
            ("invoice\u{202e}fdp.exe", "invoicefdp.exe"),
            ("a.txt:hidden", "a.txt_hidden"),
            ("C:evil.txt", "C_evil.txt"),
            ("CON", "_CON"),
            ("com1.txt", "_com1.txt"),
            ("Aux .tar.gz", "_Aux .tar.gz"),
            ("LPT².log", "_LPT².log"),
            ("COM10", "COM10"),
            ("console.log", "console.log"),
            ("NUL\0.txt", "_NUL.txt"),
            ("trailing. . .", "trailing"),
            (".bashrc", ".bashrc"),
            ("what?*<>|\".txt", "what______.txt"),
            ("отчёт 漢字.docx", "отчёт 漢字.docx"),
        ] {
            assert_eq!(sanitize(name), expected, "{name:?}");
        }
    }

    #[test]
    fn long_names_keep_their_extension() {
        let long = sanitize(&format!("{}.tar.gz", "a".repeat(4096)));
        assert_eq!((long.len(), long.ends_with("a.gz")), (200, true));
        let wide = sanitize(&format!("{}.docx", "漢".repeat(4096)));
        assert!(wide.len() <= 200 && wide.len() > 195 && wide.ends_with("漢.docx"));
        assert_eq!(sanitize(&format!("a.{}", "b".repeat(4096))).len(), 200);
        assert_eq!(sanitize(&format!("CON{}.txt", " ".repeat(300))), "_CON.txt");
        assert_eq!(sanitize(&format!("CON{}x", " ".repeat(300))), "_CON");
        assert_eq!(sanitize(&format!("CON.{}.txt", "x".repeat(192))).len(), 200);
    }

    #[test]
    fn folders_and_indices() {
        assert_eq!(folder_name("ws-042.example.test", "6b1d2c1e"), "ws-042.example.test_6b1d2c1e");
        assert_eq!(folder_name("..", "/"), "machine_action");
        assert!(folder_name(&"m".repeat(4096), &"0".repeat(4096)).len() < 200);
        assert_eq!(indexed_name(2, r"C:\x\a.zip"), "2_a.zip");
        assert_eq!(for_collected_file(Some("../b.txt"), r"C:\x\a.txt"), "b.txt");
        assert_eq!(for_collected_file(Some(".."), r"C:\x\a.txt"), "a.txt");
        assert_eq!(for_collected_file(None, "/"), "file.bin");
    }

    proptest! {
        #[test]
        fn any_name_becomes_one_safe_component(
            name in "[\\x00-\\x1f/\\\\.: a-zA-Z\\u{202e}é漢]{0,300}|\\PC*",
        ) {
            let safe_name = sanitize(&name);
            prop_assert!(!safe_name.is_empty() && safe_name.len() <= 200);
            prop_assert!(!safe_name.contains(['/', '\\', ':', '\0']));
            prop_assert!(!safe_name.ends_with(['.', ' ']));
            prop_assert!(!safe_name.chars().any(is_invisible) && !is_device(&safe_name));
            prop_assert_eq!(sanitize(&safe_name), safe_name);
        }
    }
}
