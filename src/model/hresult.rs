//! The names of HRESULTs, as Windows defines them in `winerror.h`.
//!
//! Which of them the service sends is not documented: these are the common ones.

/// Codes and their names, ordered by code.
const NAMES: &[(u32, &str)] = &[
    (0x8000_4001, "E_NOTIMPL"),
    (0x8000_4002, "E_NOINTERFACE"),
    (0x8000_4003, "E_POINTER"),
    (0x8000_4004, "E_ABORT"),
    (0x8000_4005, "E_FAIL"),
    (0x8000_ffff, "E_UNEXPECTED"),
    (0x8007_0002, "ERROR_FILE_NOT_FOUND"),
    (0x8007_0003, "ERROR_PATH_NOT_FOUND"),
    (0x8007_0005, "E_ACCESSDENIED"),
    (0x8007_0006, "E_HANDLE"),
    (0x8007_000e, "E_OUTOFMEMORY"),
    (0x8007_0020, "ERROR_SHARING_VIOLATION"),
    (0x8007_0032, "ERROR_NOT_SUPPORTED"),
    (0x8007_0050, "ERROR_FILE_EXISTS"),
    (0x8007_0057, "E_INVALIDARG"),
    (0x8007_0070, "ERROR_DISK_FULL"),
    (0x8007_007b, "ERROR_INVALID_NAME"),
    (0x8007_007e, "ERROR_MOD_NOT_FOUND"),
    (0x8007_00b7, "ERROR_ALREADY_EXISTS"),
    (0x8007_00e1, "ERROR_VIRUS_INFECTED"),
    (0x8007_0102, "WAIT_TIMEOUT"),
    (0x8007_0422, "ERROR_SERVICE_DISABLED"),
    (0x8007_0490, "ERROR_NOT_FOUND"),
    (0x8007_04c7, "ERROR_CANCELLED"),
    (0x8007_04ec, "ERROR_ACCESS_DISABLED_BY_POLICY"),
    (0x8007_05b4, "ERROR_TIMEOUT"),
    (0x8007_0643, "ERROR_INSTALL_FAILURE"),
    (0x8007_2ee2, "ERROR_INTERNET_TIMEOUT"),
    (0x8007_2ee7, "ERROR_INTERNET_NAME_NOT_RESOLVED"),
    (0x8007_2efd, "ERROR_INTERNET_CANNOT_CONNECT"),
    (0x8007_2f8f, "ERROR_INTERNET_SECURE_FAILURE"),
];

/// Returns the name and the number of an HRESULT, such as `E_ACCESSDENIED (0x80070005)`, or only
/// the number if it has no name here. Returns none for 0, which is no error.
pub fn describe_hresult(code: i64) -> Option<String> {
    // The service sends a signed number; the bits of both forms are the same.
    let bits = i32::try_from(code).map(i32::cast_unsigned).or_else(|_| u32::try_from(code));
    let Ok(bits) = bits else { return Some(code.to_string()) };
    if bits == 0 {
        return None;
    }
    let name = NAMES.iter().find(|(known, _)| *known == bits);
    Some(match name {
        Some((_, name)) => format!("{name} (0x{bits:08X})"),
        None => format!("0x{bits:08X}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_its_name_and_its_number() {
        for (code, expected) in [
            (0, None),
            (-2_147_024_891, Some("E_ACCESSDENIED (0x80070005)")),
            (0x8007_0005, Some("E_ACCESSDENIED (0x80070005)")),
            (-2_147_467_259, Some("E_FAIL (0x80004005)")),
            (-2_147_023_436, Some("ERROR_TIMEOUT (0x800705B4)")),
            (-1, Some("0xFFFFFFFF")),
            (5, Some("0x00000005")),
            (0x8123_4567, Some("0x81234567")),
            (i64::MAX, Some("9223372036854775807")),
            (i64::MIN, Some("-9223372036854775808")),
        ] {
            assert_eq!(describe_hresult(code).as_deref(), expected, "{code}");
        }
    }

    #[test]
    fn each_code_is_listed_once_in_order() {
        assert!(NAMES.is_sorted_by(|one, next| one.0 < next.0));
    }
}
