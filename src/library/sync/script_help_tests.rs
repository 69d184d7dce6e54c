use super::*;

fn help(description: Option<&str>, parameters: Option<&str>) -> ScriptHelp {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    ScriptHelp { description: owned(description), parameters: owned(parameters) }
}

const BLOCK: &str = "<#
.SYNOPSIS
    Collects what matters,
    and .NET versions.

    It takes a minute.
.DESCRIPTION
    Long.
.PARAMETER Depth
    How deep it goes.
.Parameter Out
.EXAMPLE
    triage.ps1 -Depth 2
#>
param($Depth, $Out)
";

#[test]
fn comment_based_help_of_powershell() {
    let expected = help(
        Some("Collects what matters, and .NET versions."),
        Some("-Depth: How deep it goes; -Out"),
    );
    let lines = BLOCK.lines().take_while(|line| !line.starts_with("#>")).skip(1);
    let commented: Vec<_> = lines.map(|line| format!("# {line}")).collect();
    for text in [
        BLOCK.to_owned(),
        BLOCK.replace('\n', "\r\n"),
        format!("\u{feff}\n{BLOCK}"),
        format!("# Copyright 2026\n#Requires -Version 5\n\n<# other #>\n{BLOCK}"),
        format!("{}\nGet-Process", commented.join("\n")),
        BLOCK.replace("param($Depth, $Out)", "\n\nfunction Get-It {}"),
    ] {
        assert_eq!(read_help("Triage.PS1", text.as_bytes()), expected, "{text}");
    }
    let utf16 = "\u{feff}".encode_utf16().chain(BLOCK.encode_utf16()).flat_map(u16::to_le_bytes);
    assert_eq!(read_help("triage.ps1", &utf16.collect::<Vec<_>>()), expected);
    let only = "<#\n.DESCRIPTION\n\nLong.\n#>";
    assert_eq!(read_help("a.ps1", only.as_bytes()), help(Some("Long."), None));
}

#[test]
fn what_is_not_the_help_of_the_script() {
    for text in [
        "",
        "'x'",
        "# collects",
        "<# .SYNOPSIS never closed",
        "function Get-It { <#\n.SYNOPSIS\nIts own.\n#> }",
        "<#\n.SYNOPSIS\nIts own.\n#>\n\nfunction Get-It {}",
        "# .SYNOPSIS\n# Its own.\nFunction Get-It {}",
        "param($Depth)\n<#\n.SYNOPSIS\nLate.\n#>",
    ] {
        assert_eq!(read_help("a.ps1", text.as_bytes()), ScriptHelp::default(), "{text}");
    }
    assert_eq!(read_help("a.exe", BLOCK.as_bytes()), ScriptHelp::default());
    assert_eq!(read_help("a", BLOCK.as_bytes()), ScriptHelp::default());
}

#[test]
fn the_leading_comment_of_a_shell_script() {
    for (name, text, expected) in [
        (
            "a.sh",
            "#!/bin/bash\n# Collects\n#   what matters.\n#\n# More.\nid\n",
            "Collects what matters.",
        ),
        ("a", "#!/usr/bin/env bash\r\n\r\n# Collects.\r\nid\r\n", "Collects."),
        ("a", "#!/bin/sh -eu\n# Collects.\nid", "Collects."),
        ("a", "#!/usr/bin/env -S zsh -f\n# Collects.\nid", "Collects."),
        ("a.sh", "\u{feff}#!/bin/sh\n# Collects.\nid", "Collects."),
        ("a.bash", "##########\n## Collects.\n##########\n", "Collects."),
        (
            "A.SH",
            "# SPDX-License-Identifier: MIT\n\n# Copyright 2026 us\n# All rights\n\n# Collects.",
            "Collects.",
        ),
    ] {
        assert_eq!(read_help(name, text.as_bytes()), help(Some(expected), None), "{text}");
    }
    for (name, text) in [
        ("a.sh", "#!/bin/sh\nid\n# late"),
        ("a", "# no shebang"),
        ("a", "#!/usr/bin/python3\n# Collects."),
        ("a", "#!/opt/bash/python3\n# Collects."),
        ("a", "#!/usr/bin/fish\n# Collects."),
        ("a.sh", ""),
        ("a.sh", "# shellcheck disable=SC2086\nid"),
    ] {
        assert_eq!(read_help(name, text.as_bytes()), ScriptHelp::default(), "{text}");
    }
}

#[test]
fn a_text_is_one_line_of_a_bounded_length() {
    let text = format!("# {}\u{1b}[2J {}", "x".repeat(400), "y".repeat(400));
    let description = read_help("a.sh", text.as_bytes()).description.unwrap();
    assert_eq!(description.chars().count(), LIMIT + 1);
    assert!(!description.contains('\u{1b}'));
    let late = format!("{}# Collects.", "\n".repeat(HEAD));
    assert_eq!(read_help("a.sh", late.as_bytes()), ScriptHelp::default());
}
