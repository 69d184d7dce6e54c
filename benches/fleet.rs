//! A fleet beside its bounds: `cargo bench --no-default-features --bench fleet`, and to measure one thing only, `-- WORD`;
//! of `many`, also for other numbers of machines: `-- many 30000`.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a measurement, not part of the package")]

#[path = "fleet/bounds.rs"]
mod bounds;
#[path = "fleet/many.rs"]
mod many;
#[path = "fleet/peers.rs"]
mod peers;
#[path = "fleet/tenants.rs"]
mod tenants;
#[path = "fleet/world.rs"]
mod world;

fn main() {
    if many::is_service() {
        return many::serve();
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wants = |word: &str| wanted.is_empty() || wanted.iter().any(|it| it == word);
    if wants("reachable") {
        paused(async { bounds::reachable(1000, 0.0, false).await });
    }
    if wants("unreachable") {
        paused(async { bounds::reachable(1000, 0.05, true).await });
        paused(async { bounds::reachable(1000, 0.60, true).await });
    }
    if wants("peers") {
        paused(peers::peers(1000));
    }
    if wants("tenants") {
        paused(tenants::tenants());
    }
    if wants("many") {
        let given: Vec<usize> = wanted.iter().filter_map(|word| word.parse().ok()).collect();
        let sizes = if given.is_empty() { vec![1_000, 10_000, 100_000] } else { given };
        sizes.into_iter().for_each(many::many);
    }
}

fn paused(measure: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(measure);
}
