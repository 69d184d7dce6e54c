//! Checks whether live response supports a machine's operating system (page "run-live-response",
//! "Prerequisites").
//!
//! Reports only systems that are known to be unsupported: the service does not document the names
//! that it uses for macOS and Linux.

/// The first release of Windows 10 that needs no update. Earlier ones need an update (page
/// "run-live-response").
const WINDOWS_10: u32 = 1909;
const REQUIRED_UPDATES: [(u32, &str); 4] =
    [(1709, "KB4537816"), (1803, "KB4537795"), (1809, "KB4537818"), (1903, "KB4515384")];
const TOO_OLD: [&str; 9] = [
    "WindowsXP",
    "WindowsVista",
    "Windows7",
    "Windows8",
    "Windows8.1",
    "WindowsServer2008",
    "WindowsServer2008R2",
    "WindowsServer2012",
    "WindowsServer2003",
];
/// The page "live-response" supports these with the unified agent. The page of the API omits them.
const UNIFIED_AGENT: [&str; 2] = ["WindowsServer2012R2", "WindowsServer2016"];
const MOBILE: [&str; 3] = ["Android", "iOS", "iPadOS"];

/// Returns why live response may not work on the system, and what to do.
pub fn unsupported_reason(platform: &str, version: Option<&str>) -> Option<(String, &'static str)> {
    let is_one_of = |list: &[&str]| list.iter().any(|known| known.eq_ignore_ascii_case(platform));
    let shown =
        version.map_or_else(|| platform.to_owned(), |version| format!("{platform} {version}"));
    if is_one_of(&TOO_OLD) || is_one_of(&MOBILE) {
        return Some((format!("live response does not support {shown}"), "leave this machine out"));
    }
    if is_one_of(&UNIFIED_AGENT) {
        let message = format!("the page of the live response API does not list {shown}");
        return Some((
            message,
            "the page of the product lists it with the unified agent: make sure that KB5005292 is \
             installed",
        ));
    }
    let release = version.and_then(|version| version.parse::<u32>().ok())?;
    if platform.eq_ignore_ascii_case("Windows10") && release < WINDOWS_10 {
        return Some(match REQUIRED_UPDATES.iter().find(|(known, _)| *known == release) {
            Some((_, update)) => (
                format!("live response on {shown} needs {update}"),
                "install the update, or a later release",
            ),
            None => (
                format!("live response does not support {shown}"),
                "update the machine to 1909 or later",
            ),
        });
    }
    if platform.eq_ignore_ascii_case("macOS") && release < 11 {
        return Some((
            format!("live response does not support {shown}"),
            "update the machine to macOS 11 or later",
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::unsupported_reason;

    #[test]
    fn unsupported_systems_are_reported() {
        for (platform, version) in [
            ("Windows11", Some("22H2")),
            ("Windows10", Some("1909")),
            ("Windows10", Some("21H2")),
            ("Windows10", None),
            ("WindowsServer2019", Some("1809")),
            ("WindowsServer2022", Some("21H2")),
            ("WindowsServer2025", None),
            ("Ubuntu", Some("22.04")),
            ("macOS", Some("13")),
            ("macOS", Some("14.2")),
            ("SomethingNew", Some("1")),
        ] {
            assert_eq!(unsupported_reason(platform, version), None, "{platform} {version:?}");
        }
        for (platform, version, expected) in [
            ("Windows10", Some("1903"), "KB4515384"),
            ("Windows10", Some("1809"), "KB4537818"),
            ("Windows10", Some("1803"), "KB4537795"),
            ("windows10", Some("1709"), "KB4537816"),
            ("Windows10", Some("1703"), "does not support Windows10 1703"),
            ("Windows8.1", None, "does not support Windows8.1"),
            ("WindowsServer2016", Some("1607"), "does not list WindowsServer2016"),
            ("Android", Some("14"), "does not support Android 14"),
            ("macOS", Some("10"), "does not support macOS 10"),
        ] {
            let (message, hint) = unsupported_reason(platform, version).unwrap();
            assert!(message.contains(expected) && !hint.is_empty(), "{message}");
        }
    }
}
