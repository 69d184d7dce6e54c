//! One suite that every store keeps.

use mde_live_response::model::Command;
use mde_live_response::state::store::{Ask, Later, Learned};

use super::store_support::*;

async fn calls_count_until_one_length_after_their_end(world: &World) {
    let (one, two) = (world.open().await, world.open().await);
    let first = read(&one, 1, [0, 1]).await;
    assert_eq!(first.granted, [ticket(1, 0), ticket(1, 1)], "{}", world.kind);
    let second = read(&two, 2, [0, 1]).await;
    assert_eq!(second.granted, [ticket(2, 0)]);
    let expected = if one.is_shared() { 3.0 } else { 10.0 };
    assert!((second.wait - expected).abs() < 0.01, "not before a renewal: {}", second.wait);
    world.pass(1.0);
    for (store, owner, number) in [(&one, 1, 0), (&one, 1, 1), (&two, 2, 0)] {
        store.later(Later::Finish(READ, ticket(owner, number)));
        store.flush().await.unwrap();
    }
    world.pass(9.99);
    let early = two.ask(ask(READ, 2)).await.unwrap();
    assert!(early.granted.is_empty() && (early.wait - 0.011).abs() < 0.002, "{early:?}");
    world.pass(0.02);
    assert_eq!(two.ask(ask(READ, 2)).await.unwrap().granted, [ticket(2, 1)]);
    assert_eq!(read(&one, 1, [2, 3]).await.granted.len(), 2);
    assert!(read(&one, 1, [4]).await.granted.is_empty(), "a window is full again");
}

async fn the_longer_rate_holds_too(world: &World) {
    let store = world.open().await;
    for round in 0..3 {
        let granted = read(&store, 1, (0..3).map(|i| round * 3 + i)).await.granted;
        assert_eq!(granted.len(), if round < 2 { 3 } else { 1 }, "{} round {round}", world.kind);
        for at in granted {
            store.later(Later::Finish(READ, at));
        }
        store.flush().await.unwrap();
        world.pass(10.1);
        store.ask(Ask { leave: (0..9).map(|i| ticket(1, i)).collect(), ..ask(READ, 1) }).await.unwrap();
    }
    let view = store.view(READ).await.unwrap();
    assert!(view.share == 0.0 && (view.wait - (60.0 - 30.3)).abs() < 0.1, "{view:?}");
}

async fn who_came_first_goes_first(world: &World) {
    let (one, two) = (world.open().await, world.open().await);
    read(&one, 1, [0, 1, 2]).await;
    assert!(read(&two, 2, [0]).await.granted.is_empty());
    assert!(read(&one, 1, [3]).await.granted.is_empty());
    world.pass(1.0);
    one.later(Later::Finish(READ, ticket(1, 0)));
    one.flush().await.unwrap();
    for _ in 0..4 {
        world.pass(2.4);
        assert!(two.ask(ask(READ, 2)).await.unwrap().granted.is_empty());
        assert!(one.ask(ask(READ, 1)).await.unwrap().granted.is_empty());
    }
    world.pass(0.6);
    assert!(one.ask(ask(READ, 1)).await.unwrap().granted.is_empty(), "{}", world.kind);
    let last = two.ask(ask(READ, 2)).await.unwrap();
    assert_eq!(last.granted, [ticket(2, 0)], "{}: the place is kept for who came first", world.kind);
}

async fn a_dead_process_holds_nothing_for_ever(world: &World) {
    let (one, dead) = (world.open().await, world.open().await);
    read(&dead, 9, [0, 1, 2, 3, 4, 5]).await;
    assert!(read(&one, 1, [0]).await.granted.is_empty());
    for _ in 0..6 {
        world.pass(2.4);
        assert!(one.ask(ask(READ, 1)).await.unwrap().granted.is_empty(), "calls count until their lease and a length");
    }
    if !one.is_shared() {
        return;
    }
    world.pass(0.7);
    let answer = one.ask(ask(READ, 1)).await.unwrap();
    assert_eq!(answer.granted, [ticket(1, 0)], "{}: its places hold nobody up: {answer:?}", world.kind);
    assert!(dead.ask(ask(READ, 9)).await.unwrap().stranger, "and are gone");
}

