//! The bodies of the fuzz targets in `fuzz/`. Each decodes any input and checks what must be true
//! for every input. Compiled only for fuzzing and for the test that replays the corpus.

use std::cell::OnceCell;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::runtime::{Builder, Runtime};

use crate::classify::{self, ErrorContext, retry_after_from_headers};
use crate::emulator;
use crate::error::Result;
use crate::model::{self, LibraryFile, Machine, MachineAction, ScriptOutput};
use crate::operation::Operation;
use crate::text::is_bidi_control;
use crate::transfer::{self, DecompressLimits, Sink, Target};

/// Largest unpacked payload, in bytes.
const LIMIT: usize = 1 << 16;
/// 2026-11-23T10:00:00Z.
const NOW: f64 = 1_795_428_000.0;

/// Decodes an action and checks that it survives a round trip.
pub fn action(data: &[u8]) {
    let Ok(action) = model::decode_entity::<MachineAction>(data) else { return };
    let written = serde_json::to_vec(&action).unwrap_or_default();
    let again: Option<MachineAction> = serde_json::from_slice(&written).ok();
    assert_eq!(again.map(|again| (again.id, again.status, again.commands.len())), {
        Some((action.id.clone(), action.status.clone(), action.commands.len()))
    });
    assert!(action.commands.windows(2).all(|pair| matches!(pair, [a, b] if a.index <= b.index)));
}

/// Decodes a page of each list.
pub fn list(data: &[u8]) {
    let actions = model::decode_page::<MachineAction>(data).map(|page| page.value.len());
    let machines = model::decode_page::<Machine>(data).map(|page| page.value.len());
    let files = model::decode_page::<LibraryFile>(data).map(|page| page.value.len());
    if let (Ok(machines), Ok(actions)) = (&machines, &actions) {
        assert_eq!(machines, actions);
    }
    for error in [actions, machines, files].into_iter().filter_map(Result::err) {
        assert!(!error.message.is_empty() && error.hint.is_some());
    }
}

/// Decodes an error response: the first two bytes choose status and call, the rest is the body.
pub fn error(data: &[u8]) {
    let [status, call, body @ ..] = data else { return };
    let status =
        StatusCode::from_u16(400 + u16::from(*status) % 200).unwrap_or(StatusCode::BAD_REQUEST);
    let operation = Operation::ALL.get(usize::from(*call) % Operation::ALL.len()).copied();
    let context = ErrorContext::new(operation.unwrap_or(Operation::GetMachine));
    let error = classify::error_from_response(&context, status, &HeaderMap::new(), body, NOW);
    let shown = format!("{error} {}", error.hint.as_deref().unwrap_or_default());
    assert!(error.status == Some(status.as_u16()) && !error.message.is_empty());
    assert!(!shown.contains(|c: char| c.is_control() || is_bidi_control(c)), "{shown:?}");
}

/// Decodes script output. Checks that the text has no control character and is within the limit.
pub fn transcript(data: &[u8]) {
    let Ok(output) = ScriptOutput::decode(Bytes::copy_from_slice(data), "a.ps1", LIMIT) else {
        return;
    };
    let shown = output.text();
    assert!(!shown.contains(
        |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || is_bidi_control(c)
    ));
    assert!(output.raw == data && output.json_text().len() <= output.stdout.len());
    // An invalid byte becomes U+FFFD, which has three bytes.
    assert!(output.stdout.len() + output.stderr.len() <= 3 * LIMIT.max(data.len()));
}

/// Unpacks a payload as script output and as a collected file.
pub fn package(data: &[u8]) {
    transcript(data);
    let kept = BufferSink::default();
    let target = Target::Sink(Box::new(kept.clone()));
    let limits = DecompressLimits { size: LIMIT as u64, ratio: 500, ratio_min_size: 1 << 12 };
    let body = Box::pin(futures_util::stream::iter([Ok(Bytes::copy_from_slice(data))]));
    let saved = block_on(transfer::save(body, target, "/tmp/a", limits));
    let length = kept.0.lock().unwrap_or_else(PoisonError::into_inner).len();
    assert!(length <= LIMIT);
    if let Some(Ok(file)) = saved {
        assert_eq!(file.size, length as u64);
    }
}

/// Parses the query of a list in the emulator, also as the link to the next page.
pub fn filter(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        emulator::fuzz_query(text);
    }
}

/// Reads the wait of a 429: the first byte is the length of the header's value, then the body
/// follows.
pub fn retry_after(data: &[u8]) {
    let Some((length, rest)) = data.split_first() else { return };
    let (value, body) = rest.split_at_checked(usize::from(*length)).unwrap_or((rest, &[]));
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert("retry-after", value.clone());
        headers.insert("x-ms-retry-after-ms", value);
    }
    let in_bounds = |wait: Option<f64>| {
        assert!(wait.is_none_or(|wait| (0.0..=3600.0).contains(&wait)), "{wait:?}")
    };
    in_bounds(retry_after_from_headers(&headers, NOW));
    if let classify::Throttle::Rate { wait } =
        classify::classify_throttle(Operation::RunLiveResponse, &headers, body, NOW)
    {
        in_bounds(wait);
    }
}

#[derive(Clone, Default)]
struct BufferSink(Arc<Mutex<Vec<u8>>>);

impl Sink for BufferSink {
    fn write(&mut self, data: Bytes) -> BoxFuture<'_, Result<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&data);
        std::future::ready(Ok(())).boxed()
    }
}

// One runtime per thread: a new one for every input would dominate the run time.
fn block_on<T>(work: impl Future<Output = T>) -> Option<T> {
    thread_local! {
        static RUNTIME: OnceCell<Option<Runtime>> = const { OnceCell::new() };
    }
    RUNTIME.with(|runtime| {
        let runtime = runtime
            .get_or_init(|| Builder::new_current_thread().max_blocking_threads(1).build().ok());
        runtime.as_ref().map(|runtime| runtime.block_on(work))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// Runs every target on the corpus that `make fuzz` has collected.
    #[test]
    fn the_corpus_is_replayed() {
        type Target = fn(&[u8]);
        let targets: [(&str, Target); 7] = [
            ("action", super::action),
            ("list", super::list),
            ("error", super::error),
            ("transcript", super::transcript),
            ("package", super::package),
            ("filter", super::filter),
            ("retry_after", super::retry_after),
        ];
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let kept = fs::read_dir(&corpus)
            .unwrap()
            .map(|folder| folder.unwrap().file_name().into_string().unwrap());
        assert_eq!(kept.filter(|name| !targets.iter().any(|(known, _)| known == name)).count(), 0);
        for (name, target) in targets {
            let files: Vec<_> =
                fs::read_dir(corpus.join(name)).unwrap().map(|file| file.unwrap().path()).collect();
            assert!(files.len() >= 3, "{name} has no corpus");
            for file in files {
                target(&fs::read(&file).unwrap());
            }
        }
    }
}
