//! Tokens and USD spent by an endpoint, and the cap on them.
//!
//! Before a call, its highest possible cost is reserved; after it, its actual cost is booked. So
//! the cap holds across threads. A call that does not fit only because of reservations waits until
//! calls in flight have ended; it is refused once it exceeds what is left.

use std::sync::{Condvar, Mutex, PoisonError};

use preceptor_core::Usage;

/// Tokens that a price is for.
const TOKENS_PER_PRICE: f64 = 1e6;

/// Returns the cost of `usage` in USD, from prices per million tokens.
pub(crate) fn price(prompt_price: f64, generated_price: f64, usage: Usage) -> f64 {
    (usage.num_prompt_tokens as f64 * prompt_price
        + usage.num_generated_tokens as f64 * generated_price)
        / TOKENS_PER_PRICE
}

/// Cost of an endpoint's calls so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Tokens as the server reported them.
    pub usage: Usage,
    /// The cost in USD of the reported tokens.
    pub cost_usd: f64,
    /// The most that calls without a report may have cost: those that timed out, were cut, or came
    /// without `usage`. It counts against the budget.
    pub unreported_usd: f64,
}

/// The cost of a call that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settlement {
    /// The server reported the usage.
    Reported(Usage),
    /// It may have cost all that was reserved.
    Unreported,
    /// It was not sent, or the server refused it.
    Free,
}

#[derive(Debug, Default)]
struct Books {
    reported: Usage,
    unreported: Usage,
    reserved: Usage,
}

/// The budget of one endpoint.
#[derive(Debug)]
pub(crate) struct Purse {
    prompt_price: f64,
    generated_price: f64,
    budget: Option<f64>,
    books: Mutex<Books>,
    settled: Condvar,
}

impl Purse {
    pub(crate) fn new(prompt_price: f64, generated_price: f64, budget: Option<f64>) -> Self {
        let books = Mutex::new(Books::default());
        Self { prompt_price, generated_price, budget, books, settled: Condvar::new() }
    }

    fn cost_usd(&self, usage: Usage) -> f64 {
        price(self.prompt_price, self.generated_price, usage)
    }

    /// Reserves `most`; false if the budget does not allow it.
    pub(crate) fn reserve(&self, most: Usage) -> bool {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(budget) = self.budget {
            loop {
                let mut usage = most;
                usage += books.reported;
                usage += books.unreported;
                if self.cost_usd(usage) > budget {
                    return false;
                }
                usage += books.reserved;
                if self.cost_usd(usage) <= budget {
                    break;
                }
                books = self.settled.wait(books).unwrap_or_else(PoisonError::into_inner);
            }
        }
        books.reserved += most;
        true
    }

    /// Books the outcome of a call for which `most` was reserved.
    pub(crate) fn settle(&self, most: Usage, settlement: Settlement) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.reserved.num_prompt_tokens -= most.num_prompt_tokens;
        books.reserved.num_generated_tokens -= most.num_generated_tokens;
        match settlement {
            Settlement::Reported(usage) => books.reported += usage,
            Settlement::Unreported => books.unreported += most,
            Settlement::Free => {}
        }
        self.settled.notify_all();
    }

    pub(crate) fn spent(&self) -> Spent {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        Spent {
            usage: books.reported,
            cost_usd: self.cost_usd(books.reported),
            unreported_usd: self.cost_usd(books.unreported),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(num_prompt_tokens: u64, num_generated_tokens: u64) -> Usage {
        Usage { num_prompt_tokens, num_generated_tokens }
    }

    #[test]
    fn the_cap_holds_for_the_highest_cost_of_calls() {
        let purse = Purse::new(1.0, 2.0, Some(1.0));
        assert!(purse.reserve(tokens(200_000, 400_000)));
        purse.settle(tokens(200_000, 400_000), Settlement::Reported(tokens(100_000, 50_000)));
        let spent = purse.spent();
        assert!((spent.cost_usd - 0.2).abs() < 1e-12, "{spent:?}");
        // 0.2 and 0.8 fill it exactly; one more token does not fit.
        assert!(!purse.reserve(tokens(1, 400_000)));
        assert!(purse.reserve(tokens(0, 400_000)));
        purse.settle(tokens(0, 400_000), Settlement::Free);
        assert_eq!(purse.spent(), spent);
    }

    #[test]
    fn a_call_without_a_report_counts_as_its_most() {
        let purse = Purse::new(0.0, 1.0, Some(1.0));
        assert!(purse.reserve(tokens(9, 900_000)));
        purse.settle(tokens(9, 900_000), Settlement::Unreported);
        assert_eq!(purse.spent().cost_usd, 0.0);
        assert!((purse.spent().unreported_usd - 0.9).abs() < 1e-12);
        assert!(!purse.reserve(tokens(0, 200_000)));
    }

    #[test]
    fn a_call_waits_for_those_in_flight_rather_than_be_refused() {
        let purse = Purse::new(0.0, 1.0, Some(1.0));
        let most = tokens(0, 600_000);
        assert!(purse.reserve(most));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| purse.reserve(most));
            purse.settle(most, Settlement::Reported(tokens(0, 1000)));
            assert!(waiting.join().unwrap());
        });
    }
}