async fn a_process_that_is_late_holds_nobody_up_and_keeps_its_place(world: &World) {
    let (one, late) = (world.open().await, world.open().await);
    if !one.is_shared() {
        return;
    }
    let first = read(&one, 1, [0, 1, 2]).await.granted;
    read(&late, 2, [0]).await;
    read(&one, 1, [3, 4]).await;
    first.into_iter().for_each(|ticket| one.later(Later::Finish(READ, ticket)));
    one.flush().await.unwrap();
    for _ in 0..4 {
        world.pass(2.4);
        one.ask(ask(READ, 1)).await.unwrap();
    }
    world.pass(0.5);
    assert_eq!(one.ask(ask(READ, 1)).await.unwrap().granted.len(), 2, "{}", world.kind);
    let answer = late.ask(ask(READ, 2)).await.unwrap();
    assert!(!answer.stranger && answer.granted == [ticket(2, 0)], "{}: {answer:?}", world.kind);
}

async fn a_429_holds_everybody_back(world: &World) {
    let (one, two) = (world.open().await, world.open().await);
    one.hold(READ, 30.0).await.unwrap();
    one.hold(READ, 5.0).await.unwrap();
    assert!(read(&two, 2, [0]).await.granted.is_empty(), "{}", world.kind);
    assert_eq!(submit(&two, 2, 0, errand("a", true)).await.granted.len(), 1, "another endpoint is another window");
    for _ in 0..5 {
        world.pass(5.9);
        assert!(two.ask(ask(READ, 2)).await.unwrap().granted.is_empty());
    }
    world.pass(0.6);
    assert_eq!(two.ask(ask(READ, 2)).await.unwrap().granted, [ticket(2, 0)]);
}

async fn leaving_gives_everything_back(world: &World) {
    let store = world.open().await;
    read(&store, 1, [0, 1, 2, 3]).await;
    let leave = vec![ticket(1, 0), ticket(1, 1), ticket(1, 2), ticket(1, 3)];
    let answer = store.ask(Ask { leave, ..ask(READ, 1) }).await.unwrap();
    assert!(answer.granted.is_empty() && answer.wait == f64::INFINITY, "{answer:?}");
    assert_eq!(read(&store, 1, [4, 5, 6]).await.granted.len(), 3, "{}: what was never sent never was", world.kind);
    submit(&store, 1, 7, errand("a", true)).await;
    assert_eq!(store.slots().await.unwrap().len(), 1);
    store.ask(Ask { leave: vec![ticket(1, 7)], ..ask(SUBMIT, 1) }).await.unwrap();
    assert!(store.slots().await.unwrap().is_empty());
}

async fn a_read_has_nothing_to_do_with_the_submit_of_its_number(world: &World) {
    let store = world.open().await;
    read(&store, 9, [0, 1, 2]).await;
    submit(&store, 9, 3, errand("x", true)).await;
    submit(&store, 9, 4, errand("y", true)).await;
    assert!(read(&store, 1, [0]).await.granted.is_empty());
    assert!(submit(&store, 1, 0, errand("a", true)).await.granted.is_empty(), "the cap is two");
    store.ask(Ask { leave: vec![ticket(1, 0)], ..ask(READ, 1) }).await.unwrap();
    store.later(Later::Free("x".into(), ticket(9, 3)));
    store.flush().await.unwrap();
    assert_eq!(store.ask(ask(SUBMIT, 1)).await.unwrap().granted, [ticket(1, 0)], "{}", world.kind);
    let holds = async || store.slots().await.unwrap().iter().any(|slot| slot.machine_id == "a");
    assert!(holds().await, "{}: no submit without a slot", world.kind);
    store.ask(Ask { leave: vec![ticket(1, 0)], ..ask(READ, 1) }).await.unwrap();
    assert!(holds().await, "{}: nor is it freed by a read", world.kind);
}

