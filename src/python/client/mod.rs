//! `LiveResponseClient`. The docstrings of its operations are in `docs/`.

pub mod config;
pub mod fork_hooks;
mod handle;
mod options;
pub mod session;
pub mod state_inspect;
pub(crate) mod submit_args;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::check::check;
use crate::client::MachineSelection;
use crate::fleet::Fleet;
use crate::probe::probe;
use crate::python::arguments::{ActionId, Callback, CommandsArgument, MachineArgument, Top, named};
use crate::python::callers_object::FreedInside;
use crate::python::client::config::ClientConfig;
use crate::python::client::handle::ClientHandle;
use crate::python::client::options::{LimitsArgument, OptionArguments, ProxyArgument};
use crate::python::client::session::Session;
use crate::python::client::submit_args::SubmitArgs;
use crate::python::credentials::CredentialSource;
use crate::python::files::arguments::save_target;
use crate::python::files::library::Library;
use crate::python::fleet::StartedFleet;
use crate::python::fleet::args::{self, FleetCommands, MachinesArgument};
use crate::python::fleet::until::UntilArgument;
use crate::python::gil_gate::enter;
use crate::python::operations::operations;
use crate::python::paths::PathArgument;
use crate::python::runtime::{CoreTask, Coroutine, run_blocking};
use crate::python::seconds::Seconds;
use crate::session::RunOptions;

#[doc = include_str!("docs/client.txt")]
#[pyclass(frozen, module = "mde_live_response", weakref)]
pub struct LiveResponseClient {
    handle: FreedInside<ClientHandle>,
}

