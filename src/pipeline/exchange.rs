//! One request: authorizes it, sends it and classifies its response.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};

use super::{ApiCall, ApiResponse, AttemptOutcome, Pipeline, body};
use crate::auth::{AccessToken, parse_claims_challenge};
use crate::classify::{self, ErrorContext};
use crate::clock::seconds_to_duration;
use crate::error::{Error, Result};
use crate::limits::CallPermit;
use crate::secret::SecretUrl;
use crate::transport::{Destination, Request};

const CLAIMS_CHALLENGE_HINT: &str = "conditional access requires a token with other claims \
    (because of the location, a risk, or a revoked session), and a fresh token does not have them: \
    ask the administrators of the tenant, or sign in again";

impl Pipeline {
    /// Sends the call once. Holds the permit until the response has been read.
    pub async fn attempt(&self, call: &ApiCall, permit: CallPermit) -> AttemptOutcome {
        let token = match self.tokens.get_token().await {
            Ok(token) => token,
            Err(error) => return AttemptOutcome::Refused(self.annotate(call, error)),
        };
        let outcome = self.exchange(call, &token).await;
        drop(permit);
        outcome
    }

    async fn exchange(&self, call: &ApiCall, token: &Arc<AccessToken>) -> AttemptOutcome {
        let request = match self.request(call, token) {
            Ok(request) => request,
            Err(error) => return AttemptOutcome::Refused(self.annotate(call, error)),
        };
        let response = match self.transport.send(request).await {
            Ok(response) => body::read(response, call).await,
            Err(failure) => Err(failure),
        };
        match response {
            Ok((status, headers, body)) => {
                self.service_clock.record(&headers, self.clock.now());
                self.classify_response(call, token, status, headers, body)
            }
            Err(failure) => {
                let mut error = self.annotate(call, failure.error);
                let doing = self.error_context(call).describe_operation();
                error.message = format!("could not {doing}: {}", error.message);
                // If any byte was sent, the service may have acted on the request.
                match (failure.sent, error.retryable) {
                    (true, _) => AttemptOutcome::Ambiguous(error),
                    (false, true) => AttemptOutcome::NotSent(error),
                    (false, false) => AttemptOutcome::Refused(error),
                }
            }
        }
    }

    fn classify_response(
        &self,
        call: &ApiCall,
        token: &Arc<AccessToken>,
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    ) -> AttemptOutcome {
        if status.is_success() {
            return AttemptOutcome::Succeeded(ApiResponse { status, headers, body });
        }
        let headers = &headers;
        let context = self.error_context(call);
        let now = self.clock.now();
        let error = classify::error_from_response(&context, status, headers, &body, now);
        match status.as_u16() {
            401 => self.token_refused(token, headers, error),
            429 => AttemptOutcome::Throttled(
                classify::classify_throttle(call.operation, headers, &body, now),
                error,
            ),
            // A gateway may answer like this after the service acted.
            408 | 500..=599 => AttemptOutcome::Ambiguous(error),
            _ => AttemptOutcome::Refused(error),
        }
    }

    fn error_context(&self, call: &ApiCall) -> ErrorContext {
        ErrorContext {
            machine_id: call.machine_id.clone(),
            action_id: call.action_id.clone(),
            tenant_id: self.tokens.tenant_id(),
            subject: call.file_name.clone(),
            arguments: call.arguments.clone(),
            ..ErrorContext::new(call.operation)
        }
    }

    fn token_refused(
        &self,
        token: &Arc<AccessToken>,
        headers: &HeaderMap,
        mut error: Error,
    ) -> AttemptOutcome {
        let claims = parse_claims_challenge(headers);
        if claims.is_some() {
            error.hint = Some(CLAIMS_CHALLENGE_HINT.to_owned());
        }
        // Only this token is dropped: another call may have fetched a newer one already.
        self.tokens.invalidate(token, claims);
        AttemptOutcome::TokenRefused(error)
    }

    fn request(&self, call: &ApiCall, token: &AccessToken) -> Result<Request> {
        let url = self
            .options
            .endpoint
            .join(&call.path)
            .map_err(|_| Error::invalid("the call's path is not a URL"))?;
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, token.authorization_header()?);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if call.as_sent {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("deflate, gzip"));
        } else if !call.operation.is_list() {
            // To unpack a single record would cost more than to receive it.
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Some(content_type) = &call.content_type {
            headers.insert(CONTENT_TYPE, content_type.clone());
        }
        Ok(Request {
            destination: if call.as_sent {
                Destination::ServiceAsSent
            } else {
                Destination::Service
            },
            method: call.method.clone(),
            url: SecretUrl::from(url),
            headers,
            body: call.body.clone(),
            timeout: seconds_to_duration(self.options.request_timeout),
        })
    }
}