async fn asking_again_grants_once(world: &World) {
    if world.kind == "memory" {
        return;
    }
    let store = world.open().await;
    let join: Vec<_> = (0..4)
        .map(|number| mde_live_response::state::store::Joining { ticket: ticket(1, number), errand: None })
        .collect();
    let first = store.ask(Ask { join: join.clone(), ..ask(READ, 1) }).await.unwrap();
    let again = store.ask(Ask { join, again: true, ..ask(READ, 1) }).await.unwrap();
    assert_eq!(first.granted, again.granted, "{}", world.kind);
    let waiting = store.snapshot().await.unwrap().windows;
    let window = waiting.iter().find(|window| window.name == READ.name()).unwrap();
    assert_eq!((window.running, window.waiting), (3, 1));
}

async fn a_submit_has_window_slot_and_machine_at_once(world: &World) {
    let (one, two) = (world.open().await, world.open().await);
    assert_eq!(submit(&one, 1, 0, errand("a", true)).await.granted.len(), 1);
    let mut second = errand("a", true);
    second.correlation_id = "another".into();
    let busy = submit(&two, 2, 0, second.clone()).await;
    assert!(busy.granted.is_empty() && busy.occupied.is_empty() && busy.wait > 0.0, "{busy:?}");
    assert_eq!(submit(&one, 1, 1, errand("b", true)).await.granted.len(), 1, "a busy machine holds nobody up");
    second.wait = false;
    let told = submit(&two, 2, 1, second).await;
    assert_eq!(told.occupied, [(ticket(2, 1), None)], "{}", world.kind);
    assert!(submit(&two, 2, 2, errand("c", true)).await.granted.is_empty(), "the cap is two");
    for (number, machine) in ["a", "b"].into_iter().enumerate() {
        one.later(Later::Finish(SUBMIT, ticket(1, number as u64)));
        one.settled(key(machine), format!("action-{machine}"), Some(1000.0)).await.unwrap();
    }
    one.flush().await.unwrap();
    assert!(two.close("ACTION-b").await.unwrap() && !two.close("action-b").await.unwrap());
    assert_eq!(two.ask(ask(SUBMIT, 2)).await.unwrap().granted, [ticket(2, 2)], "{}", world.kind);
    one.close("action-a").await.unwrap();
    let full = two.ask(ask(SUBMIT, 2)).await.unwrap();
    assert!(full.granted.is_empty() && full.wait > 0.0, "a slot and the machine, but no room: {full:?}");
    world.pass(6.0);
    two.ask(ask(SUBMIT, 2)).await.unwrap();
    world.pass(6.0);
    assert_eq!(two.ask(ask(SUBMIT, 2)).await.unwrap().granted, [ticket(2, 0)]);
}

async fn a_slot_is_freed_by_its_guard_its_intent_or_its_time(world: &World) {
    let store = world.open().await;
    let open = async || store.slots().await.unwrap().len();
    submit(&store, 1, 0, errand("a", true)).await;
    store.later(Later::Free("a".into(), ticket(1, 0)));
    store.flush().await.unwrap();
    assert_eq!(open().await, 0, "{}", world.kind);
    submit(&store, 1, 1, errand("b", true)).await;
    world.pass(34.0);
    assert_eq!(open().await, 1);
    world.pass(2.0);
    assert_eq!(open().await, 0, "a process that died before it posted");
    store.intent(key("c"), Vec::new(), String::new()).await.unwrap();
    assert!(store.take_turn(key("c"), 7, 15.0).await.unwrap());
    assert!(store.posted(key("c"), 7, true).await.is_err(), "there is no slot");
    submit(&store, 1, 2, errand("c", true)).await;
    store.posted(key("c"), 7, true).await.unwrap();
    world.pass(990.0);
    assert!((store.slots().await.unwrap()[0].in_doubt.unwrap() - 990.0).abs() < 0.01);
    assert!(!store.clear_doubt("c".into(), 991.0).await.unwrap(), "{}", world.kind);
    assert_eq!(open().await, 1, "a process that died after it posted");
    let again = submit(&store, 3, 0, errand("c", false)).await;
    assert_eq!(again.granted, [ticket(3, 0)], "{}: the same intent has its slot again", world.kind);
    store.withdraw(key("c")).await.unwrap();
    assert_eq!(open().await, 0);
    store.intent(key("d"), Vec::new(), String::new()).await.unwrap();
    assert!(store.take_turn(key("d"), 7, 15.0).await.unwrap());
    world.pass(10.0);
    submit(&store, 1, 3, errand("d", true)).await;
    store.posted(key("d"), 7, true).await.unwrap();
    world.pass(10.0);
    assert!(store.clear_doubt("d".into(), 9.0).await.unwrap(), "{}", world.kind);
    assert_eq!(open().await, 0);
}

