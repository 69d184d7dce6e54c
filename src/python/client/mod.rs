//! `LiveResponseClient`.

pub mod config;
pub mod session;
pub mod state_inspect;
pub mod submit_args;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::check::check;
use crate::config::{ClientOptions, Cloud};
use crate::error::{Error, Result};
use crate::fleet::Fleet;
use crate::model::is_guid;
use crate::python::arguments::{CommandsArgument, MachineArgument, Seconds};
use crate::python::client::config::ClientConfig;
use crate::python::client::session::Session;
use crate::python::client::submit_args::SubmitArgs;
use crate::python::credentials::CredentialSource;
use crate::python::errors::to_pyerr;
use crate::python::files::library::Library;
use crate::python::fleet::StartedFleet;
use crate::python::fleet::args::{self, FleetCommands, MachinesArgument};
use crate::python::models::Limits;
use crate::python::operations::operations;
use crate::python::runtime::{CoreTask, Coroutine, IntoPython, ProcessLocal, run_blocking};
use crate::secret::Secret;
use crate::session::{RunOptions, Sessions};
use crate::state::address::Address;

/// The live response API of one tenant, as one application. Safe to share between threads and loops.
///
/// Close it when done, or use it in a `with` or an `async with` block. Open sessions go on without it.
///
/// Args:
///     credential: a bearer token, a function that gives one, a coroutine function that does, anything with
///         azure-identity's `get_token`, or a credential of this package. None: the first that the environment names of
///         a client secret (AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET), a certificate
///         (AZURE_CLIENT_CERTIFICATE_PATH and _PASSWORD in the secret's place), a federated token
///         (AZURE_FEDERATED_TOKEN_FILE), the identity of an App Service (IDENTITY_ENDPOINT, IDENTITY_HEADER);
///         AZURE_TOKEN_CREDENTIALS chooses one by its name. The login host is AZURE_AUTHORITY_HOST if that is set.
///     cloud: which cloud the tenant lives in, `public` unless given, or the region whose host is to be asked.
///     endpoint: the API's base URL; None: $MDE_LIVE_RESPONSE_ENDPOINT, else the cloud's.
///     scope: the token's scope; None: the cloud's, which is https://api.securitycenter.microsoft.com/.default in the
///         public one.
///     tenant_id: the only tenant whose tokens are used; one of another tenant is an AuthenticationError.
///     state: where limits, open sessions and submits are kept: `sqlite:///path` for the processes of one machine
///         (four slashes for a path from the root), `redis://host:6379/0` or `rediss://` for many machines, `memory:`
///         for this process alone. None: $MDE_LIVE_RESPONSE_STATE, else `memory:`.
///     limits: what the service allows; its documented figures unless given.
///     max_wait: seconds that a read, a cancel or an upload stands in line, at most, before ThrottledError.
///     request_timeout: seconds for one HTTP request; for a download, between two reads of it.
///     connect_timeout: seconds for a connection.
///     proxy: the proxy's URL, `http://user:password@host:port`, for the API, the login host and the results; what
///         NO_PROXY names goes past it. None: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY; "": none at all.
///     ca_bundle: a PEM file of roots that are trusted besides the system's; None: REQUESTS_CA_BUNDLE. SSL_CERT_FILE
///         stands in for the system's.
///     verify: False trusts any certificate, and warns of it once. Only ever for a test.
///     user_agent: put before ours in the User-Agent header.
///
/// Raises:
///     InvalidRequestError: a value is out of its bounds, or a variable of the environment is missing; it is named.
#[pyclass(frozen, module = "mde_live_response", weakref)]
pub struct LiveResponseClient {
    config: Arc<ClientConfig>,
    /// What does the work; none once the client is closed.
    core: Mutex<Option<ProcessLocal<Arc<Sessions>>>>,
}

impl LiveResponseClient {
    /// What does the work; made anew in a forked child, where the parent's threads and connections are not.
    fn core(&self, py: Python<'_>) -> PyResult<Arc<Sessions>> {
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(made) = &*core else {
            return Err(to_pyerr(
                py,
                Error::invalid("the client is closed").with_hint("make another one"),
            ));
        };
        if let Some(sessions) = made.get() {
            return Ok(sessions.clone());
        }
        let sessions = self.config.sessions(py).map_err(|error| to_pyerr(py, error))?;
        *core = Some(ProcessLocal::new(sessions.clone()));
        Ok(sessions)
    }

