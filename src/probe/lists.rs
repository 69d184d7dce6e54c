//! What a list of machine actions shows: its order, its pages, and how it is sent.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, DATE};
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::observations::Observations;
use super::{Answer, ask, get};
use crate::error::Result;
use crate::model::{self, MachineAction, Page};
use crate::operation::Operation;
use crate::pipeline::{ApiResponse, Pipeline};

const ACTIONS: &str = "/api/machineactions";
/// A body of this size is compressed by a service that compresses at all.
const WORTH_COMPRESSING: usize = 1400;
const DAY: f64 = 86_400.0;

/// The hosts of the service that anybody may know (docs/service.md, section 3.1). Another host may
/// be the tenant's own.
const PUBLIC_HOSTS: [&str; 16] = [
    "api.security.microsoft.com",
    "us.api.security.microsoft.com",
    "eu.api.security.microsoft.com",
    "uk.api.security.microsoft.com",
    "au.api.security.microsoft.com",
    "swa.api.security.microsoft.com",
    "ina.api.security.microsoft.com",
    "aea.api.security.microsoft.com",
    "api.securitycenter.microsoft.com",
    "api-us.securitycenter.microsoft.com",
    "api-eu.securitycenter.microsoft.com",
    "api-uk.securitycenter.microsoft.com",
    "api-au.securitycenter.microsoft.com",
    "api.securitycenter.windows.com",
    "api-gcc.securitycenter.microsoft.us",
    "api-gov.securitycenter.microsoft.us",
];

/// The first page of the list.
pub(super) struct FirstPage {
    pub actions: Vec<MachineAction>,
    /// The service's time, or the local one, in seconds since the Unix epoch.
    pub now: f64,
}

struct ActionList {
    page: Page<MachineAction>,
    context: Option<String>,
    headers: HeaderMap,
}

/// Reads the list without any option, then small parts of it.
pub(super) async fn read_lists(
    pipeline: &Pipeline,
    evidence: &mut Observations,
) -> Result<FirstPage> {
    let call = get(Operation::ListMachineActions, ACTIONS);
    let list = pipeline.call_response(&call, read_list).await?;
    let now = date_of(&list.headers).unwrap_or_else(|| pipeline.clock.now());
    evidence.add("date_header", list.headers.contains_key(DATE));
    read_order(&list.page.value, evidence);
    if list.page.next_link.is_some() {
        let size = list.page.value.len() + list.page.skipped.len();
        evidence.add("page_size", size);
    }
    if let Some(host) = list.context.and_then(|context| context_host(pipeline, &context)) {
        evidence.add("context_host", host);
    }
    evidence.fact_at_least("actions_on_first_page", list.page.value.len() as u64);
    read_permission(pipeline, evidence).await;
    read_compression(pipeline, evidence).await;
    read_oldest(pipeline, now, evidence).await;
    Ok(FirstPage { actions: list.page.value, now })
}

fn read_list(response: &ApiResponse) -> Result<ActionList> {
    #[derive(Deserialize)]
    struct Context {
        #[serde(rename = "@odata.context")]
        context: Option<String>,
    }
    let page = model::decode_page(&response.body)?;
    let context: Option<Context> = serde_json::from_slice(&response.body).ok();
    let context = context.and_then(|it| it.context);
    Ok(ActionList { page, context, headers: response.headers.clone() })
}

fn date_of(headers: &HeaderMap) -> Option<f64> {
    let text = headers.get(DATE)?.to_str().ok()?;
    Some(OffsetDateTime::parse(text, &Rfc2822).ok()?.unix_timestamp() as f64)
}

/// Records the order, if all neighbours agree.
fn read_order(actions: &[MachineAction], evidence: &mut Observations) {
    let times: Vec<_> = actions.iter().filter_map(|it| it.creation_date_time_utc).collect();
    let (mut falls, mut rises) = (0, 0);
    for (one, next) in times.iter().zip(times.iter().skip(1)) {
        falls += u64::from(one > next);
        rises += u64::from(one < next);
    }
    match (falls, rises) {
        (0, 0) => {}
        (_, 0) => evidence.add_many("list_order", "newest", falls),
        (0, _) => evidence.add_many("list_order", "oldest", rises),
        _ => evidence.fact("list_order", "none"),
    }
}

