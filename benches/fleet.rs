//! Measures a fleet against its bounds: `cargo bench --no-default-features --bench fleet`. Run one
//! measurement with `-- WORD`, and `scale` with another number of machines with `-- scale 30000`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement, not part of the package"
)]

#[path = "fleet/baseline.rs"]
mod baseline;
#[path = "fleet/fixture.rs"]
mod fixture;
#[path = "fleet/optimum.rs"]
mod optimum;
#[path = "fleet/scale.rs"]
mod scale;
#[path = "fleet/tenants.rs"]
mod tenants;

fn main() {
    if scale::is_service() {
        return scale::serve();
    }
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wants = |word: &str| wanted.is_empty() || wanted.iter().any(|it| it == word);
    if wants("reachable") {
        run_with_paused_clock(async { optimum::measure(1000, 0.0, false).await });
    }
    if wants("unreachable") {
        run_with_paused_clock(async { optimum::measure(1000, 0.05, true).await });
        run_with_paused_clock(async { optimum::measure(1000, 0.60, true).await });
    }
    if wants("baseline") {
        run_with_paused_clock(baseline::measure(1000));
    }
    if wants("tenants") {
        run_with_paused_clock(tenants::tenants());
    }
    if wants("scale") {
        let given: Vec<usize> = wanted.iter().filter_map(|word| word.parse().ok()).collect();
        let sizes = if given.is_empty() { vec![1_000, 10_000, 100_000] } else { given };
        sizes.into_iter().for_each(scale::measure);
    }
}

fn run_with_paused_clock(measure: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(measure);
}
