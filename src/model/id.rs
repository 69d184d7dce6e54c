//! The formats of the service's ids.

use std::net::{IpAddr, SocketAddr};

use uuid::Uuid;

use crate::error::{Error, Result};

/// The longest name of a machine: a DNS name has at most 253 characters.
const MAX_MACHINE_NAME: usize = 255;
/// The longest id of an action. The service's own have 36 characters.
const MAX_ACTION_ID: usize = 128;

/// Returns whether `text` is a machine id: 40 hexadecimal digits.
pub fn is_machine_id(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns whether `text` is a GUID of 8-4-4-4-12 hexadecimal digits.
pub fn is_guid(text: &str) -> bool {
    // `Uuid` also parses braces, `urn:uuid:` and 32 digits without hyphens: the service does not.
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

/// Refuses text that cannot name a machine, before it is part of a request.
pub fn check_machine_name(name: &str) -> Result<()> {
    let name = name.trim();
    let wrong = if name.is_empty() || name.chars().any(char::is_control) {
        format!("{:?} is not a machine id or name", shorten(name))
    } else if name.chars().count() > MAX_MACHINE_NAME {
        format!("a machine's name has at most {MAX_MACHINE_NAME} characters: {:?}", shorten(name))
    } else if let Some((what, hint)) = recognize_other_name(name) {
        let message = format!("machine {:?} is {what}, not a machine id or name", shorten(name));
        return Err(Error::invalid(message).with_hint(hint));
    } else {
        return Ok(());
    };
    Err(Error::invalid(wrong)
        .with_hint("give a machine id of 40 hexadecimal digits, or a computer name"))
}

/// Recognizes text that names a machine elsewhere. Returns what it is, and what to do.
fn recognize_other_name(text: &str) -> Option<(&'static str, &'static str)> {
    let bare = text.trim_matches(['{', '}', '[', ']', '(', ')']);
    if text.contains("://") {
        return Some((
            "a URL",
            "give the 40 hexadecimal digits at the end of the device page's address",
        ));
    }
    if is_guid(bare) {
        return Some((
            "a GUID",
            "a machine id has 40 hexadecimal digits; with the device id of Entra, \
             list_machines(\"aadDeviceId eq <id>\") finds the machine",
        ));
    }
    // Also with a port or with the length of a network's prefix.
    let address = bare.rsplit_once('/').map_or(bare, |(address, _)| address);
    let is_address = address.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok();
    if is_address {
        return Some((
            "an IP address",
            "list_machines(ip=...) lists the machines that had it last; pass one of them",
        ));
    }
    if text.contains('\\') {
        return Some(("a name with its domain", "give only the part after the backslash"));
    }
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    // Almost as long as an id, and longer than a name of Windows can be.
    if is_hex && (36..=44).contains(&text.len()) && !is_machine_id(text) {
        return Some((
            "almost a machine id",
            "a machine id has exactly 40 hexadecimal digits; copy it again",
        ));
    }
    None
}

/// Refuses text that cannot be the id of an action, before it is part of a request.
pub fn check_action_id(id: &str) -> Result<()> {
    let is_dots = id.chars().all(|c| c == '.');
    if is_dots || id.len() > MAX_ACTION_ID || id.chars().any(|c| c.is_control() || c == ' ') {
        return Err(Error::invalid(format!("{:?} is not a machine action's id", shorten(id)))
            .with_hint("give the GUID from session.id"));
    }
    Ok(())
}

fn shorten(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_names_a_machine_elsewhere_is_refused() {
        let guid = "72f988bf-86f1-41af-91ab-2d7cd011db47";
        let (braces, long) = (format!("{{{guid}}}"), "a".repeat(41));
        let table = [
            ("10.0.0.5", "an IP address"),
            ("10.0.0.5:80", "an IP address"),
            ("10.0.0.0/8", "an IP address"),
            ("::1", "an IP address"),
            ("[::1]:80", "an IP address"),
            (guid, "a GUID"),
            (&braces, "a GUID"),
            ("https://x/machines/1", "a URL"),
            (r"CORP\ws", "a name with its domain"),
            (&long, "almost a machine id"),
        ];
        for (name, what) in table {
            let error = check_machine_name(name).unwrap_err();
            assert!(error.message.contains(&format!(" is {what}, not")), "{}", error.message);
        }
        let (id, short) = ("A".repeat(40), "a".repeat(35));
        for name in ["ws-0001", "10-0-0-5", "1.2.3", "a.b/c", "John's Mac", "::", &id, &short] {
            let taken = check_machine_name(name).is_ok();
            assert_eq!(taken, name != "::", "{name}");
        }
    }

    #[test]
    fn only_the_hyphenated_form_is_a_guid() {
        assert!(is_guid("72f988bf-86f1-41af-91ab-2d7cd011db47"));
        assert!(is_guid("72F988BF-86F1-41AF-91AB-2D7CD011DB47"));
        for wrong in [
            "",
            "72f988bf86f141af91ab2d7cd011db47",
            "{72f988bf-86f1-41af-91ab-2d7cd011db47}",
            "urn:uuid:72f988bf-86f1-41af-91ab-2d7cd011db47",
            "72f988bf-86f1-41af-91ab-2d7cd011db4g",
            "72f988bf8-6f1-41af-91ab-2d7cd011db47",
        ] {
            assert!(!is_guid(wrong), "{wrong}");
        }
    }
}
