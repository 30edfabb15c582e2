//! The prompts of each step: all of them in a seeded order, then again in another.
//!
//! A step that begins at the end of one epoch continues at the start of the next. Prompts that it has
//! already taken come later in that epoch, so no step has a prompt twice and every epoch has every
//! prompt once.

use std::collections::BTreeSet;

use preceptor_core::Seed;

/// Returns the indices, from 0, of the prompts that step `step` (from 1) takes out of `num_prompts`: a
/// function of its arguments alone, so that a run resumes where it was.
///
/// # Panics
///
/// If a step takes no prompt or more prompts than there are.
pub(crate) fn prompts_of_step(
    run_seed: u64,
    num_prompts: usize,
    prompts_per_step: usize,
    step: u64,
) -> Vec<usize> {
    assert!((1..=num_prompts).contains(&prompts_per_step), "a step takes some prompts");
    let (num, size) = (num_prompts as u64, prompts_per_step as u64);
    let start = (step - 1) * size;
    let (epoch, first) = (start / num, (start % num) as usize);
    // An epoch that begins with a step does not depend on those before it.
    let period = size / greatest_common_divisor(num, size);
    let free = epoch - epoch % period;
    let mut order = shuffled(run_seed, num_prompts, free);
    for epoch in free + 1..=epoch {
        order = next_epoch(run_seed, &order, prompts_per_step, epoch);
    }
    let mut taken: Vec<usize> = order.iter().copied().skip(first).take(prompts_per_step).collect();
    let missing = prompts_per_step - taken.len();
    if missing > 0 {
        let next = next_epoch(run_seed, &order, prompts_per_step, epoch + 1);
        taken.extend(&next[..missing]);
    }
    taken
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Returns the order of an epoch after one with the order `last`. Prompts that the step across both took
/// from `last` come after the part of that step in the new epoch.
fn next_epoch(run_seed: u64, last: &[usize], prompts_per_step: usize, epoch: u64) -> Vec<usize> {
    let order = shuffled(run_seed, last.len(), epoch);
    let num_taken = (epoch * last.len() as u64 % prompts_per_step as u64) as usize;
    if num_taken == 0 {
        return order;
    }
    let taken: BTreeSet<usize> = last[last.len() - num_taken..].iter().copied().collect();
    let is_free = |position: &&usize| !taken.contains(*position);
    let mut new: Vec<usize> =
        order.iter().filter(is_free).take(prompts_per_step - num_taken).copied().collect();
    let in_step: BTreeSet<usize> = new.iter().copied().collect();
    new.extend(order.iter().filter(|position| !in_step.contains(position)));
    new
}

fn shuffled(run_seed: u64, num_prompts: usize, epoch: u64) -> Vec<usize> {
    let stream = Seed::root(run_seed).derive("train/order").derive_index(epoch);
    let mut order: Vec<usize> = (0..num_prompts).collect();
    for last in (1..num_prompts).rev() {
        let other = stream.derive_index(last as u64).draw_below(last as u64 + 1);
        order.swap(last, other as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_prompt_is_taken_again_before_the_others_had_their_turn() {
        for (num_prompts, size) in
            [(10_usize, 4_usize), (500, 256), (7, 7), (9, 2), (5, 1), (12, 4)]
        {
            let num_steps = 5 * num_prompts.div_ceil(size) as u64;
            let steps: Vec<_> =
                (1..=num_steps).map(|step| prompts_of_step(3, num_prompts, size, step)).collect();
            for step in &steps {
                let distinct: BTreeSet<_> = step.iter().collect();
                assert_eq!(distinct.len(), size, "{num_prompts} {size}: {step:?}");
            }
            let epochs: Vec<Vec<usize>> =
                steps.concat().chunks(num_prompts).map(<[usize]>::to_vec).collect();
            for epoch in epochs.iter().filter(|epoch| epoch.len() == num_prompts) {
                let distinct: BTreeSet<_> = epoch.iter().collect();
                assert_eq!(distinct.len(), num_prompts, "{num_prompts} {size}: {epoch:?}");
            }
            assert!(num_prompts < 7 || epochs[0] != epochs[1], "epochs have their own orders");
        }
    }

    #[test]
    fn seeds_have_their_own_orders() {
        assert_ne!(prompts_of_step(0, 50, 50, 1), prompts_of_step(1, 50, 50, 1));
        assert_eq!(prompts_of_step(0, 50, 50, 1), prompts_of_step(0, 50, 50, 1));
    }
}
