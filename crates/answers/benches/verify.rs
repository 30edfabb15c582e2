//! Pairs a second through `verify`, parsing included, on one core: each MATH-500 label against
//! itself and four rewritings of it. Needs `PRECEPTOR_DATA_DIR`.

#[expect(dead_code, reason = "the benchmark needs the labels only")]
#[path = "../tests/math500_data/mod.rs"]
mod math500_data;

use std::hint::black_box;
use std::time::Duration;

use preceptor_answers::{GraderProfile, canonical};

/// Rewritings that keep the value: fraction commands, spacing, formula delimiters, a name.
fn rewritings(label: &str) -> [String; 5] {
    let relation = label.contains(['=', '<', '>', '\\']) || label.contains(',');
    [
        label.to_owned(),
        label.replace("\\frac", "\\dfrac"),
        label.replace('+', " + ").replace('-', " - "),
        format!("${label}$."),
        if relation { format!("\\boxed{{{label}}}") } else { format!("z = {label}") },
    ]
}

fn main() {
    let Some(rows) = math500_data::rows() else { return };
    let pairs = rows
        .iter()
        .flat_map(|row| rewritings(&row.answer).map(|other| (row.answer.clone(), other)))
        .collect::<Vec<_>>();
    let equal = pairs.iter().filter(|(a, b)| GraderProfile::Verify.grade(a, Some(b)).equal).count();
    println!("{} pairs, {equal} equal", pairs.len());
    for profile in GraderProfile::ALL {
        let rate = rate(&pairs, |(label, answer)| profile.grade(label, Some(answer)).equal);
        println!("{:>10.0} pairs/s  {profile}", rate);
    }
    let rate = rate(&pairs, |(_, answer)| canonical(answer).to_string().is_empty());
    println!("{rate:>10.0} answers/s  canonical");
}

/// Items a second over at least one second.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn rate<T>(items: &[T], work: impl Fn(&T) -> bool) -> f64 {
    let start = std::time::Instant::now();
    let mut rounds = 0_u32;
    while start.elapsed() < Duration::from_secs(1) {
        for item in items {
            black_box(work(black_box(item)));
        }
        rounds += 1;
    }
    f64::from(rounds) * items.len() as f64 / start.elapsed().as_secs_f64()
}
