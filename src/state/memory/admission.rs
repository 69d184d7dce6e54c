//! Admission in memory.

use futures_util::FutureExt;
use futures_util::future::ready;

use super::MemoryStore;
use super::tables::{MemoryTables, occupy, scan_queue};
use crate::operation::Operation;
use crate::state::StoreFuture;
use crate::state::admission::{
    AdmissionRequest, AdmissionResponse, AdmissionStore, Ticket, WindowUsage,
};
use crate::state::queue_scan::{QueueScan, UNPOSTED_GRACE};

impl AdmissionStore for MemoryStore {
    fn request_admission(&self, request: AdmissionRequest) -> StoreFuture<'_, AdmissionResponse> {
        ready(Ok(self.admit(&request))).boxed()
    }

    fn try_admit_now(&self, request: &AdmissionRequest) -> Option<AdmissionResponse> {
        Some(self.admit(request))
    }

    fn block_window(&self, window: Operation, seconds: f64) -> StoreFuture<'_, ()> {
        self.with(|tables, now| {
            tables.queues.entry(window).or_default().calls.block_window(now + seconds);
            Ok(())
        })
    }

    fn window_usage(&self, window: Operation) -> StoreFuture<'_, WindowUsage> {
        let rates = self.settings.rates(window);
        self.with(|tables, now| {
            let queue = tables.queues.entry(window).or_default();
            Ok(queue.calls.window_usage(rates, now, queue.waiting.len()))
        })
    }
}

impl MemoryStore {
    /// Answers one request. Memory can't lose an answer, so `is_retry` makes no difference.
    fn admit(&self, request: &AdmissionRequest) -> AdmissionResponse {
        let mut tables = self.tables();
        let now = self.now(&mut tables);
        let rates = self.settings.rates(request.window);
        let MemoryTables { queues, slots, .. } = &mut *tables;
        slots.retain(|_, slot_entry| slot_entry.slot.until > now);
        let queue = queues.entry(request.window).or_default();
        for ticket in &request.leave {
            queue.leave(*ticket);
            if request.window == Operation::RunLiveResponse {
                // The slot was taken with the grant, and nothing was sent for it.
                slots.retain(|_, slot_entry| {
                    slot_entry.ticket != Some(*ticket) || slot_entry.slot.action_id.is_some()
                });
            }
        }
        let room = queue.calls.room(rates, now);
        // The common case, a single read with nobody waiting, needs no scan.
        if let ([entry], true) = (&request.join[..], queue.waiting.is_empty() && room > 0)
            && entry.slot_request.is_none()
        {
            queue.calls.begin(entry.ticket, now + request.call_lease);
            return AdmissionResponse {
                granted: vec![entry.ticket],
                wait: f64::INFINITY,
                ..AdmissionResponse::default()
            };
        }
        for entry in &request.join {
            queue.waiting.insert(queue.arrivals, (entry.ticket, entry.slot_request.clone()));
            queue.arrivals += 1;
        }
        let free = (self.settings.limits.sessions as usize).saturating_sub(slots.len());
        let scan = scan_queue(queue, slots, QueueScan::new(request.owner, room, free));
        let is_answered = |ticket: &Ticket| {
            scan.granted.contains(ticket) || scan.occupied.iter().any(|(at, _)| at == ticket)
        };
        let answered: Vec<u64> = queue
            .waiting
            .iter()
            .filter(|(_, (ticket, _))| is_answered(ticket))
            .map(|(at, _)| *at)
            .collect();
        for (ticket, slot_request) in answered.iter().filter_map(|at| queue.waiting.remove(at)) {
            if scan.granted.contains(&ticket) {
                queue.calls.begin(ticket, now + request.call_lease);
                if let Some(slot_request) = slot_request {
                    // If the caller dies before its POST, the slot is freed after this time.
                    occupy(slots, slot_request, ticket, now + request.call_lease + UNPOSTED_GRACE);
                }
            }
        }
        let wait = queue.wait(&scan, slots, rates, now);
        AdmissionResponse {
            granted: scan.granted,
            occupied: scan.occupied,
            wait,
            ..AdmissionResponse::default()
        }
    }
}
