//! How fast the emulator is: sessions behind the seam with the clock paused, requests over loopback.
//! `cargo bench --no-default-features --bench emulator`

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

/// 200,000 sessions from POST to final state, each machine one after another.
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
        let post = |machine: &str| format!("{}/api/machines/{machine}/runliveresponse", emulator.url());
        let urls: Vec<_> = emulator.machine_ids().iter().map(|id| SecretUrl::parse(&post(id), "").unwrap()).collect();
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {}", emulator.token())).unwrap());
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let request = |method: Method, url: SecretUrl, body: &'static str| Request {
            destination: Destination::Service,
            method,
            url,
            headers: headers.clone(),
            body: body.into(),
            timeout: Duration::from_secs(30),
        };
        let body = r#"{"Commands":[{"type":"RunScript","params":[{"key":"ScriptName","value":"a.ps1"}]}],"Comment":"case 42 [mlr:0011]"}"#;
        let list = format!("{}/api/machineactions?$filter=status%20eq%20'Succeeded'&$count=true&$top=1", emulator.url());
        let started = Instant::now();
        for round in 1..=ROUNDS {
            for url in &urls {
                let answer = emulator.send(request(Method::POST, url.clone(), body)).await.unwrap();
                assert_eq!(answer.status, 201);
            }
            tokio::time::sleep(Duration::from_secs(10)).await;
            // The first look makes up for the time: every session is final.
            let look = SecretUrl::parse(&list.replace("machineactions?", "machineactions/$count?"), "").unwrap();
            let answer = emulator.send(request(Method::GET, look, "")).await.unwrap().bytes(1 << 20).await.unwrap();
            assert_eq!(answer, (round * MACHINES).to_string());
        }
        let rate = (MACHINES * ROUNDS) as f64 / started.elapsed().as_secs_f64();
        println!("behind the seam, clock paused, one core: {rate:.0} sessions/s from POST to final state");
    });
}

/// GETs of one machine over so many kept connections, each waiting for its answer.
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
        "over loopback, {connections} kept connections, client on the same cores: {rate:.0} requests/s"
    );
}
