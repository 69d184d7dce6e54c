//! Lists of runs, and rows whose machines were not reached: every store passes the same tests.

use std::sync::Arc;

use mde_live_response::error::Kind;
use mde_live_response::state::run_store::*;
use mde_live_response::state::store::Store;

use super::store_support::{Redis, StoreFixture};

fn run_head(run_id: &str, rows: u32) -> RunHeader {
    RunHeader {
        run_id: run_id.to_owned(),
        generated: true,
        comment: format!("case {run_id}"),
        commands: vec![vec![crate::support::run_script("echo.ps1")]],
        rows,
        fingerprint: "abc".to_owned(),
        save_to: None,
        save_transcripts: false,
        cancel_pending_after: None,
        until: None,
    }
}

async fn create(store: &dyn RunStore, run_id: &str, rows: u32) {
    let row = |at: u32| NewRow { machine: format!("m{at}"), machine_id: None, commands: 0 };
    let rows: Vec<_> = (0..rows).map(row).collect();
    let head = run_head(run_id, u32::try_from(rows.len()).unwrap());
    assert!(store.create_run(head, rows).await.unwrap().is_none());
}

fn finished(row: u32, reason: &str, result: Option<&str>) -> FinishedRow {
    let outcome = format!("{{\"row\":{row},\"reason\":\"{reason}\"}}");
    FinishedRow { row, outcome, result: result.map(str::to_owned) }
}

fn unreached(parked: u32) -> Unreached {
    Unreached { parked, since: 1_790_000_000.123_456, name: "ws-1.example.test".to_owned() }
}

/// Returns the counts of each run: machines, done, ok.
async fn counts(store: &dyn RunStore) -> Vec<(String, u32, u32, u32)> {
    let runs = store.list_runs().await.unwrap();
    runs.into_iter().map(|it| (it.run_id, it.machines, it.done, it.ok)).collect()
}

async fn check_lists(fixture: StoreFixture) {
    let (one, two): (Arc<dyn Store>, Arc<dyn Store>) = (fixture.open().await, fixture.open().await);
    let (one, two) = (one.run_store(), two.run_store());
    assert!(one.list_runs().await.unwrap().is_empty());
    create(one, "b", 3).await;
    fixture.advance_time(5.0);
    create(two, "a", 1).await;
    fixture.advance_time(5.0);
    create(two, "c", 0).await;
    let runs = two.list_runs().await.unwrap();
    let ids: Vec<_> = runs.iter().map(|run| run.run_id.as_str()).collect();
    assert_eq!(ids, ["c", "a", "b"], "newest first");
    assert_eq!(runs[2].comment, "case b");
    assert!((runs[1].created - runs[2].created - 5.0).abs() < 1.0, "{runs:?}");

    assert!(one.finish_row("b", finished(0, "ok", None)).await.unwrap());
    assert!(!two.finish_row("b", finished(0, "ok", None)).await.unwrap(), "counted once");
    assert!(two.finish_row("b", finished(2, "fetch", None)).await.unwrap());
    let is = |done, ok| [("c".into(), 0, 0, 0), ("a".into(), 1, 0, 0), ("b".into(), 3, done, ok)];
    assert_eq!(counts(one).await, is(2, 1));
    let page = one.list_outcomes("b", 0, 9).await.unwrap();
    assert!(two.replace_outcome("b", page[1].clone(), finished(2, "ok", None)).await.unwrap());
    assert_eq!(counts(one).await, is(2, 2));
    assert!(!two.replace_outcome("b", page[1].clone(), finished(2, "ok", None)).await.unwrap());
    assert!(one.replace_outcome("b", page[0].clone(), finished(0, "script", None)).await.unwrap());
    assert_eq!(counts(two).await, is(2, 1));
    one.request_stop("b", StopRequest { comment: "c".into(), running: false }).await.unwrap();
    let cancelled: Vec<_> = two.list_runs().await.unwrap().iter().map(|it| it.cancelled).collect();
    assert_eq!(cancelled, [false, false, true]);
}

