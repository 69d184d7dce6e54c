//! The header Date, in the emulator's time.

use http::Method;
use mde_live_response::emulator::{Emulator, EmulatorClock, Fault, Settings, Switches, serve};
use mde_live_response::model::Timestamp;
use serde_json::json;

use crate::emulator_support::{new_service, run_script, with_settings, with_switches};

/// The date of a response agrees with the times in its body, however the clock runs.
#[tokio::test(start_paused = true)]
async fn a_response_is_dated_by_the_emulators_clock() {
    let clock = EmulatorClock { epoch: Some(784_111_770.0), speed: 60.0 };
    let service = with_settings(Settings { clock, ..Settings::default() });
    assert_eq!(service.get("/api/machines").await.header("date"), "Sun, 06 Nov 1994 08:49:30 GMT");
    service.emulator.advance(7.5);
    let response = service.run(&service.machine(0), &json!([run_script("a.ps1")]), "why").await;
    assert_eq!(response.header("date"), "Sun, 06 Nov 1994 08:49:37 GMT");
    let created = response.json()["creationDateTimeUtc"].as_str().unwrap().to_owned();
    assert_eq!(Timestamp::parse(&created).unwrap().to_unix(), 784_111_777.5);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(service.get("/nowhere").await.header("date"), "Sun, 06 Nov 1994 08:50:37 GMT");
    let blob = service.blob(&format!("{}/x", service.emulator.blob_url()), &[]).await;
    let login = service.token_request("/x/oauth2/v2.0/token", &[]).await;
    assert!(!blob.header("date").is_empty() && !login.header("date").is_empty());
}

/// A fault's response has a date too, or the one that the test gives it.
#[tokio::test(start_paused = true)]
async fn the_date_of_a_fault() {
    let service = new_service();
    let mut fault = Fault::status(502);
    service.emulator.fault("GET", "machines", fault.clone(), 1, 1).unwrap();
    assert!(service.get("/api/machines").await.header("date").ends_with("GMT"));
    fault.headers.insert("Date".into(), "yesterday".into());
    service.emulator.fault("GET", "machines", fault, 1, 1).unwrap();
    assert_eq!(service.get("/api/machines").await.header("date"), "yesterday");
    let service = with_switches(|s| s.date_header = false);
    assert_eq!(service.call(Method::GET, "/api/machines", &[], "").await.header("date"), "");
}

/// Over TCP, the server adds no date of its own.
#[tokio::test(flavor = "multi_thread")]
async fn dates_over_tcp() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let clock = EmulatorClock { epoch: Some(784_111_777.0), speed: 1.0 };
    for date_header in [true, false] {
        let switches = Switches { date_header, ..Switches::default() };
        let settings = Settings { clock, switches, ..Settings::default() };
        let emulator = Emulator::new(settings).unwrap();
        let _server = serve(emulator.clone(), "127.0.0.1", 0, false).await.unwrap();
        let url = format!("{}/api/machines", emulator.url());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let response = client.get(url).bearer_auth(emulator.token()).send().await.unwrap();
        let dates: Vec<_> = response.headers().get_all("date").iter().collect();
        assert_eq!(dates.len(), usize::from(date_header));
        assert!(dates.iter().all(|date| date.to_str().unwrap().starts_with("Sun, 06 Nov 1994")));
    }
}
