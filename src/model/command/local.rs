//! The content of a local file or of inline code, which a command takes to the library.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;

use super::super::library_file::check_library_name;
use crate::digest::sha256_hex;
use crate::error::{Error, Result};

/// Digits of the SHA-256 in the library name.
const NAME_DIGITS: usize = 16;
/// The byte order mark, by which Windows PowerShell recognizes UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Content with the library name that follows from it: other content has another name.
#[derive(Clone, PartialEq, Eq)]
pub struct LocalContent {
    /// The name of the file that it was read from.
    pub file_name: String,
    /// `<stem>-<first digits of the SHA-256><suffix>`.
    pub library_name: String,
    pub sha256: String,
    pub bytes: Bytes,
}

/// What runs a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    PowerShell,
    Bash,
}

/// The content of a command, if it has any. It says how to send the command, so two commands with
/// the same library name are equal with it and without it.
#[derive(Clone, Default)]
pub(super) struct Attachment(pub Option<Arc<LocalContent>>);

impl LocalContent {
    /// Fails if the library does not accept the name.
    pub fn new(file_name: &str, content: impl Into<Bytes>) -> Result<Self> {
        let bytes = content.into();
        let sha256 = sha256_hex(&bytes);
        let (stem, suffix) = split_suffix(file_name);
        let digits: String = sha256.chars().take(NAME_DIGITS).collect();
        let library_name = format!("{stem}-{digits}{suffix}");
        check_library_name(file_name).and_then(|()| check_library_name(&library_name))?;
        Ok(Self { file_name: file_name.to_owned(), library_name, sha256, bytes })
    }

    /// Makes a script of code that is not in a file.
    pub fn inline(code: &str, shell: Shell) -> Result<Self> {
        let code = code.strip_prefix(BYTE_ORDER_MARK).unwrap_or(code);
        if code.trim().is_empty() {
            return Err(Error::invalid("the code of run_inline is empty")
                .with_hint("give the script's text"));
        }
        if code.contains('\0') {
            return Err(Error::invalid("the code of run_inline has a NUL character")
                .with_hint("take it out: no shell accepts it"));
        }
        match shell {
            Shell::PowerShell => Self::new("inline.ps1", powershell_script(code)),
            Shell::Bash => Self::new("inline.sh", bash_script(code)),
        }
    }
}

impl Shell {
    /// Reads `powershell` or `bash`.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "powershell" => Ok(Self::PowerShell),
            "bash" => Ok(Self::Bash),
            _ => Err(Error::invalid(format!("shell is {name:?}"))
                .with_hint("give \"powershell\" or \"bash\"")),
        }
    }
}

/// Returns whether the library name is one of [`LocalContent`] with this SHA-256.
pub fn is_local_name(library_name: &str, sha256: &str) -> bool {
    let (stem, _) = split_suffix(library_name);
    let Some((_, digits)) = stem.rsplit_once('-') else { return false };
    digits.len() == NAME_DIGITS
        && sha256.get(..NAME_DIGITS).is_some_and(|start| start.eq_ignore_ascii_case(digits))
}

/// Splits off the suffix with its dot, as `.ps1`. A name that only begins with a dot has none.
pub fn split_suffix(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(at) if at > 0 => name.split_at(at),
        _ => (name, ""),
    }
}

/// Without the mark, Windows PowerShell reads a script in the machine's own encoding.
fn powershell_script(code: &str) -> String {
    if code.is_ascii() { code.to_owned() } else { format!("{BYTE_ORDER_MARK}{code}") }
}

/// The agent gives the script to bash on its standard input. A command that reads standard input
/// would read the rest of the script, and nothing after it would run. So bash reads all code as
/// one word first, and runs it with an empty standard input.
fn bash_script(code: &str) -> String {
    let code = code.replace("\r\n", "\n").replace('\r', "\n");
    let quoted = code.replace('\'', r"'\''");
    format!("eval '{quoted}\n' </dev/null\n")
}

impl fmt::Debug for LocalContent {
    /// Leaves the content out, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.library_name, self.bytes.len())
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PartialEq for Attachment {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Attachment {}

impl Hash for Attachment {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_follows_from_the_content() {
        let named = |file: &str| LocalContent::new(file, "abc").unwrap().library_name;
        assert_eq!(named("triage.ps1"), "triage-ba7816bf8f01cfea.ps1");
        assert_eq!(named("a.tar.gz"), "a.tar-ba7816bf8f01cfea.gz");
        assert_eq!(named("tool"), "tool-ba7816bf8f01cfea");
        assert_eq!(named(".profile"), ".profile-ba7816bf8f01cfea");
        for wrong in ["", "a b.ps1", "a/b", &"x".repeat(250)] {
            assert!(LocalContent::new(wrong, "abc").is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_names_with_the_digits_of_their_content_are_recognized() {
        let content = LocalContent::new("triage.ps1", "abc").unwrap();
        let upper = content.sha256.to_uppercase();
        assert!(is_local_name(&content.library_name, &content.sha256));
        assert!(is_local_name(&content.library_name, &upper));
        for other in ["triage.ps1", "triage-ba7816bf8f01cfeb.ps1", "triage-ba78.ps1", "-"] {
            assert!(!is_local_name(other, &content.sha256), "{other}");
        }
        assert!(!is_local_name(&content.library_name, "") && !is_local_name("é-1", "é"));
    }

    #[test]
    fn powershell_code_gets_a_mark_only_if_it_needs_one() {
        let bytes = |code| LocalContent::inline(code, Shell::PowerShell).unwrap().bytes;
        assert_eq!(bytes("Get-Date\r\n"), "Get-Date\r\n");
        assert_eq!(bytes("'Müller'"), "\u{feff}'Müller'");
        assert_eq!(bytes("\u{feff}'Müller'"), "\u{feff}'Müller'");
    }

    #[test]
    fn empty_code_is_refused() {
        for code in ["", " \n", "\u{feff}", "a\0"] {
            assert!(LocalContent::inline(code, Shell::Bash).is_err(), "{code:?}");
        }
    }
}
