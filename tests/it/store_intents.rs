//! Intents and cached statuses: every store passes the same tests.

use mde_live_response::model::Command;
use mde_live_response::state::store::{DeferredWrite, OpenSession};

use super::store_support::*;

async fn an_intent_has_one_lease(fixture: &StoreFixture) {
    let (one, two) = (fixture.open().await, fixture.open().await);
    let commands = vec![
        Command::run_script("a.ps1", Some("-x \"é\" 'y'")).unwrap(),
        Command::get_file(r"C:\a").unwrap(),
    ];
    let found = one.get_or_create_intent(key("a"), commands.clone(), "why".into()).await.unwrap();
    assert!(!found.known && found.intent.created > 0.0 && found.intent.comment == "why");
    let found = two.get_or_create_intent(key("a"), Vec::new(), "other".into()).await.unwrap();
    assert!(
        found.known && found.intent.commands == commands && found.intent.comment == "why",
        "{found:?}"
    );
    assert!(
        one.acquire_lease(key("a"), 1, 15.0).await.unwrap()
            && !two.acquire_lease(key("a"), 2, 15.0).await.unwrap()
    );
    fixture.advance_time(10.0);
    assert!(one.acquire_lease(key("a"), 1, 15.0).await.unwrap(), "renewed");
    fixture.advance_time(10.0);
    assert!(!two.acquire_lease(key("a"), 2, 15.0).await.unwrap(), "{}", fixture.kind);
    fixture.advance_time(6.0);
    assert!(
        two.acquire_lease(key("a"), 2, 15.0).await.unwrap(),
        "the lease of a dead process has \
        ended"
    );
    submit(&one, 1, 0, slot_request("a", true)).await;
    assert!(
        one.record_posted(key("a"), 1, true).await.is_err_and(|error| error.retryable),
        "{}",
        fixture.kind
    );
    two.record_posted(key("a"), 2, true).await.unwrap();
    assert!(one.get_intent(key("a")).await.unwrap().unwrap().posted);
    two.record_action(key("a"), "action".into(), Some(100.0)).await.unwrap();
    two.defer(DeferredWrite::ReleaseLease(key("a"), 2));
    two.flush().await.unwrap();
    one.delete_unsent_intent(key("a")).await.unwrap();
    let intent = one.get_intent(key("a")).await.unwrap().unwrap();
    assert_eq!(intent.action_id.as_deref(), Some("action"), "an intent with an action stays");
    assert!(one.acquire_lease(key("a"), 1, 15.0).await.unwrap());
    assert_eq!(one.slots().await.unwrap()[0].action_id.as_deref(), Some("action"));
    one.record_action(key("a"), "action".into(), None).await.unwrap();
    assert!(one.slots().await.unwrap().is_empty());
    assert!(one.get_intent(key("b")).await.unwrap().is_none());
    assert!(!one.acquire_lease(key("b"), 1, 15.0).await.unwrap());
}

async fn a_lease_that_another_process_had_is_not_renewed(fixture: &StoreFixture) {
    let (one, two) = (fixture.open().await, fixture.open().await);
    one.get_or_create_intent(key("a"), Vec::new(), String::new()).await.unwrap();
    assert!(!one.renew_lease(key("a"), 1, 15.0).await.unwrap(), "{}", fixture.kind);
    assert!(one.acquire_lease(key("a"), 1, 15.0).await.unwrap());
    fixture.advance_time(20.0);
    assert!(one.renew_lease(key("a"), 1, 15.0).await.unwrap(), "nobody took it");
    fixture.advance_time(10.0);
    assert!(!two.acquire_lease(key("a"), 2, 15.0).await.unwrap(), "{}", fixture.kind);
    fixture.advance_time(6.0);
    assert!(two.acquire_lease(key("a"), 2, 15.0).await.unwrap(), "{}", fixture.kind);
    assert!(!one.renew_lease(key("a"), 1, 15.0).await.unwrap(), "{}", fixture.kind);
    two.record_action(key("a"), "action".into(), None).await.unwrap();
    two.defer(DeferredWrite::ReleaseLease(key("a"), 2));
    two.flush().await.unwrap();
    assert!(
        !one.renew_lease(key("a"), 1, 15.0).await.unwrap(),
        "{}: the other process is done, and may have submitted",
        fixture.kind
    );
    assert!(!one.renew_lease(key("b"), 1, 15.0).await.unwrap(), "there is no such intent");
}

