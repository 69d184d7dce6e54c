//! Checks the commands: their order, their files in the library, their scripts and arguments.

use super::Check;
use crate::library::{check_content_size, is_listed};
use crate::model::{
    Command, CommandType, LibraryFile, LocalContent, check_commands, is_powershell,
};
use crate::pipeline::Pipeline;

/// What the portal refuses in the arguments of a script (docs/service.md, section 19).
const REFUSED_IN_PORTAL: [char; 7] = [';', '&', '|', '!', '$', '(', ')'];
/// Characters of arguments with which the agent's command line, of at most 32,767, is nearly full.
const LONG_ARGUMENTS: usize = 30_000;

pub(super) async fn check_library_commands(
    pipeline: &Pipeline,
    commands: &[Command],
    check: &mut Check,
) {
    if let Err(error) = check_commands(commands) {
        check.add_error("commands", &error);
    }
    for command in commands {
        check_arguments(command, check);
    }
    for content in commands.iter().filter_map(Command::content) {
        if let Err(error) = check_content_size(content, &pipeline.options.limits) {
            check.add_error("library", &error);
        }
    }
    for command in commands.iter().filter(|it| it.command_type() == Some(CommandType::RunScript)) {
        if let Some(content) = command.content() {
            check_script(content, check);
        }
    }
    if commands.iter().all(|command| command.library_name().is_none()) {
        return;
    }
    match pipeline.list_library_files().await {
        Ok(files) => commands.iter().for_each(|command| check_file(command, &files, check)),
        Err(error) if needs_upload(commands) => check.add_error("library", &error),
        // A warning only: the submit itself does not need the permission for the library.
        Err(error) => check.add(
            "warning",
            "library",
            error.message.clone(),
            error.hint.clone().unwrap_or_default(),
        ),
    }
}

/// Returns whether a command brings its file, for which a submit needs the library.
pub(super) fn needs_upload(commands: &[Command]) -> bool {
    commands.iter().any(|command| command.content().is_some())
}

fn check_file(command: &Command, files: &[LibraryFile], check: &mut Check) {
    let Some(name) = command.library_name() else { return };
    if let Some(content) = command.content() {
        if let Err(error) = is_listed(content, files) {
            check.add_error("library", &error);
        }
    } else if !files.iter().any(|file| file.file_name.eq_ignore_ascii_case(name)) {
        let hint = "upload the file with library.ensure(path), or use Command.run_local or \
                    Command.put_local, which upload it";
        let message = format!("{name:?} is not in the live response library");
        check.add("error", "library", message, hint);
    }
}

/// Checks how the agent passes the arguments on. The findings do not show them: they may be secret.
fn check_arguments(command: &Command, check: &mut Check) {
    let (Some(args), Some(name)) = (command.param("Args"), command.library_name()) else { return };
    let refused: String = REFUSED_IN_PORTAL.into_iter().filter(|c| args.contains(*c)).collect();
    if !refused.is_empty() {
        check.add(
            "warning",
            "arguments",
            format!("the arguments of {name} have {refused:?}, which the portal refuses"),
            "the API may refuse them too: pass a mapping, which is sent as base64url: \
             https://github.com/mde-live-response/mde-live-response/blob/main/docs/commands.md",
        );
    }
    if args.contains('"') && is_powershell(name) {
        check.add(
            "warning",
            "arguments",
            format!("the arguments of {name} have a double quote"),
            "the Windows agent puts them into a double-quoted command line, and may end it there: \
             pass a mapping, which is sent as base64url: \
             https://github.com/mde-live-response/mde-live-response/blob/main/docs/commands.md",
        );
    }
    let length = args.chars().count();
    if length > LONG_ARGUMENTS {
        check.add(
            "warning",
            "arguments",
            format!("the arguments of {name} have {length} characters"),
            "the agent's command line takes about 32,000, its own part included: bring long input \
             as a file, with Command.put_local",
        );
    }
}

/// Checks whether the agent reads the script as it is meant.
fn check_script(content: &LocalContent, check: &mut Check) {
    let (name, bytes) = (&content.file_name, &content.bytes);
    if is_powershell(name) {
        if !bytes.is_ascii() && !bytes.starts_with(b"\xef\xbb\xbf") {
            check.add(
                "warning",
                "script",
                format!("{name} has characters other than ASCII, and no byte order mark"),
                "Windows PowerShell reads them wrong: save the script as UTF-8 with a byte order \
                 mark",
            );
        }
    } else if bytes.windows(2).any(|pair| pair == b"\r\n") {
        check.add(
            "warning",
            "script",
            format!("{name} has CRLF line ends"),
            "bash fails on them: save the script with LF line ends",
        );
    }
}
