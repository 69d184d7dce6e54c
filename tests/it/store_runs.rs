//! Fleet runs: every store passes the same tests.

use std::sync::Arc;

use mde_live_response::error::Kind;
use mde_live_response::state::run_store::*;
use mde_live_response::state::store::Store;

use super::store_support::{Redis, StoreFixture};

fn run_head(run_id: &str, rows: u32) -> RunHeader {
    RunHeader {
        run_id: run_id.to_owned(),
        generated: true,
        comment: "case \"42\"".to_owned(),
        commands: vec![vec![crate::support::run_script("echo.ps1")]],
        rows,
        fingerprint: "abc".to_owned(),
        save_to: None,
        save_transcripts: false,
        cancel_pending_after: Some(5.5),
        until: None,
    }
}

fn rows(machines: &[(&str, Option<&str>)]) -> Vec<NewRow> {
    let row = |(machine, id): &(&str, Option<&str>)| NewRow {
        machine: (*machine).to_owned(),
        machine_id: id.map(str::to_owned),
        commands: 0,
    };
    machines.iter().map(row).collect()
}

fn finished(row: u32, result: Option<&str>) -> FinishedRow {
    FinishedRow { row, outcome: format!("{{\"row\":{row}}}"), result: result.map(str::to_owned) }
}

