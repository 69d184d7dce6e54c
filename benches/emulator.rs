//! The speed of the emulator: sessions in process with a paused clock, and requests over loopback.
//! Run it with `cargo bench --no-default-features --bench emulator`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement, not part of the package"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method};
use mde_live_response::config::Limits;
use mde_live_response::emulator::{Emulator, ScriptOutcome, Settings, Switches, serve};
use mde_live_response::secret::SecretUrl;
use mde_live_response::transport::{Destination, Request, Transport};

fn main() {
    in_process();
    for connections in [1, 8, 32] {
        loopback(connections);
    }
}

fn emulator(machines: usize) -> Emulator {
    let limits = Limits { submit: vec![], read: vec![], sessions: u32::MAX, ..Limits::default() };
    let switches = Switches { log_size: 1000, ..Switches::default() };
    let emulator =
        Emulator::new(Settings { machines, limits, switches, ..Settings::default() }).unwrap();
    emulator.on_script("a.ps1", ScriptOutcome::default());
    emulator
}

/// Runs 200,000 sessions from POST to final status, one after another on each machine.
fn in_process() {
    const MACHINES: usize = 20_000;
    const ROUNDS: usize = 10;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let emulator = emulator(MACHINES);
        let api = format!("{}/api", emulator.url());
        let submit_url = |id: &String| {
            SecretUrl::parse(&format!("{api}/machines/{id}/runliveresponse"), "").unwrap()
        };
        let urls: Vec<_> = emulator.machine_ids().iter().map(submit_url).collect();
        let mut headers = HeaderMap::new();
        let bearer = HeaderValue::from_str(&format!("Bearer {}", emulator.token())).unwrap();
        headers.insert("authorization", bearer);
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let request = |method: Method, url: SecretUrl, body: &'static str| Request {
            destination: Destination::Service,
            method,
            url,
            headers: headers.clone(),
            body: body.into(),
            timeout: Duration::from_secs(30),
        };
        let body = concat!(
            r#"{"Commands":[{"type":"RunScript","params":["#,
            r#"{"key":"ScriptName","value":"a.ps1"}]}],"#,
            r#""Comment":"case 42 [mlr:0011]"}"#
        );
        let count_url = format!(
            "{api}/machineactions/$count?$filter=status%20eq%20'Succeeded'&$count=true&$top=1"
        );
        let started = Instant::now();
        for round in 1..=ROUNDS {
            for url in &urls {
                let submit = request(Method::POST, url.clone(), body);
                let response = emulator.send(submit).await.unwrap();
                assert_eq!(response.status, 201);
            }
            tokio::time::sleep(Duration::from_secs(10)).await;
            // The emulator catches up with the clock on the first request: it then ends every
            // session.
            let count = request(Method::GET, SecretUrl::parse(&count_url, "").unwrap(), "");
            let response = emulator.send(count).await.unwrap();
            let succeeded = response.bytes(1 << 20).await.unwrap();
            assert_eq!(succeeded, (round * MACHINES).to_string());
        }
        let rate = (MACHINES * ROUNDS) as f64 / started.elapsed().as_secs_f64();
        println!(
            "in process, clock paused, one core: {rate:.0} sessions/s from POST to final status"
        );
    });
}

/// Sends GETs of one machine over kept connections, one request at a time on each.
fn loopback(connections: usize) {
    const EACH: Duration = Duration::from_secs(3);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let emulator = emulator(3);
    let server = runtime.block_on(serve(emulator.clone(), "127.0.0.1", 0, false)).unwrap();
    let (address, token) = (server.api_address(), emulator.token());
    let path = format!("/api/machines/{}", emulator.machine_ids()[0]);
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\r\n");
    let started = Instant::now();
    let clients: Vec<_> = (0..connections)
        .map(|_| {
            let request = request.clone();
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_nodelay(true).unwrap();
                let (mut served, mut buffer) = (0_u64, vec![0_u8; 64 << 10]);
                while started.elapsed() < EACH {
                    stream.write_all(request.as_bytes()).unwrap();
                    let mut filled = 0;
                    while !buffer[..filled].ends_with(b"\r\n0\r\n\r\n") {
                        filled += stream.read(&mut buffer[filled..]).unwrap();
                    }
                    assert!(buffer.starts_with(b"HTTP/1.1 200"));
                    served += 1;
                }
                served
            })
        })
        .collect();
    let served: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    let rate = served as f64 / started.elapsed().as_secs_f64();
    println!(
        "over loopback, {connections} kept connections, client on the same cores: \
         {rate:.0} requests/s"
    );
}
