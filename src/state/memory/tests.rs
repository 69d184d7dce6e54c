use super::*;
use crate::config::Rate;

fn memory(sessions: u32) -> Arc<Memory> {
    let submit = vec![Rate::new(1000, 1.0).unwrap()];
    Arc::new(Memory::new(&Limits { sessions, submit, ..Limits::default() }, Clock::new()))
}

#[tokio::test(start_paused = true)]
async fn a_busy_machine_at_the_head_holds_nobody_up() {
    let memory = memory(50);
    memory.admit("a", 100.0, true).await.unwrap_or_else(|_| unreachable!()).slot.keep("action-a");
    let second = tokio::spawn({
        let memory = memory.clone();
        async move { memory.admit("a", 100.0, true).await.map(|admission| admission.slot.keep("action-a2")) }
    });
    tokio::task::yield_now().await;
    assert!(memory.admit("b", 100.0, true).await.is_ok());
    let occupied = memory.admit("a", 100.0, false).await.err();
    assert_eq!(occupied, Some(Occupied { action_id: Some("action-a".to_owned()), in_doubt_since: None }));
    memory.close("action-a");
    assert!(second.await.unwrap().is_ok());
    assert_eq!(memory.open_actions(), ["action-a2"]);
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_freed_by_its_guard_its_action_or_its_time() {
    let memory = memory(1);
    drop(memory.admit("a", 100.0, true).await.unwrap_or_else(|_| unreachable!()));
    memory.admit("b", 100.0, true).await.unwrap_or_else(|_| unreachable!()).slot.keep("action-b");
    assert_eq!(memory.slots_left(), 0);
    memory.close("action-b");
    memory.admit("c", 100.0, true).await.unwrap_or_else(|_| unreachable!()).slot.leave_taken();
    assert_eq!(memory.slots_left(), 0);
    tokio::time::advance(std::time::Duration::from_secs(101)).await;
    assert!(memory.admit("d", 100.0, true).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_ends_wakes_those_in_line() {
    let memory = memory(1);
    memory.admit("a", 100.0, true).await.unwrap_or_else(|_| unreachable!()).slot.leave_taken();
    let clock = memory.clock;
    let started = clock.now();
    assert!(memory.admit("b", 100.0, true).await.is_ok());
    assert!((99.0..101.0).contains(&(clock.now() - started)));
}
