//! Which prompts each step takes: all of them in a seeded order, then again in another. What is left
//! of an order and no longer fills a step is passed over, so that no step has a prompt twice.

use preceptor_core::Seed;

/// The prompts, from 0, that step `step` (from 1) takes out of `num_prompts`: a function of its
/// arguments alone, so that a run goes on where it was.
///
/// # Panics
///
/// If a step takes no prompt or more than there are.
pub(crate) fn prompts_of_step(
    run_seed: u64,
    num_prompts: usize,
    prompts_a_step: usize,
    step: u64,
) -> Vec<usize> {
    let steps_an_epoch = (num_prompts / prompts_a_step) as u64;
    let (epoch, place) = ((step - 1) / steps_an_epoch, (step - 1) % steps_an_epoch);
    let mut order = shuffled(run_seed, num_prompts, epoch);
    let first = place as usize * prompts_a_step;
    order.drain(first..first + prompts_a_step).collect()
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
        let step = |step| prompts_of_step(3, 10, 4, step);
        let epochs = [[step(1), step(2)].concat(), [step(3), step(4)].concat()];
        for epoch in &epochs {
            let distinct: std::collections::BTreeSet<_> = epoch.iter().collect();
            assert_eq!(distinct.len(), 8, "two prompts are passed over");
        }
        assert_ne!(epochs[0], epochs[1], "epochs have their own orders");
    }

    #[test]
    fn seeds_have_their_own_orders() {
        assert_ne!(prompts_of_step(0, 50, 50, 1), prompts_of_step(1, 50, 50, 1));
        assert_eq!(prompts_of_step(0, 50, 50, 1), prompts_of_step(0, 50, 50, 1));
    }
}