/// Checks every method of a run store, through two stores that share their data.
async fn check_runs(fixture: StoreFixture) {
    let (one, two): (Arc<dyn Store>, Arc<dyn Store>) = (fixture.open().await, fixture.open().await);
    let (one, two) = (one.run_store(), two.run_store());
    assert!(two.get_run("r").await.unwrap().is_none());
    let lost = two.claim_row("r", 1, vec![0]).await.unwrap_err();
    assert_eq!((lost.kind, lost.message.contains("\"r\"")), (Kind::NotFound, true));

    let given = [("a", Some("id-a")), ("b", None), ("c", None), ("A", Some("id-a")), ("d", None)];
    assert!(one.create_run(run_head("r", 5), rows(&given)).await.unwrap().is_none());
    let other = RunHeader { fingerprint: "other".into(), ..run_head("r", 1) };
    assert_eq!(
        two.create_run(other, rows(&given[..1])).await.unwrap().unwrap(),
        run_head("r", 5),
        "the run is not changed"
    );
    let run = two.get_run("r").await.unwrap().unwrap();
    assert_eq!((run.head, run.stopped), (run_head("r", 5), None));
    let page = two.list_rows("r", 1, 2).await.unwrap();
    assert_eq!(
        page.iter().map(|row| (row.row, row.machine.as_str())).collect::<Vec<_>>(),
        [(1, "b"), (2, "c")]
    );
    assert!(page.iter().all(|row| row.progress == RowProgress::default() && !row.done));
    assert!(two.list_rows("r", 5, 9).await.unwrap().is_empty());

    // Rows 0 and 3 name one machine, rows 1 and 2 another.
    let named = vec![(3, "id-a".to_owned()), (1, "id-b".to_owned()), (2, "id-b".to_owned())];
    assert_eq!(one.record_machines("r", named.clone()).await.unwrap(), [(3, 0), (1, 1), (2, 1)]);
    assert_eq!(
        two.record_machines("r", named).await.unwrap(),
        [(3, 0), (1, 1), (2, 1)],
        "a second call changes nothing"
    );
    assert_eq!(two.list_rows("r", 1, 1).await.unwrap()[0].machine_id.as_deref(), Some("id-b"));

    one.heartbeat("r", 1, 10.0).await.unwrap();
    two.heartbeat("r", 2, 10.0).await.unwrap();
    let claimed = one.claim_row("r", 1, vec![0, 1]).await.unwrap().unwrap();
    assert_eq!((claimed.row, claimed.machine_id.as_deref()), (0, Some("id-a")));
    assert_eq!(two.claim_row("r", 2, vec![0, 1]).await.unwrap().unwrap().row, 1);
    assert!(
        two.claim_row("r", 2, vec![0]).await.unwrap().is_none(),
        "another live worker holds \
        it"
    );
    let far = RowProgress { parked: 1, parking: false, first_submit: Some(1_790_000_000.5) };
    one.record_progress("r", 0, far).await.unwrap();
    two.record_progress("r", 0, RowProgress::default()).await.unwrap();
    // Worker 1 misses its heartbeat, worker 2 does not.
    fixture.advance_time(9.0);
    two.heartbeat("r", 2, 10.0).await.unwrap();
    fixture.advance_time(2.0);
    let inherited = two.claim_row("r", 2, vec![0]).await.unwrap().unwrap();
    assert_eq!((inherited.row, inherited.progress), (0, far), "worker 1 is dead");
    two.heartbeat("r", 2, 0.0).await.unwrap();
    assert_eq!(one.claim_row("r", 1, vec![1]).await.unwrap().unwrap().row, 1, "worker 2 has left");

    assert!(one.finish_row("r", finished(1, Some("{\"x\":[]}"))).await.unwrap());
    assert!(!two.finish_row("r", finished(1, None)).await.unwrap());
    assert!(two.finish_row("r", finished(4, None)).await.unwrap());
    assert!(one.claim_row("r", 1, vec![4]).await.unwrap().is_none(), "the row is done");
    let as_tuples = |page: Vec<NumberedOutcome>| {
        page.into_iter().map(|entry| (entry.number, entry.row, entry.outcome)).collect::<Vec<_>>()
    };
    let (first, second) = ((1, 1, "{\"row\":1}".to_owned()), (2, 4, "{\"row\":4}".to_owned()));
    assert_eq!(
        as_tuples(two.list_outcomes("r", 0, 9).await.unwrap()),
        [first.clone(), second.clone()]
    );
    assert_eq!(as_tuples(one.list_outcomes("r", 0, 1).await.unwrap()), [first]);
    assert_eq!(as_tuples(one.list_outcomes("r", 1, 9).await.unwrap()), [second]);
    assert!(one.list_outcomes("r", 2, 9).await.unwrap().is_empty());
    assert_eq!(two.get_result("r", 1).await.unwrap().as_deref(), Some("{\"x\":[]}"));
    assert_eq!(
        (two.get_result("r", 4).await.unwrap(), two.get_result("r", 0).await.unwrap()),
        (None, None)
    );
    assert!(two.list_rows("r", 1, 1).await.unwrap()[0].done);

    check_replacement(one, two).await;

    let stop = |comment: &str, running| StopRequest { comment: comment.to_owned(), running };
    one.request_stop("r", stop("first", false)).await.unwrap();
    two.request_stop("r", stop("stronger", true)).await.unwrap();
    one.request_stop("r", stop("weaker", false)).await.unwrap();
    assert_eq!(two.get_run("r").await.unwrap().unwrap().stopped, Some(stop("stronger", true)));

    assert!(one.create_run(run_head("empty", 0), Vec::new()).await.unwrap().is_none());
    assert!(two.list_rows("empty", 0, 9).await.unwrap().is_empty());

    // A run without rows is over, and so is one whose rows all have outcomes.
    assert_eq!(two.list_unfinished_runs().await.unwrap(), [run_head("r", 5)]);
    for row in [0, 2, 3] {
        assert!(one.finish_row("r", finished(row, None)).await.unwrap());
    }
    assert!(two.list_unfinished_runs().await.unwrap().is_empty());
}

