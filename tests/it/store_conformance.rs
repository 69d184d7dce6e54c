//! One suite that every store keeps.

use mde_live_response::model::Command;
use mde_live_response::state::store::{AdmissionRequest, DeferredWrite, OpenSession};

use super::store_support::*;

async fn calls_count_until_one_length_after_their_end(fixture: &StoreFixture) {
    let (one, two) = (fixture.open().await, fixture.open().await);
    let first = read(&one, 1, [0, 1]).await;
    assert_eq!(first.granted, [ticket(1, 0), ticket(1, 1)], "{}", fixture.kind);
    let second = read(&two, 2, [0, 1]).await;
    assert_eq!(second.granted, [ticket(2, 0)]);
    let expected = if one.is_shared() { 3.0 } else { 10.0 };
    assert!((second.wait - expected).abs() < 0.01, "not before a renewal: {}", second.wait);
    fixture.advance_time(1.0);
    for (store, owner, number) in [(&one, 1, 0), (&one, 1, 1), (&two, 2, 0)] {
        store.defer(DeferredWrite::EndCall(READ, ticket(owner, number)));
        store.flush().await.unwrap();
    }
    fixture.advance_time(9.99);
    let early = two.request_admission(admission_request(READ, 2)).await.unwrap();
    assert!(early.granted.is_empty() && (early.wait - 0.011).abs() < 0.002, "{early:?}");
    fixture.advance_time(0.02);
    assert_eq!(
        two.request_admission(admission_request(READ, 2)).await.unwrap().granted,
        [ticket(2, 1)]
    );
    assert_eq!(read(&one, 1, [2, 3]).await.granted.len(), 2);
    assert!(read(&one, 1, [4]).await.granted.is_empty(), "a window is full again");
}

async fn the_longer_rate_holds_too(fixture: &StoreFixture) {
    let store = fixture.open().await;
    for round in 0..3 {
        let granted = read(&store, 1, (0..3).map(|i| round * 3 + i)).await.granted;
        assert_eq!(granted.len(), if round < 2 { 3 } else { 1 }, "{} round {round}", fixture.kind);
        for at in granted {
            store.defer(DeferredWrite::EndCall(READ, at));
        }
        store.flush().await.unwrap();
        fixture.advance_time(10.1);
        store
            .request_admission(AdmissionRequest {
                leave: (0..9).map(|i| ticket(1, i)).collect(),
                ..admission_request(READ, 1)
            })
            .await
            .unwrap();
    }
    let view = store.window_usage(READ).await.unwrap();
    assert!(view.free_share == 0.0 && (view.wait - (60.0 - 30.3)).abs() < 0.1, "{view:?}");
}

async fn tickets_are_granted_in_order(fixture: &StoreFixture) {
    let (one, two) = (fixture.open().await, fixture.open().await);
    read(&one, 1, [0, 1, 2]).await;
    assert!(read(&two, 2, [0]).await.granted.is_empty());
    assert!(read(&one, 1, [3]).await.granted.is_empty());
    fixture.advance_time(1.0);
    one.defer(DeferredWrite::EndCall(READ, ticket(1, 0)));
    one.flush().await.unwrap();
    for _ in 0..4 {
        fixture.advance_time(2.4);
        assert!(
            two.request_admission(admission_request(READ, 2)).await.unwrap().granted.is_empty()
        );
        assert!(
            one.request_admission(admission_request(READ, 1)).await.unwrap().granted.is_empty()
        );
    }
    fixture.advance_time(0.6);
    assert!(
        one.request_admission(admission_request(READ, 1)).await.unwrap().granted.is_empty(),
        "{}",
        fixture.kind
    );
    let last = two.request_admission(admission_request(READ, 2)).await.unwrap();
    assert_eq!(
        last.granted,
        [ticket(2, 0)],
        "{}: the place is kept for who came first",
        fixture.kind
    );
}

