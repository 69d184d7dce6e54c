//! Tests of the count of POSTs in flight. No other test of this binary changes it.

use std::sync::Arc;

use super::*;
use crate::auth::{StaticToken, TokenCache};
use crate::clock::Clock;
use crate::config::{ClientOptions, Cloud};
use crate::emulator::{Emulator, Fault, FaultKind, Settings};
use crate::limits::QuotaRegistry;
use crate::model::Command;
use crate::secret::Secret;

fn sessions(emulator: &Emulator) -> Arc<Sessions> {
    let clock = Clock::new();
    let options = ClientOptions::new(Cloud::default(), Some(&emulator.url())).unwrap();
    let token = StaticToken::new(Secret::new(emulator.token()), clock).unwrap();
    let tokens = TokenCache::new(Arc::new(token), None, clock).unwrap();
    let pipeline = Pipeline::new(
        options,
        Arc::new(emulator.clone()),
        tokens,
        Arc::new(QuotaRegistry::default()),
        clock,
    );
    Arc::new(Sessions::new(Arc::new(pipeline)))
}

#[tokio::test(start_paused = true)]
async fn a_post_is_in_flight_until_it_is_settled_even_if_its_caller_cancels() {
    let emulator = Emulator::new(Settings::default()).unwrap();
    let sessions = sessions(&emulator);
    for fault in [
        Fault::delay(5.0),
        Fault::new(FaultKind::DropAfter),
        Fault::status(503),
        Fault::status(429),
    ] {
        emulator.fault("POST", "runliveresponse", fault.clone(), 1, 1).unwrap();
        let submit = SubmitRequest {
            machine_id: emulator.machine_ids()[0].clone(),
            commands: vec![Command::get_file("/tmp/a").unwrap()],
            comment: "case 42".to_owned(),
            correlation_id: None,
            wait_if_busy: true,
        };
        assert_eq!(posts_in_flight(), 0);
        let caller = tokio::spawn({
            let sessions = sessions.clone();
            async move { sessions.submit(submit, None).await }
        });
        let clock = sessions.pipeline.clock;
        clock.sleep(0.1).await;
        let in_flight = posts_in_flight();
        assert_eq!(in_flight, usize::from(fault.status != 429), "{fault:?}");
        caller.abort();
        clock.sleep(600.0).await;
        assert_eq!(posts_in_flight(), 0, "{fault:?}");
    }
}
