//! Prints the coverage of 95% intervals of proportions by number of prompts and true share: exact for
//! independent prompts, simulated for three seeds of a prompt that agree more or less.

#[path = "../tests/draws/mod.rs"]
mod draws;

use draws::{PROMPTS, SHARES, clustered_coverage, exact_coverage};

const NUM_DRAWS: usize = 20_000;

fn print_row(name: &str, num_prompts: usize, coverage: &[f64]) {
    let mean = coverage.iter().sum::<f64>() / coverage.len() as f64;
    let cells: Vec<String> = coverage.iter().map(|value| format!("{value:.3}")).collect();
    println!("{name:<24} {num_prompts:>4}  {}  mean {mean:.4}", cells.join(" "));
}

fn main() {
    let shares: Vec<String> = SHARES.iter().map(|share| format!("{share:<5}")).collect();
    println!("{:<24} {:>4}  {}", "case", "n", shares.join(" "));
    for num_prompts in PROMPTS {
        let coverage = SHARES.map(|share| exact_coverage(num_prompts, share));
        print_row("independent", num_prompts, &coverage);
    }
    for alike in [0.2, 0.5, 0.8] {
        for num_prompts in PROMPTS {
            let of = |share| clustered_coverage(num_prompts, share, alike, NUM_DRAWS);
            print_row(&format!("three seeds, r = {alike}"), num_prompts, &SHARES.map(of));
        }
    }
}
