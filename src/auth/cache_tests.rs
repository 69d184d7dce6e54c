use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use serde_json::json;

use super::*;
use crate::auth::tests::jwt;
use crate::secret::Secret;

const TENANT: &str = "11111111-2222-4333-8444-555555555555";
const OTHER: &str = "99999999-2222-4333-8444-555555555555";

/// A source that takes a second for each token, fails as often as asked, and counts its fetches.
struct SlowTokenSource {
    clock: Clock,
    life: f64,
    tenant: Option<&'static str>,
    fetches: AtomicUsize,
    finished: AtomicUsize,
    failures: AtomicUsize,
}

impl SlowTokenSource {
    fn new(life: f64) -> Self {
        let none = AtomicUsize::default;
        Self {
            clock: Clock::new(),
            life,
            tenant: Some(TENANT),
            fetches: none(),
            finished: none(),
            failures: none(),
        }
    }

    fn cache(self, tenant_id: Option<&str>) -> (Arc<Self>, TokenCache) {
        let source = Arc::new(self);
        let cache = TokenCache::new(
            Arc::<Self>::clone(&source),
            tenant_id.map(str::to_owned),
            source.clock,
        )
        .unwrap();
        (source, cache)
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::Relaxed)
    }

    fn fail(&self, times: usize) {
        self.failures.store(times, Ordering::Relaxed);
    }
}

