//! Verdicts: what a judge is asked, how its reply is read, what is kept as evidence.
//!
//! [`LlmJudge`] asks a model and reads what it writes; [`MarginJudge`] compares how likely a model
//! finds yes and no. [`ask()`] is the one mechanism by which a model is asked something and its reply is
//! read, with bounded retries; rubrics are written through it too. [`run_probes`] measures whether a
//! judge follows orders hidden in what it judges.
//!
//! A judge that can't be read or reached gives no verdict: [`Verdict::Failed`] with the reason, never a
//! "no".
//!
//! [`Verdict::Failed`]: preceptor_core::Verdict::Failed

mod ask;
mod judge_config;
pub mod llm_judge;
pub mod margin_judge;
mod probes;
mod prompts;
mod reply;

pub use ask::{Answer, Asker, PartedQuestion, Question, Reader, Reading, ask, ask_in_parts};
pub use judge_config::JudgeConfig;
pub use llm_judge::LlmJudge;
pub use margin_judge::MarginJudge;
pub use probes::{Attack, AttackReport, Probe, ProbeOutcome, ProbeReport, probes, run_probes};
pub use reply::Style;
