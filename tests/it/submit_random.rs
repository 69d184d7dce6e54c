//! Random services, faults and callers for the property test of the submit.

use mde_live_response::emulator::{
    BusyResponse, CommentForm, Compression, Fault, FaultKind, ListOrder, Requestor, Switches,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::network::SubmitFate;

/// How long an action may be missing from lists, and how late a POST may arrive, in seconds.
/// Together they stay below the settle time: what is listed even later, nobody can find in time.
const MAX_LIST_LAG: f64 = 55.0;
const MAX_LATENESS: f64 = 50.0;

/// A service, its network, and the callers who submit to one machine.
#[derive(Clone, Debug)]
pub struct Case {
    pub seed: u64,
    pub service: Service,
    /// How long the script runs, in seconds.
    pub duration: f64,
    /// All submits run the same commands. Otherwise each has its own argument.
    pub same_commands: bool,
    pub stranger: Option<Stranger>,
    /// What the network does with each POST.
    pub fates: Vec<SubmitFate>,
    /// The faults of POSTs.
    pub post_faults: Vec<PlacedFault>,
    pub read_faults: Vec<(&'static str, PlacedFault)>,
    pub callers: Vec<Caller>,
}

/// What is odd about the service: the emulator's switches of these names.
#[derive(Clone, Debug)]
pub struct Service {
    comment_form: CommentForm,
    comment_limit: Option<usize>,
    comment_suffix: &'static str,
    comment_delay: f64,
    list_lag: f64,
    fresh_404: f64,
    null_first_body: f64,
    null_first_comment: bool,
    list_order: ListOrder,
    busy_answer: BusyResponse,
    busy_code: &'static str,
    requestor: Requestor,
    reads_404: u32,
}

/// A fault of the `nth` call and the `times - 1` after it.
#[derive(Clone, Debug)]
pub struct PlacedFault {
    pub fault: Fault,
    pub nth: u32,
    pub times: u32,
}

/// A session of another application, older than every submit of ours.
#[derive(Clone, Copy, Debug)]
pub struct Stranger {
    /// It runs the commands of our first caller.
    pub has_our_commands: bool,
    /// How long it lasts after our first caller begins.
    pub seconds: f64,
}

/// A caller, who repeats its submit by hand if it fails.
#[derive(Clone, Debug)]
pub struct Caller {
    pub start: f64,
    /// The correlation id. None: a new one for each try.
    pub id: Option<u8>,
    /// Callers with the same number share a store.
    pub store: usize,
    pub wait_if_busy: bool,
    pub timeout: Option<f64>,
    /// Stops waiting for its first try after so many seconds.
    pub cancel_after: Option<f64>,
    pub tries: u8,
    /// The seconds between two tries.
    pub pause: f64,
}

impl Service {
    pub fn switches(&self) -> Switches {
        Switches {
            comment_form: self.comment_form,
            comment_limit: self.comment_limit,
            comment_suffix: self.comment_suffix.to_owned(),
            comment_delay: self.comment_delay,
            list_lag: self.list_lag,
            fresh_404: self.fresh_404,
            null_first_body: self.null_first_body,
            null_first_comment: self.null_first_comment,
            list_order: self.list_order,
            busy_answer: self.busy_answer,
            busy_code: self.busy_code.to_owned(),
            requestor: self.requestor,
            reads_404: self.reads_404,
            compression: Compression::None,
            transcript_line: false,
            ..Switches::default()
        }
    }

    /// Returns whether the service shows each comment so that its tag is recognized.
    fn keeps_tags(&self) -> bool {
        let keeps_form = matches!(
            self.comment_form,
            CommentForm::Keep | CommentForm::Upper | CommentForm::Lower
        );
        keeps_form
            && self.comment_limit.is_none()
            && self.comment_suffix.is_empty()
            && self.comment_delay == 0.0
            && !self.null_first_comment
    }
}

impl Case {
    /// Takes out of the case what no client can handle, as docs/exactly-once.md says.
    fn within_the_promise(mut self) -> Self {
        let keeps_tags = self.service.keeps_tags();
        // Without tags, submits with the same commands cannot be distinguished.
        self.same_commands &= keeps_tags;
        let has_two_stores = self.callers.iter().any(|caller| caller.store > 0);
        if has_two_stores && !keeps_tags {
            self.callers.iter_mut().for_each(|caller| caller.store = 0);
        } else if has_two_stores {
            // A store that knows nothing of a submit finds its session in the list, or the machine
            // is busy. So the session must last until the list has it.
            self.duration = self.duration.max(self.service.list_lag + 60.0);
            self.fates.retain(|fate| !matches!(fate, SubmitFate::Late(_)));
        }
        let arrives_twice = self.fates.iter().any(|fate| matches!(fate, SubmitFate::Twice(_)));
        let is_delayed =
            self.post_faults.iter().any(|placed| placed.fault.kind == FaultKind::Delay);
        if arrives_twice {
            // The service judges both copies of a POST alike: it does not accept the first and call
            // the second invalid or forbidden.
            self.post_faults.retain(|placed| !is_final_refusal(&placed.fault));
        }
        if arrives_twice && is_delayed {
            // The second copy of a POST must meet the session of the first, which may be delayed.
            self.duration = self.duration.max(100.0);
        }
        for placed in &mut self.post_faults {
            let fault = &mut placed.fault;
            // The list is read once after a 429, so it must be up to date after the wait.
            if fault.status == 429 && fault.acts {
                let wait = self.service.list_lag.ceil() + 1.0;
                fault.headers.insert("Retry-After".to_owned(), wait.to_string());
            }
        }
        self
    }
}

/// Returns whether the client may take the response as proof that nothing was started.
fn is_final_refusal(fault: &Fault) -> bool {
    matches!(fault.code.as_deref(), Some("InvalidInput" | "Forbidden"))
}

fn sometimes(max: f64) -> impl Strategy<Value = f64> {
    prop_oneof![2 => Just(0.0), 1 => 0.0..max]
}

fn comment_form() -> impl Strategy<Value = CommentForm> {
    prop_oneof![
        4 => Just(CommentForm::Keep),
        1 => Just(CommentForm::Escape),
        1 => Just(CommentForm::Percent),
        1 => Just(CommentForm::Upper),
        1 => Just(CommentForm::Lower),
        1 => Just(CommentForm::Null),
        1 => Just(CommentForm::Empty),
    ]
}

fn service() -> impl Strategy<Value = Service> {
    let comment = (
        comment_form(),
        prop_oneof![3 => Just(None), 1 => (0_usize..40).prop_map(Some)],
        prop_oneof![3 => Just(""), 1 => Just(" (by policy)")],
        sometimes(400.0),
    );
    let late = (sometimes(MAX_LIST_LAG), sometimes(60.0), sometimes(20.0), any::<bool>());
    // The client reads a 404 again twice.
    let reports = (any::<(bool, bool, bool, bool)>(), prop_oneof![2 => Just(0), 1 => 1..3_u32]);
    (comment, late, reports).prop_map(|(comment, late, (flags, reads_404))| Service {
        comment_form: comment.0,
        comment_limit: comment.1,
        comment_suffix: comment.2,
        comment_delay: comment.3,
        list_lag: late.0,
        fresh_404: late.1,
        null_first_body: late.2,
        null_first_comment: late.3 && late.2 > 0.0,
        list_order: if flags.0 { ListOrder::Oldest } else { ListOrder::Newest },
        busy_answer: if flags.1 { BusyResponse::Foreign } else { BusyResponse::Error },
        busy_code: if flags.2 { "BadRequest" } else { "ActiveRequestAlreadyExists" },
        requestor: if flags.3 { Requestor::Name } else { Requestor::Id },
        reads_404,
    })
}

fn coded(status: u16, code: Option<&str>, acts: bool) -> Fault {
    Fault { code: code.map(str::to_owned), acts, ..Fault::status(status) }
}

/// A response to a POST whose first copy may have been accepted.
fn gateway_answer() -> impl Strategy<Value = Fault> {
    let status = prop_oneof![
        Just((400, Some("ActiveRequestAlreadyExists"))),
        Just((404, Some("ResourceNotFound"))),
        proptest::sample::select(vec![302, 404, 408, 409, 429, 499, 500, 502, 503, 504])
            .prop_map(|status| (status, None)),
    ];
    (status, any::<bool>(), 1_u32..90).prop_map(|((status, code), acts, wait)| {
        let mut fault = coded(status, code, acts);
        if status == 429 && wait < 60 {
            fault.headers.insert("Retry-After".to_owned(), wait.to_string());
        }
        fault
    })
}

fn post_fault() -> impl Strategy<Value = Fault> {
    let new = |kind| Just(Fault::new(kind));
    prop_oneof![
        6 => gateway_answer(),
        1 => new(FaultKind::DropBefore),
        1 => new(FaultKind::DropUnread),
        2 => new(FaultKind::DropAfter),
        1 => new(FaultKind::Truncate),
        1 => new(FaultKind::Garble),
        1 => new(FaultKind::ExpireToken),
        2 => new(FaultKind::WrongEntity),
        1 => any::<bool>().prop_map(|acts| Fault { acts, ..Fault::new(FaultKind::Page) }),
        1 => (1.0..40.0).prop_map(Fault::delay),
        1 => (1.0..40.0).prop_map(|seconds| Fault { acts: true, ..Fault::delay(seconds) }),
        1 => proptest::sample::select(vec![(400, "InvalidInput"), (403, "Forbidden")])
            .prop_map(|(status, code)| coded(status, Some(code), false)),
    ]
}

fn read_fault() -> impl Strategy<Value = (&'static str, PlacedFault)> {
    let route = proptest::sample::select(vec!["machineactions", "machineactions", "machineaction"]);
    let fault = prop_oneof![
        Just(Fault::status(503)),
        Just(Fault::status(404)),
        Just(Fault::new(FaultKind::DropBefore)),
        Just(Fault::new(FaultKind::DropAfter)),
        Just(Fault::new(FaultKind::Garble)),
        Just(Fault::new(FaultKind::Truncate)),
        Just(Fault::new(FaultKind::Page)),
        Just(Fault::new(FaultKind::WrongEntity)),
        (0.1..40.0).prop_map(Fault::delay),
    ];
    (route, placed(fault, 12, 6)).prop_map(|(route, placed)| match placed.fault.kind {
        FaultKind::WrongEntity => ("machineaction", placed),
        _ => (route, placed),
    })
}

fn placed(
    fault: impl Strategy<Value = Fault>,
    nth: u32,
    times: u32,
) -> impl Strategy<Value = PlacedFault> {
    (fault, 1..=nth, 1..=times).prop_map(|(fault, nth, times)| PlacedFault { fault, nth, times })
}

fn fate() -> impl Strategy<Value = SubmitFate> {
    prop_oneof![
        3 => Just(SubmitFate::Usual),
        1 => (0.1..MAX_LATENESS).prop_map(SubmitFate::Late),
        1 => (0.0..5.0).prop_map(SubmitFate::Twice),
    ]
}

fn caller() -> impl Strategy<Value = Caller> {
    let who = (0.0..90.0, option::weighted(0.8, 0_u8..2), 0_usize..2);
    let how = (any::<bool>(), option::weighted(0.3, 1.0..400.0), option::weighted(0.3, 0.0..200.0));
    (who, how, 1_u8..4, sometimes(200.0)).prop_map(|(who, how, tries, pause)| Caller {
        start: who.0,
        id: who.1,
        store: who.2,
        wait_if_busy: how.0,
        timeout: how.1,
        cancel_after: how.2,
        tries,
        pause,
    })
}

fn stranger() -> impl Strategy<Value = Stranger> {
    (any::<bool>(), 0.0..400.0)
        .prop_map(|(has_our_commands, seconds)| Stranger { has_our_commands, seconds })
}

/// Returns random cases that keep within the promise of docs/exactly-once.md.
pub fn cases() -> impl Strategy<Value = Case> {
    let service = (any::<u64>(), service(), 10.0..300.0, any::<bool>());
    let faults =
        (vec(fate(), 0..4), vec(placed(post_fault(), 4, 2), 0..4), vec(read_fault(), 0..4));
    (service, option::weighted(0.3, stranger()), faults, vec(caller(), 1..4)).prop_map(
        |(service, stranger, (fates, post_faults, read_faults), callers)| {
            let (seed, service, duration, same_commands) = service;
            let case = Case {
                seed,
                service,
                duration,
                same_commands,
                stranger,
                fates,
                post_faults,
                read_faults,
                callers,
            };
            case.within_the_promise()
        },
    )
}
