//! The scripts that a probe runs. They read nothing, change nothing, and remove their two files.

use crate::error::Result;
use crate::model::{Command, LocalContent, Shell, quote_args};

/// The lengths of the outputs, in characters.
pub(super) const OUTPUTS: [usize; 3] = [1_000, 100_000, 1_000_000];
/// Begins each line of the script that prints its arguments.
pub(super) const ECHO: &str = "arg:";
/// One argument of each kind.
pub(super) const ARGUMENTS: [(&str, &str); 4] =
    [("plain", "plain"), ("blank", "two words"), ("quote", "it's"), ("not ASCII", "größe")];
/// An argument with the characters that the portal refuses.
pub(super) const PORTAL: (&str, &str) = ("refused in the portal", "a;b&c|d!e$f(g)");

const POWERSHELL: Texts = Texts {
    suffix: ".ps1",
    echo: "foreach ($one in $args) { 'arg:' + $one }\n",
    output: "'x' * [int]$args[0]\n",
    exit: "'before'\nexit 3\n",
    // A new file: one that exists is left alone.
    create: "$new = [IO.FileMode]::CreateNew\n\
             $full = [IO.File]::Open($args[0], $new)\n\
             $full.WriteByte(112)\n\
             $full.Close()\n\
             [IO.File]::Open($args[1], $new).Close()\n",
    remove: "Remove-Item -LiteralPath $args\n",
    folder: r"C:\Windows\Temp\",
};
const BASH: Texts = Texts {
    suffix: ".sh",
    echo: "for one in \"$@\"; do printf 'arg:%s\\n' \"$one\"; done\n",
    output: "printf \"%${1}s\\n\" '' | tr ' ' x\n",
    exit: "echo before\nexit 3\n",
    // noclobber: a file or link that exists is left alone.
    create: "set -C\nprintf p > \"$1\"\n: > \"$2\"\n",
    remove: "rm -f -- \"$@\"\n",
    folder: "/tmp/",
};

/// The texts of the scripts for one shell.
struct Texts {
    suffix: &'static str,
    echo: &'static str,
    output: &'static str,
    exit: &'static str,
    create: &'static str,
    remove: &'static str,
    folder: &'static str,
}

/// The scripts for one machine.
pub(super) struct Scripts {
    texts: &'static Texts,
    /// The two files: with content, and empty. Nobody can guess their names.
    files: [String; 2],
}

impl Scripts {
    pub fn new(shell: Shell) -> Self {
        let texts = match shell {
            Shell::PowerShell => &POWERSHELL,
            Shell::Bash => &BASH,
        };
        let id = uuid::Uuid::new_v4().simple().to_string();
        let file = |name: &str| format!("{}mlr-probe-{id}-{name}.txt", texts.folder);
        Self { texts, files: [file("full"), file("empty")] }
    }

    /// Returns the commands that print arguments and outputs.
    pub fn printing(&self, arguments: &[&str]) -> Result<Vec<Command>> {
        let mut commands = vec![self.script("echo", self.texts.echo, arguments)?];
        for length in OUTPUTS {
            commands.push(self.script("output", self.texts.output, &[&length.to_string()])?);
        }
        Ok(commands)
    }

    /// Returns a command that ends with an exit code, and one after it.
    pub fn exiting(&self) -> Result<Vec<Command>> {
        let exit = self.script("exit", self.texts.exit, &[])?;
        Ok(vec![exit, self.script("echo", self.texts.echo, &["after"])?])
    }

    /// Returns the commands that make two files and collect them, the empty one last.
    pub fn collecting(&self) -> Result<Vec<Command>> {
        let [full, empty] = &self.files;
        let create = self.script("create", self.texts.create, &[full, empty])?;
        Ok(vec![create, Command::get_file(full)?, Command::get_file(empty)?])
    }

    /// Returns the command that removes both files.
    pub fn removing(&self) -> Result<Vec<Command>> {
        let [full, empty] = &self.files;
        Ok(vec![self.script("remove", self.texts.remove, &[full, empty])?])
    }

    fn script(&self, name: &str, code: &'static str, arguments: &[&str]) -> Result<Command> {
        let file = format!("mlr-probe-{name}{}", self.texts.suffix);
        let arguments: Vec<String> = arguments.iter().map(|it| (*it).to_owned()).collect();
        let args = quote_args(&file, &arguments);
        Command::run_local(LocalContent::new(&file, code)?, args.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a script as the Linux agent does.
    fn run_in_bash(command: &Command) -> std::process::Output {
        let args = command.param("Args").unwrap_or_default();
        let code = std::str::from_utf8(&command.content().unwrap().bytes).unwrap().to_owned();
        let line = format!("printf '%s' \"$CODE\" | /bin/bash -s -- {args}");
        let mut bash = std::process::Command::new("bash");
        bash.args(["-c", &line]).env("CODE", code).output().unwrap()
    }

    /// Returns the output of a script, and its exit code.
    fn run(command: &Command) -> (String, Option<i32>) {
        let output = run_in_bash(command);
        assert!(output.stderr.is_empty(), "{output:?}");
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    }

    #[test]
    fn the_scripts_run_in_bash_and_leave_nothing_behind() {
        let scripts = Scripts::new(Shell::Bash);
        let printing = scripts.printing(&["two words", "it's", PORTAL.1]).unwrap();
        let expected = format!("arg:two words\narg:it's\narg:{}\n", PORTAL.1);
        assert_eq!(run(&printing[0]).0, expected);
        for (command, length) in printing[1..].iter().zip(OUTPUTS) {
            assert_eq!(run(command).0.trim_end(), "x".repeat(length));
        }
        assert_eq!(run(&scripts.exiting().unwrap()[0]).1, Some(3));
        run(&scripts.collecting().unwrap()[0]);
        let sizes = scripts.files.each_ref().map(|file| std::fs::metadata(file).unwrap().len());
        assert_eq!(sizes, [1, 0]);
        run(&scripts.removing().unwrap()[0]);
        assert!(scripts.files.iter().all(|file| !std::path::Path::new(file).exists()));
    }

    #[test]
    fn a_file_that_exists_is_left_alone() {
        let scripts = Scripts::new(Shell::Bash);
        std::fs::write(&scripts.files[0], "another's").unwrap();
        let output = run_in_bash(&scripts.collecting().unwrap()[0]);
        assert!(!output.stderr.is_empty());
        assert_eq!(std::fs::read(&scripts.files[0]).unwrap(), b"another's");
        run(&scripts.removing().unwrap()[0]);
    }

    #[test]
    fn the_names_and_texts_do_not_change_between_probes() {
        let names = |shell| -> Vec<_> {
            let commands = Scripts::new(shell).collecting().unwrap();
            commands.iter().filter_map(|it| it.library_name().map(str::to_owned)).collect()
        };
        assert_eq!(names(Shell::PowerShell), names(Shell::PowerShell));
        assert!(names(Shell::Bash)[0].ends_with(".sh"));
    }
}
