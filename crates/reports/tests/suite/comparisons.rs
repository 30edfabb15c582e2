//! Declared contrasts, what was spent, and what pages make of hostile text.

use preceptor_core::ModelRole;
use preceptor_core::contrast::{ContrastMetric, ContrastRecord};
use preceptor_core::record::CostRecord;
use preceptor_reports::{
    Check, Claim, Expect, Measure, Suite, SuiteContrast, SuitePart, write_suite,
};

use crate::bench::Bench;
use crate::standing::{AXES, Right, estimated};

fn bench(num_prompts: usize, aggregators: &[(&str, Right)]) -> Bench {
    let bench = Bench::new();
    for (aggregator, right) in aggregators {
        bench.add(estimated(&bench, aggregator, num_prompts, *right));
    }
    bench
}

fn contrast(name: &str, a: &str, b: &str) -> ContrastRecord {
    ContrastRecord {
        name: name.to_owned(),
        metric: ContrastMetric::Score,
        a: a.to_owned(),
        b: b.to_owned(),
        split: None,
        step: None,
    }
}

const MAJORITY: &str = "aggregator.kind=majority";
const SYNTHESIS: &str = "aggregator.kind=synthesis";

#[test]
fn contrasts_are_tested_as_they_were_declared() {
    let bench = bench(
        40,
        &[("majority", |p| Some(p % 4 == 0)), ("synthesis", |p| Some(p % 4 == 0 || p % 5 == 1))],
    );
    bench
        .report_plan(&AXES, 1, |plan| {
            plan.contrasts = vec![
                contrast("synthesis against votes", SYNTHESIS, MAJORITY),
                contrast("synthesis against its rollouts", SYNTHESIS, "rollouts"),
                contrast("of another run", SYNTHESIS, "aggregator.kind=medoid"),
            ];
        })
        .unwrap();
    let row = [("contrast", "synthesis against votes")];
    // 10 of 40, and 6 more: prompts 1, 6, 11, 21, 26, 31 (16 and 36 are right anyhow).
    bench.check(
        "contrasts",
        &row,
        &[
            ("a_score", 16.0 / 40.0),
            ("b_score", 10.0 / 40.0),
            ("difference", 6.0 / 40.0),
            ("wins", 6.0),
            ("losses", 0.0),
            ("ties", 34.0),
            ("prompts", 40.0),
        ],
    );
    // Paired t: mean 0.15, standard deviation sqrt(0.15 0.85 40/39), t = 2.624 with 39 degrees.
    let number = |column| bench.number("contrasts", &row, column);
    assert!((number("p") - 0.012_36).abs() < 1e-4, "{}", number("p"));
    assert!((number("p_holm") - 2.0 * number("p")).abs() < 1e-9, "two tests were made");
    // 6 of 42 less an eighth: with a pseudo-prompt on each side.
    assert!(number("low") < 0.15 && number("low") > 0.0 && number("high") < 0.35);
    let row = [("contrast", "synthesis against its rollouts")];
    assert_eq!(bench.cell("contrasts", &row, "b"), "mean of its own rollouts");
    bench.check(
        "scores",
        &[("aggregator.kind", "synthesis")],
        &[("vs_rollouts", 16.0 / 40.0 - 0.375)],
    );
    bench.check("contrasts", &row, &[("difference", 16.0 / 40.0 - 0.375)]);
    let row = [("contrast", "of another run")];
    assert_eq!(bench.cell("contrasts", &row, "note"), "not part of this run");
    assert!(bench.read("page.md").contains("## contrasts"));
}

#[test]
fn spending_adds_up_and_counts_calls_once() {
    let bench = bench(12, &[("majority", |_| Some(true)), ("synthesis", |_| Some(true))]);
    let mut stages = std::collections::BTreeMap::new();
    for (role, num_records, tokens, seconds, cost) in
        [(ModelRole::Anchor, 12, 600, 3.0, 0.02), (ModelRole::Judge, 360, 7200, 9.5, 0.0486)]
    {
        let stage = bench.stage("spending", role.name(), &[("role".to_owned(), role)]);
        for share in [1, 2] {
            let cost = CostRecord {
                num_records: num_records / 2,
                num_prompt_tokens: tokens,
                num_generated_tokens: tokens / 2,
                wall_secs: seconds / 2.0,
                cost_usd: cost * f64::from(share) / 3.0,
            };
            bench.cost("spending", role.name(), &cost);
        }
        stages.insert(role, stage);
    }
    bench.report_plan(&AXES, 1, |plan| plan.spending = stages).unwrap();
    let judge =
        [("calls", 360.0), ("generated_tokens", 7200.0), ("seconds", 9.5), ("cost_usd", 0.0486)];
    bench.check("spending", &[("role", "judge")], &judge);
    let total =
        [("calls", 372.0), ("generated_tokens", 7800.0), ("seconds", 12.5), ("cost_usd", 0.0686)];
    bench.check("spending", &[("role", "total")], &total);
}

#[test]
fn nothing_that_was_written_reads_other_than_it_is() {
    let bench = bench(12, &[("majority", |_| Some(true))]);
    let hostile = "<script>alert(1)</script> [x](y) \u{202e}live\u{200b}";
    bench
        .report_plan(&AXES, 1, |plan| {
            plan.title = hostile.to_owned();
            plan.description = format!("{hostile} *bold*");
        })
        .unwrap();
    let page = bench.read("page.md");
    let title = page.lines().next().unwrap();
    assert_eq!(title, "# &lt;script>alert(1)&lt;/script> \\[x\\](y) [U+202E]live[U+200B]");
    assert!(!page.contains("<script") && page.contains("*bold*"));
    let html = bench.read("page.html");
    assert!(html.contains("[U+202E]live[U+200B]") && !html.contains('\u{202e}'));
}

