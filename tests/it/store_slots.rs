//! Session slots: every store passes the same tests.

use mde_live_response::state::store::{AdmissionRequest, DeferredWrite, OpenSession};

use super::store_support::*;

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
        "{}: a call that was never sent does not count",
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

async fn a_read_and_a_submit_with_the_same_number_are_independent(fixture: &StoreFixture) {
    let store = fixture.open().await;
    read(&store, 9, [0, 1, 2]).await;
    submit(&store, 9, 3, slot_request("x", true)).await;
    submit(&store, 9, 4, slot_request("y", true)).await;
    assert!(read(&store, 1, [0]).await.granted.is_empty());
    assert!(
        submit(&store, 1, 0, slot_request("a", true)).await.granted.is_empty(),
        "there are two slots"
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
    assert!(holds().await, "{}: a granted submit has a slot", fixture.kind);
    store
        .request_admission(AdmissionRequest {
            leave: vec![ticket(1, 0)],
            ..admission_request(READ, 1)
        })
        .await
        .unwrap();
    assert!(holds().await, "{}: a read does not free it", fixture.kind);
}

async fn a_submit_gets_window_slot_and_machine_together(fixture: &StoreFixture) {
    let (one, two) = (fixture.open().await, fixture.open().await);
    assert_eq!(submit(&one, 1, 0, slot_request("a", true)).await.granted.len(), 1);
    let mut second = slot_request("a", true);
    second.correlation_id = "another".into();
    let busy = submit(&two, 2, 0, second.clone()).await;
    assert!(busy.granted.is_empty() && busy.occupied.is_empty() && busy.wait > 0.0, "{busy:?}");
    assert_eq!(
        submit(&one, 1, 1, slot_request("b", true)).await.granted.len(),
        1,
        "a busy machine blocks nobody else"
    );
    second.wait = false;
    let refused = submit(&two, 2, 1, second).await;
    assert_eq!(refused.occupied, [(ticket(2, 1), None)], "{}", fixture.kind);
    assert!(
        submit(&two, 2, 2, slot_request("c", true)).await.granted.is_empty(),
        "there are two \
        slots"
    );
    for (number, machine) in ["a", "b"].into_iter().enumerate() {
        one.defer(DeferredWrite::EndCall(SUBMIT, ticket(1, number as u64)));
        one.record_action(key(machine), format!("action-{machine}"), Some(1000.0)).await.unwrap();
    }
    one.flush().await.unwrap();
    assert!(
        // The case of an action id does not matter.
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
        "it has a slot and the machine, but the window has no room: {full:?}"
    );
    fixture.advance_time(6.0);
    two.request_admission(admission_request(SUBMIT, 2)).await.unwrap();
    fixture.advance_time(6.0);
    assert_eq!(
        two.request_admission(admission_request(SUBMIT, 2)).await.unwrap().granted,
        [ticket(2, 0)]
    );
}

async fn a_slot_is_freed_by_its_guard_its_intent_or_its_lease(fixture: &StoreFixture) {
    let store = fixture.open().await;
    let open = async || store.slots().await.unwrap().len();
    submit(&store, 1, 0, slot_request("a", true)).await;
    store.defer(DeferredWrite::ReleaseSlot("a".into(), ticket(1, 0)));
    store.flush().await.unwrap();
    assert_eq!(open().await, 0, "{}", fixture.kind);
    submit(&store, 1, 1, slot_request("b", true)).await;
    // 5 s for the call and 30 s of grace, if no POST was recorded.
    fixture.advance_time(34.0);
    assert_eq!(open().await, 1);
    fixture.advance_time(2.0);
    assert_eq!(open().await, 0, "the process died before the POST");
    store.get_or_create_intent(key("c"), Vec::new(), String::new()).await.unwrap();
    assert!(store.acquire_lease(key("c"), 7, 15.0).await.unwrap());
    assert!(store.record_posted(key("c"), 7, true).await.is_err(), "there is no slot");
    submit(&store, 1, 2, slot_request("c", true)).await;
    store.record_posted(key("c"), 7, true).await.unwrap();
    // From the POST on, the slot is held for its lease of 1000 s.
    fixture.advance_time(990.0);
    assert!((store.slots().await.unwrap()[0].in_doubt.unwrap() - 990.0).abs() < 0.01);
    assert!(!store.release_in_doubt_slot("c".into(), 991.0).await.unwrap(), "{}", fixture.kind);
    assert_eq!(open().await, 1, "the process died after the POST");
    let again = submit(&store, 3, 0, slot_request("c", false)).await;
    assert_eq!(
        again.granted,
        [ticket(3, 0)],
        "{}: the same intent gets its slot again",
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

async fn sessions_found_on_the_service_hold_slots(fixture: &StoreFixture) {
    let store = fixture.open().await;
    // The session on `a` is ours already; the one on `b` is new.
    let found = |machine: &str| OpenSession {
        machine_id: machine.into(),
        action_id: format!("of-{machine}"),
        lease: 50.0,
    };
    submit(&store, 1, 0, slot_request("a", true)).await;
    store.record_open_sessions(vec![found("a"), found("b")]).await.unwrap();
    assert_eq!(store.slots().await.unwrap().len(), 2, "a machine has one slot: {}", fixture.kind);
    assert!(submit(&store, 1, 1, slot_request("c", true)).await.granted.is_empty());
    let refused = submit(&store, 1, 2, slot_request("b", false)).await;
    assert_eq!(refused.occupied, [(ticket(1, 2), Some("of-b".to_owned()))]);
    fixture.advance_time(51.0);
    assert!(store.slots().await.unwrap().is_empty());
}

store_suite!(
    leaving_releases_everything,
    a_read_and_a_submit_with_the_same_number_are_independent,
    a_submit_gets_window_slot_and_machine_together,
    a_slot_is_freed_by_its_guard_its_intent_or_its_lease,
    sessions_found_on_the_service_hold_slots,
);
