//! The emulator's server and threads: start and stop.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::emulator::{Emulator, Server, Settings, serve};
use crate::error::{Error, Result};

/// How many Python scripts run at once.
const SCRIPT_THREADS: usize = 16;

/// A server with the threads that run it.
pub struct RunningServer {
    pub server: Server,
    pub runtime: Runtime,
}

impl RunningServer {
    pub fn start(settings: Settings, host: &str, port: u16, tls: bool) -> Result<(Emulator, Self)> {
        let emulator = Emulator::new(settings)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(SCRIPT_THREADS)
            .thread_name("mde-emulator")
            .enable_all()
            .build()
            .map_err(|error| {
                Error::invalid(format!("could not start the emulator's threads: {error}"))
            })?;
        let server = runtime.block_on(serve(emulator.clone(), host, port, tls))?;
        Ok((emulator, Self { server, runtime }))
    }

    /// Closes every connection and stops the threads.
    pub fn stop(mut self) {
        self.server.close();
        self.runtime.shutdown_timeout(Duration::from_secs(2));
    }
}
