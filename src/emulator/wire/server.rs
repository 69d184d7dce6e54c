//! The TCP server: the API and the login host on one port, the blob host on another, and the proxy
//! on a third.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::emulator::Emulator;
use crate::emulator::http_control::ControlAccess;
use crate::emulator::proxy::connection::Proxy;
use crate::emulator::tls::acceptor;
use crate::emulator::wire::addresses::{Addresses, WildcardBind};
use crate::emulator::wire::exchange::VirtualHost;
use crate::emulator::wire::http_connection::{ControlPeer, HEAD_TIMEOUT, ServedHost, serve_http};
use crate::emulator::wire::server_settings::ServerSettings;
use crate::error::{Error, Kind, Result};

/// A running TCP server. It stops when it is closed or dropped, with all its connections.
#[derive(Debug)]
pub struct Server {
    api: SocketAddr,
    blob: SocketAddr,
    proxy: Option<SocketAddr>,
    proxy_url: Option<String>,
    ca_bundle: Option<String>,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Returns the address of the API and the login host.
    pub fn api_address(&self) -> SocketAddr {
        self.api
    }

    /// Returns the address of the blob host.
    pub fn blob_address(&self) -> SocketAddr {
        self.blob
    }

    /// Returns the address of the proxy. `None` without a proxy.
    pub fn proxy_address(&self) -> Option<SocketAddr> {
        self.proxy
    }

    /// Returns the URL of the proxy, for a client's settings. `None` without a proxy.
    pub fn proxy_url(&self) -> Option<&str> {
        self.proxy_url.as_deref()
    }

    /// Returns every address on which the server listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        [self.api, self.blob].into_iter().chain(self.proxy).collect()
    }

    /// Returns the PEM of the authority that signs the server's certificates. `None` if there is no
    /// such authority.
    pub fn ca_bundle(&self) -> Option<&str> {
        self.ca_bundle.as_deref()
    }

    /// Stops the server and closes its connections.
    pub fn close(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

/// Serves an emulator over TCP, on the current tokio runtime. Port 0 takes any free port.
///
/// From now on the emulator's URLs are those of the server.
///
/// # Errors
///
/// Returns an error if the address cannot be bound or the certificate cannot be created.
pub async fn serve(emulator: Emulator, host: &str, port: u16, with_tls: bool) -> Result<Server> {
    let settings = ServerSettings { port, tls: with_tls, ..ServerSettings::at(host) };
    serve_with(emulator, &settings).await
}

/// Serves an emulator over TCP as `settings` say, on the current tokio runtime.
///
/// # Errors
///
/// Returns an error if the settings do not fit together, a file of theirs cannot be used, or an
/// address cannot be bound.
pub async fn serve_with(emulator: Emulator, settings: &ServerSettings) -> Result<Server> {
    settings.check()?;
    let host = &settings.host;
    let authority = settings.authority()?.map(Arc::new);
    let acceptor = match (&settings.certificate, &authority) {
        _ if !settings.tls => None,
        (Some((certificate, key)), _) => Some(acceptor::from_files(certificate, key)?),
        (None, Some(authority)) => Some(acceptor::signed(authority, settings.own_names())?),
        (None, None) => None,
    };
    let (api_listener, api) = bind(host, settings.port).await?;
    let (blob_listener, blob) = bind_blob_host(settings, api).await?;
    let scheme = if settings.tls { "https" } else { "http" };
    let url_for_port =
        |port: u16| format!("{scheme}://{}", reachable_address(host, api.ip(), port));
    let wildcard_bind = WildcardBind { scheme, api_port: api.port(), blob_port: blob.port() };
    emulator.lock_state().addresses = Addresses {
        api: url_for_port(api.port()),
        login: url_for_port(api.port()),
        blob: url_for_port(blob.port()),
        wildcard_bind: api.ip().is_unspecified().then_some(wildcard_bind),
    };
    let control = settings.control.then(|| {
        let names = settings.tls_names.iter().chain([host]).cloned();
        Arc::new(ControlAccess::new(names))
    });
    let mut tasks: Vec<JoinHandle<()>> =
        [(api_listener, VirtualHost::Api), (blob_listener, VirtualHost::Blob)]
            .map(|(listener, vhost)| {
                let (emulator, acceptor) = (emulator.clone(), acceptor.clone());
                let control = control.clone().filter(|_| vhost == VirtualHost::Api);
                tokio::spawn(accept_loop(listener, move |stream| {
                    let peer = stream.peer_addr().ok().map(|peer| peer.ip());
                    let control = control.clone().map(|access| ControlPeer { access, peer });
                    let host = ServedHost { vhost, addresses: None, control };
                    handle_connection(emulator.clone(), stream, host, acceptor.clone())
                }))
            })
            .into();
    let mut at = None;
    if let (Some(port), Some(authority)) = (settings.proxy, &authority) {
        let (listener, address) = bind(host, port).await?;
        let proxy = Proxy::new(emulator, authority.clone(), settings.tls_names.clone());
        let proxy = Arc::new(proxy);
        tasks.push(tokio::spawn(accept_loop(listener, move |stream| {
            proxy.clone().handle_connection(stream)
        })));
        at = Some(address);
    }
    let ca_bundle = authority.map(|authority| authority.pem().to_owned());
    let proxy_url = at.map(|at| format!("http://{}", reachable_address(host, at.ip(), at.port())));
    Ok(Server { api, blob, proxy: at, proxy_url, ca_bundle, tasks })
}

/// Returns host and port under which a client on this machine reaches a port of the server.
fn reachable_address(host: &str, ip: IpAddr, port: u16) -> String {
    match ip {
        ip if ip.is_unspecified() => format!("127.0.0.1:{port}"),
        _ if host.parse::<IpAddr>().is_err() => format!("{host}:{port}"),
        ip => SocketAddr::new(ip, port).to_string(),
    }
}

/// Binds the port of the blob host. On every interface, as in a container, it must be known before:
/// it is the one after the API's, unless that is not free.
async fn bind_blob_host(
    settings: &ServerSettings,
    api: SocketAddr,
) -> Result<(TcpListener, SocketAddr)> {
    let next = settings.port.checked_add(1).filter(|port| *port > 1 && api.ip().is_unspecified());
    if let Some(next) = next
        && let Ok(bound) = bind(&settings.host, next).await
    {
        return Ok(bound);
    }
    bind(&settings.host, 0).await
}

async fn bind(host: &str, port: u16) -> Result<(TcpListener, SocketAddr)> {
    let failed = |error: std::io::Error| {
        Error::new(
            Kind::ConnectionFailed,
            format!("the emulator failed to listen on {host} port {port}: {error}"),
        )
    };
    let listener = TcpListener::bind((host, port)).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Hands each connection to `handle`.
async fn accept_loop<F>(listener: TcpListener, handle: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    // When this task is aborted, the set is dropped and closes every connection.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // The process has no free file descriptors. Wait for others to be closed.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        // Without it, responses are only slower.
        let _ = stream.set_nodelay(true);
        // Forget the connections that have ended. The set would grow with each one.
        while connections.try_join_next().is_some() {}
        connections.spawn(handle(stream));
    }
}

async fn handle_connection(
    emulator: Emulator,
    stream: TcpStream,
    host: ServedHost,
    tls: Option<TlsAcceptor>,
) {
    match tls {
        None => serve_http(emulator, stream, host).await,
        Some(acceptor) => {
            if let Ok(Ok(stream)) =
                tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await
            {
                serve_http(emulator, stream, host).await;
            }
        }
    }
}