impl TokenSource for SlowTokenSource {
    fn fetch(&self, _claims: Option<String>) -> BoxFuture<'_, Result<AccessToken>> {
        async {
            let number = self.fetches.fetch_add(1, Ordering::Relaxed);
            self.clock.sleep(1.0).await;
            self.finished.fetch_add(1, Ordering::Relaxed);
            if self
                .failures
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                .is_ok()
            {
                return Err(Error::new(Kind::Authentication, format!("no {number}")));
            }
            let claims = self
                .tenant
                .map_or_else(|| json!({"n": number}), |tid| json!({"tid": tid, "n": number}));
            Ok(AccessToken::new(Secret::new(jwt(&claims)), Some(self.clock.now() + self.life)))
        }
        .boxed()
    }

    fn describe(&self) -> String {
        "slow".to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_tasks_share_one_fetch() {
    let (source, cache) = SlowTokenSource::new(3600.0).cache(None);
    let tasks = (0..100).map(|_| {
        let cache = cache.clone();
        tokio::spawn(async move { cache.get_token().await.unwrap() })
    });
    let tokens: Vec<_> = join_all(tasks).await.into_iter().map(|token| token.unwrap()).collect();
    assert_eq!(source.fetches(), 1);
    assert!(tokens.iter().all(|token| Arc::ptr_eq(token, &tokens[0])));
    cache.get_token().await.unwrap();
    assert_eq!(source.fetches(), 1);
    assert_eq!(cache.tenant_id().as_deref(), Some(TENANT));
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_401s_fetches_once() {
    let (source, cache) = SlowTokenSource::new(3600.0).cache(None);
    let refused = cache.get_token().await.unwrap();
    let tasks = (0..100_u32).map(|i| {
        let (cache, refused, clock) = (cache.clone(), Arc::clone(&refused), source.clock);
        tokio::spawn(async move {
            // Some invalidate during the new fetch, some after it.
            clock.sleep(f64::from(i) * 0.03).await;
            cache.invalidate(&refused, None);
            let fresh = cache.get_token().await.unwrap();
            assert!(!Arc::ptr_eq(&fresh, &refused));
        })
    });
    for task in join_all(tasks).await {
        task.unwrap();
    }
    assert_eq!(source.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_error_reaches_waiting_callers_only() {
    let (source, cache) = SlowTokenSource::new(3600.0).cache(None);
    source.fail(1);
    let failed = join_all((0..10).map(|_| cache.get_token())).await;
    assert!(failed.iter().all(|token| token.as_ref().unwrap_err().message == "no 0"));
    cache.get_token().await.unwrap();
    assert_eq!(source.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_caller_does_not_cancel_the_fetch() {
    let (source, cache) = SlowTokenSource::new(3600.0).cache(None);
    let waiting = |cache: &TokenCache| {
        let cache = cache.clone();
        tokio::spawn(async move { cache.get_token().await })
    };
    let first = waiting(&cache);
    source.clock.sleep(0.3).await;
    let second = waiting(&cache);
    source.clock.sleep(0.3).await;
    first.abort();
    second.await.unwrap().unwrap();
    assert_eq!((source.fetches(), source.finished.load(Ordering::Relaxed)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_without_callers_is_cancelled() {
    let (source, cache) = SlowTokenSource::new(3600.0).cache(None);
    let left = tokio::time::timeout(std::time::Duration::from_millis(500), cache.get_token()).await;
    assert!(left.is_err());
    source.clock.sleep(5.0).await;
    assert_eq!(source.finished.load(Ordering::Relaxed), 0);
    cache.get_token().await.unwrap();
    assert_eq!((source.fetches(), source.finished.load(Ordering::Relaxed)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_early_in_the_background() {
    let (source, cache) = SlowTokenSource::new(3600.0).cache(None);
    let old = cache.get_token().await.unwrap();
    source.clock.sleep(3299.0).await;
    assert!(Arc::ptr_eq(&old, &cache.get_token().await.unwrap()));
    source.clock.sleep(2.0).await;
    let asked_at = source.clock.now();
    assert!(
        join_all((0..50).map(|_| cache.get_token()))
            .await
            .iter()
            .all(|token| Arc::ptr_eq(&old, token.as_ref().unwrap()))
    );
    assert!(source.clock.now() - asked_at < 0.001, "nobody waits");
    source.clock.sleep(1.1).await;
    assert!(!Arc::ptr_eq(&old, &cache.get_token().await.unwrap()));
    assert_eq!(source.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_keeps_the_token_until_it_expires() {
    let (source, cache) = SlowTokenSource::new(3600.0).cache(None);
    let old = cache.get_token().await.unwrap();
    source.clock.sleep(3301.0).await;
    source.fail(1000);
    let mut served = 0;
    while cache.get_token().await.is_ok() {
        served += 1;
        source.clock.sleep(1.0).await;
    }
    assert!(source.clock.now() < old.expires_at && served > 230, "{served}");
    assert!(source.fetches() <= 11, "tried again every half minute: {}", source.fetches());
    source.fail(0);
    cache.get_token().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_short_lived_token_is_not_renewed_all_the_time() {
    let (source, cache) = SlowTokenSource::new(240.0).cache(None);
    for _ in 0..200 {
        cache.get_token().await.unwrap();
        source.clock.sleep(1.0).await;
    }
    assert_eq!(source.fetches(), 1);
    for _ in 0..200 {
        cache.get_token().await.unwrap();
        source.clock.sleep(1.0).await;
    }
    assert_eq!(source.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_not_cached() {
    let (source, cache) = SlowTokenSource::new(-10.0).cache(None);
    cache.get_token().await.unwrap();
    cache.get_token().await.unwrap();
    assert_eq!(source.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_tenant_is_refused() {
    let (source, cache) = SlowTokenSource::new(3600.0).cache(Some(OTHER));
    assert_eq!(cache.tenant_id().as_deref(), Some(OTHER));
    for _ in 0..2 {
        let error = cache.get_token().await.unwrap_err();
        assert_eq!(error.kind, Kind::Authentication);
        assert!(error.message.contains(TENANT) && error.message.contains(OTHER), "{error}");
    }
    assert_eq!(source.fetches(), 2);
    let (_, cache) = SlowTokenSource::new(3600.0).cache(Some(&TENANT.to_uppercase()));
    cache.get_token().await.unwrap();
    let (_, cache) =
        SlowTokenSource { tenant: None, ..SlowTokenSource::new(3600.0) }.cache(Some(TENANT));
    assert!(cache.get_token().await.unwrap_err().message.contains("does not name its tenant"));
    let source = Arc::new(SlowTokenSource::new(1.0));
    assert!(TokenCache::new(source, Some("contoso.com".into()), Clock::new()).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_on_many_threads_all_get_a_token() {
    let (source, cache) =
        SlowTokenSource { life: f64::INFINITY, ..SlowTokenSource::new(0.0) }.cache(None);
    let tasks = (0..200_u64).map(|i| {
        let cache = cache.clone();
        tokio::spawn(async move {
            let patience =
                std::time::Duration::from_millis(if i % 3 == 0 { 5 + i } else { 60_000 });
            (i % 3 == 0, tokio::time::timeout(patience, cache.get_token()).await)
        })
    });
    for task in join_all(tasks).await {
        let (impatient, token) = task.unwrap();
        assert!(impatient || token.unwrap().is_ok());
    }
    assert_eq!(source.fetches(), 1);
}
