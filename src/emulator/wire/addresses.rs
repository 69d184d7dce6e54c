//! The URLs of the emulator's three hosts.

use http::HeaderMap;
use http::header::HOST;
use http::uri::Authority;

#[derive(Clone, Debug)]
pub struct Addresses {
    pub api: String,
    pub login: String,
    pub blob: String,
    /// Set if the server listens on every interface. Each URL then names the host that the request
    /// was sent to.
    pub wildcard_bind: Option<WildcardBind>,
}

/// The ports of a server that listens on every interface.
#[derive(Clone, Copy, Debug)]
pub struct WildcardBind {
    pub scheme: &'static str,
    pub api_port: u16,
    pub blob_port: u16,
}

impl Addresses {
    /// Returns made-up hosts, which only the in-process transport knows.
    pub fn in_process() -> Self {
        Self {
            api: "https://api.emulator.test".to_owned(),
            login: "https://login.emulator.test".to_owned(),
            blob: "https://store1.blob.emulator.test".to_owned(),
            wildcard_bind: None,
        }
    }

    /// Takes the host of a request's Host header, if the server listens on every interface.
    pub fn adopt_host_header(&mut self, headers: &HeaderMap) {
        let Some(WildcardBind { scheme, api_port, blob_port }) = self.wildcard_bind else { return };
        let host = headers.get(HOST).and_then(|value| value.to_str().ok());
        let Some(authority) = host.and_then(|host| host.parse::<Authority>().ok()) else { return };
        // A client in a container reaches the emulator by another name than one on this machine. A
        // result link must name a host that the client can reach.
        let name = authority.host();
        self.api = format!("{scheme}://{name}:{api_port}");
        self.login = self.api.clone();
        self.blob = format!("{scheme}://{name}:{blob_port}");
    }
}