async fn an_intent_of_which_nothing_was_sent_is_forgotten(world: &World) {
    let store = world.open().await;
    for (machine, posted) in [("a", false), ("b", true)] {
        store.intent(key(machine), Vec::new(), String::new()).await.unwrap();
        assert!(store.take_turn(key(machine), 7, 15.0).await.unwrap());
        submit(&store, 1, u64::from(posted), errand(machine, true)).await;
        store.posted(key(machine), 7, posted).await.unwrap();
        store.later(Later::LeaveTurn(key(machine), 8));
        store.flush().await.unwrap();
        assert!(
            store.known_intent(key(machine)).await.unwrap().is_some(),
            "another's is not forgotten: {}",
            world.kind
        );
        store.later(Later::LeaveTurn(key(machine), 7));
        store.flush().await.unwrap();
        assert_eq!(store.known_intent(key(machine)).await.unwrap().is_some(), posted, "{}", world.kind);
    }
    assert_eq!(store.slots().await.unwrap()[0].machine_id, "b");
}

async fn an_intent_has_one_turn(world: &World) {
    let (one, two) = (world.open().await, world.open().await);
    let commands =
        vec![Command::run_script("a.ps1", Some("-x \"é\" 'y'")).unwrap(), Command::get_file(r"C:\a").unwrap()];
    let found = one.intent(key("a"), commands.clone(), "why".into()).await.unwrap();
    assert!(!found.known && found.intent.created > 0.0 && found.intent.comment == "why");
    let found = two.intent(key("a"), Vec::new(), "other".into()).await.unwrap();
    assert!(found.known && found.intent.commands == commands && found.intent.comment == "why", "{found:?}");
    assert!(one.take_turn(key("a"), 1, 15.0).await.unwrap() && !two.take_turn(key("a"), 2, 15.0).await.unwrap());
    world.pass(10.0);
    assert!(one.take_turn(key("a"), 1, 15.0).await.unwrap(), "renewed");
    world.pass(10.0);
    assert!(!two.take_turn(key("a"), 2, 15.0).await.unwrap(), "{}", world.kind);
    world.pass(6.0);
    assert!(two.take_turn(key("a"), 2, 15.0).await.unwrap(), "a dead one's falls free");
    submit(&one, 1, 0, errand("a", true)).await;
    assert!(one.posted(key("a"), 1, true).await.is_err_and(|error| error.retryable), "{}", world.kind);
    two.posted(key("a"), 2, true).await.unwrap();
    assert!(one.known_intent(key("a")).await.unwrap().unwrap().posted);
    two.settled(key("a"), "action".into(), Some(100.0)).await.unwrap();
    two.later(Later::LeaveTurn(key("a"), 2));
    two.flush().await.unwrap();
    one.withdraw(key("a")).await.unwrap();
    let intent = one.known_intent(key("a")).await.unwrap().unwrap();
    assert_eq!(intent.action_id.as_deref(), Some("action"), "one with an action stays");
    assert!(one.take_turn(key("a"), 1, 15.0).await.unwrap());
    assert_eq!(one.slots().await.unwrap()[0].action_id.as_deref(), Some("action"));
    one.settled(key("a"), "action".into(), None).await.unwrap();
    assert!(one.slots().await.unwrap().is_empty());
    assert!(one.known_intent(key("b")).await.unwrap().is_none());
    assert!(!one.take_turn(key("b"), 1, 15.0).await.unwrap());
}

