//! The journal of runs, alike in every store.

use std::sync::Arc;

use mde_live_response::error::Kind;
use mde_live_response::state::journal::*;
use mde_live_response::state::store::Store;

use super::store_support::{Redis, World};

fn head(run_id: &str, rows: u32) -> RunHead {
    RunHead {
        run_id: run_id.to_owned(),
        generated: true,
        comment: "case \"42\"".to_owned(),
        commands: vec![vec![crate::support::run("echo.ps1")]],
        rows,
        print: "abc".to_owned(),
        save_to: None,
        cancel_pending_after: Some(5.5),
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

fn finished(row: u32, result: Option<&str>) -> Finished {
    Finished { row, outcome: format!("{{\"row\":{row}}}"), result: result.map(str::to_owned) }
}

/// Every property of a journal, through two stores that see the same.
async fn keeps_a_journal(world: World) {
    let (one, two): (Arc<dyn Store>, Arc<dyn Store>) = (world.open().await, world.open().await);
    let (one, two) = (one.journal().unwrap(), two.journal().unwrap());
    assert!(two.run("r").await.unwrap().is_none());
    let lost = two.claim("r", 1, vec![0]).await.unwrap_err();
    assert_eq!((lost.kind, lost.message.contains("\"r\"")), (Kind::NotFound, true));

    let given = [("a", Some("id-a")), ("b", None), ("c", None), ("A", Some("id-a")), ("d", None)];
    assert!(one.begin_run(head("r", 5), rows(&given)).await.unwrap().is_none());
    let other = RunHead { print: "other".into(), ..head("r", 1) };
    assert_eq!(two.begin_run(other, rows(&given[..1])).await.unwrap().unwrap(), head("r", 5), "it stays as it was");
    let run = two.run("r").await.unwrap().unwrap();
    assert_eq!((run.head, run.stopped), (head("r", 5), None));
    let page = two.rows("r", 1, 2).await.unwrap();
    assert_eq!(page.iter().map(|it| (it.row, it.machine.as_str())).collect::<Vec<_>>(), [(1, "b"), (2, "c")]);
    assert!(page.iter().all(|it| it.progress == Progress::default() && !it.done));
    assert!(two.rows("r", 5, 9).await.unwrap().is_empty());

    let named = vec![(3, "id-a".to_owned()), (1, "id-b".to_owned()), (2, "id-b".to_owned())];
    assert_eq!(one.resolved("r", named.clone()).await.unwrap(), [(3, 0), (1, 1), (2, 1)]);
    assert_eq!(two.resolved("r", named).await.unwrap(), [(3, 0), (1, 1), (2, 1)], "twice is as good as once");
    assert_eq!(two.rows("r", 1, 1).await.unwrap()[0].machine_id.as_deref(), Some("id-b"));

    one.attend("r", 1, 10.0).await.unwrap();
    two.attend("r", 2, 10.0).await.unwrap();
    let claimed = one.claim("r", 1, vec![0, 1]).await.unwrap().unwrap();
    assert_eq!((claimed.row, claimed.machine_id.as_deref()), (0, Some("id-a")));
    assert_eq!(two.claim("r", 2, vec![0, 1]).await.unwrap().unwrap().row, 1);
    assert!(two.claim("r", 2, vec![0]).await.unwrap().is_none(), "another's who attends");
    let far = Progress { parked: 1, parking: false, first_submit: Some(1_790_000_000.5) };
    one.progress("r", 0, far).await.unwrap();
    two.progress("r", 0, Progress::default()).await.unwrap();
    world.pass(9.0);
    two.attend("r", 2, 10.0).await.unwrap();
    world.pass(2.0);
    let inherited = two.claim("r", 2, vec![0]).await.unwrap().unwrap();
    assert_eq!((inherited.row, inherited.progress), (0, far), "worker 1 is dead");
    two.attend("r", 2, 0.0).await.unwrap();
    assert_eq!(one.claim("r", 1, vec![1]).await.unwrap().unwrap().row, 1, "worker 2 has left");

    assert!(one.finish("r", finished(1, Some("{\"x\":[]}"))).await.unwrap());
    assert!(!two.finish("r", finished(1, None)).await.unwrap());
    assert!(two.finish("r", finished(4, None)).await.unwrap());
    assert!(one.claim("r", 1, vec![4]).await.unwrap().is_none(), "it is over");
    let told = |page: Vec<Numbered>| page.into_iter().map(|it| (it.number, it.row, it.outcome)).collect::<Vec<_>>();
    let (first, second) = ((1, 1, "{\"row\":1}".to_owned()), (2, 4, "{\"row\":4}".to_owned()));
    assert_eq!(told(two.outcomes("r", 0, 9).await.unwrap()), [first.clone(), second.clone()]);
    assert_eq!(told(one.outcomes("r", 0, 1).await.unwrap()), [first]);
    assert_eq!(told(one.outcomes("r", 1, 9).await.unwrap()), [second]);
    assert!(one.outcomes("r", 2, 9).await.unwrap().is_empty());
    assert_eq!(two.result("r", 1).await.unwrap().as_deref(), Some("{\"x\":[]}"));
    assert_eq!((two.result("r", 4).await.unwrap(), two.result("r", 0).await.unwrap()), (None, None));
    assert!(two.rows("r", 1, 1).await.unwrap()[0].done);

    let stop = |comment: &str, running| Stop { comment: comment.to_owned(), running };
    one.stop("r", stop("first", false)).await.unwrap();
    two.stop("r", stop("sterner", true)).await.unwrap();
    one.stop("r", stop("milder", false)).await.unwrap();
    assert_eq!(two.run("r").await.unwrap().unwrap().stopped, Some(stop("sterner", true)));

    assert!(one.begin_run(head("empty", 0), Vec::new()).await.unwrap().is_none());
    assert!(two.rows("empty", 0, 9).await.unwrap().is_empty());
}

/// What is old goes with all that hangs on it; a run that somebody is at stays.
async fn prunes_its_runs(world: World) {
    let store = world.open().await;
    let journal = store.journal().unwrap();
    for run_id in ["old", "attended", "new"] {
        if run_id == "new" {
            world.pass(100.0);
        }
        assert!(journal.begin_run(head(run_id, 1), rows(&[("a", Some("id-a"))])).await.unwrap().is_none());
        journal.finish(run_id, finished(0, Some("{}"))).await.unwrap();
        journal.stop(run_id, Stop { comment: "c".to_owned(), running: true }).await.unwrap();
    }
    journal.attend("attended", 1, 10.0).await.unwrap();
    assert_eq!(store.prune(1000.0).await.unwrap().runs, 0);
    assert_eq!(store.prune(50.0).await.unwrap().runs, 1);
    assert!(journal.run("old").await.unwrap().is_none() && journal.run("attended").await.unwrap().is_some());
    world.pass(11.0);
    assert_eq!(store.prune(50.0).await.unwrap().runs, 1, "nobody is at it any more");
    assert!(journal.run("attended").await.unwrap().is_none() && journal.run("new").await.unwrap().is_some());
    assert!(journal.begin_run(head("old", 1), rows(&[("b", None)])).await.unwrap().is_none());
    let run = journal.run("old").await.unwrap().unwrap();
    assert!(run.stopped.is_none() && journal.outcomes("old", 0, 9).await.unwrap().is_empty());
    assert!(journal.result("old", 0).await.unwrap().is_none());
    let row = journal.rows("old", 0, 9).await.unwrap().remove(0);
    assert!(!row.done && row.machine == "b" && row.machine_id.is_none(), "{row:?}");
}

#[tokio::test]
async fn memory_prunes_its_runs() {
    prunes_its_runs(World::memory().await).await;
}

#[tokio::test]
async fn sqlite_prunes_its_runs() {
    prunes_its_runs(World::sqlite().await).await;
}

#[tokio::test]
async fn redis_prunes_its_runs() {
    let Some(redis) = Redis::start(&[]) else { return };
    prunes_its_runs(World::redis(&redis).await).await;
}

#[tokio::test]
async fn memory_keeps_a_journal() {
    keeps_a_journal(World::memory().await).await;
}

#[tokio::test]
async fn sqlite_keeps_a_journal() {
    keeps_a_journal(World::sqlite().await).await;
}

#[tokio::test]
async fn redis_keeps_a_journal() {
    let Some(redis) = Redis::start(&[]) else { return };
    keeps_a_journal(World::redis(&redis).await).await;
}
