//! One connection to the proxy: its CONNECT, and what follows inside the tunnel.
//!
//! The proxy never opens a connection. What it does not serve itself, it refuses.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::emulator::Emulator;
use crate::emulator::control::request_log::RequestOutcome;
use crate::emulator::proxy::hosts;
use crate::emulator::tls::acceptor;
use crate::emulator::tls::authority::Authority;
use crate::emulator::wire::http_connection::{HEAD_TIMEOUT, ServedHost, serve_http};
use crate::emulator::wire::request::IncomingRequest;
use crate::emulator::wire::routes::Route;
use crate::text::sanitize;

/// The most bytes of a request's head.
const MAX_HEAD: usize = 16 << 10;
/// The most characters of a client's text in an answer: a DNS name has 255.
const MAX_SHOWN: usize = 300;

/// What the proxy's connections share.
pub struct Proxy {
    emulator: Emulator,
    authority: Arc<Authority>,
    /// Further host names to serve.
    names: Vec<String>,
}

/// A CONNECT that was accepted.
struct Tunnel {
    upgrade: OnUpgrade,
    name: String,
    host: ServedHost,
}

/// Why a request to the proxy is refused.
struct Refusal {
    status: StatusCode,
    text: String,
}

impl Proxy {
    pub fn new(emulator: Emulator, authority: Arc<Authority>, names: Vec<String>) -> Self {
        Self { emulator, authority, names }
    }

    /// Answers the requests of a connection until one of them is an accepted CONNECT, then serves
    /// the tunnel.
    pub async fn handle_connection(self: Arc<Self>, stream: TcpStream) {
        let accepted = Mutex::new(None);
        let service = service_fn(|request| {
            let answer = self.answer(request, &accepted);
            async { Ok::<_, Infallible>(answer) }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD);
        // An error here is the client's: it closed the connection, or sent no valid HTTP and got a
        // 4xx.
        let _ = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        let tunnel = accepted.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(tunnel) = tunnel {
            self.serve_tunnel(tunnel).await;
        }
    }

    /// Accepts TLS in a tunnel, with a certificate for the host that was asked for, and serves it.
    async fn serve_tunnel(&self, tunnel: Tunnel) {
        let Ok(acceptor) = acceptor::signed(&self.authority, vec![tunnel.name]) else { return };
        let handshake = async {
            let stream = tunnel.upgrade.await.ok()?;
            acceptor.accept(TokioIo::new(stream)).await.ok()
        };
        if let Ok(Some(stream)) = tokio::time::timeout(HEAD_TIMEOUT, handshake).await {
            serve_http(self.emulator.clone(), stream, tunnel.host).await;
        }
    }

    fn answer(
        &self,
        mut request: http::Request<Incoming>,
        accepted: &Mutex<Option<Tunnel>>,
    ) -> http::Response<Full<Bytes>> {
        match self.find_host(request.method(), request.uri()) {
            Ok((name, host)) => {
                let upgrade = hyper::upgrade::on(&mut request);
                let mut accepted = accepted.lock().unwrap_or_else(PoisonError::into_inner);
                *accepted = Some(Tunnel { upgrade, name, host });
                http::Response::new(Full::new(Bytes::new()))
            }
            Err(refusal) => {
                self.log(request, refusal.status);
                let mut response = http::Response::new(Full::new(refusal.text.into()));
                *response.status_mut() = refusal.status;
                let text = HeaderValue::from_static("text/plain; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, text);
                response
            }
        }
    }

    /// Returns the host of a CONNECT, or why the request is refused.
    fn find_host(&self, method: &Method, uri: &http::Uri) -> Result<(String, ServedHost), Refusal> {
        let Some(authority) = uri.authority() else { return Err(self.not_a_proxy_request()) };
        let host = authority.host().to_ascii_lowercase();
        // A name may end in the dot of the root. A certificate has none there.
        let host = host.strip_suffix('.').unwrap_or(&host).to_owned();
        let served = hosts::find(&host, &self.names);
        if method != Method::CONNECT {
            return Err(match served {
                Some(_) => refused(format!(
                    "{} is served over https only: the client opens a tunnel to port 443 with \
                     CONNECT.",
                    shown(&host)
                )),
                None => self.not_served(&host),
            });
        }
        // The port is checked as text: `host:` and `host:65536` have none.
        let port = authority.port_u16();
        if authority.as_str().contains('@') || port.is_none() {
            let text = "CONNECT must name a host and a port, such as \
                        api.security.microsoft.com:443.\n";
            return Err(Refusal { status: StatusCode::BAD_REQUEST, text: text.to_owned() });
        }
        match served {
            Some(served) if port == Some(443) => Ok((host, served)),
            Some(_) => Err(refused(format!("{} is served at port 443 only.", shown(&host)))),
            None => Err(self.not_served(&host)),
        }
    }

    fn not_served(&self, host: &str) -> Refusal {
        let is_here = host == "localhost"
            || host.parse().is_ok_and(|ip: std::net::Ipv4Addr| ip.is_loopback())
            || host == "[::1]";
        let more = match self.names.as_slice() {
            [] => String::new(),
            names => format!(", and {}", names.join(", ")),
        };
        let hint = if is_here {
            " The client reaches this machine without a proxy: set \
             NO_PROXY=localhost,127.0.0.1,::1."
        } else {
            ""
        };
        refused(format!(
            "{} is not served by this proxy. It belongs to the emulator of mde-live-response, \
             opens no connection itself, and serves {}{more}.{hint}",
            shown(host),
            hosts::SERVED,
        ))
    }

    /// Returns the answer to a request that was sent to the proxy as to a web server.
    fn not_a_proxy_request(&self) -> Refusal {
        let text = format!(
            "This is the proxy of mde-live-response's emulator. Give its address to the client as \
             its HTTPS proxy (HTTPS_PROXY). The emulator itself is at {}.\n",
            self.emulator.url()
        );
        Refusal { status: StatusCode::BAD_REQUEST, text }
    }

    /// Logs a refused request, so that a test can see what else the client wanted to reach.
    fn log(&self, request: http::Request<Incoming>, status: StatusCode) {
        let (head, _) = request.into_parts();
        // The query of another host's URL may have secrets.
        let path = match head.uri.authority() {
            Some(authority) if head.method == Method::CONNECT => authority.to_string(),
            Some(authority) => format!("http://{}{}", authority.host(), head.uri.path()),
            None => head.uri.path().to_owned(),
        };
        let request = IncomingRequest::without_body(head.method, &path, None, head.headers);
        let (mut state, now) = self.emulator.lock_now();
        let max_entries = state.switches.log_size;
        let number = state.log.record_arrival(Route::Other, &request, now, max_entries);
        state.log.record_end(number, RequestOutcome::Status(status.as_u16()));
    }
}

fn refused(text: String) -> Refusal {
    Refusal { status: StatusCode::FORBIDDEN, text: format!("{text}\n") }
}

fn shown(host: &str) -> String {
    sanitize(host, MAX_SHOWN)
}