/// Returns the switch's value: null for the host that was called, or a public host of the service.
fn context_host(pipeline: &Pipeline, context: &str) -> Option<Value> {
    let url = url::Url::parse(context).ok()?;
    let called = &pipeline.options.endpoint;
    if (url.host_str(), url.port_or_known_default())
        == (called.host_str(), called.port_or_known_default())
    {
        return Some(Value::Null);
    }
    let host = PUBLIC_HOSTS.into_iter().find(|host| url.host_str() == Some(host))?;
    (url.port().is_none()).then(|| Value::from(format!("{}://{host}", url.scheme())))
}

/// A token with the smaller permission that reads the list shows that it suffices.
async fn read_permission(pipeline: &Pipeline, evidence: &mut Observations) {
    let Ok(token) = pipeline.tokens().get_token().await else { return };
    let has = |name: &str| token.claims.roles.iter().any(|role| role.eq_ignore_ascii_case(name));
    if has("Machine.Read.All") && !has("Machine.ReadWrite.All") && token.claims.scp.is_empty() {
        evidence.add("read_permission", "any");
    }
}

/// Reads a few actions in the coding in which the service sends them.
async fn read_compression(pipeline: &Pipeline, evidence: &mut Observations) {
    let mut call = get(Operation::ListMachineActions, format!("{ACTIONS}?$top=10"));
    call.as_sent = true;
    let coding = |response: &ApiResponse| Ok(coding_of(&response.headers, &response.body));
    if let Answer::Read(Some(coding)) = ask(pipeline, evidence, &call, coding).await {
        evidence.add("compression", coding);
    }
}

fn coding_of(headers: &HeaderMap, body: &Bytes) -> Option<&'static str> {
    let Some(coding) = headers.get(CONTENT_ENCODING) else {
        return (body.len() >= WORTH_COMPRESSING).then_some("none");
    };
    match (coding.to_str().ok()?.trim().to_ascii_lowercase().as_str(), body.as_ref()) {
        ("gzip", _) => Some("gzip"),
        // The header of zlib: the method, and a checksum of both bytes.
        ("deflate", [first, second, ..])
            if first & 0x0f == 8 && (u16::from(*first) * 256 + u16::from(*second)) % 31 == 0 =>
        {
            Some("deflate")
        }
        ("deflate", _) => Some("raw_deflate"),
        _ => None,
    }
}

/// Records how old the oldest action is: the service keeps actions at least as long.
async fn read_oldest(pipeline: &Pipeline, now: f64, evidence: &mut Observations) {
    let path = format!("{ACTIONS}?$orderby=creationDateTimeUtc%20asc&$top=1");
    let call = get(Operation::ListMachineActions, path);
    let Answer::Read(list) = ask(pipeline, evidence, &call, read_list).await else { return };
    let created = list.page.value.first().and_then(|action| action.creation_date_time_utc);
    if let Some(created) = created {
        let days = ((now - created.to_unix()) / DAY).max(0.0);
        evidence.fact("oldest_action_days", days as u64);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_coding_is_known_by_its_header_and_its_bytes() {
        for (coding, body, expected) in [
            (Some("gzip"), &b"\x1f\x8b"[..], Some("gzip")),
            (Some("Deflate"), b"\x78\x9c..", Some("deflate")),
            (Some("deflate"), b"\x78\x01..", Some("deflate")),
            (Some("deflate"), b"\xab\x56..", Some("raw_deflate")),
            (Some("br"), b"..", None),
            (None, b"{}", None),
            (None, &[b' '; WORTH_COMPRESSING], Some("none")),
        ] {
            let headers = coding.map(|it| (CONTENT_ENCODING, HeaderValue::from_static(it)));
            let headers: HeaderMap = headers.into_iter().collect();
            assert_eq!(coding_of(&headers, &Bytes::copy_from_slice(body)), expected, "{coding:?}");
        }
    }
}