async fn the_actions_of_intents_are_known_by_id(fixture: &StoreFixture) {
    let (one, two) = (fixture.open().await, fixture.open().await);
    let known = async |id: &str| two.is_action_recorded(id.into()).await.unwrap();
    assert!(!known("0a-f").await, "{}", fixture.kind);
    for (machine, lease) in [("a", Some(100.0)), ("b", None)] {
        one.get_or_create_intent(key(machine), Vec::new(), String::new()).await.unwrap();
        one.record_action(key(machine), format!("0A-{machine}"), lease).await.unwrap();
    }
    // The action of a slot alone is another caller's: only an intent proves that it is ours.
    let theirs = OpenSession { machine_id: "c".into(), action_id: "0a-c".into(), lease: 100.0 };
    one.record_open_sessions(vec![theirs]).await.unwrap();
    assert!(known("0a-A").await && known("0A-b").await, "{}: in any case", fixture.kind);
    assert!(!known("0a-c").await && !known("0a").await, "{}", fixture.kind);
}

async fn unreliable_comments_are_remembered(fixture: &StoreFixture) {
    let (one, two) = (fixture.open().await, fixture.open().await);
    assert!(!two.has_unreliable_comments().await.unwrap(), "{}", fixture.kind);
    one.record_unreliable_comments().await.unwrap();
    one.record_unreliable_comments().await.unwrap();
    drop(one);
    let three = fixture.open().await;
    for store in [two, three] {
        assert!(store.has_unreliable_comments().await.unwrap(), "{}", fixture.kind);
    }
}

async fn an_unsent_intent_is_deleted(fixture: &StoreFixture) {
    let store = fixture.open().await;
    for (machine, posted) in [("a", false), ("b", true)] {
        store.get_or_create_intent(key(machine), Vec::new(), String::new()).await.unwrap();
        assert!(store.acquire_lease(key(machine), 7, 15.0).await.unwrap());
        submit(&store, 1, u64::from(posted), slot_request(machine, true)).await;
        store.record_posted(key(machine), 7, posted).await.unwrap();
        store.defer(DeferredWrite::ReleaseLease(key(machine), 8));
        store.flush().await.unwrap();
        assert!(
            store.get_intent(key(machine)).await.unwrap().is_some(),
            "another token does not delete it: {}",
            fixture.kind
        );
        store.defer(DeferredWrite::ReleaseLease(key(machine), 7));
        store.flush().await.unwrap();
        assert_eq!(
            store.get_intent(key(machine)).await.unwrap().is_some(),
            posted,
            "{}",
            fixture.kind
        );
    }
    assert_eq!(store.slots().await.unwrap()[0].machine_id, "b");
}

async fn cached_statuses_are_shared_and_old_records_pruned(fixture: &StoreFixture) {
    let (one, two) = (fixture.open().await, fixture.open().await);
    one.cache_status("x".into(), "{\"id\":\"x\"}".into()).await.unwrap();
    fixture.advance_time(2.0);
    let status = two.cached_status("x".into(), 5.0).await.unwrap().unwrap();
    assert!(status.body == "{\"id\":\"x\"}" && (status.age - 2.0).abs() < 0.001, "{status:?}");
    assert!(
        two.cached_status("x".into(), 1.0).await.unwrap().is_none()
            && two.cached_status("y".into(), 9.0).await.unwrap().is_none()
    );
    one.get_or_create_intent(key("open"), Vec::new(), String::new()).await.unwrap();
    one.record_action(key("open"), "action".into(), Some(10_000.0)).await.unwrap();
    one.get_or_create_intent(key("over"), Vec::new(), String::new()).await.unwrap();
    one.record_action(key("over"), "Action-Over".into(), None).await.unwrap();
    fixture.advance_time(100.0);
    one.get_or_create_intent(key("new"), Vec::new(), String::new()).await.unwrap();
    let shown = two.snapshot().await.unwrap();
    assert_eq!((shown.intents.len(), shown.slots.len()), (3, 1), "{}", fixture.kind);
    let pruned = two.prune(50.0).await.unwrap();
    assert_eq!((pruned.intents, pruned.statuses), (1, 1), "{}", fixture.kind);
    assert!(two.get_intent(key("over")).await.unwrap().is_none());
    assert!(!two.is_action_recorded("action-over".into()).await.unwrap(), "{}", fixture.kind);
    assert!(two.is_action_recorded("action".into()).await.unwrap(), "{}", fixture.kind);
}

