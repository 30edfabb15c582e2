//! A judge that says what a function says.

use preceptor_core::{
    ChoiceRequest, Criterion, Evidence, Judge, Judged, PortError, Rating, Scale, Usage, Verdict,
    VerdictRequest,
};

/// Answers each criterion with `verdict(criterion, response)`, rates `high` where that is met and
/// `low` where it is not, and chooses the first response that meets a criterion without text.
pub struct ScriptedJudge<F> {
    verdict: F,
}

impl<F: Fn(&Criterion, &str) -> Verdict> ScriptedJudge<F> {
    /// Creates a judge that answers with `verdict`.
    pub fn new(verdict: F) -> Self {
        Self { verdict }
    }
}

fn judged<T>(answer: T, reply: &str) -> Judged<T> {
    let evidence = Evidence { reply: reply.to_owned(), num_attempts: 1, margin: None };
    Judged { answer, evidence, usage: Usage { num_prompt_tokens: 1, num_generated_tokens: 1 } }
}

impl<F: Fn(&Criterion, &str) -> Verdict> Judge for ScriptedJudge<F> {
    fn verdicts(
        &self,
        requests: &[VerdictRequest<'_>],
    ) -> Result<Vec<Vec<Judged<Verdict>>>, PortError> {
        let of_request = |request: &VerdictRequest<'_>| {
            let criteria = request.criteria.iter();
            criteria.map(|c| judged((self.verdict)(c, request.response), "scripted")).collect()
        };
        Ok(requests.iter().map(of_request).collect())
    }

    fn ratings(
        &self,
        requests: &[VerdictRequest<'_>],
        scale: Scale,
    ) -> Result<Vec<Vec<Judged<Rating>>>, PortError> {
        let rating = |verdict: Verdict| match verdict {
            Verdict::Met => Rating::Rated(scale.high),
            Verdict::NotMet => Rating::Rated(scale.low),
            Verdict::Failed(failure) => Rating::Failed(failure),
        };
        let of_request = |request: &VerdictRequest<'_>| {
            let criteria = request.criteria.iter();
            let rated = |c| judged(rating((self.verdict)(c, request.response)), "scripted");
            criteria.map(rated).collect()
        };
        Ok(requests.iter().map(of_request).collect())
    }

    fn choices(&self, requests: &[ChoiceRequest<'_>]) -> Result<Vec<Judged<Rating>>, PortError> {
        let criterion = Criterion::new("");
        let best = |request: &ChoiceRequest<'_>| {
            let verdicts = request.responses.iter().map(|r| (self.verdict)(&criterion, r));
            let verdicts: Vec<_> = verdicts.collect();
            let index = verdicts.iter().position(|verdict| *verdict == Verdict::Met).unwrap_or(0);
            let failure = verdicts.iter().find_map(|verdict| match verdict {
                Verdict::Failed(failure) => Some(*failure),
                _ => None,
            });
            judged(failure.map_or(Rating::Rated(index as u32), Rating::Failed), "scripted")
        };
        Ok(requests.iter().map(best).collect())
    }
}
