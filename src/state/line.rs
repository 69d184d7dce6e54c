//! Standing in line for a window: first come, first served.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::window::{Room, Window};
use crate::clock::Clock;
use crate::config::Rate;

/// One endpoint's window and those who wait for it.
pub struct Line {
    clock: Clock,
    window: Mutex<Window>,
    /// Held by whoever is next; tokio's mutex is handed on in the order of arrival.
    head: tokio::sync::Mutex<()>,
    ended: Notify,
}

/// The right to one call. The call ends when it is dropped.
pub struct Pass {
    line: Arc<Line>,
}

impl Line {
    pub fn new(rates: &[Rate], clock: Clock) -> Self {
        Self {
            clock,
            window: Mutex::new(Window::new(rates)),
            head: tokio::sync::Mutex::default(),
            ended: Notify::new(),
        }
    }

    /// Waits for its turn and for room. Leaving the wait leaves the line.
    pub async fn enter(self: &Arc<Self>) -> Pass {
        let _head = self.head.lock().await;
        loop {
            if let Some(pass) = self.try_enter() {
                return pass;
            }
            self.wait_for_room().await;
        }
    }

    /// A pass, if there is room now.
    pub fn try_enter(self: &Arc<Self>) -> Option<Pass> {
        let mut window = self.window();
        (window.room(self.clock.now()) == Room::Now).then(|| {
            window.begin();
            Pass { line: self.clone() }
        })
    }

    /// Waits until there may be room.
    pub async fn wait_for_room(&self) {
        let ended = self.ended.notified();
        let now = self.clock.now();
        let room = self.window().room(now);
        match room {
            Room::Now => {}
            Room::At(at) => self.clock.sleep(at - now).await,
            Room::AfterACall => ended.await,
        }
    }

    /// Seconds until there may be room; none while calls under way fill a window.
    pub fn wait_seconds(&self) -> Option<f64> {
        let now = self.clock.now();
        let room = self.window().room(now);
        match room {
            Room::Now => Some(0.0),
            Room::At(at) => Some(at - now),
            Room::AfterACall => None,
        }
    }

    /// Holds every waiting call back for `seconds`: the service said so.
    pub fn hold(&self, seconds: f64) {
        let until = self.clock.now() + seconds;
        self.window().hold(until);
    }

    pub fn share_left(&self) -> f64 {
        let now = self.clock.now();
        self.window().share_left(now)
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let now = self.line.clock.now();
        self.line.window().end(now);
        self.line.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_came_first_goes_first_and_who_left_holds_nobody_up() {
        let clock = Clock::new();
        let line = Arc::new(Line::new(&[Rate::new(1, 10.0).unwrap()], clock));
        drop(line.enter().await);
        let order = Arc::new(Mutex::new(Vec::new()));
        let start = clock.now();
        let waiters: Vec<_> = (0..5)
            .map(|i| {
                let (line, order) = (line.clone(), order.clone());
                tokio::spawn(async move {
                    drop(line.enter().await);
                    order.lock().unwrap().push(i);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        waiters[0].abort();
        for waiter in waiters.into_iter().skip(1) {
            waiter.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [1, 2, 3, 4]);
        assert!((clock.now() - start - 40.0).abs() < 0.1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_makes_room_known() {
        let clock = Clock::new();
        let line = Arc::new(Line::new(&[Rate::new(1, 10.0).unwrap()], clock));
        let pass = line.enter().await;
        let waiter = tokio::spawn({
            let line = line.clone();
            async move { drop(line.enter().await) }
        });
        clock.sleep(100.0).await;
        drop(pass);
        let ended = clock.now();
        waiter.await.unwrap();
        assert!((clock.now() - ended - 10.0).abs() < 0.1);
    }
}