async fn old_records_are_swept_but_not_open_ones(fixture: &StoreFixture) {
    let day = 86_400.0;
    let store = fixture.open().await;
    for (number, machine) in ["over", "open", "doubt", "taken", "unsent"].into_iter().enumerate() {
        store.get_or_create_intent(key(machine), Vec::new(), String::new()).await.unwrap();
        assert!(
            store
                .acquire_lease(key(machine), 7, if machine == "taken" { 200.0 * day } else { 15.0 })
                .await
                .unwrap()
        );
        if number < 3 {
            submit(&store, 1, number as u64, slot_request(machine, true)).await;
            store.record_posted(key(machine), 7, true).await.unwrap();
            if machine != "doubt" {
                let lease = if machine == "open" { 200.0 * day } else { 100.0 };
                store
                    .record_action(key(machine), format!("on-{machine}"), Some(lease))
                    .await
                    .unwrap();
            }
        }
        store.close_session("on-over").await.unwrap();
    }
    store.cache_status("old".into(), "{}".into()).await.unwrap();
    fixture.advance_time(3000.0);
    store.cache_status("young".into(), "{}".into()).await.unwrap();
    // `old` is 3601 s old now, and statuses are kept for an hour.
    fixture.advance_time(601.0);
    store.cache_status("new".into(), "{}".into()).await.unwrap();
    let seen = store
        .cached_statuses(["old", "young", "new"].map(String::from).to_vec(), 1e9)
        .await
        .unwrap();
    assert_eq!(
        seen.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(),
        ["young", "new"],
        "{}",
        fixture.kind
    );
    let known = async |machine: &str| store.get_intent(key(machine)).await.unwrap().is_some();
    // Intents are kept for 180 days.
    fixture.advance_time(178.0 * day);
    store.get_or_create_intent(key("first"), Vec::new(), String::new()).await.unwrap();
    assert!(
        known("over").await && known("unsent").await,
        "{}: the service may still list it",
        fixture.kind
    );
    fixture.advance_time(3.0 * day);
    store.get_or_create_intent(key("second"), Vec::new(), String::new()).await.unwrap();
    for (machine, kept) in
        [("over", false), ("unsent", false), ("open", true), ("doubt", true), ("taken", true)]
    {
        assert_eq!(known(machine).await, kept, "{}: {machine}", fixture.kind);
    }
    assert_eq!(
        store.prune(50.0 * day).await.unwrap().intents,
        1,
        "{}: an operator may prune an intent in doubt",
        fixture.kind
    );
    assert!(
        !known("doubt").await && known("open").await && known("first").await,
        "{}",
        fixture.kind
    );
}

async fn cached_statuses_are_written_and_read_in_batches(fixture: &StoreFixture) {
    let (one, two) = (fixture.open().await, fixture.open().await);
    let body = |number: u32| format!("{{\"id\":\"{number}\",\"comment\":\"é 'x' \\\\\"}}");
    let ids = |numbers: std::ops::Range<u32>| {
        numbers.map(|number| number.to_string()).collect::<Vec<_>>()
    };
    one.cache_statuses(Vec::new()).await.unwrap();
    one.cache_statuses((0..60).map(|number| (number.to_string(), body(number))).collect())
        .await
        .unwrap();
    fixture.advance_time(4.0);
    one.cache_statuses(vec![("7".into(), body(700))]).await.unwrap();
    fixture.advance_time(2.0);
    let all = two.cached_statuses(ids(0..100), 10.0).await.unwrap();
    assert_eq!(
        all.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(),
        ids(0..60),
        "{}: in the order of the ids",
        fixture.kind
    );
    for (number, (id, status)) in all.iter().enumerate() {
        let (newest, age) = if id == "7" { (700, 2.0) } else { (number as u32, 6.0) };
        assert!(
            status.body == body(newest) && (status.age - age).abs() < 0.001,
            "{}: {id} {status:?}",
            fixture.kind
        );
    }
    let fresh = two.cached_statuses(ids(0..60), 3.0).await.unwrap();
    assert!(fresh.len() == 1 && fresh[0].0 == "7", "{}: {fresh:?}", fixture.kind);
    assert!(
        two.cached_statuses(Vec::new(), 9.0).await.unwrap().is_empty()
            && two.cached_statuses(ids(90..99), 9.0).await.unwrap().is_empty()
    );
}

store_suite!(
    an_intent_has_one_lease,
    a_lease_that_another_process_had_is_not_renewed,
    the_actions_of_intents_are_known_by_id,
    unreliable_comments_are_remembered,
    an_unsent_intent_is_deleted,
    cached_statuses_are_shared_and_old_records_pruned,
    old_records_are_swept_but_not_open_ones,
    cached_statuses_are_written_and_read_in_batches,
);
