//! Reads what a script says of itself: the comment-based help of PowerShell, or the comment at the
//! start of a shell script.

use crate::model::decode_text;
use crate::text::sanitize;

/// Bytes at the start of a script in which its help is looked for.
const HEAD: usize = 64 << 10;
/// Characters of a text. No page has a limit.
const LIMIT: usize = 500;

/// The keywords of comment-based help (page "about_Comment_Based_Help").
const KEYWORDS: [&str; 15] = [
    "SYNOPSIS",
    "DESCRIPTION",
    "PARAMETER",
    "EXAMPLE",
    "INPUTS",
    "OUTPUTS",
    "NOTES",
    "LINK",
    "COMPONENT",
    "ROLE",
    "FUNCTIONALITY",
    "FORWARDHELPTARGETNAME",
    "FORWARDHELPCATEGORY",
    "REMOTEHELPRUNSPACE",
    "EXTERNALHELP",
];
/// The shells whose comments are read.
const SHELLS: [&str; 5] = ["sh", "bash", "dash", "ksh", "zsh"];
/// How comments begin that do not say what a script is for.
const NOTICES: [&str; 6] = ["copyright", "spdx-", "(c) ", "shellcheck ", "vim:", "-*-"];

/// What a script says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ScriptHelp {
    pub description: Option<String>,
    /// None: it names no parameter.
    pub parameters: Option<String>,
}

/// Reads the help of the file, which is empty if the file is not a script.
pub fn read_help(name: &str, content: &[u8]) -> ScriptHelp {
    let head = content.get(..HEAD).unwrap_or(content);
    let lower = name.to_ascii_lowercase();
    let text = decode_text(head);
    if lower.ends_with(".ps1") {
        return powershell_help(&text);
    }
    let runs_shell = text.strip_prefix("#!").is_some_and(|rest| {
        let mut words = rest.lines().next().unwrap_or_default().split_whitespace();
        words.any(|word| SHELLS.contains(&word.rsplit('/').next().unwrap_or_default()))
    });
    if runs_shell || lower.ends_with(".sh") || lower.ends_with(".bash") {
        let description = shell_description(&text);
        return ScriptHelp { description, parameters: None };
    }
    ScriptHelp::default()
}

fn powershell_help(text: &str) -> ScriptHelp {
    let mut rest = text.trim_start();
    while let Some((comment, after)) = split_comment(rest) {
        rest = after.trim_start();
        let help = help_in(&comment);
        if help == ScriptHelp::default() {
            continue;
        }
        // Help with fewer than two blank lines before a function is the function's.
        let gap = after.get(..after.len() - rest.len()).unwrap_or_default();
        let word = rest.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        let is_of_function = matches!(word.as_str(), "function" | "filter");
        let has_blank_lines = gap.matches('\n').count() > 2;
        return if is_of_function && !has_blank_lines { ScriptHelp::default() } else { help };
    }
    ScriptHelp::default()
}

/// Splits off the block comment or the lines of comment that the text starts with.
fn split_comment(text: &str) -> Option<(String, &str)> {
    if let Some(block) = text.strip_prefix("<#") {
        let (comment, after) = block.split_once("#>")?;
        return Some((comment.to_owned(), after));
    }
    let lines = text.split_inclusive('\n');
    let is_comment = |line: &&str| line.trim_start().starts_with('#');
    let length = lines.clone().take_while(is_comment).map(str::len).sum::<usize>();
    let (comment, after) = text.split_at_checked(length).filter(|_| length > 0)?;
    // The last line break counts as part of the gap after the comment.
    let end = comment.trim_end_matches(['\r', '\n']).len();
    let after = text.get(end..).unwrap_or(after);
    let bare = comment.lines().map(|line| line.trim_start().trim_start_matches('#'));
    Some((bare.collect::<Vec<_>>().join("\n"), after))
}

/// Reads the sections of one comment.
fn help_in(comment: &str) -> ScriptHelp {
    let mut sections: Vec<(String, &str, Vec<&str>)> = Vec::new();
    for line in comment.lines().map(str::trim) {
        match keyword(line) {
            Some((keyword, argument)) => sections.push((keyword, argument, Vec::new())),
            None => sections.iter_mut().last().into_iter().for_each(|it| it.2.push(line)),
        }
    }
    let text_of = |wanted: &str| {
        let section = sections.iter().find(|(keyword, ..)| keyword == wanted);
        section.and_then(|(.., lines)| first_paragraph(lines))
    };
    let parameters: Vec<_> = sections
        .iter()
        .filter(|(keyword, argument, _)| keyword == "PARAMETER" && !argument.is_empty())
        .map(|(_, name, lines)| match first_paragraph(lines) {
            Some(text) => format!("-{name}: {}", text.trim_end_matches('.')),
            None => format!("-{name}"),
        })
        .collect();
    ScriptHelp {
        description: text_of("SYNOPSIS").or_else(|| text_of("DESCRIPTION")),
        parameters: (!parameters.is_empty()).then(|| sanitize(&parameters.join("; "), LIMIT)),
    }
}

/// Splits a line such as `.PARAMETER Depth` into its keyword and the rest.
fn keyword(line: &str) -> Option<(String, &str)> {
    let line = line.strip_prefix('.')?;
    let (word, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let word = word.to_ascii_uppercase();
    KEYWORDS.contains(&word.as_str()).then(|| (word, argument.trim()))
}

fn first_paragraph(lines: &[&str]) -> Option<String> {
    let from_text = lines.iter().skip_while(|line| line.is_empty());
    let paragraph: Vec<_> = from_text.take_while(|line| !line.is_empty()).copied().collect();
    (!paragraph.is_empty()).then(|| sanitize(&paragraph.join(" "), LIMIT))
}

/// Returns the first paragraph of the leading comment that says what the script is for.
fn shell_description(text: &str) -> Option<String> {
    let is_comment = |line: &&str| line.is_empty() || line.starts_with('#');
    let lines = text.lines().map(str::trim).skip_while(|line| line.starts_with("#!"));
    let is_frame = |c: char| matches!(c, '#' | '-' | '=' | '*') || c.is_whitespace();
    let bare: Vec<_> = lines
        .take_while(is_comment)
        .map(|line| line.trim_start_matches('#').trim())
        .map(|line| if line.chars().all(is_frame) { "" } else { line })
        .collect();
    let mut paragraphs = bare.split(|line| line.is_empty());
    let is_notice = |paragraph: &&[&str]| {
        let first = paragraph.first().unwrap_or(&"").to_lowercase();
        first.is_empty() || NOTICES.iter().any(|notice| first.starts_with(notice))
    };
    paragraphs.find(|paragraph| !is_notice(paragraph)).and_then(first_paragraph)
}

#[cfg(test)]
#[path = "script_help_tests.rs"]
mod tests;