    /// Closes the client; what its store was told to do later is then done, if a call is made of it.
    fn take_closing_task(&self) -> Option<CoreTask> {
        let closed = self.core.lock().unwrap_or_else(PoisonError::into_inner).take();
        let quota = closed
            .as_ref()
            .and_then(ProcessLocal::get)
            .and_then(|sessions| sessions.pipeline.quota_if_loaded());
        // Outside the lock: a credential that goes down with it may run code of the caller's.
        drop(closed);
        quota.filter(|quota| quota.store().is_shared()).map(|quota| {
            CoreTask::without_client(async move {
                quota.flush().await;
                Ok(())
            })
        })
    }

    fn make_task<T: IntoPython, F>(
        &self,
        py: Python<'_>,
        start: impl FnOnce(Arc<Sessions>) -> F,
    ) -> PyResult<CoreTask>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let sessions = self.core(py)?;
        Ok(CoreTask::new(&sessions, start(sessions.clone())))
    }
}

operations! {
    LiveResponseClient;

    operations {
        /// Run commands on a machine, wait for the end, and bring the results back.
        ///
        /// Its pages: learn.microsoft.com/defender-endpoint/api/run-live-response and
        /// learn.microsoft.com/defender-endpoint/api/get-live-response-result
        /// Permissions: Machine.LiveResponse, and Machine.Read.All or Machine.ReadWrite.All.
        ///
        /// Args:
        ///     machine: a machine id, a computer name or a Machine. An ambiguous name is an error, never a guess.
        ///     commands: one Command or a sequence of them: PutFile first, then RunScript, then GetFile.
        ///     comment: why; it is kept with the action, and ends in our tag.
        ///     save_to: a folder for collected files; they come to `<machine name>_<action id>/<index>_<name>` in it. None:
        ///         they stay at the service, for `Session.download`.
        ///     timeout: seconds for the whole wait here, the line before the submit included; a submit on its way is
        ///         settled first. None: no bound.
        ///     cancel_pending_after: seconds Pending after which the session is cancelled; None: never.
        ///     on_busy: what to do while another's session is on the machine: `raise`, or `wait` for a turn.
        ///     correlation_id: 1 to 128 characters. The same id on the same machine adopts the first session, from any
        ///         process, a failed one too. None: a new one.
        ///     on_update: called with the action whenever it changed, where the wait is; what it raises ends the wait.
        ///
        /// Returns:
        ///     What the session left, ok or not.
        ///
        /// Raises:
        ///     InvalidRequestError: the commands are wrong, or the correlation id was used with others.
        ///     AmbiguousMachineError: several machines have this name.
        ///     NotFoundError: no machine has this name or id.
        ///     MachineBusyError: another's session is on the machine, and `on_busy` is `raise`.
        ///     AuthenticationError: there is no token that the service accepts.
        ///     PermissionDeniedError: a permission, a tenant setting or a remediation level is missing.
        ///     WaitTimeoutError: `timeout` is over; `session` lives on if it was started.
        ///     SubmitUnknownError: it may have been started; call again with the same correlation id.
        ///     ServiceError: the service failed, or answered what it does not document.
        ///     ConnectionFailedError: the service could not be reached.
        run / run_async (
            machine, commands, comment, *, save_to=None, timeout=None, cancel_pending_after=None, on_busy="raise",
            correlation_id=None, on_update=None
        )
            [
                machine: MachineArgument,
                commands: CommandsArgument,
                comment: String,
                save_to: Option<PathBuf>,
                timeout: Option<Seconds>,
                cancel_pending_after: Option<Seconds>,
                on_busy: &str,
                correlation_id: Option<String>,
                on_update: Option<Py<PyAny>>
            ]
            |this, py| {
                let sessions = this.core(py)?;
                let args = SubmitArgs::new(py, machine, commands, comment, on_busy, correlation_id)?;
                PyResult::Ok(CoreTask::with_updates(&sessions.clone(), on_update, move |on_update| async move {
                    let (timeout, cancel_pending_after) = (timeout.map(|it| it.0), cancel_pending_after.map(|it| it.0));
                    let submit = args.resolve(&sessions).await?;
                    sessions.run(submit, RunOptions { save_to, timeout, cancel_pending_after, on_update }).await
                }))
            };

        /// Start a session, exactly once, and return as soon as the service has accepted it.
        ///
        /// Its page: learn.microsoft.com/defender-endpoint/api/run-live-response
        /// Permissions: Machine.LiveResponse, and Machine.Read.All or Machine.ReadWrite.All.
        ///
        /// Args:
        ///     machine: a machine id, a computer name or a Machine. An ambiguous name is an error, never a guess.
        ///     commands: one Command or a sequence of them: PutFile first, then RunScript, then GetFile.
        ///     comment: why; it is kept with the action, and ends in our tag.
        ///     timeout: seconds for standing in line; None: no bound. A submit on its way is settled first.
        ///     on_busy: what to do while another's session is on the machine: `raise`, or `wait` for a turn.
        ///     correlation_id: 1 to 128 characters. The same id on the same machine adopts the first session, from any
        ///         process, a failed one too. None: a new one.
        ///
        /// Returns:
        ///     The session.
        ///
        /// Raises:
        ///     InvalidRequestError: the commands are wrong, or the correlation id was used with others.
        ///     AmbiguousMachineError: several machines have this name.
        ///     NotFoundError: no machine has this name or id.
        ///     MachineBusyError: another's session is on the machine, and `on_busy` is `raise`.
        ///     AuthenticationError: there is no token that the service accepts.
        ///     PermissionDeniedError: a permission, a tenant setting or a remediation level is missing.
        ///     WaitTimeoutError: `timeout` is over before its turn came; nothing was sent.
        ///     SubmitUnknownError: it may have been started; call again with the same correlation id.
        ///     ServiceError: the service failed, or answered what it does not document.
        ///     ConnectionFailedError: the service could not be reached.
        submit / submit_async (machine, commands, comment, *, timeout=None, on_busy="raise", correlation_id=None)
            [
                machine: MachineArgument,
                commands: CommandsArgument,
                comment: String,
                timeout: Option<Seconds>,
                on_busy: &str,
                correlation_id: Option<String>
            ]
            |this, py| {
                let args = SubmitArgs::new(py, machine, commands, comment, on_busy, correlation_id)?;
                this.make_task(py, |sessions| async move {
                    sessions.submit(args.resolve(&sessions).await?, timeout.map(|it| it.0)).await
                })
            };

        /// List the sessions that are open, of every process that shares the state store. Starts nothing.
        ///
        /// Asks the store alone, and the service nothing; sessions of others that it has learned of are left out.
        ///
        /// Returns:
        ///     The sessions, not looked at yet: `refresh()` looks.
        ///
        /// Raises:
        ///     AuthenticationError: there is no token, which tells whose sessions are meant.
        ///     StateError: the store can't be asked.
        list_sessions / list_sessions_async () []
            |this, py| this.make_task(py, |sessions| async move { sessions.open().await });

        /// Find the session that was started with a correlation id. Starts nothing.
        ///
        /// Its page: learn.microsoft.com/defender-endpoint/api/get-machineactions-collection
        /// Permission: Machine.Read.All or Machine.ReadWrite.All.
        ///
        /// Args:
        ///     machine: the machine it was started on: its id, its name or a Machine.
        ///     correlation_id: the id it was started with.
        ///
        /// Returns:
        ///     The session, or None if the service lists none.
        ///
        /// Raises:
        ///     AmbiguousMachineError: several machines have this name.
        ///     NotFoundError: no machine has this name or id.
        ///     ThrottledError: the line is longer than `max_wait`.
        find_session / find_session_async (machine, correlation_id) [machine: MachineArgument, correlation_id: String]
            |this, py| this.make_task(py, |sessions| async move {
                let machine_id = machine.resolve_id(&sessions.pipeline).await?;
                sessions.find(&machine_id, &correlation_id).await
            });

        /// Run commands on many machines, as fast as the limits let it. Returns when the run is written down and begun.
        ///
        /// The likely-online go first, busy machines are tried again later, and sessions that stay Pending while others
        /// wait are set aside and submitted again. A machine that is given twice runs once.
        /// Its pages: learn.microsoft.com/defender-endpoint/api/run-live-response and
        /// learn.microsoft.com/defender-endpoint/api/get-machines
        /// Permissions: Machine.LiveResponse, and Machine.Read.All or Machine.ReadWrite.All.
        ///
        /// Args:
        ///     machines: machine ids, computer names or Machines. What is wrong with one is its outcome.
        ///     commands: one Command or a sequence of them, for all; or a mapping of each machine, as given, to its own.
        ///     comment: why; it is kept with each action, and ends in our tag.
        ///     save_to: a folder for collected files; they come to `<machine name>_<action id>/<index>_<name>` in it. None:
        ///         they stay at the service, for `Session.download`.
        ///     run_id: 1 to 100 characters; a known one goes on with that run. None: a new one.
        ///     cancel_pending_after: seconds Pending after which a machine's session is cancelled; None: never.
        ///     progress: show how far the run has come: by tqdm where it is installed (the extra `progress`), in a notebook
        ///         by its notebook form, else by a line on stderr if that is a terminal.
        ///
        /// Returns:
        ///     The run, to loop over.
        ///
        /// Raises:
        ///     InvalidRequestError: the commands are wrong or missing for a machine, or the run id was used with others.
        ///     AuthenticationError: there is no token that the service accepts.
        ///     StateError: the state store failed, or keeps no runs.
        run_many / run_many_async (machines, commands, comment, *, save_to=None, run_id=None, cancel_pending_after=None, progress=false)
            [
                machines: MachinesArgument,
                commands: FleetCommands,
                comment: String,
                save_to: Option<PathBuf>,
                run_id: Option<String>,
                cancel_pending_after: Option<Seconds>,
                progress: bool
            ]
            |this, py| {
                let spec = args::run_spec(py, machines, commands, comment, save_to, run_id, cancel_pending_after)?;
                this.make_task(py, |sessions| async move {
                    let fleet = Fleet::start(&sessions, spec).await?;
                    Ok(StartedFleet(sessions, fleet, progress))
                })
            };

        /// Go on with a run that is in the state store, whoever began it. Processes that are at one run share it.
        ///
        /// Machines that have their outcomes are not run again, open sessions are followed, and what became of submits that
        /// were cut off is found out.
        /// Permissions: those of `run_many`.
        ///
        /// Args:
        ///     run_id: the run's id.
        ///     progress: as in `run_many`.
        ///
        /// Returns:
        ///     The run, to loop over from its start.
        ///
        /// Raises:
        ///     NotFoundError: the state store knows of no such run.
        ///     AuthenticationError: there is no token that the service accepts.
        ///     StateError: the state store failed, or keeps no runs.
        resume / resume_async (run_id, *, progress=false) [run_id: String, progress: bool]
            |this, py| this.make_task(py, |sessions| async move {
                let fleet = Fleet::resume(&sessions, &run_id).await?;
                Ok(StartedFleet(sessions, fleet, progress))
            });

        /// Get one machine action.
        ///
        /// Its page: learn.microsoft.com/defender-endpoint/api/get-machineaction-object
        /// Permission: Machine.Read.All or Machine.ReadWrite.All.
        ///
        /// Args:
        ///     action_id: its id, a GUID.
        ///
        /// Raises:
        ///     NotFoundError: the service does not list it.
        ///     ThrottledError: the line is longer than `max_wait`.
        get_machine_action / get_machine_action_async (action_id) [action_id: String]
            |this, py| this.make_task(py, |sessions| async move { sessions.pipeline.get_machine_action(&action_id).await });

        /// List machine actions, newest first.
        ///
        /// Its page: learn.microsoft.com/defender-endpoint/api/get-machineactions-collection
        /// Permission: Machine.Read.All or Machine.ReadWrite.All.
        ///
        /// Args:
        ///     filter: an OData filter, as `status eq 'Pending'`; None: all.
        ///     top: how many at most, 1 or more; None reads every page.
        ///
        /// Raises:
        ///     InvalidRequestError: the service refuses the filter.
        ///     ThrottledError: the line is longer than `max_wait`.
        list_machine_actions / list_machine_actions_async (filter=None, *, top=None) [filter: Option<String>, top: Option<u32>]
            |this, py| this.make_task(py, |sessions| async move {
                sessions.pipeline.list_machine_actions(filter.as_deref(), top).await
            });

        /// Get one machine.
        ///
        /// Its pages: learn.microsoft.com/defender-endpoint/api/get-machine-by-id and
        /// learn.microsoft.com/defender-endpoint/api/get-machines
        /// Permission: Machine.Read.All or Machine.ReadWrite.All.
        ///
        /// Args:
        ///     machine: a machine id or a computer name.
        ///
        /// Raises:
        ///     AmbiguousMachineError: several machines have this name.
        ///     NotFoundError: none has this name or id.
        ///     ThrottledError: the line is longer than `max_wait`.
        get_machine / get_machine_async (machine) [machine: String]
            |this, py| this.make_task(py, |sessions| async move { sessions.pipeline.resolve_machine(&machine).await });

        /// List machines.
        ///
        /// Its page: learn.microsoft.com/defender-endpoint/api/get-machines
        /// Permission: Machine.Read.All or Machine.ReadWrite.All.
        ///
        /// Args:
        ///     filter: an OData filter, as `healthStatus eq 'Active'`; None: all.
        ///     top: how many at most, 1 or more; None reads every page.
        ///
        /// Raises:
        ///     InvalidRequestError: the service refuses the filter.
        ///     ThrottledError: the line is longer than `max_wait`.
        list_machines / list_machines_async (filter=None, *, top=None) [filter: Option<String>, top: Option<u32>]
            |this, py| this.make_task(py, |sessions| async move { sessions.pipeline.list_machines(filter.as_deref(), top).await });

        /// Look for what would stop a session before it starts, or weaken it. Starts nothing.
        ///
        /// It looks at the token's permissions, and at machine, library and state store as far as they are given.
        /// Permissions: those of `run`, and Library.Manage where the commands name library files.
        ///
        /// Args:
        ///     machine: the machine that is meant: its id, its name or a Machine.
        ///     commands: the commands that are meant.
        ///
        /// Returns:
        ///     What was found; what keeps a session from starting is a finding, not an error.
        check / check_async (machine=None, commands=None)
            [machine: Option<MachineArgument>, commands: Option<CommandsArgument>]
            |this, py| this.make_task(py, |sessions| async move {
                let machine = machine.map(|machine| match machine {
                    MachineArgument::Id(machine) | MachineArgument::Name(machine) => machine,
                });
                let commands = commands.map(|commands| commands.0);
                Ok(check(&sessions.pipeline, machine.as_deref(), commands.as_deref()).await)
            });
    }

    methods {
        #[new]
        #[pyo3(signature = (
            credential=None, *, cloud="public", endpoint=None, scope=None, tenant_id=None, state=None,
            limits=Limits::service(), max_wait=180.0, request_timeout=30.0, connect_timeout=10.0, proxy=None,
            ca_bundle=None, verify=true, user_agent=None
        ))]
        #[expect(clippy::too_many_arguments, reason = "keywords, as the contract names them")]
        fn new(
            py: Python<'_>,
            credential: Option<Bound<'_, PyAny>>,
            cloud: &str,
            endpoint: Option<String>,
            scope: Option<String>,
            tenant_id: Option<String>,
            state: Option<String>,
            limits: Limits,
            max_wait: f64,
            request_timeout: f64,
            connect_timeout: f64,
            proxy: Option<&str>,
            ca_bundle: Option<PathBuf>,
            verify: bool,
            user_agent: Option<String>,
        ) -> PyResult<Self> {
            let credential = CredentialSource::new(py, credential.as_ref())?;
            let options = || {
                let cloud = Cloud::from_name(cloud)?;
                let endpoint = endpoint.or_else(|| nonempty_env_var("MDE_LIVE_RESPONSE_ENDPOINT"));
                let mut options = ClientOptions::new(cloud, endpoint.as_deref())?;
                options.scope = scope.unwrap_or(options.scope);
                options.tenant_id = tenant_id;
                options.limits = limits.core().clone();
                if let Some(state) = state.or_else(|| nonempty_env_var("MDE_LIVE_RESPONSE_STATE")) {
                    Address::parse(&state)?;
                    options.state = Secret::new(state);
                }
                options.max_wait = check_seconds("max_wait", max_wait, 0.0)?;
                options.request_timeout = check_seconds("request_timeout", request_timeout, f64::MIN_POSITIVE)?;
                options.connect_timeout = check_seconds("connect_timeout", connect_timeout, f64::MIN_POSITIVE)?;
                options.network.proxy = proxy.map(Secret::new);
                options.network.ca_bundle = ca_bundle;
                options.network.insecure = !verify;
                options.network.user_agent = user_agent;
                Ok(options)
            };
            let options = options().map_err(|error| to_pyerr(py, error))?;
            let config = ClientConfig::new(options, credential);
            let sessions = config.sessions(py).map_err(|error| to_pyerr(py, error))?;
            Ok(Self { config, core: Mutex::new(Some(ProcessLocal::new(sessions))) })
        }

        /// The tenant: the one given, the credential's, or that of the last token; None until one is known.
        #[getter]
        fn tenant_id(&self, py: Python<'_>) -> Option<String> {
            let seen = || self.core(py).ok().and_then(|sessions| sessions.pipeline.tokens().tenant_id());
            self.config.options.tenant_id.clone().or_else(seen).or_else(|| self.config.credential.tenant_id())
        }

        /// The tenant's live response library.
        #[getter]
        fn library(&self, py: Python<'_>) -> PyResult<Library> {
            self.core(py).map(Library::new)
        }

        /// Take up a session by its id, which may come from another process. Asks nothing of the service.
        ///
        /// Args:
        ///     action_id: the machine action's id, a GUID.
        ///
        /// Raises:
        ///     InvalidRequestError: it is not a GUID.
        fn session(&self, py: Python<'_>, action_id: &str) -> PyResult<Session> {
            let sessions = self.core(py)?;
            if !is_guid(action_id) {
                let error = Error::invalid(format!("{action_id:?} is not the id of a machine action"));
                return Err(to_pyerr(py, error.with_hint("give the GUID that session.id told")));
            }
            Ok(Session::new(sessions.session(action_id)))
        }

        /// Close the connections. Sessions that were started go on at the service.
        fn close(&self, py: Python<'_>) -> PyResult<()> {
            match self.take_closing_task() {
                Some(flushed) => run_blocking(py, flushed).map(drop),
                None => Ok(()),
            }
        }

        fn __reduce__(&self) -> PyResult<()> {
            Err(PyTypeError::new_err(
                "a LiveResponseClient is not pickled: its credential and its connections stay in their process; \
                 make one in each process, or fork",
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
            slf.get().core(py)?;
            let task = CoreTask::ready(slf.into_any().unbind());
            Ok(Coroutine::new("LiveResponseClient.__aenter__", task))
        }

        #[pyo3(signature = (*_exc))]
        fn __aexit__(slf: Bound<'_, Self>, py: Python<'_>, _exc: &Bound<'_, PyTuple>) -> PyResult<Coroutine> {
            let task = slf.get().take_closing_task().unwrap_or_else(|| CoreTask::ready(py.None()));
            Ok(Coroutine::new("LiveResponseClient.__aexit__", task))
        }

        fn __repr__(&self) -> String {
            format!("<LiveResponseClient of {}>", self.config.options.endpoint)
        }
    }
}

fn nonempty_env_var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn check_seconds(name: &str, value: f64, least: f64) -> Result<f64> {
    if value.is_nan() || value < least {
        return Err(Error::invalid(format!("{name} is {value}; it takes seconds, more than 0")));
    }
    Ok(value)
}
