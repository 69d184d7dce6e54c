//! The name of the log, and the spans of calls for OpenTelemetry. Without a tracer there are none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::task::JoinHandle;

use crate::error::{Error, Result};

/// The target of every log record of this crate.
pub const LOG_TARGET: &str = "mde_live_response";

/// Logs that a call failed and is tried again after so many seconds.
pub fn warn_retry(error: &Error, seconds: f64) {
    if seconds < 0.05 {
        log::warn!(target: LOG_TARGET, "{error}; trying again");
    } else {
        log::warn!(target: LOG_TARGET, "{error}; trying again in {seconds:.1} s");
    }
}

tokio::task_local! {
    static CURRENT: TraceContext;
    static ATTEMPT: u32;
}

static NEXT_SPAN_ID: AtomicU64 = AtomicU64::new(1);

/// Receives the spans. Called from the core's threads, in order; it must not block.
pub trait Tracer: Send + Sync {
    fn on_start(&self, span: SpanStart);
    fn on_end(&self, span: SpanEnd);
}

#[derive(Clone, Debug, PartialEq)]
pub enum AttributeValue {
    Text(String),
    Number(i64),
}

pub type Attributes = Vec<(&'static str, AttributeValue)>;

/// The start of a span.
#[derive(Clone, Debug)]
pub struct SpanStart {
    pub id: u64,
    /// None: the parent is the caller's own span.
    pub parent: Option<u64>,
    pub name: String,
    /// The span is one HTTP request, not an operation that contains requests.
    pub is_request: bool,
    pub attributes: Attributes,
    /// Nanoseconds since the Unix epoch.
    pub at: u64,
}

/// The end of a span.
#[derive(Clone, Debug)]
pub struct SpanEnd {
    pub id: u64,
    pub attributes: Attributes,
    /// The kind of the error, in one word.
    pub error: Option<String>,
    pub at: u64,
}

/// The tracer, and the span below which new spans belong.
#[derive(Clone)]
pub struct TraceContext {
    tracer: Arc<dyn Tracer>,
    span: Option<u64>,
}

/// An open span. If it is dropped before it is closed, it ends as cancelled.
pub struct Span {
    trace: TraceContext,
    id: u64,
    closed: bool,
}

impl TraceContext {
    pub fn new(tracer: Arc<dyn Tracer>) -> Self {
        Self { tracer, span: None }
    }

    /// Returns the context of the running task.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }
}

/// Runs `work` with its spans below `trace`.
pub fn with_trace<T>(
    trace: Option<TraceContext>,
    work: impl Future<Output = T>,
) -> impl Future<Output = T> {
    // On the heap, here and below: futures that are nested by value would overflow the stack.
    let work = Box::pin(work);
    async move {
        match trace {
            Some(trace) => CURRENT.scope(trace, work).await,
            None => work.await,
        }
    }
}

/// Runs `work` in a new task, with its spans below the caller's span.
pub fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    match TraceContext::current() {
        Some(trace) => tokio::spawn(CURRENT.scope(trace, work)),
        None => tokio::spawn(work),
    }
}

/// Runs `work` in a span of this name. `result_attributes` returns the attributes of its result.
pub fn in_span<T>(
    name: &str,
    attributes: impl FnOnce() -> Attributes,
    work: impl Future<Output = Result<T>>,
    result_attributes: impl FnOnce(&T) -> Attributes,
) -> impl Future<Output = Result<T>> {
    let work = Box::pin(work);
    async move {
        let Some(span) = Span::open(name, false, attributes) else { return work.await };
        let result = CURRENT.scope(span.child_trace(), work).await;
        match &result {
            Ok(value) => span.close(result_attributes(value), None),
            Err(error) => span.close(Vec::new(), Some(format!("{:?}", error.kind))),
        }
        result
    }
}

/// Runs `work`, whose requests belong to attempt number `attempt`, counted from 1.
pub fn with_attempt<T>(attempt: u32, work: impl Future<Output = T>) -> impl Future<Output = T> {
    ATTEMPT.scope(attempt, Box::pin(work))
}

/// Returns the number of the running attempt.
pub fn current_attempt() -> u32 {
    ATTEMPT.try_with(|attempt| *attempt).unwrap_or(1)
}

impl Span {
    /// Opens a span. Returns None if there is no tracer.
    pub fn open(
        name: &str,
        is_request: bool,
        attributes: impl FnOnce() -> Attributes,
    ) -> Option<Self> {
        let trace = TraceContext::current()?;
        let id = NEXT_SPAN_ID.fetch_add(1, Ordering::Relaxed);
        let (parent, name, attributes) = (trace.span, name.to_owned(), attributes());
        trace.tracer.on_start(SpanStart { id, parent, name, is_request, attributes, at: now() });
        Some(Self { trace, id, closed: false })
    }

    fn child_trace(&self) -> TraceContext {
        TraceContext { tracer: self.trace.tracer.clone(), span: Some(self.id) }
    }

    pub fn close(mut self, attributes: Attributes, error: Option<String>) {
        self.closed = true;
        self.trace.tracer.on_end(SpanEnd { id: self.id, attributes, error, at: now() });
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if !self.closed {
            let error = Some("cancelled".to_owned());
            self.trace.tracer.on_end(SpanEnd {
                id: self.id,
                attributes: Vec::new(),
                error,
                at: now(),
            });
        }
    }
}

impl From<&str> for AttributeValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u16> for AttributeValue {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<u32> for AttributeValue {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::error::Error;

    #[derive(Default)]
    struct RecordingTracer(Mutex<Vec<String>>);

    impl Tracer for RecordingTracer {
        fn on_start(&self, span: SpanStart) {
            self.0.lock().unwrap().push(format!("+{} in {:?}", span.name, span.parent.is_some()));
        }

        fn on_end(&self, span: SpanEnd) {
            self.0.lock().unwrap().push(format!("-{}", span.error.unwrap_or_default()));
        }
    }

    #[tokio::test]
    async fn spans_nest_across_tasks_and_end_as_cancelled_if_dropped() {
        let recorded = Arc::new(RecordingTracer::default());
        let fails = in_span(
            "outer",
            Vec::new,
            async {
                drop(spawn(async { Span::open("inner", true, Vec::new).map(drop) }).await);
                Err::<(), _>(Error::invalid("no"))
            },
            |()| Vec::new(),
        );
        assert!(with_trace(Some(TraceContext::new(recorded.clone())), fails).await.is_err());
        let expected = ["+outer in false", "+inner in true", "-cancelled", "-InvalidRequest"];
        assert_eq!(*recorded.0.lock().unwrap(), expected);
        assert!(Span::open("untraced", true, Vec::new).is_none());
        assert_eq!((current_attempt(), with_attempt(3, async { current_attempt() }).await), (1, 3));
    }
}
