//! Plain HTTP requests to the emulator in this process, without the client.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use mde_live_response::emulator::{Emulator, Settings, Switches};
use mde_live_response::secret::SecretUrl;
use mde_live_response::transport::{Destination, Failure, Request, Transport};
use serde_json::{Value, json};

/// An emulator and the token that requests carry.
pub struct Service {
    pub emulator: Emulator,
    pub token: String,
}

/// A response with its whole body.
#[derive(Debug)]
pub struct ServiceResponse {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl ServiceResponse {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Returns the ids of the items of a list.
    pub fn ids(&self) -> Vec<String> {
        self.json()["value"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

pub fn new_service() -> Service {
    with_settings(Settings::default())
}

pub fn with_switches(change: impl FnOnce(&mut Switches)) -> Service {
    let mut switches = Switches::default();
    change(&mut switches);
    with_settings(Settings { switches, ..Settings::default() })
}

pub fn with_settings(settings: Settings) -> Service {
    let emulator = Emulator::new(settings).unwrap();
    let token = emulator.token();
    Service { emulator, token }
}

impl Service {
    pub async fn send(
        &self,
        destination: Destination,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<ServiceResponse, Failure> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let url = SecretUrl::parse(url, "test").unwrap();
        let timeout = Duration::from_secs(100);
        let request =
            Request { destination, method, url, headers: map, body: body.into().into(), timeout };
        let response = self.emulator.send(request).await?;
        let (status, headers) = (response.status.as_u16(), response.headers.clone());
        Ok(ServiceResponse { status, headers, body: response.bytes(1 << 30).await? })
    }

    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> ServiceResponse {
        let bearer = format!("Bearer {}", self.token);
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        let url = format!("{}{path}", self.emulator.url());
        self.send(Destination::Service, method, &url, &all, body).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> ServiceResponse {
        self.call(Method::GET, path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> ServiceResponse {
        self.call(Method::POST, path, &[("content-type", "application/json")], body.to_string())
            .await
    }

    pub async fn blob(&self, url: &str, headers: &[(&str, &str)]) -> ServiceResponse {
        self.send(Destination::Blob, Method::GET, url, headers, "").await.unwrap()
    }

    pub fn machine(&self, at: usize) -> String {
        self.emulator.machine_ids()[at].clone()
    }

    pub async fn run(&self, machine: &str, commands: &Value, comment: &str) -> ServiceResponse {
        let body = json!({"Commands": commands, "Comment": comment});
        self.post(&format!("/api/machines/{machine}/runliveresponse"), &body).await
    }

    /// Submits a script to a machine and returns the id of the action.
    pub async fn submit(&self, machine: &str, script: &str) -> String {
        let response = self.run(machine, &json!([run_script(script)]), "case 42").await;
        assert_eq!(response.status, 201, "{response:?}");
        response.json()["id"].as_str().unwrap().to_owned()
    }

    pub async fn action(&self, id: &str) -> Value {
        self.get(&format!("/api/machineactions/{id}")).await.json()
    }

    pub async fn link(&self, id: &str, index: usize) -> ServiceResponse {
        self.get(&format!(
            "/api/machineactions/{id}/GetLiveResponseResultDownloadLink(index={index})"
        ))
        .await
    }

    pub async fn token_request(&self, path: &str, form: &[(&str, &str)]) -> ServiceResponse {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let url = format!("{}{path}", self.emulator.login_url());
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.send(Destination::Login, Method::POST, &url, &headers, body).await.unwrap()
    }
}

pub fn put_file(name: &str) -> Value {
    json!({"type": "PutFile", "params": [{"key": "FileName", "value": name}]})
}

pub fn run_script(name: &str) -> Value {
    json!({"type": "RunScript", "params": [{"key": "ScriptName", "value": name}]})
}

pub fn get_file(path: &str) -> Value {
    json!({"type": "GetFile", "params": [{"key": "Path", "value": path}]})
}