async fn what_is_learned_of_others_counts(world: &World) {
    let store = world.open().await;
    let learned =
        |machine: &str| Learned { machine_id: machine.into(), action_id: format!("of-{machine}"), lease: 50.0 };
    submit(&store, 1, 0, errand("a", true)).await;
    store.learn(vec![learned("a"), learned("b")]).await.unwrap();
    assert_eq!(store.slots().await.unwrap().len(), 2, "a machine has one session: {}", world.kind);
    assert!(submit(&store, 1, 1, errand("c", true)).await.granted.is_empty());
    let told = submit(&store, 1, 2, errand("b", false)).await;
    assert_eq!(told.occupied, [(ticket(1, 2), Some("of-b".to_owned()))]);
    world.pass(51.0);
    assert!(store.slots().await.unwrap().is_empty());
}

async fn looks_are_shared_and_old_things_pruned(world: &World) {
    let (one, two) = (world.open().await, world.open().await);
    one.put_look("x".into(), "{\"id\":\"x\"}".into()).await.unwrap();
    world.pass(2.0);
    let look = two.look("x".into(), 5.0).await.unwrap().unwrap();
    assert!(look.body == "{\"id\":\"x\"}" && (look.age - 2.0).abs() < 0.001, "{look:?}");
    assert!(two.look("x".into(), 1.0).await.unwrap().is_none() && two.look("y".into(), 9.0).await.unwrap().is_none());
    one.intent(key("open"), Vec::new(), String::new()).await.unwrap();
    one.settled(key("open"), "action".into(), Some(10_000.0)).await.unwrap();
    one.intent(key("over"), Vec::new(), String::new()).await.unwrap();
    world.pass(100.0);
    one.intent(key("new"), Vec::new(), String::new()).await.unwrap();
    let shown = two.snapshot().await.unwrap();
    assert_eq!((shown.intents.len(), shown.slots.len()), (3, 1), "{}", world.kind);
    let pruned = two.prune(50.0).await.unwrap();
    assert_eq!((pruned.intents, pruned.looks), (1, 1), "{}", world.kind);
    assert!(two.known_intent(key("over")).await.unwrap().is_none());
}

async fn nothing_grows_for_ever_and_nothing_open_is_forgotten(world: &World) {
    let day = 86_400.0;
    let store = world.open().await;
    for (number, machine) in ["over", "open", "doubt", "taken", "unsent"].into_iter().enumerate() {
        store.intent(key(machine), Vec::new(), String::new()).await.unwrap();
        assert!(store.take_turn(key(machine), 7, if machine == "taken" { 200.0 * day } else { 15.0 }).await.unwrap());
        if number < 3 {
            submit(&store, 1, number as u64, errand(machine, true)).await;
            store.posted(key(machine), 7, true).await.unwrap();
            if machine != "doubt" {
                let lease = if machine == "open" { 200.0 * day } else { 100.0 };
                store.settled(key(machine), format!("on-{machine}"), Some(lease)).await.unwrap();
            }
        }
        store.close("on-over").await.unwrap();
    }
    store.put_look("old".into(), "{}".into()).await.unwrap();
    world.pass(3000.0);
    store.put_look("young".into(), "{}".into()).await.unwrap();
    world.pass(601.0);
    store.put_look("new".into(), "{}".into()).await.unwrap();
    let seen = store.looks(["old", "young", "new"].map(String::from).to_vec(), 1e9).await.unwrap();
    assert_eq!(seen.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["young", "new"], "{}", world.kind);
    let known = async |machine: &str| store.known_intent(key(machine)).await.unwrap().is_some();
    world.pass(178.0 * day);
    store.intent(key("first"), Vec::new(), String::new()).await.unwrap();
    assert!(known("over").await && known("unsent").await, "{}: the service may list it yet", world.kind);
    world.pass(3.0 * day);
    store.intent(key("second"), Vec::new(), String::new()).await.unwrap();
    for (machine, kept) in [("over", false), ("unsent", false), ("open", true), ("doubt", true), ("taken", true)] {
        assert_eq!(known(machine).await, kept, "{}: {machine}", world.kind);
    }
    assert_eq!(store.prune(50.0 * day).await.unwrap().intents, 1, "{}: an operator ends what is in doubt", world.kind);
    assert!(!known("doubt").await && known("open").await && known("first").await, "{}", world.kind);
}

