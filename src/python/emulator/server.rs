//! The emulator's server and threads: start and stop.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::emulator::{Emulator, EmulatorConfig, Server, ServerSettings, Settings, serve_with};
use crate::error::Result;
use crate::python::runtime::{ThreadPlan, check_memory};

const THREADS: ThreadPlan = ThreadPlan {
    name: "mde-emulator",
    workers: 2,
    // How many Python scripts run at once.
    max_blocking: 16,
    ready_blocking: 1,
};

/// A server with the threads that run it.
pub struct RunningServer {
    pub server: Server,
    pub runtime: Runtime,
}

/// Where a server is reached, which does not change.
pub struct ServerAddresses {
    /// The API's, the blob host's and the proxy's.
    pub listening: Vec<SocketAddr>,
    pub proxy_url: Option<String>,
    /// The certificate of its authority, in PEM.
    pub ca: Option<String>,
}

impl RunningServer {
    pub fn start(
        settings: Settings,
        config: &EmulatorConfig,
        network: &ServerSettings,
    ) -> Result<(Emulator, Self)> {
        check_memory()?;
        let emulator = Emulator::new(settings)?;
        emulator.apply(config)?;
        let runtime = THREADS.start(|| {})?;
        let server = runtime.block_on(serve_with(emulator.clone(), network))?;
        Ok((emulator, Self { server, runtime }))
    }

    pub fn addresses(&self) -> ServerAddresses {
        ServerAddresses {
            listening: self.server.addresses(),
            proxy_url: self.server.proxy_url().map(str::to_owned),
            ca: self.server.ca_bundle().map(str::to_owned),
        }
    }

    /// Closes every connection and stops the threads.
    pub fn stop(mut self) {
        self.server.close();
        self.runtime.shutdown_timeout(Duration::from_secs(2));
    }
}