async fn a_dead_process_holds_nothing_for_ever(fixture: &StoreFixture) {
    let (one, dead) = (fixture.open().await, fixture.open().await);
    read(&dead, 9, [0, 1, 2, 3, 4, 5]).await;
    assert!(read(&one, 1, [0]).await.granted.is_empty());
    for _ in 0..6 {
        fixture.advance_time(2.4);
        assert!(
            one.request_admission(admission_request(READ, 1)).await.unwrap().granted.is_empty(),
            "calls count until their lease and a length"
        );
    }
    if !one.is_shared() {
        return;
    }
    fixture.advance_time(0.7);
    let answer = one.request_admission(admission_request(READ, 1)).await.unwrap();
    assert_eq!(
        answer.granted,
        [ticket(1, 0)],
        "{}: its places hold nobody up: {answer:?}",
        fixture.kind
    );
    assert!(
        dead.request_admission(admission_request(READ, 9)).await.unwrap().owner_unknown,
        "and are gone"
    );
}

async fn a_late_process_blocks_nobody_and_keeps_its_queue_position(fixture: &StoreFixture) {
    let (one, late) = (fixture.open().await, fixture.open().await);
    if !one.is_shared() {
        return;
    }
    let first = read(&one, 1, [0, 1, 2]).await.granted;
    read(&late, 2, [0]).await;
    read(&one, 1, [3, 4]).await;
    first.into_iter().for_each(|ticket| one.defer(DeferredWrite::EndCall(READ, ticket)));
    one.flush().await.unwrap();
    for _ in 0..4 {
        fixture.advance_time(2.4);
        one.request_admission(admission_request(READ, 1)).await.unwrap();
    }
    fixture.advance_time(0.5);
    assert_eq!(
        one.request_admission(admission_request(READ, 1)).await.unwrap().granted.len(),
        2,
        "{}",
        fixture.kind
    );
    let answer = late.request_admission(admission_request(READ, 2)).await.unwrap();
    assert!(
        !answer.owner_unknown && answer.granted == [ticket(2, 0)],
        "{}: {answer:?}",
        fixture.kind
    );
}

async fn a_429_holds_everybody_back(fixture: &StoreFixture) {
    let (one, two) = (fixture.open().await, fixture.open().await);
    one.block_window(READ, 30.0).await.unwrap();
    one.block_window(READ, 5.0).await.unwrap();
    assert!(read(&two, 2, [0]).await.granted.is_empty(), "{}", fixture.kind);
    assert_eq!(
        submit(&two, 2, 0, slot_request("a", true)).await.granted.len(),
        1,
        "another endpoint is another window"
    );
    for _ in 0..5 {
        fixture.advance_time(5.9);
        assert!(
            two.request_admission(admission_request(READ, 2)).await.unwrap().granted.is_empty()
        );
    }
    fixture.advance_time(0.6);
    assert_eq!(
        two.request_admission(admission_request(READ, 2)).await.unwrap().granted,
        [ticket(2, 0)]
    );
}

async fn leaving_releases_everything(fixture: &StoreFixture) {
    let store = fixture.open().await;
    read(&store, 1, [0, 1, 2, 3]).await;
    let leave = vec![ticket(1, 0), ticket(1, 1), ticket(1, 2), ticket(1, 3)];
    let answer = store
        .request_admission(AdmissionRequest { leave, ..admission_request(READ, 1) })
        .await
        .unwrap();
    assert!(answer.granted.is_empty() && answer.wait == f64::INFINITY, "{answer:?}");
    assert_eq!(
        read(&store, 1, [4, 5, 6]).await.granted.len(),
        3,
        "{}: what was never sent never was",
        fixture.kind
    );
    submit(&store, 1, 7, slot_request("a", true)).await;
    assert_eq!(store.slots().await.unwrap().len(), 1);
    store
        .request_admission(AdmissionRequest {
            leave: vec![ticket(1, 7)],
            ..admission_request(SUBMIT, 1)
        })
        .await
        .unwrap();
    assert!(store.slots().await.unwrap().is_empty());
}

