use std::io::{Cursor, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use zip::write::SimpleFileOptions;

use super::*;
use crate::error::Kind;

const LIMIT: usize = 1 << 20;

fn decode(payload: impl AsRef<[u8]>) -> ScriptOutput {
    ScriptOutput::decode(Bytes::copy_from_slice(payload.as_ref()), "asked.ps1", LIMIT).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn utf16(text: &str, mark: &[u8], bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    mark.iter().copied().chain(text.encode_utf16().flat_map(bytes)).collect()
}

/// The sample of docs/service.md, section 13.
const SAMPLE: &str = r#"{"script_name":"triage.ps1","exit_code":0,"script_output":"Transcript started, output file is C:\\ProgramData\\x\\PSScript_Transcript_{GUID}.txt\ndone\n\u0000","script_errors":""}"#;

#[test]
fn the_documented_payload() {
    let output = decode(SAMPLE);
    assert_eq!((output.script_name.as_str(), output.exit_code), ("triage.ps1", Some(0)));
    assert!(output.stdout.starts_with(r"Transcript started, output file is C:\ProgramData\x"));
    assert!(output.stdout.ends_with("done\n") && output.stderr.is_empty());
    assert_eq!(output.raw, SAMPLE.as_bytes());
    assert_eq!(output.json_text(), "done");
}

#[test]
fn every_encoding_decodes_to_the_same() {
    let plain = decode(SAMPLE);
    let (first, second) = SAMPLE.as_bytes().split_at(40);
    let wrapped: [Vec<u8>; 11] = [
        [b"\xef\xbb\xbf", SAMPLE.as_bytes(), b"\0\0\r\n"].concat(),
        utf16(SAMPLE, b"\xff\xfe", u16::to_le_bytes),
        utf16(SAMPLE, b"\xfe\xff", u16::to_be_bytes),
        utf16(SAMPLE, b"", u16::to_le_bytes),
        utf16(SAMPLE, b"", u16::to_be_bytes),
        gzip(SAMPLE.as_bytes()),
        [gzip(first), gzip(second)].concat(),
        [gzip(SAMPLE.as_bytes()), b"\0\0\0".to_vec()].concat(),
        zip(&[("output.json", SAMPLE.as_bytes())]),
        zip(&[("x/readme.txt", b"-"), ("x/out.JSON", SAMPLE.as_bytes())]),
        gzip(&zip(&[("out", SAMPLE.as_bytes())])),
    ];
    for payload in wrapped {
        let output = decode(&payload);
        assert_eq!(output.raw, payload, "raw is the payload as received");
        assert_eq!(ScriptOutput { raw: plain.raw.clone(), ..output }, plain, "{payload:x?}");
    }
}

#[test]
fn malformed_json_is_repaired() {
    let raw_newline =
        "{\"exit_code\": 3, \"script_output\": \"a\r\n\tb\u{1}\0\", \"script_errors\": null}";
    let output = decode(raw_newline);
    assert_eq!((output.exit_code, output.stdout.as_str()), (Some(3), "a\r\n\tb\u{1}"));
    assert_eq!((output.script_name.as_str(), output.stderr.as_str()), ("asked.ps1", ""));
    let path = decode(r#"{"script_output": "C:\Windows\x \u12 \ud83d\ude00 \ud800 \"q\""}"#);
    assert_eq!(path.stdout, "C:\\Windows\\x \\u12 \u{1f600} \u{fffd} \"q\"");
    let bytes = decode(b"{\"exit_code\":0,\"script_output\":\"caf\xe9\"}");
    assert_eq!((bytes.exit_code, bytes.stdout.as_str()), (Some(0), "caf\u{fffd}"));
}

#[test]
fn fields_of_another_type() {
    let code = |text: &str| decode(format!("{{\"exit_code\":{text}}}")).exit_code;
    for (text, expected) in [
        ("-1", Some(-1)),
        ("\" 12 \"", Some(12)),
        ("\"0xC0000005\"", Some(0xC000_0005)),
        ("3221225477", Some(3_221_225_477)),
        ("2.0", Some(2)),
        ("2.5", None),
        ("1e300", None),
        ("18446744073709551615", None),
        ("\"\"", None),
        ("null", None),
        ("true", None),
        ("[0]", None),
    ] {
        assert_eq!(code(text), expected, "{text}");
    }
    let output = decode(
        r#"{"script_name": "", "script_output": ["a", 1, null], "script_errors": {"x": 1}}"#,
    );
    assert_eq!((output.script_name.as_str(), output.exit_code), ("asked.ps1", None));
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("a\n1\n", r#"{"x":1}"#));
}

#[test]
fn streams_of_a_zip() {
    let output =
        decode(zip(&[("stdout_1.txt", b"out\n\0"), ("STDERR", b"err"), ("meta.json", b"{}")]));
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str(), output.exit_code),
        ("out\n", "err", None)
    );
    assert_eq!(decode(zip(&[("stderr_x", b"err")])).stderr, "err");
}

#[test]
fn an_undocumented_payload_is_kept_raw() {
    let zipped = zip(&[("a.json", b"{}"), ("b.json", b"{}")]);
    let whole = gzip(SAMPLE.as_bytes());
    let mut corrupt = whole.clone();
    let at = corrupt.len() - 5;
    corrupt[at] ^= 1;
    let others: [&[u8]; 11] = [
        b"",
        b"plain text",
        b"[]",
        b"{}",
        b"{\"error\": {}}",
        b"{\"exit_code\": 0",
        b"\x1f\x8b",
        b"PK\x03\x04",
        &zipped,
        &whole[..whole.len() / 2],
        &corrupt,
    ];
    for payload in others {
        let output = decode(payload);
        assert_eq!(
            (output.exit_code, output.stdout.as_str(), output.stderr.as_str()),
            (None, "", ""),
            "{payload:x?}"
        );
        assert_eq!(output.raw, payload);
    }
}

#[test]
fn only_transcripts_are_recognized() {
    let recognized = |payload: &[u8]| {
        ScriptOutput::recognize(Bytes::copy_from_slice(payload), "asked.ps1", LIMIT).unwrap().1
    };
    let json: &[u8] = br#"{"script_name":"a","script_output":"","script_errors":""}"#;
    let started = b"\xef\xbb\xbfTranscript started, output file is C:\\x\r\ndone";
    let header = b"**********************\r\nWindows PowerShell transcript start\r\n";
    for payload in [
        SAMPLE.as_bytes(),
        &gzip(SAMPLE.as_bytes()),
        b"{\"exit_code\":7}",
        b"{\"exit_code\":\"7\",\"x\":1}",
        json,
        started,
        &gzip(started),
        header,
        &zip(&[("stdout", b"")]),
    ] {
        assert!(recognized(payload), "{:?}", String::from_utf8_lossy(payload));
    }
    let whole = gzip(SAMPLE.as_bytes());
    for payload in [
        &b""[..],
        b"plain text",
        b"<!DOCTYPE html><html>Transcript started</html>",
        b"{\"error\":{\"code\":1}}",
        b"{\"exit_code\":\"x\",\"script_output\":\"\",\"script_errors\":\"\"}",
        b"{\"exit_c\x00de\":7,\"script_output\":\"\",\"script_errors\":\"\"}",
        b"{\"script_output\":\"\"}",
        &whole[..whole.len() / 2],
        &SAMPLE.as_bytes()[..SAMPLE.len() - 1],
        &zip(&[("page.html", b"<html>")]),
    ] {
        assert!(!recognized(payload), "{:?}", String::from_utf8_lossy(payload));
    }
}

#[test]
fn unpacking_is_bounded() {
    let zeros = vec![b'0'; 64 << 10];
    let two = |limit| {
        ScriptOutput::decode(zip(&[("stdout", &zeros), ("stderr", &zeros)]).into(), "s", limit)
    };
    let packed = |payload: Vec<u8>, limit| ScriptOutput::decode(payload.into(), "s", limit);
    for result in [
        packed(gzip(&zeros), zeros.len() - 1),
        packed([gzip(&zeros), gzip(b"0")].concat(), zeros.len()),
        packed(zip(&[("stdout", &zeros)]), zeros.len() - 1),
        two(2 * zeros.len() - 1),
    ] {
        let error = result.unwrap_err();
        assert_eq!((error.kind, error.retryable), (Kind::Download, false));
        assert!(error.hint.is_some());
    }
    assert!(packed(gzip(&zeros), zeros.len()).is_ok() && two(2 * zeros.len()).is_ok());
    assert_eq!(packed(gzip(b"").repeat(2000), 10).unwrap().exit_code, None, "too many members");
}

#[test]
fn text_is_safe_to_show() {
    let shown = |stdout: &str| ScriptOutput::new("s", None, stdout, "").text();
    for (stdout, expected) in [
        ("a\r\nb\tc\u{8}\u{7f}\u{0}d", "a\nb\tcd"),
        ("\u{1b}[1;31mred\u{1b}[0m \u{9b}2Jx", "red x"),
        ("\u{1b}]0;title\u{7}x\u{1b}]8;;http://h\u{1b}\\link\u{1b}]8;;\u{1b}\\", "xlink"),
        ("\u{1b}]0;never ended\nnext line", "\nnext line"),
        ("\u{1b}(Bplain\u{1b}c\u{1b}", "plain"),
        ("\u{1b}Pdevice\u{9c}x", "x"),
        ("exe.\u{202e}txt\u{2066}\u{200f}", "exe.txt"),
        ("grüße 漢字 🙂", "grüße 漢字 🙂"),
    ] {
        assert_eq!(shown(stdout), expected, "{stdout:?}");
    }
}

#[test]
fn serialized_and_back() {
    let output = decode(b"\xff\x00 not text");
    let text = serde_json::to_string(&output).unwrap();
    assert_eq!(serde_json::from_str::<ScriptOutput>(&text).unwrap(), output);
}

proptest! {
    #[test]
    fn no_payload_panics(bytes: Vec<u8>, magic in 0..6usize) {
        let heads: [&[u8]; 6] = [b"", b"\x1f\x8b\x08\0", b"PK\x03\x04", b"{\"script_output\":\"", b"\xff\xfe", b"{\0"];
        let payload = [heads[magic], &bytes].concat();
        let output = decode(&payload);
        prop_assert_eq!(&output.raw, &payload);
        let escaped = output.text().contains('\u{1b}');
        prop_assert!(!escaped);
    }

    #[test]
    fn damaged_packages_do_not_panic(at: prop::sample::Index, byte: u8, cut: prop::sample::Index, zipped: bool) {
        let mut payload = if zipped { zip(&[("stdout", b"hello"), ("stderr", b"")]) } else { gzip(SAMPLE.as_bytes()) };
        let position = at.index(payload.len());
        payload[position] = byte;
        payload.truncate(cut.index(payload.len()) + 1);
        let _ = ScriptOutput::decode(payload.into(), "s", LIMIT);
    }

    #[test]
    fn documented_payloads_round_trip(name in "[a-z]{1,9}\\.ps1", code: Option<i64>, stdout: String, stderr: String) {
        let output = ScriptOutput::new(name, code, stdout, stderr);
        prop_assert_eq!(&decode(&output.raw), &output);
        let gzipped = decode(gzip(&output.raw));
        prop_assert_eq!(gzipped.stdout, output.stdout);
    }

    #[test]
    fn raw_control_characters_are_kept(stdout in "[\\x00-\\x1f a-z\"\\\\]{0,40}") {
        let quoted = stdout.replace('\\', "\\\\").replace('"', "\\\"");
        let payload = format!("{{\"exit_code\":0,\"script_output\":\"{quoted}\"}}");
        let output = decode(payload);
        prop_assert_eq!(output.stdout, stdout.trim_end_matches('\0'));
    }
}

#[test]
fn text_has_no_transcript_line_and_stdout_keeps_it() {
    let output = ScriptOutput::decode(SAMPLE.into(), "x", 1 << 20).unwrap();
    assert_eq!((output.text(), output.body()), ("done\n".to_owned(), "done\n"));
    assert!(output.stdout.starts_with("Transcript started"));
    let only_the_line = "Transcript started, output file is C:\\x";
    assert_eq!(ScriptOutput::new("a", None, only_the_line, "").text(), "");
    let later = "one\nTranscript started, output file is C:\\x";
    assert_eq!(ScriptOutput::new("a", None, later, "\u{1b}[31mred\n").text(), later);
    assert_eq!(ScriptOutput::new("a", None, "", "\u{1b}[31mred\n").stderr_text(), "red\n");
}

#[test]
fn noise_before_json_is_skipped() {
    for (stdout, json) in [
        ("{\"a\": 1}", "{\"a\": 1}"),
        ("WARNING: x\n[INFO] y\n[1] started\n-- \ntrue story\n{\"a\":\n 1}\n", "{\"a\":\n 1}"),
        ("loading\r\n[1, 2]\r\n", "[1, 2]"),
        ("note\n{\"a\": 1}\n{\"a\": 2}", "{\"a\": 1}\n{\"a\": 2}"),
        ("note\n  7", "  7"),
        ("no value\nat all", "no value\nat all"),
        ("[\n[\n[", "[\n[\n["),
        ("", ""),
    ] {
        assert_eq!(ScriptOutput::new("a", None, stdout, "").json_text(), json, "{stdout:?}");
    }
}
