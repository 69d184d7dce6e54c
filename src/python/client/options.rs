//! The arguments of a client that become its options.

use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::config::{self, ClientOptions, Cloud};
use crate::error::{Error, Result};
use crate::python::arguments::{Argument, Refusal, Shape};
use crate::python::models::Limits;
use crate::python::paths::PathArgument;
use crate::secret::Secret;
use crate::state::address::Address;

/// `str | Literal[False]`: a proxy's URL, or no proxy.
pub struct ProxyArgument(Secret);

impl<'a, 'py> Argument<'a, 'py> for ProxyArgument {
    const TAKES: &'static str = "a URL or False";
    const SHAPE: Shape = Shape::Text;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        if object.cast::<PyBool>().is_ok_and(|value| !value.is_true()) {
            // The core's form of "no proxy".
            return Ok(Self(Secret::new("")));
        }
        let url = <&str>::read(object)?;
        if url.trim().is_empty() {
            let hint = "pass False for no proxy, or None to use HTTPS_PROXY and NO_PROXY";
            return Err(Refusal::Value("is an empty string".to_owned(), hint));
        }
        Ok(Self(Secret::new(url)))
    }
}

/// `Limits`, by default the service's own.
#[derive(Default)]
pub struct LimitsArgument(config::Limits);

impl<'a, 'py> Argument<'a, 'py> for LimitsArgument {
    const TAKES: &'static str = "a Limits";
    const SHAPE: Shape = Shape::Other;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        let limits = object.cast::<Limits>().map_err(|_| Refusal::Type)?;
        Ok(Self(limits.get().core().clone()))
    }
}

/// The keyword arguments of a client.
pub struct OptionArguments {
    pub cloud: Option<String>,
    pub endpoint: Option<String>,
    pub scope: Option<String>,
    pub tenant_id: Option<String>,
    pub state: Option<String>,
    pub limits: LimitsArgument,
    pub max_wait: f64,
    pub request_timeout: f64,
    pub connect_timeout: f64,
    pub proxy: Option<ProxyArgument>,
    pub ca_bundle: Option<PathArgument>,
    pub verify: bool,
    pub user_agent: Option<String>,
}

impl OptionArguments {
    /// Checks the arguments, and adds what the environment has.
    pub fn into_options(self) -> Result<ClientOptions> {
        let cloud = self.cloud.or_else(|| nonempty_env_var("MDE_LIVE_RESPONSE_CLOUD"));
        let cloud = Cloud::from_name(cloud.as_deref().unwrap_or("public"))?;
        let endpoint = self.endpoint.or_else(|| nonempty_env_var("MDE_LIVE_RESPONSE_ENDPOINT"));
        let mut options = ClientOptions::new(cloud, endpoint.as_deref())?;
        options.scope = self.scope.unwrap_or(options.scope);
        options.tenant_id = self.tenant_id;
        options.limits = self.limits.0;
        if let Some(state) = self.state.or_else(|| nonempty_env_var("MDE_LIVE_RESPONSE_STATE")) {
            // Parsed here, so that a wrong address raises now and not at the first call.
            Address::parse(&state)?;
            options.state = Secret::new(state);
        }
        options.max_wait = check_seconds("max_wait", self.max_wait, 0.0)?;
        options.request_timeout =
            check_seconds("request_timeout", self.request_timeout, f64::MIN_POSITIVE)?;
        options.connect_timeout =
            check_seconds("connect_timeout", self.connect_timeout, f64::MIN_POSITIVE)?;
        options.network.proxy = self.proxy.map(|proxy| proxy.0);
        options.network.ca_bundle = self.ca_bundle.map(|path| path.0);
        options.network.insecure = !self.verify;
        options.network.user_agent = self.user_agent;
        Ok(options)
    }
}

/// Returns an environment variable. One that is set but empty counts as unset.
fn nonempty_env_var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn check_seconds(name: &str, value: f64, least: f64) -> Result<f64> {
    if value.is_nan() || value < least {
        return Err(Error::invalid(format!("{name} is {value}; it takes seconds, more than 0")));
    }
    Ok(value)
}