async fn a_read_has_nothing_to_do_with_the_submit_of_its_number(fixture: &StoreFixture) {
    let store = fixture.open().await;
    read(&store, 9, [0, 1, 2]).await;
    submit(&store, 9, 3, slot_request("x", true)).await;
    submit(&store, 9, 4, slot_request("y", true)).await;
    assert!(read(&store, 1, [0]).await.granted.is_empty());
    assert!(
        submit(&store, 1, 0, slot_request("a", true)).await.granted.is_empty(),
        "the cap is two"
    );
    store
        .request_admission(AdmissionRequest {
            leave: vec![ticket(1, 0)],
            ..admission_request(READ, 1)
        })
        .await
        .unwrap();
    store.defer(DeferredWrite::ReleaseSlot("x".into(), ticket(9, 3)));
    store.flush().await.unwrap();
    assert_eq!(
        store.request_admission(admission_request(SUBMIT, 1)).await.unwrap().granted,
        [ticket(1, 0)],
        "{}",
        fixture.kind
    );
    let holds = async || store.slots().await.unwrap().iter().any(|slot| slot.machine_id == "a");
    assert!(holds().await, "{}: no submit without a slot", fixture.kind);
    store
        .request_admission(AdmissionRequest {
            leave: vec![ticket(1, 0)],
            ..admission_request(READ, 1)
        })
        .await
        .unwrap();
    assert!(holds().await, "{}: nor is it freed by a read", fixture.kind);
}

async fn asking_again_grants_once(fixture: &StoreFixture) {
    if fixture.kind == "memory" {
        return;
    }
    let store = fixture.open().await;
    let join: Vec<_> = (0..4)
        .map(|number| mde_live_response::state::store::QueueEntry {
            ticket: ticket(1, number),
            slot_request: None,
        })
        .collect();
    let first = store
        .request_admission(AdmissionRequest { join: join.clone(), ..admission_request(READ, 1) })
        .await
        .unwrap();
    let again = store
        .request_admission(AdmissionRequest { join, is_retry: true, ..admission_request(READ, 1) })
        .await
        .unwrap();
    assert_eq!(first.granted, again.granted, "{}", fixture.kind);
    let waiting = store.snapshot().await.unwrap().windows;
    let window = waiting.iter().find(|window| window.name == READ.name()).unwrap();
    assert_eq!((window.running, window.waiting), (3, 1));
}

async fn a_submit_has_window_slot_and_machine_at_once(fixture: &StoreFixture) {
    let (one, two) = (fixture.open().await, fixture.open().await);
    assert_eq!(submit(&one, 1, 0, slot_request("a", true)).await.granted.len(), 1);
    let mut second = slot_request("a", true);
    second.correlation_id = "another".into();
    let busy = submit(&two, 2, 0, second.clone()).await;
    assert!(busy.granted.is_empty() && busy.occupied.is_empty() && busy.wait > 0.0, "{busy:?}");
    assert_eq!(
        submit(&one, 1, 1, slot_request("b", true)).await.granted.len(),
        1,
        "a busy machine holds nobody up"
    );
    second.wait = false;
    let told = submit(&two, 2, 1, second).await;
    assert_eq!(told.occupied, [(ticket(2, 1), None)], "{}", fixture.kind);
    assert!(submit(&two, 2, 2, slot_request("c", true)).await.granted.is_empty(), "the cap is two");
    for (number, machine) in ["a", "b"].into_iter().enumerate() {
        one.defer(DeferredWrite::EndCall(SUBMIT, ticket(1, number as u64)));
        one.record_action(key(machine), format!("action-{machine}"), Some(1000.0)).await.unwrap();
    }
    one.flush().await.unwrap();
    assert!(
        two.close_session("ACTION-b").await.unwrap()
            && !two.close_session("action-b").await.unwrap()
    );
    assert_eq!(
        two.request_admission(admission_request(SUBMIT, 2)).await.unwrap().granted,
        [ticket(2, 2)],
        "{}",
        fixture.kind
    );
    one.close_session("action-a").await.unwrap();
    let full = two.request_admission(admission_request(SUBMIT, 2)).await.unwrap();
    assert!(
        full.granted.is_empty() && full.wait > 0.0,
        "a slot and the machine, but no room: {full:?}"
    );
    fixture.advance_time(6.0);
    two.request_admission(admission_request(SUBMIT, 2)).await.unwrap();
    fixture.advance_time(6.0);
    assert_eq!(
        two.request_admission(admission_request(SUBMIT, 2)).await.unwrap().granted,
        [ticket(2, 0)]
    );
}

