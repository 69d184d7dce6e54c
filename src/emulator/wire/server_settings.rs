//! The settings of a TCP server.

use std::net::IpAddr;
use std::path::PathBuf;

use rustls::pki_types::ServerName;

use crate::emulator::tls::authority::Authority;
use crate::error::{Error, Result};

/// How many names of its own a certificate may have. With thousands, clients refuse it.
const MAX_NAMES: usize = 100;

/// Where a server listens, and with which certificates.
#[derive(Clone, Debug, Default)]
pub struct ServerSettings {
    /// The address to listen on.
    pub host: String,
    /// The port of the API and the login host. 0 is a free port.
    pub port: u16,
    /// Whether the ports of the hosts serve HTTPS.
    pub tls: bool,
    /// More names for the certificate. The proxy serves them too.
    pub tls_names: Vec<String>,
    /// The PEM files of a certificate and its key to use in place of the emulator's own.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The folder that keeps the certificate authority. `None` is an authority for this run.
    pub ca_folder: Option<PathBuf>,
    /// The port of the proxy. 0 is a free port, and `None` is no proxy.
    pub proxy: Option<u16>,
    /// Whether programs on this machine can control the emulator over HTTP, under `/__box/`.
    pub control: bool,
}

impl ServerSettings {
    /// Returns the settings of a server on a free port of `host`, without TLS, with the control
    /// over HTTP.
    pub fn at(host: &str) -> Self {
        Self { host: host.to_owned(), control: true, ..Self::default() }
    }

    /// Checks that the settings fit together.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting has no effect, or a name is none.
    pub fn check(&self) -> Result<()> {
        let signs = self.signs_for_hosts();
        for (name, given, needed, used) in [
            ("certificate", self.certificate.is_some(), "tls", self.tls),
            ("tls_names", !self.tls_names.is_empty(), "tls or proxy", signs),
            ("ca_folder", self.ca_folder.is_some(), "tls or proxy", signs),
        ] {
            if given && !used {
                let with = match &self.certificate {
                    Some(_) if self.tls => "proxy, because certificate replaces the emulator's own",
                    _ => needed,
                };
                return Err(Error::invalid(format!("{name} has no effect without {with}")));
            }
        }
        if self.tls_names.len() > MAX_NAMES {
            return Err(Error::invalid(format!(
                "tls_names has {} names; it may have {MAX_NAMES}",
                self.tls_names.len()
            )));
        }
        match self.tls_names.iter().find(|name| !is_host_name(name)) {
            None => Ok(()),
            Some(name) => Err(Error::invalid(format!(
                "tls_names has {name:?}, which is not the name of a host"
            ))
            .with_hint("give a name such as api.securitycenter.microsoft.com, without a port")),
        }
    }

    /// Returns the authority that signs the server's certificates, or `None` if it needs none.
    pub fn authority(&self) -> Result<Option<Authority>> {
        match &self.ca_folder {
            _ if !self.signs_for_hosts() => Ok(None),
            Some(folder) => Authority::in_folder(folder).map(Some),
            None => Authority::of_this_run().map(Some),
        }
    }

    /// Returns the names of the server's own certificate.
    pub fn own_names(&self) -> Vec<String> {
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        // A certificate cannot name 0.0.0.0 or ::, and nobody connects to them by that name.
        let is_specific = self.host.parse::<IpAddr>().map_or(true, |ip| !ip.is_unspecified());
        for name in is_specific.then_some(&self.host).into_iter().chain(&self.tls_names) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// Returns whether the emulator signs certificates itself.
    fn signs_for_hosts(&self) -> bool {
        self.proxy.is_some() || (self.tls && self.certificate.is_none())
    }
}

/// Returns whether `name` is a host name or an IP address. Its first label may be `*`.
fn is_host_name(name: &str) -> bool {
    ServerName::try_from(name.strip_prefix("*.").unwrap_or(name)).is_ok()
}
