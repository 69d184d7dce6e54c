//! The client completes a session, whatever the switches are that do not forbid it.

use mde_live_response::emulator::{
    CommentForm, Compression, Content, ListOrder, MachineByName, NonzeroExit, ReadPermission,
    Requestor, ScriptOutcome, Settings, Switches, TranscriptForm, WindowKind,
};
use mde_live_response::model::Command;
use mde_live_response::session::{RunOptions, SubmitRequest};
use proptest::prelude::*;
use proptest::sample::select;

use crate::support::{Fixture, HOUR, TempDir, env_number, paused_runtime, within};

const REMOTE: &str = r"C:\Temp\triage.zip";

fn answers(s: Switches) -> impl Strategy<Value = Switches> {
    let statuses = (select(vec![200, 201]), select(vec![400, 404]), select(vec![400, 404]));
    let late = (select(vec![0.0, 20.0]), select(vec![0.0, 30.0]), 0..3_u32);
    let flags = proptest::array::uniform8(any::<bool>());
    (statuses, late, flags).prop_map(move |(statuses, late, flags)| Switches {
        accepted_status: statuses.0,
        early_link_status: statuses.1,
        no_result_status: statuses.2,
        result_lag: late.0,
        fresh_404: late.1,
        reads_404: late.2,
        requestor: if flags[0] { Requestor::Id } else { Requestor::Name },
        quoted_link: flags[1],
        date_header: flags[2],
        command_states: flags[3],
        list_order: if flags[4] { ListOrder::Newest } else { ListOrder::Oldest },
        windows: if flags[5] { WindowKind::Sliding } else { WindowKind::Fixed },
        read_permission: if flags[6] { ReadPermission::Any } else { ReadPermission::ReadWrite },
        nonzero_exit: if flags[7] { NonzeroExit::Completed } else { NonzeroExit::Failed },
        ..s.clone()
    })
}

fn results(s: Switches) -> impl Strategy<Value = Switches> {
    let forms = select(vec![
        TranscriptForm::Json,
        TranscriptForm::RawNewline,
        TranscriptForm::Bom,
        TranscriptForm::Gzip,
    ]);
    let codings = select(vec![
        Compression::Deflate,
        Compression::RawDeflate,
        Compression::Gzip,
        Compression::None,
    ]);
    let comments = select(vec![CommentForm::Keep, CommentForm::Upper, CommentForm::Lower]);
    let names = select(vec![MachineByName::Newest, MachineByName::Refused]);
    let flags = proptest::array::uniform5(any::<bool>());
    (forms, codings, comments, names, flags).prop_map(
        move |(form, compression, comment_form, machine_by_name, flags)| Switches {
            transcript_form: form,
            compression,
            comment_form,
            machine_by_name,
            gzip_files: flags[0],
            gzip_name: flags[1],
            blob_content_encoding: flags[2],
            blob_ranges: flags[3],
            transcript_line: flags[4],
            cors_origin: flags[0].then(|| "*".to_owned()),
            ..s.clone()
        },
    )
}

fn cases() -> u32 {
    env_number("MDE_LIVE_RESPONSE_SWITCHES", 64) as u32
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn a_session_completes(
        switches in Just(Switches::default()).prop_flat_map(answers).prop_flat_map(results),
    ) {
        paused_runtime().block_on(async {
            let settings = Settings { switches, ..Settings::default() };
            let (fixture, folder) = (Fixture::with_settings(settings), TempDir::new());
            let content = Content::Bytes("what matters".into());
            fixture.emulator.put_remote_file("*", REMOTE, content).unwrap();
            let stdout = "found nothing\n".to_owned();
            let outcome = ScriptOutcome { stdout, duration: 40.0, ..ScriptOutcome::default() };
            fixture.emulator.on_script("triage.ps1", outcome);
            let commands = vec![
                Command::put_file("helper.exe").unwrap(),
                Command::run_script("triage.ps1", Some("-Depth 2")).unwrap(),
                Command::get_file(REMOTE).unwrap(),
            ];
            let submit = SubmitRequest { commands, ..fixture.submit_args() };
            let save_to = Some(folder.0.clone().into());
            let options = RunOptions { save_to, ..RunOptions::default() };
            let result = within(HOUR, fixture.run(submit, options)).await.unwrap();
            prop_assert!(result.is_ok(), "{}: {}", result.reason.as_str(), result.message);
            let script = result.commands[1].script.as_ref().unwrap();
            prop_assert!(script.stdout.contains("found nothing"));
            let file = result.commands[2].file.as_ref().unwrap();
            prop_assert_eq!(file.size, 12);
            prop_assert_eq!(fixture.emulator.violations(), Default::default());
            Ok(())
        })?;
    }
}