async fn a_slot_is_freed_by_its_guard_its_intent_or_its_time(fixture: &StoreFixture) {
    let store = fixture.open().await;
    let open = async || store.slots().await.unwrap().len();
    submit(&store, 1, 0, slot_request("a", true)).await;
    store.defer(DeferredWrite::ReleaseSlot("a".into(), ticket(1, 0)));
    store.flush().await.unwrap();
    assert_eq!(open().await, 0, "{}", fixture.kind);
    submit(&store, 1, 1, slot_request("b", true)).await;
    fixture.advance_time(34.0);
    assert_eq!(open().await, 1);
    fixture.advance_time(2.0);
    assert_eq!(open().await, 0, "a process that died before it posted");
    store.get_or_create_intent(key("c"), Vec::new(), String::new()).await.unwrap();
    assert!(store.acquire_lease(key("c"), 7, 15.0).await.unwrap());
    assert!(store.record_posted(key("c"), 7, true).await.is_err(), "there is no slot");
    submit(&store, 1, 2, slot_request("c", true)).await;
    store.record_posted(key("c"), 7, true).await.unwrap();
    fixture.advance_time(990.0);
    assert!((store.slots().await.unwrap()[0].in_doubt.unwrap() - 990.0).abs() < 0.01);
    assert!(!store.release_in_doubt_slot("c".into(), 991.0).await.unwrap(), "{}", fixture.kind);
    assert_eq!(open().await, 1, "a process that died after it posted");
    let again = submit(&store, 3, 0, slot_request("c", false)).await;
    assert_eq!(
        again.granted,
        [ticket(3, 0)],
        "{}: the same intent has its slot again",
        fixture.kind
    );
    store.delete_unsent_intent(key("c")).await.unwrap();
    assert_eq!(open().await, 0);
    store.get_or_create_intent(key("d"), Vec::new(), String::new()).await.unwrap();
    assert!(store.acquire_lease(key("d"), 7, 15.0).await.unwrap());
    fixture.advance_time(10.0);
    submit(&store, 1, 3, slot_request("d", true)).await;
    store.record_posted(key("d"), 7, true).await.unwrap();
    fixture.advance_time(10.0);
    assert!(store.release_in_doubt_slot("d".into(), 9.0).await.unwrap(), "{}", fixture.kind);
    assert_eq!(open().await, 0);
}

async fn an_intent_of_which_nothing_was_sent_is_forgotten(fixture: &StoreFixture) {
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
            "another's is not forgotten: {}",
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
    assert!(two.acquire_lease(key("a"), 2, 15.0).await.unwrap(), "a dead one's falls free");
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
    assert_eq!(intent.action_id.as_deref(), Some("action"), "one with an action stays");
    assert!(one.acquire_lease(key("a"), 1, 15.0).await.unwrap());
    assert_eq!(one.slots().await.unwrap()[0].action_id.as_deref(), Some("action"));
    one.record_action(key("a"), "action".into(), None).await.unwrap();
    assert!(one.slots().await.unwrap().is_empty());
    assert!(one.get_intent(key("b")).await.unwrap().is_none());
    assert!(!one.acquire_lease(key("b"), 1, 15.0).await.unwrap());
}

async fn learned_foreign_sessions_count(fixture: &StoreFixture) {
    let store = fixture.open().await;
    let learned = |machine: &str| OpenSession {
        machine_id: machine.into(),
        action_id: format!("of-{machine}"),
        lease: 50.0,
    };
    submit(&store, 1, 0, slot_request("a", true)).await;
    store.record_open_sessions(vec![learned("a"), learned("b")]).await.unwrap();
    assert_eq!(
        store.slots().await.unwrap().len(),
        2,
        "a machine has one session: {}",
        fixture.kind
    );
    assert!(submit(&store, 1, 1, slot_request("c", true)).await.granted.is_empty());
    let told = submit(&store, 1, 2, slot_request("b", false)).await;
    assert_eq!(told.occupied, [(ticket(1, 2), Some("of-b".to_owned()))]);
    fixture.advance_time(51.0);
    assert!(store.slots().await.unwrap().is_empty());
}

