//! Rate windows and their queues: every store passes the same tests.

use mde_live_response::state::store::{AdmissionRequest, DeferredWrite, QueueEntry};

use super::store_support::*;

async fn calls_count_until_one_window_after_their_end(fixture: &StoreFixture) {
    let (one, two) = (fixture.open().await, fixture.open().await);
    let first = read(&one, 1, [0, 1]).await;
    assert_eq!(first.granted, [ticket(1, 0), ticket(1, 1)], "{}", fixture.kind);
    let second = read(&two, 2, [0, 1]).await;
    assert_eq!(second.granted, [ticket(2, 0)]);
    // In memory the next answer is due when the window has room; a shared store is asked every 3 s.
    let expected = if one.is_shared() { 3.0 } else { 10.0 };
    assert!(
        (second.wait - expected).abs() < 0.01,
        "the process asks again at its renewal: \
        {}",
        second.wait
    );
    fixture.advance_time(1.0);
    for (store, owner, number) in [(&one, 1, 0), (&one, 1, 1), (&two, 2, 0)] {
        store.defer(DeferredWrite::EndCall(READ, ticket(owner, number)));
        store.flush().await.unwrap();
    }
    // The calls ended at 1.0 s and count for 10 s more, plus a margin of 1 ms.
    fixture.advance_time(9.99);
    let early = two.request_admission(admission_request(READ, 2)).await.unwrap();
    assert!(early.granted.is_empty() && (early.wait - 0.011).abs() < 0.002, "{early:?}");
    fixture.advance_time(0.02);
    assert_eq!(
        two.request_admission(admission_request(READ, 2)).await.unwrap().granted,
        [ticket(2, 1)]
    );
    assert_eq!(read(&one, 1, [2, 3]).await.granted.len(), 2);
    assert!(read(&one, 1, [4]).await.granted.is_empty(), "the window is full again");
}

async fn the_longer_rate_applies_too(fixture: &StoreFixture) {
    let store = fixture.open().await;
    // 3 calls in 10 s and 7 in 60 s: the third round gets only one.
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
        "{}: the place is kept for the first caller",
        fixture.kind
    );
}

async fn a_dead_process_loses_its_places(fixture: &StoreFixture) {
    let (one, dead) = (fixture.open().await, fixture.open().await);
    read(&dead, 9, [0, 1, 2, 3, 4, 5]).await;
    assert!(read(&one, 1, [0]).await.granted.is_empty());
    for _ in 0..6 {
        fixture.advance_time(2.4);
        assert!(
            one.request_admission(admission_request(READ, 1)).await.unwrap().granted.is_empty(),
            "calls count until one window after their lease"
        );
    }
    // A memory store has one process only, so no other can die.
    if !one.is_shared() {
        return;
    }
    fixture.advance_time(0.7);
    let answer = one.request_admission(admission_request(READ, 1)).await.unwrap();
    assert_eq!(
        answer.granted,
        [ticket(1, 0)],
        "{}: its places block nobody: {answer:?}",
        fixture.kind
    );
    assert!(
        dead.request_admission(admission_request(READ, 9)).await.unwrap().owner_unknown,
        "its places are gone"
    );
}

async fn a_late_process_blocks_nobody_and_keeps_its_place(fixture: &StoreFixture) {
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

async fn a_429_blocks_the_window_for_all_processes(fixture: &StoreFixture) {
    let (one, two) = (fixture.open().await, fixture.open().await);
    // The shorter block must not replace the longer one.
    one.block_window(READ, 30.0).await.unwrap();
    one.block_window(READ, 5.0).await.unwrap();
    assert!(read(&two, 2, [0]).await.granted.is_empty(), "{}", fixture.kind);
    assert_eq!(
        submit(&two, 2, 0, slot_request("a", true)).await.granted.len(),
        1,
        "another endpoint has another window"
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

async fn a_repeated_request_grants_once(fixture: &StoreFixture) {
    // Memory can't lose an answer, so it does not check for repeated tickets.
    if fixture.kind == "memory" {
        return;
    }
    let store = fixture.open().await;
    let join: Vec<_> =
        (0..4).map(|number| QueueEntry { ticket: ticket(1, number), slot_request: None }).collect();
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

async fn a_clock_set_back_breaks_no_window(fixture: &StoreFixture) {
    let store = fixture.open().await;
    read(&store, 1, [0, 1, 2]).await;
    (0..3).for_each(|number| store.defer(DeferredWrite::EndCall(READ, ticket(1, number))));
    store.flush().await.unwrap();
    // The store's time must stand still, and not go back.
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

store_suite!(
    calls_count_until_one_window_after_their_end,
    the_longer_rate_applies_too,
    tickets_are_granted_in_order,
    a_dead_process_loses_its_places,
    a_late_process_blocks_nobody_and_keeps_its_place,
    a_429_blocks_the_window_for_all_processes,
    a_repeated_request_grants_once,
    a_clock_set_back_breaks_no_window,
);
