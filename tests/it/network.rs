//! The network between the clients of a test and the emulator. It loses, delays and repeats.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mde_live_response::emulator::Emulator;
use mde_live_response::error::{Error, Kind};
use mde_live_response::transport::{Destination, Failure, Request, Response, Transport};

use crate::support::sleep;

/// What the network cannot reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outage {
    None,
    Everything,
    Results,
    /// No new token can be fetched, and the service refuses the current one.
    SignIn,
}

/// What the network does with a POST of a submit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SubmitFate {
    Usual,
    /// It fails here, and reaches the emulator this many seconds later.
    Late(f64),
    /// It reaches the emulator, and again this many seconds later. The second response counts.
    Twice(f64),
}

/// Replaces responses of the results' host.
pub type BlobFilter = Box<dyn Fn(Response) -> BoxFuture<'static, Response> + Send + Sync>;

/// The network in front of the emulator. It adds faults that the emulator does not see.
pub struct FaultyNetwork {
    pub emulator: Emulator,
    outage: Mutex<Outage>,
    /// Lists of machine actions are lost before they reach the emulator.
    pub drop_lists: AtomicBool,
    /// The next submits fail here, and reach the emulator this many seconds later.
    pub submit_delays: Mutex<VecDeque<f64>>,
    /// What happens to the next submits after those.
    pub submit_fates: Mutex<VecDeque<SubmitFate>>,
    /// The hosts that were called, and whether the request had a token.
    pub called_hosts: Mutex<Vec<(String, bool)>>,
    pub blob_filter: Mutex<Option<BlobFilter>>,
}

impl FaultyNetwork {
    pub fn new(emulator: Emulator) -> Arc<Self> {
        Arc::new(Self {
            emulator,
            outage: Mutex::new(Outage::None),
            drop_lists: AtomicBool::new(false),
            submit_delays: Mutex::default(),
            submit_fates: Mutex::default(),
            called_hosts: Mutex::default(),
            blob_filter: Mutex::default(),
        })
    }

    pub fn set_outage(&self, outage: Outage) {
        *self.outage.lock().unwrap() = outage;
    }

    pub fn has_outage(&self, outage: Outage) -> bool {
        *self.outage.lock().unwrap() == outage
    }

    fn next_submit_fate(&self) -> SubmitFate {
        match self.submit_delays.lock().unwrap().pop_front() {
            Some(seconds) => SubmitFate::Late(seconds),
            None => self.submit_fates.lock().unwrap().pop_front().unwrap_or(SubmitFate::Usual),
        }
    }

    fn is_reachable(&self, request: &Request) -> bool {
        let to_service =
            matches!(request.destination, Destination::Service | Destination::ServiceAsSent);
        !self.has_outage(Outage::Everything) && (to_service || !self.has_outage(Outage::Results))
    }
}

/// The transport of one client.
pub struct TestTransport(pub Arc<FaultyNetwork>);

impl Transport for TestTransport {
    fn send(&self, mut request: Request) -> BoxFuture<'_, Result<Response, Failure>> {
        let network = self.0.clone();
        let lost = || Failure {
            sent: true,
            error: Error::new(Kind::ConnectionFailed, "the network was cut"),
        };
        let bearer = request.headers.contains_key("authorization");
        if bearer && network.has_outage(Outage::SignIn) {
            request
                .headers
                .insert("authorization", http::HeaderValue::from_static("Bearer revoked"));
        }
        network.called_hosts.lock().unwrap().push((request.url.host().to_owned(), bearer));
        async move {
            if !network.is_reachable(&request) {
                return Err(Failure {
                    sent: false,
                    error: Error::new(Kind::ConnectionFailed, "the network is down"),
                });
            }
            let path = request.url.expose().path().to_owned();
            if request.destination == Destination::Service && path == "/api/machineactions" {
                if network.drop_lists.load(Ordering::SeqCst) {
                    return Err(lost());
                }
            } else if path.ends_with("/runliveresponse") {
                match network.next_submit_fate() {
                    SubmitFate::Usual => {}
                    SubmitFate::Late(seconds) => {
                        tokio::spawn(async move {
                            sleep(seconds).await;
                            let _ = network.emulator.send(request).await;
                        });
                        return Err(lost());
                    }
                    SubmitFate::Twice(seconds) => {
                        let _ = network.emulator.send(request.clone()).await;
                        sleep(seconds).await;
                        // The client has sent its request, whatever becomes of the copy.
                        return network.emulator.send(request).await.map_err(|_| lost());
                    }
                }
            }
            let destination = request.destination;
            let response = network.emulator.send(request).await?;
            let filtered = match &*network.blob_filter.lock().unwrap() {
                Some(filter) if destination == Destination::Blob => filter(response),
                _ => std::future::ready(response).boxed(),
            };
            Ok(filtered.await)
        }
        .boxed()
    }
}
