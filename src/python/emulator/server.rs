//! The emulator's server and threads: start and stop.

use std::time::Duration;

use tokio::runtime::Runtime;

use crate::emulator::{Emulator, Server, Settings, serve};
use crate::error::Result;
use crate::python::runtime::ThreadPlan;

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

impl RunningServer {
    pub fn start(settings: Settings, host: &str, port: u16, tls: bool) -> Result<(Emulator, Self)> {
        let emulator = Emulator::new(settings)?;
        let runtime = THREADS.start(|| {})?;
        let server = runtime.block_on(serve(emulator.clone(), host, port, tls))?;
        Ok((emulator, Self { server, runtime }))
    }

    /// Closes every connection and stops the threads.
    pub fn stop(mut self) {
        self.server.close();
        self.runtime.shutdown_timeout(Duration::from_secs(2));
    }
}