async fn check_unreached(fixture: StoreFixture) {
    let (one, two): (Arc<dyn Store>, Arc<dyn Store>) = (fixture.open().await, fixture.open().await);
    let (one, two) = (one.run_store(), two.run_store());
    create(one, "r", 3).await;
    let state = async |row| two.list_rows("r", row, 1).await.unwrap().remove(0);
    assert!(!state(0).await.is_unreached());
    assert!(two.get_last_outcome("r", 0).await.unwrap().is_none());

    let last = finished(0, "timed_out", Some("{\"x\":[]}"));
    one.record_unreached("r", unreached(0), last.clone()).await.unwrap();
    let waiting = state(0).await;
    assert_eq!((waiting.is_unreached(), &waiting.unreached), (true, &Some(unreached(0))));
    assert_eq!(two.get_last_outcome("r", 0).await.unwrap(), Some(last));
    assert_eq!(one.claim_row("r", 1, vec![0]).await.unwrap(), Some(waiting), "it is not over");
    assert!(two.list_outcomes("r", 0, 9).await.unwrap().is_empty());

    // Its machine has a new record. A process that has read an older state changes nothing.
    let moved = async |parked, id: &str| one.move_row("r", 0, parked, id.to_owned()).await.unwrap();
    assert_eq!(moved(1, "x").await, None);
    assert_eq!(state(0).await.machine_id, None);
    assert_eq!(moved(0, "x").await, Some(0));
    assert_eq!(state(0).await.machine_id.as_deref(), Some("x"));

    // It is tried again, and not reached again.
    let progress = RowProgress { parked: 1, ..RowProgress::default() };
    one.record_progress("r", 0, progress).await.unwrap();
    let again = state(0).await;
    assert_eq!((again.is_unreached(), &again.unreached), (false, &Some(unreached(0))));
    assert_eq!(moved(0, "y").await, None, "its session may run already");
    assert_eq!(two.move_row("r", 1, 0, "x".to_owned()).await.unwrap(), Some(0), "row 0 owns it");
    let last = finished(0, "error", None);
    two.record_unreached("r", unreached(1), last.clone()).await.unwrap();
    assert!(state(0).await.is_unreached());
    assert_eq!(one.get_last_outcome("r", 0).await.unwrap(), Some(last), "no result is left");

    // Its outcome ends that.
    assert!(one.finish_row("r", finished(0, "ok", Some("{}"))).await.unwrap());
    two.record_unreached("r", unreached(1), finished(0, "timed_out", None)).await.unwrap();
    let done = state(0).await;
    assert_eq!((done.done, done.is_unreached()), (true, false));
    assert_eq!(moved(1, "y").await, None, "it is over");
    assert_eq!(state(0).await.machine_id.as_deref(), Some("x"));
    assert!(two.get_last_outcome("r", 0).await.unwrap().is_none());
    assert_eq!(two.get_result("r", 0).await.unwrap().as_deref(), Some("{}"));

    two.set_until("r", 1_790_086_400.5).await.unwrap();
    let head = RunHeader { until: Some(1_790_086_400.5), ..run_head("r", 3) };
    assert_eq!(one.get_run("r").await.unwrap().unwrap().head, head);
    check_withdrawing(one, two).await;
    let lost = one.set_until("unknown", 1.0).await.unwrap_err();
    assert_eq!(lost.kind, Kind::NotFound);
}

/// Checks that an outcome can be withdrawn. Row 0 has one already.
async fn check_withdrawing(one: &dyn RunStore, two: &dyn RunStore) {
    for row in [1, 2] {
        assert!(one.finish_row("r", finished(row, "timed_out", Some("{\"a\":1}"))).await.unwrap());
    }
    assert_eq!(counts(two).await, [("r".into(), 3, 3, 1)]);
    assert!(two.list_unfinished_runs().await.unwrap().is_empty());
    let page = two.list_outcomes("r", 0, 9).await.unwrap();
    for known in &page[1..] {
        assert!(two.withdraw_outcome("r", known.clone(), unreached(4)).await.unwrap());
        assert!(!one.withdraw_outcome("r", known.clone(), unreached(4)).await.unwrap());
    }
    assert_eq!(counts(one).await, [("r".into(), 3, 1, 1)]);
    assert_eq!(two.list_unfinished_runs().await.unwrap().len(), 1);
    assert_eq!(one.list_outcomes("r", 0, 9).await.unwrap(), page[..1]);
    assert!(one.list_outcomes("r", 1, 1).await.unwrap().is_empty());
    let last = finished(1, "timed_out", Some("{\"a\":1}"));
    assert_eq!(one.get_last_outcome("r", 1).await.unwrap(), Some(last.clone()));
    assert!(one.claim_row("r", 1, vec![1]).await.unwrap().unwrap().is_unreached());

    // The numbers of withdrawn outcomes are not used again.
    assert!(one.finish_row("r", last).await.unwrap());
    let later = two.list_outcomes("r", 1, 1).await.unwrap();
    assert_eq!((later.len(), later[0].row, later[0].number), (1, 1, 4));
    assert_eq!(two.get_result("r", 1).await.unwrap().as_deref(), Some("{\"a\":1}"));
    assert!(!two.withdraw_outcome("r", page[2].clone(), unreached(4)).await.unwrap());
    assert_eq!(counts(two).await, [("r".into(), 3, 2, 1)]);
}

#[tokio::test]
async fn memory_lists_its_runs() {
    check_lists(StoreFixture::memory().await).await;
    check_unreached(StoreFixture::memory().await).await;
}

#[tokio::test]
async fn sqlite_lists_its_runs() {
    check_lists(StoreFixture::sqlite().await).await;
    check_unreached(StoreFixture::sqlite().await).await;
}

#[tokio::test]
async fn redis_lists_its_runs() {
    let Some(redis) = Redis::start(&[]) else { return };
    check_lists(StoreFixture::redis(&redis).await).await;
    let Some(redis) = Redis::start(&[]) else { return };
    check_unreached(StoreFixture::redis(&redis).await).await;
}