operations! {
    LiveResponseClient;

    operations {
        #[doc = include_str!("docs/run.txt")]
        run / run_async (
            machine, commands, comment, *, save_to=None, save_transcripts=false, timeout=None,
            cancel_pending_after=None, on_busy="raise", correlation_id=None, on_update=None
        )
            [
                machine: MachineArgument, commands: CommandsArgument, comment: String,
                save_to: Option<PathArgument>, save_transcripts: bool, timeout: Option<Seconds>,
                cancel_pending_after: Option<Seconds>, on_busy: &str,
                correlation_id: Option<String>, on_update: Option<Callback>
            ]
            |this, py| {
                let sessions = this.handle.sessions(py)?;
                let args = SubmitArgs::new(machine, commands, comment, on_busy, correlation_id)?;
                let timeout = timeout.map(|it| it.0);
                let cancel_pending_after = cancel_pending_after.map(|it| it.0);
                let save_to = save_target(save_to, save_transcripts)?;
                let start = move |on_update| async move {
                    let submit = args.resolve(&sessions).await?;
                    let options = RunOptions { save_to, timeout, cancel_pending_after, on_update };
                    sessions.run(submit, options).await
                };
                PyResult::Ok(CoreTask::with_updates(
                    &this.handle.sessions(py)?, on_update.map(|it| it.0), start,
                ))
            };

        #[doc = include_str!("docs/submit.txt")]
        submit / submit_async (
            machine, commands, comment, *, timeout=None, on_busy="raise", correlation_id=None
        )
            [
                machine: MachineArgument, commands: CommandsArgument, comment: String,
                timeout: Option<Seconds>, on_busy: &str, correlation_id: Option<String>
            ]
            |this, py| {
                let args = SubmitArgs::new(machine, commands, comment, on_busy, correlation_id)?;
                this.make_task(py, |sessions| async move {
                    sessions.submit(args.resolve(&sessions).await?, timeout.map(|it| it.0)).await
                })
            };

        #[doc = include_str!("docs/list_sessions.txt")]
        list_sessions / list_sessions_async () []
            |this, py| this.make_task(py, |sessions| async move { sessions.open().await });

        #[doc = include_str!("docs/find_session.txt")]
        find_session / find_session_async (machine, correlation_id)
            [machine: MachineArgument, correlation_id: String]
            |this, py| this.make_task(py, |sessions| async move {
                let machine_id = machine.resolve_id(&sessions.pipeline).await?;
                sessions.find(&machine_id, &correlation_id).await
            });

        #[doc = include_str!("docs/run_many.txt")]
        run_many / run_many_async (
            machines, commands, comment, *, save_to=None, save_transcripts=false, run_id=None,
            cancel_pending_after=None, until=None, progress=false
        )
            [
                machines: MachinesArgument, commands: FleetCommands, comment: String,
                save_to: Option<PathArgument>, save_transcripts: bool, run_id: Option<String>,
                cancel_pending_after: Option<Seconds>, until: Option<UntilArgument>,
                progress: bool
            ]
            |this, py| {
                let save_to = save_target(save_to, save_transcripts)?;
                let spec = args::run_spec(
                    machines, commands, comment, save_to, run_id, cancel_pending_after, until,
                )?;
                this.make_task(py, |sessions| async move {
                    let fleet = Fleet::start(&sessions, spec).await?;
                    Ok(StartedFleet { sessions, fleet, show_progress: progress })
                })
            };

        #[doc = include_str!("docs/resume.txt")]
        resume / resume_async (run_id, *, until=None, progress=false)
            [run_id: String, until: Option<UntilArgument>, progress: bool]
            |this, py| this.make_task(py, |sessions| async move {
                let fleet = Fleet::resume_until(&sessions, &run_id, until.map(|it| it.0)).await?;
                Ok(StartedFleet { sessions, fleet, show_progress: progress })
            });

        #[doc = include_str!("docs/list_runs.txt")]
        list_runs / list_runs_async () []
            |this, py| this.make_task(py, |sessions| async move { Fleet::list(&sessions).await });

        #[doc = include_str!("docs/get_machine_action.txt")]
        get_machine_action / get_machine_action_async (action_id) [action_id: String]
            |this, py| this.make_task(py, |sessions| async move {
                sessions.pipeline.get_machine_action(&action_id).await
            });

        #[doc = include_str!("docs/list_machine_actions.txt")]
        list_machine_actions / list_machine_actions_async (filter=None, *, top=None)
            [filter: Option<String>, top: Option<Top>]
            |this, py| this.make_task(py, |sessions| async move {
                sessions.pipeline.list_machine_actions(filter.as_deref(), top.map(|it| it.0)).await
            });

        #[doc = include_str!("docs/get_machine.txt")]
        get_machine / get_machine_async (machine) [machine: String]
            |this, py| this.make_task(py, |sessions| async move {
                sessions.pipeline.resolve_machine(&machine).await
            });

        #[doc = include_str!("docs/list_machines.txt")]
        list_machines / list_machines_async (
            filter=None, *, top=None, tag=None, group=None, os=None, health=None, ip=None,
            seen_within=None
        )
            [
                filter: Option<String>, top: Option<Top>, tag: Option<String>,
                group: Option<String>, os: Option<String>, health: Option<String>,
                ip: Option<String>, seen_within: Option<Seconds>
            ]
            |this, py| {
                let seen_within = seen_within.map(|it| it.0);
                let selection = MachineSelection { filter, tag, group, os, health, ip, seen_within };
                this.make_task(py, |sessions| async move {
                    sessions.pipeline.select_machines(&selection, top.map(|top| top.0)).await
                })
            };

        #[doc = include_str!("docs/check.txt")]
        check / check_async (machine=None, commands=None)
            [machine: Option<MachineArgument>, commands: Option<CommandsArgument>]
            |this, py| this.make_task(py, |sessions| async move {
                let (machine, commands) =
                    (machine.map(MachineArgument::into_text), commands.map(|commands| commands.0));
                Ok(check(&sessions.pipeline, machine.as_deref(), commands.as_deref()).await)
            });

        #[doc = include_str!("docs/probe.txt")]
        probe / probe_async (machine=None) [machine: Option<MachineArgument>]
            |this, py| this.make_task(py, |sessions| async move {
                probe(&sessions, machine.map(MachineArgument::into_text).as_deref()).await
            });
    }

    methods {
        #[new]
        #[pyo3(signature = (
            credential=None, *, cloud=None, endpoint=None, scope=None, tenant_id=None, state=None,
            limits=LimitsArgument::default(), max_wait=180.0, request_timeout=30.0,
            connect_timeout=10.0, proxy=None, ca_bundle=None, verify=true, user_agent=None
        ))]
        #[expect(clippy::too_many_arguments, reason = "keywords, as the contract names them")]
        fn new(
            py: Python<'_>,
            #[pyo3(from_py_with = named::credential)] credential: Option<CredentialSource>,
            #[pyo3(from_py_with = named::cloud)] cloud: Option<String>,
            #[pyo3(from_py_with = named::endpoint)] endpoint: Option<String>,
            #[pyo3(from_py_with = named::scope)] scope: Option<String>,
            #[pyo3(from_py_with = named::tenant_id)] tenant_id: Option<String>,
            #[pyo3(from_py_with = named::state)] state: Option<String>,
            #[pyo3(from_py_with = named::limits)] limits: LimitsArgument,
            #[pyo3(from_py_with = named::max_wait)] max_wait: f64,
            #[pyo3(from_py_with = named::request_timeout)] request_timeout: f64,
            #[pyo3(from_py_with = named::connect_timeout)] connect_timeout: f64,
            #[pyo3(from_py_with = named::proxy)] proxy: Option<ProxyArgument>,
            #[pyo3(from_py_with = named::ca_bundle)] ca_bundle: Option<PathArgument>,
            #[pyo3(from_py_with = named::verify)] verify: bool,
            #[pyo3(from_py_with = named::user_agent)] user_agent: Option<String>,
        ) -> PyResult<Self> {
            let _inside = enter(py);
            let credential = credential.map_or_else(|| CredentialSource::from_environment(py), Ok)?;
            let arguments = OptionArguments {
                cloud, endpoint, scope, tenant_id, state, limits, max_wait, request_timeout,
                connect_timeout, proxy, ca_bundle, verify, user_agent,
            };
            let config = ClientConfig::new(arguments.into_options()?, credential);
            Ok(Self { handle: FreedInside::new(ClientHandle::new(py, config)?) })
        }

        /// The tenant: the `tenant_id` argument, or else the tenant of the last token, or else the
        /// credential's tenant, which may be a domain name.
        ///
        /// None until one of them is known.
        #[getter]
        fn tenant_id(&self, py: Python<'_>) -> Option<String> {
            self.handle.tenant_id(py)
        }

        /// The tenant's live response library.
        #[getter]
        fn library(&self, py: Python<'_>) -> PyResult<Library> {
            self.handle.sessions(py).map(Library::new)
        }

        #[doc = include_str!("docs/session.txt")]
        fn session(
            &self, py: Python<'_>, #[pyo3(from_py_with = named::action_id)] action_id: ActionId,
        ) -> PyResult<Session> {
            Ok(Session::new(self.handle.sessions(py)?.session(&action_id.0)))
        }

        #[doc = include_str!("docs/close.txt")]
        fn close(&self, py: Python<'_>) -> PyResult<()> {
            // The drop of a credential may run the caller's code.
            let _inside = enter(py);
            self.handle.close().map_or(Ok(()), |task| run_blocking(py, task).map(drop))
        }

        fn __reduce__(&self) -> PyResult<()> {
            Err(PyTypeError::new_err(
                "a LiveResponseClient is not pickled: its credential and connections belong to one \
                 process; make one in each process, or fork",
            ))
        }

        fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
            slf
        }

        #[pyo3(signature = (*_exc))]
        fn __exit__(&self, py: Python<'_>, _exc: &Bound<'_, PyTuple>) -> PyResult<()> {
            self.close(py)
        }

        fn __aenter__(slf: Bound<'_, Self>, py: Python<'_>) -> PyResult<Coroutine> {
            slf.get().handle.sessions(py)?;
            let task = CoreTask::ready(slf.into_any().unbind());
            Ok(Coroutine::new("LiveResponseClient.__aenter__", task))
        }

        #[pyo3(signature = (*_exc))]
        fn __aexit__(&self, py: Python<'_>, _exc: &Bound<'_, PyTuple>) -> Coroutine {
            let _inside = enter(py);
            let task = self.handle.close().unwrap_or_else(|| CoreTask::ready(py.None()));
            Coroutine::new("LiveResponseClient.__aexit__", task)
        }

        fn __repr__(&self) -> String {
            format!("<LiveResponseClient of {}>", self.handle.config.options.endpoint)
        }
    }
}