#[test]
fn a_suite_has_tables_of_contrasts_and_claims() {
    let bench = bench(
        40,
        &[
            ("majority", |p| Some(p % 4 == 0)),
            ("medoid", |p| Some(p % 4 == 0)),
            ("synthesis", |p| Some(p % 4 == 0 || p % 5 == 1)),
        ],
    );
    bench.report(&AXES).unwrap();
    let mut plan = None;
    bench.report_plan(&AXES, 1, |record| plan = Some(record.clone())).unwrap();
    let plan = bench.store().put_plan(&plan).unwrap();
    let parts = [SuitePart { experiment: "by-hand".to_owned(), plan }];
    let check = Check {
        experiment: "by-hand".to_owned(),
        whole: false,
        measure: Measure::Score,
        a: SYNTHESIS.to_owned(),
        b: Some("rollouts".to_owned()),
        expect: Expect::Higher,
        than: 0.0,
        margin: 0.0,
    };
    let claims = [Claim {
        id: "merging".to_owned(),
        says: "merging helps".to_owned(),
        paper: "it does".to_owned(),
        not_testable: None,
        left_open: None,
        checks: vec![check],
    }];
    let declared = |b: &str| {
        let contrast = contrast("merging against votes", SYNTHESIS, b);
        SuiteContrast { experiment: "by-hand".to_owned(), contrast }
    };
    let row = [("claim", "merging")];
    // The same scores throughout are equal, without an interval that is as narrow.
    let mut equal = claims.clone();
    equal[0].checks[0] = Check {
        a: MAJORITY.to_owned(),
        b: Some("aggregator.kind=medoid".to_owned()),
        expect: Expect::Equal,
        margin: 0.001,
        ..claims[0].checks[0].clone()
    };
    let suite = Suite { title: "t", description: "d", claims: &equal, contrasts: &[] };
    write_suite(&bench.store(), &suite, &parts, &bench.path("")).unwrap();
    assert_eq!(bench.cell("claims", &row, "check"), "supported");
    let contrasts = [declared(MAJORITY)];
    let suite = Suite { title: "t", description: "d", claims: &claims, contrasts: &contrasts };
    write_suite(&bench.store(), &suite, &parts, &bench.path("")).unwrap();
    bench.check("claims", &row, &[("a_score", 0.4), ("b_score", 0.375), ("value", 0.025)]);
    assert_eq!(
        bench.cell("claims", &row, "measure"),
        "score: synthesis compared with the mean of its own rollouts"
    );
    assert_eq!(bench.cell("claims", &row, "over"), "40 prompts");
    bench.check("contrasts", &[("contrast", "merging against votes")], &[("difference", 0.15)]);
    // The answer comes first, and a claim leads to its row, its experiment and its table.
    let page = bench.read("page.html");
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("no `{text}` in {page}"));
    let order = [
        "<h2>Answer</h2>",
        "<b>1</b> undecided",
        "<h2>Claims</h2>",
        "id=\"claim-merging\"",
        "<a href=\"#check-0\">row</a>, <a href=\"#by-hand\">by-hand</a>",
        "<h2>Contrasts</h2>",
        "<h2>Notes</h2>",
        "<section id=\"by-hand\">",
        "<tr id=\"check-0\">",
    ];
    assert!(order.map(at).is_sorted(), "{:?}", order.map(at));
    assert!(page.contains("(+6.7 %)"), "the relative difference");
    for link in page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(page.contains(&format!("id=\"{link}\"")), "nothing has the id `{link}`");
    }

    let contrasts = [declared("aggregator.kind=median")];
    let suite = Suite { title: "t", description: "d", claims: &[], contrasts: &contrasts };
    let error = write_suite(&bench.store(), &suite, &parts, &bench.path("")).unwrap_err();
    insta::assert_snapshot!(error.to_string(), @r"
    compare in contrast `merging against votes`: `b`: `median` is not a value of `aggregator.kind`
    hint: values of `aggregator.kind` are `majority`, `medoid`, `synthesis`
    ");
}

#[test]
fn several_benchmarks_are_one_number_beside_one_by_one() {
    let bench = bench(40, &[("single", |p| Some(p % 2 == 0)), ("synthesis", |p| Some(p % 4 != 0))]);
    let mut cells = Vec::new();
    bench.change(|cell| {
        cell.axes.insert("benchmark".to_owned(), "sums".to_owned());
        cells.push(cell.clone());
    });
    for mut cell in cells {
        cell.benchmark = "words".to_owned();
        cell.axes.insert("benchmark".to_owned(), "words".to_owned());
        bench.add(cell);
    }
    bench.report(&["benchmark", "aggregator.kind"]).unwrap();
    let row = [("aggregator.kind", "synthesis")];
    let expected = [("iqm", 0.75), ("probability_of_improvement", 1.0), ("tasks", 2.0)];
    bench.check("across_tasks", &row, &expected);
    let number = |column| bench.number("across_tasks", &row, column);
    assert!((0.6..0.75).contains(&number("iqm_low")) && (0.75..0.9).contains(&number("iqm_high")));
    let cell = |column| bench.cell("across_tasks", &row, column);
    assert_eq!((cell("reference").as_str(), cell("note").as_str()), ("single", "few tasks"));
    bench.check(
        "across_tasks",
        &[("aggregator.kind", "single")],
        &[("iqm", 0.5), ("probability_of_improvement", 0.5)],
    );
}