async fn looks_are_put_and_read_many_at_once(world: &World) {
    let (one, two) = (world.open().await, world.open().await);
    let body = |number: u32| format!("{{\"id\":\"{number}\",\"comment\":\"é 'x' \\\\\"}}");
    let ids = |numbers: std::ops::Range<u32>| numbers.map(|number| number.to_string()).collect::<Vec<_>>();
    one.put_looks(Vec::new()).await.unwrap();
    one.put_looks((0..60).map(|number| (number.to_string(), body(number))).collect()).await.unwrap();
    world.pass(4.0);
    one.put_looks(vec![("7".into(), body(700))]).await.unwrap();
    world.pass(2.0);
    let all = two.looks(ids(0..100), 10.0).await.unwrap();
    assert_eq!(
        all.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(),
        ids(0..60),
        "{}: in the order asked",
        world.kind
    );
    for (number, (id, look)) in all.iter().enumerate() {
        let (newest, age) = if id == "7" { (700, 2.0) } else { (number as u32, 6.0) };
        assert!(look.body == body(newest) && (look.age - age).abs() < 0.001, "{}: {id} {look:?}", world.kind);
    }
    let fresh = two.looks(ids(0..60), 3.0).await.unwrap();
    assert!(fresh.len() == 1 && fresh[0].0 == "7", "{}: {fresh:?}", world.kind);
    assert!(
        two.looks(Vec::new(), 9.0).await.unwrap().is_empty() && two.looks(ids(90..99), 9.0).await.unwrap().is_empty()
    );
}

async fn a_clock_set_back_breaks_nothing_and_stops_nothing(world: &World) {
    let store = world.open().await;
    read(&store, 1, [0, 1, 2]).await;
    (0..3).for_each(|number| store.later(Later::Finish(READ, ticket(1, number))));
    store.flush().await.unwrap();
    world.pass(-5000.0);
    assert!(read(&store, 1, [3]).await.granted.is_empty(), "{}", world.kind);
    for _ in 0..3 {
        world.pass(3.0);
        assert!(store.ask(ask(READ, 1)).await.unwrap().granted.is_empty());
    }
    world.pass(1.1);
    assert_eq!(store.ask(ask(READ, 1)).await.unwrap().granted, [ticket(1, 3)], "{}", world.kind);
}

macro_rules! suite {
    ($($case:ident),* $(,)?) => {
        mod memory {
            use super::*;
            $(#[tokio::test] async fn $case() { super::$case(&World::memory().await).await; })*
        }
        mod sqlite {
            use super::*;
            $(#[tokio::test] async fn $case() { super::$case(&World::sqlite().await).await; })*
        }
        mod redis {
            use super::*;
            $(#[tokio::test] async fn $case() {
                let Some(redis) = Redis::start(&[]) else { return };
                super::$case(&World::redis(&redis).await).await;
            })*
        }
    };
}

suite!(
    calls_count_until_one_length_after_their_end,
    the_longer_rate_holds_too,
    who_came_first_goes_first,
    a_dead_process_holds_nothing_for_ever,
    a_process_that_is_late_holds_nobody_up_and_keeps_its_place,
    a_429_holds_everybody_back,
    leaving_gives_everything_back,
    a_read_has_nothing_to_do_with_the_submit_of_its_number,
    asking_again_grants_once,
    a_submit_has_window_slot_and_machine_at_once,
    a_slot_is_freed_by_its_guard_its_intent_or_its_time,
    an_intent_has_one_turn,
    an_intent_of_which_nothing_was_sent_is_forgotten,
    what_is_learned_of_others_counts,
    looks_are_shared_and_old_things_pruned,
    nothing_grows_for_ever_and_nothing_open_is_forgotten,
    looks_are_put_and_read_many_at_once,
    a_clock_set_back_breaks_nothing_and_stops_nothing,
);