async fn cached_statuses_are_shared_and_old_entries_pruned(fixture: &StoreFixture) {
    let (one, two) = (fixture.open().await, fixture.open().await);
    one.cache_status("x".into(), "{\"id\":\"x\"}".into()).await.unwrap();
    fixture.advance_time(2.0);
    let look = two.cached_status("x".into(), 5.0).await.unwrap().unwrap();
    assert!(look.body == "{\"id\":\"x\"}" && (look.age - 2.0).abs() < 0.001, "{look:?}");
    assert!(
        two.cached_status("x".into(), 1.0).await.unwrap().is_none()
            && two.cached_status("y".into(), 9.0).await.unwrap().is_none()
    );
    one.get_or_create_intent(key("open"), Vec::new(), String::new()).await.unwrap();
    one.record_action(key("open"), "action".into(), Some(10_000.0)).await.unwrap();
    one.get_or_create_intent(key("over"), Vec::new(), String::new()).await.unwrap();
    fixture.advance_time(100.0);
    one.get_or_create_intent(key("new"), Vec::new(), String::new()).await.unwrap();
    let shown = two.snapshot().await.unwrap();
    assert_eq!((shown.intents.len(), shown.slots.len()), (3, 1), "{}", fixture.kind);
    let pruned = two.prune(50.0).await.unwrap();
    assert_eq!((pruned.intents, pruned.statuses), (1, 1), "{}", fixture.kind);
    assert!(two.get_intent(key("over")).await.unwrap().is_none());
}

async fn nothing_grows_for_ever_and_nothing_open_is_forgotten(fixture: &StoreFixture) {
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
    fixture.advance_time(178.0 * day);
    store.get_or_create_intent(key("first"), Vec::new(), String::new()).await.unwrap();
    assert!(
        known("over").await && known("unsent").await,
        "{}: the service may list it yet",
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
        "{}: an operator ends what is in doubt",
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
        "{}: in the order asked",
        fixture.kind
    );
    for (number, (id, look)) in all.iter().enumerate() {
        let (newest, age) = if id == "7" { (700, 2.0) } else { (number as u32, 6.0) };
        assert!(
            look.body == body(newest) && (look.age - age).abs() < 0.001,
            "{}: {id} {look:?}",
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

async fn a_clock_set_back_breaks_nothing_and_stops_nothing(fixture: &StoreFixture) {
    let store = fixture.open().await;
    read(&store, 1, [0, 1, 2]).await;
    (0..3).for_each(|number| store.defer(DeferredWrite::EndCall(READ, ticket(1, number))));
    store.flush().await.unwrap();
    fixture.advance_time(-5000.0);
    assert!(read(&store, 1, [3]).await.granted.is_empty(), "{}", fixture.kind);
    for _ in 0..3 {
        fixture.advance_time(3.0);
        assert!(
            store.request_admission(admission_request(READ, 1)).await.unwrap().granted.is_empty()
        );
    }
    fixture.advance_time(1.1);
    assert_eq!(
        store.request_admission(admission_request(READ, 1)).await.unwrap().granted,
        [ticket(1, 3)],
        "{}",
        fixture.kind
    );
}

macro_rules! suite {
    ($($case:ident),* $(,)?) => {
        mod memory {
            use super::*;
            $(#[tokio::test] async fn $case() { super::$case(&StoreFixture::memory().await).await; })*
        }
        mod sqlite {
            use super::*;
            $(#[tokio::test] async fn $case() { super::$case(&StoreFixture::sqlite().await).await; })*
        }
        mod redis {
            use super::*;
            $(#[tokio::test] async fn $case() {
                let Some(redis) = Redis::start(&[]) else { return };
                super::$case(&StoreFixture::redis(&redis).await).await;
            })*
        }
    };
}

suite!(
    calls_count_until_one_length_after_their_end,
    the_longer_rate_holds_too,
    tickets_are_granted_in_order,
    a_dead_process_holds_nothing_for_ever,
    a_late_process_blocks_nobody_and_keeps_its_queue_position,
    a_429_holds_everybody_back,
    leaving_releases_everything,
    a_read_has_nothing_to_do_with_the_submit_of_its_number,
    asking_again_grants_once,
    a_submit_has_window_slot_and_machine_at_once,
    a_slot_is_freed_by_its_guard_its_intent_or_its_time,
    an_intent_has_one_lease,
    an_intent_of_which_nothing_was_sent_is_forgotten,
    learned_foreign_sessions_count,
    cached_statuses_are_shared_and_old_entries_pruned,
    nothing_grows_for_ever_and_nothing_open_is_forgotten,
    cached_statuses_are_written_and_read_in_batches,
    a_clock_set_back_breaks_nothing_and_stops_nothing,
);