/// Checks that an outcome is replaced in its place, if it is the one that the caller knows.
async fn check_replacement(one: &dyn RunStore, two: &dyn RunStore) {
    let known = one.list_outcomes("r", 0, 9).await.unwrap();
    let newer = |row: u32, result: Option<&str>| FinishedRow {
        outcome: format!("{{\"row\":{row},\"newer\":true}}"),
        ..finished(row, result)
    };
    let replace = |store: &'static str, before: &NumberedOutcome, finished: FinishedRow| {
        let store = if store == "one" { one } else { two };
        store.replace_outcome("r", before.clone(), finished)
    };
    assert!(replace("one", &known[0], newer(1, Some("{\"y\":1}"))).await.unwrap());
    assert!(
        !replace("two", &known[0], newer(1, Some("{\"z\":1}"))).await.unwrap(),
        "another process has replaced it"
    );
    assert_eq!(two.get_result("r", 1).await.unwrap().as_deref(), Some("{\"y\":1}"));
    assert!(replace("two", &known[1], newer(4, Some("{}"))).await.unwrap());
    assert_eq!(one.get_result("r", 4).await.unwrap().as_deref(), Some("{}"));
    let now = two.list_outcomes("r", 0, 9).await.unwrap();
    assert_eq!(now.len(), known.len());
    for (now, before) in now.iter().zip(&known) {
        assert_eq!((now.number, now.row), (before.number, before.row));
        assert_eq!(now.outcome, newer(before.row, None).outcome);
    }
    assert!(replace("one", &now[1], finished(4, None)).await.unwrap());
    assert!(two.get_result("r", 4).await.unwrap().is_none(), "the old result is gone");
    assert!(
        replace("one", &one.list_outcomes("r", 1, 1).await.unwrap()[0], newer(4, None))
            .await
            .unwrap()
    );
    let nobody = NumberedOutcome { number: 3, row: 2, outcome: "{}".to_owned() };
    assert!(!replace("two", &nobody, newer(2, None)).await.unwrap(), "the row has no outcome");
    let lost = two.replace_outcome("unknown", nobody, newer(2, None)).await.unwrap_err();
    assert_eq!(lost.kind, Kind::NotFound);
}

/// Checks that old runs are deleted with all their records, unless a worker is alive.
async fn check_prune(fixture: StoreFixture) {
    let store = fixture.open().await;
    let runs = store.run_store();
    for run_id in ["old", "active", "new"] {
        if run_id == "new" {
            fixture.advance_time(100.0);
        }
        assert!(
            runs.create_run(run_head(run_id, 1), rows(&[("a", Some("id-a"))]))
                .await
                .unwrap()
                .is_none()
        );
        runs.finish_row(run_id, finished(0, Some("{}"))).await.unwrap();
        runs.request_stop(run_id, StopRequest { comment: "c".to_owned(), running: true })
            .await
            .unwrap();
    }
    runs.heartbeat("active", 1, 10.0).await.unwrap();
    assert_eq!(store.prune(1000.0).await.unwrap().runs, 0);
    assert_eq!(store.prune(50.0).await.unwrap().runs, 1);
    assert!(
        runs.get_run("old").await.unwrap().is_none()
            && runs.get_run("active").await.unwrap().is_some()
    );
    fixture.advance_time(11.0);
    assert_eq!(store.prune(50.0).await.unwrap().runs, 1, "its worker is dead");
    assert!(
        runs.get_run("active").await.unwrap().is_none()
            && runs.get_run("new").await.unwrap().is_some()
    );
    assert!(runs.create_run(run_head("old", 1), rows(&[("b", None)])).await.unwrap().is_none());
    let run = runs.get_run("old").await.unwrap().unwrap();
    assert!(run.stopped.is_none() && runs.list_outcomes("old", 0, 9).await.unwrap().is_empty());
    assert!(runs.get_result("old", 0).await.unwrap().is_none());
    let row = runs.list_rows("old", 0, 9).await.unwrap().remove(0);
    assert!(!row.done && row.machine == "b" && row.machine_id.is_none(), "{row:?}");
}

#[tokio::test]
async fn memory_prunes_its_runs() {
    check_prune(StoreFixture::memory().await).await;
}

#[tokio::test]
async fn sqlite_prunes_its_runs() {
    check_prune(StoreFixture::sqlite().await).await;
}

#[tokio::test]
async fn redis_prunes_its_runs() {
    let Some(redis) = Redis::start(&[]) else { return };
    check_prune(StoreFixture::redis(&redis).await).await;
}

#[tokio::test]
async fn memory_keeps_runs() {
    check_runs(StoreFixture::memory().await).await;
}

#[tokio::test]
async fn sqlite_keeps_runs() {
    check_runs(StoreFixture::sqlite().await).await;
}

#[tokio::test]
async fn redis_keeps_runs() {
    let Some(redis) = Redis::start(&[]) else { return };
    check_runs(StoreFixture::redis(&redis).await).await;
}
