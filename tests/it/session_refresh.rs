//! Tests of programs that read the status of a session once, and come back later.

use mde_live_response::emulator::{Route, Settings};

use crate::support::{Fixture, sleep};

async fn start_fifty(fixture: &Fixture) -> Vec<String> {
    let mut ids = Vec::new();
    for machine in 0..50 {
        ids.push(fixture.submit(fixture.submit_args_for(machine)).await.unwrap().id);
    }
    ids
}

#[tokio::test(start_paused = true)]
async fn a_status_that_another_client_cached_is_used() {
    let fixture = Fixture::new();
    fixture.script("echo.ps1", 60.0);
    let session = fixture.submit(fixture.submit_args()).await.unwrap();
    let other = fixture.sibling_client().session(&session.id);
    session.refresh(0.0).await.unwrap();
    let before = fixture.emulator.requests().len();
    assert_eq!(other.refresh(5.0).await.unwrap().id, session.id);
    assert_eq!(fixture.emulator.requests().len(), before, "the store has the status");
    sleep(6.0).await;
    other.refresh(5.0).await.unwrap();
    assert_eq!(fixture.emulator.requests().len(), before + 1, "the status in the store is too old");
    assert_eq!(
        fixture.unrelated_client().session(&session.id).refresh(5.0).await.unwrap().id,
        session.id
    );
    assert_eq!(
        fixture.emulator.requests().len(),
        before + 2,
        "another store does not have the status"
    );
}

#[tokio::test(start_paused = true)]
async fn the_next_poll_of_a_program_that_does_not_wait() {
    let fixture = Fixture::new();
    fixture.script("echo.ps1", 500.0);
    let session = fixture.submit(fixture.submit_args()).await.unwrap();
    assert!((session.next_poll_in() - 3.0).abs() < 0.1, "it was just started");
    let other = fixture.sibling_client().session(&session.id);
    assert!(other.next_poll_in() < 1e-9, "nothing is known of it");
    let mut polls = 0;
    while !other.refresh(0.0).await.unwrap().is_done() {
        let pause = other.next_poll_in();
        assert!((2.9..=30.1).contains(&pause), "{pause}");
        sleep(1.0).await;
        assert!((other.next_poll_in() - (pause - 1.0)).abs() < 1e-3, "a second has passed");
        sleep(pause - 1.0).await;
        assert!(other.next_poll_in() < 1e-3, "it is due");
        polls += 1;
    }
    assert!((20..=40).contains(&polls), "{polls} polls of 500 seconds");
    assert!(other.next_poll_in() < 1e-9, "it has ended");
    let ended = other.action().unwrap().last_update_date_time_utc.unwrap().to_unix();
    assert!(fixture.clock.now() - ended <= 31.0);
}

#[tokio::test(start_paused = true)]
async fn a_status_from_the_store_is_polled_again_when_it_is_old() {
    let fixture = Fixture::new();
    fixture.script("echo.ps1", 500.0);
    let session = fixture.submit(fixture.submit_args()).await.unwrap();
    let other = fixture.sibling_client().session(&session.id);
    sleep(100.0).await;
    session.refresh(0.0).await.unwrap();
    sleep(5.0).await;
    other.refresh(10.0).await.unwrap();
    assert!((other.next_poll_in() - session.next_poll_in()).abs() < 1.0);
    assert!((14.0..=16.0).contains(&other.next_poll_in()), "{}", other.next_poll_in());
}

#[tokio::test(start_paused = true)]
async fn fifty_programs_that_do_not_wait_share_one_list() {
    let fixture = Fixture::with_settings(Settings { machines: 50, ..Settings::default() });
    fixture.script("echo.ps1", 590.0);
    let clients: Vec<_> = (0..50).map(|_| fixture.sibling_client()).collect();
    let ids = start_fifty(&fixture).await;
    let sessions: Vec<_> =
        clients.iter().zip(&ids).map(|(client, id)| client.session(id)).collect();
    sleep(60.0).await;
    let before = fixture.emulator.requests().len();
    for session in &sessions {
        assert!(!session.refresh(10.0).await.unwrap().is_done());
        assert!(session.next_poll_in() > 5.0);
    }
    assert_eq!(fixture.emulator.requests().len(), before + 1, "one list for all");
    assert_eq!(fixture.request_count(Route::GetMachineAction), 0);
    sleep(700.0).await;
    for session in &sessions {
        assert!(session.refresh(10.0).await.unwrap().is_done());
    }
    assert_eq!(fixture.emulator.requests().len(), before + 2);
    assert_eq!(fixture.count_held().await.1, 0, "the slots are free");
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn an_action_that_the_list_lacks_is_read_alone() {
    let fixture = Fixture::with_settings(Settings { machines: 50, ..Settings::default() });
    fixture.script("echo.ps1", 500.0);
    fixture.emulator.set_switches(|switches| switches.list_lag = 1e6);
    let session = fixture.submit(fixture.submit_args()).await.unwrap();
    fixture.submit(fixture.submit_args_for(1)).await.unwrap();
    sleep(2.0).await;
    assert_eq!(session.refresh(1.0).await.unwrap().id, session.id);
    assert_eq!(fixture.request_count(Route::GetMachineAction), 1);
}
