//! The explorer's scripts in an interpreter without a document.

use rquickjs::{CatchResultExt, Context, Runtime};
use serde_json::Value;

const TEXT: &str = include_str!("../../assets/explorer/text.js");
const FILTER: &str = include_str!("../../assets/explorer/filter.js");
const LABELS: &str = include_str!("../../assets/explorer/labels.js");
const DATA: &str = include_str!("../../assets/explorer/data.js");
const GROUP: &str = include_str!("../../assets/explorer/group.js");
const VIEW: &str = include_str!("../../assets/explorer/view.js");
const LIBRARIES: [&str; 3] = [
    include_str!("../../assets/explorer/vendor/markdown-it.umd.min.js"),
    include_str!("../../assets/explorer/vendor/temml.min.js"),
    include_str!("../../assets/explorer/vendor/diff.min.js"),
];

/// An interpreter.
pub(crate) struct Scripts(Context);

impl Scripts {
    /// Loads the scripts that need no document.
    pub(crate) fn new() -> Self {
        let runtime = Runtime::new().expect("an interpreter");
        runtime.set_max_stack_size(1 << 20);
        let scripts = Self(Context::full(&runtime).expect("an interpreter"));
        for script in LIBRARIES.iter().chain(&[TEXT, FILTER, LABELS]) {
            scripts.run(script);
        }
        scripts
    }

    /// Runs a script.
    pub(crate) fn run(&self, script: &str) {
        self.0.with(|context| {
            let done = context.eval::<(), _>(script).catch(&context);
            done.unwrap_or_else(|error| panic!("{error}"));
        });
    }

    /// Returns the value of an expression.
    pub(crate) fn value(&self, expression: &str) -> Value {
        let script = format!("JSON.stringify({expression}) ?? \"null\"");
        let json = self.0.with(|context| {
            let value = context.eval::<String, _>(script).catch(&context);
            value.unwrap_or_else(|error| panic!("{expression}: {error}"))
        });
        serde_json::from_str(&json).expect("JSON")
    }

    /// Returns the message that an expression throws.
    pub(crate) fn error(&self, expression: &str) -> String {
        let script = format!(
            "(() => {{ try {{ {expression}; return null; }} catch (e) {{ return {{ message: e.message, at: e.at }}; }} }})()"
        );
        let error = self.value(&script);
        let message = error["message"].as_str().unwrap_or_else(|| panic!("{expression} throws"));
        match error["at"].as_u64() {
            Some(at) => format!("{at}: {message}"),
            None => message.to_owned(),
        }
    }
}

#[test]
fn every_script_compiles() {
    let scripts = Scripts::new();
    for script in [DATA, GROUP, VIEW] {
        scripts.run(&format!("(function () {{\n{script}\n}})"));
        // Nothing makes markup from a string.
        for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!script.contains(way), "{way}");
        }
    }
}

/// Three groups of final answers.
const GROUPS: &str = r#"[
    {id: "a/1", question: "What is a square?", prompt: 1, step: 3, seed: 0, score: 0.25, reward: -0.5, length: 80, rollouts: 4,
     label: "7", tags: {level: "5", subject: "algebra"}, flags: ["mixed group"],
     estimates: {synthesis: 1, majority: 0, "self-bon, anchor big": null}, rewards: {"synthesis, rubric reward": 0.75}},
    {id: "a/2", question: "How many?", prompt: 2, step: 9, seed: 1, score: 1, reward: 1, length: 501, rollouts: 4,
     label: "", tags: {level: "10"}, flags: [],
     estimates: {synthesis: 1, majority: 1}, rewards: {}},
    {id: "b/3", question: "", prompt: 3, seed: 1, score: null, reward: null, length: 0, rollouts: 2,
     label: "x", tags: {subject: "Geometry"}, flags: ["judge failed", "all wrong"],
     estimates: {synthesis: 0, majority: 0.5}, rewards: {"synthesis, rubric reward": 0.25}},
]"#;
const NAMES: &str = r#"{estimates: ["synthesis", "majority", "self-bon, anchor big"], rewards: ["synthesis, rubric reward"],
    tags: ["level", "subject"], flags: ["mixed group", "judge failed", "all wrong"], hasRubric: false}"#;

#[test]
fn filters_find_what_they_say() {
    let scripts = Scripts::new();
    let expected = [
        ("", "1 2 3"),
        ("synthesis right and majority wrong", "1"),
        ("Synthesis RIGHT", "1 2"),
        ("not synthesis right", "3"),
        ("majority wrong", "1 3"),
        ("\"self-bon, anchor big\" unscored", "1"),
        ("majority = 0.5", "3"),
        ("reward < 0.5", "1"),
        ("reward >= -0.5", "1 2"),
        ("score != 1", "1"),
        ("length > 500 or step = 3", "1 2"),
        ("step < 9", "1"),
        ("\"synthesis, rubric reward\" > 0.5", "1"),
        // Numbers are compared as numbers, other tags as words.
        ("level > 9", "2"),
        ("level = 5", "1"),
        ("subject = geometry", "3"),
        ("subject ~ g", "1 3"),
        ("flag = \"mixed group\"", "1"),
        ("flag ~ judge", "3"),
        ("flag != \"all wrong\"", "1 2"),
        ("\"square\"", "1"),
        ("question ~ many", "2"),
        ("id ~ a/ and not (level = 5 or level = 7)", "2"),
        // `and` binds more tightly than `or`.
        ("seed = 0 or seed = 1 and prompt = 3", "1 3"),
        ("label = 7", "1"),
    ];
    for (filter, ids) in expected {
        let filter_text = serde_json::to_string(filter).expect("text");
        let found = scripts.value(&format!(
            "{GROUPS}.filter(preceptorFilter.parse({filter_text}, {NAMES})).map((g) => g.prompt).join(' ')"
        ));
        assert_eq!(found, ids, "{filter}");
    }
}

#[test]
fn filters_that_cannot_be_read_say_where_and_why() {
    let scripts = Scripts::new();
    let filters = [
        "synthesys right",
        "synthesis",
        "reward right",
        "reward <",
        "reward < low",
        "reward ~ 5",
        "synthesis right majority wrong",
        "and reward < 1",
        "reward < 1 and",
        "(reward < 1",
        "reward < 1)",
        "question ~ \"open",
        "flag = \"mixd\"",
        "flag < 3",
        "reward % 5",
        "!",
    ];
    let said: Vec<String> = filters
        .iter()
        .map(|filter| {
            let text = serde_json::to_string(filter).expect("text");
            let error = scripts.error(&format!("preceptorFilter.parse({text}, {NAMES})"));
            format!("{filter}\n    {error}")
        })
        .collect();
    insta::assert_snapshot!(said.join("\n"));
    let rubric = NAMES.replace("hasRubric: false", "hasRubric: true");
    insta::assert_snapshot!(
        scripts.error(&format!("preceptorFilter.parse('synthesis right', {rubric})")),
        @"10: nothing is right or wrong where a rubric gives points: compare a score, for example `synthesis > 0.5`"
    );
    let deep = "'('.repeat(100000)";
    assert!(scripts.error(&format!("preceptorFilter.parse({deep}, {NAMES})")).contains("deeply"));
}

/// Returns the texts and tags of a tree.
fn outline(node: &Value) -> String {
    if let Some(text) = node["text"].as_str() {
        return text.to_owned();
    }
    if let Some(maths) = node["maths"].as_str() {
        let mark = if node["display"] == true { "$$" } else { "$" };
        return format!("{mark}{maths}{mark}");
    }
    let children = node["children"].as_array().expect("a list").iter().map(outline);
    format!("<{}>{}", node["tag"].as_str().expect("a tag"), children.collect::<String>())
}

#[test]
fn markdown_and_maths_become_a_tree_of_known_elements() {
    let scripts = Scripts::new();
    scripts.run("preceptorText.setHidden([[0x202a, 0x202e], [0xe0041, 0xe0041]])");
    let texts = [
        "# Big\n\n**bold** and `code`\nnext",
        "so $x^2$ and \\(y\\) and\n\\[\nx = 5\n- 3\n\\]\nend",
        "$$\na\n\nb\n$$",
        "costs $5 and $6, not maths",
        "the answer is \\boxed{\\frac{1}{2}} indeed",
        "<script>alert(1)</script> <img src=x onerror=alert(1)>",
        "[click](javascript:alert(1)) [site](https://example.org) ![pic](http://x/y.png)",
        "a\u{202e}b \u{e0041}",
        "| a | b |\n|---|---|\n| 1 | 2 |",
        "3. third\n4. fourth",
        "$unclosed and \\(also",
        "```python\nx &amp; y\n```",
        "[a](https://example.org \"a title\")",
    ];
    let said: Vec<String> = texts
        .iter()
        .map(|text| {
            let text = serde_json::to_string(text).expect("text");
            format!(
                "{text}\n    {:?}",
                outline(&scripts.value(&format!("preceptorText.markdown({text})")))
            )
        })
        .collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn a_text_that_markdown_would_hide_is_shown_raw() {
    let scripts = Scripts::new();
    for text in ["[a]: https://example.org \"hidden\"", &format!("{}a", "> ".repeat(5000))] {
        let text = serde_json::to_string(text).expect("text");
        assert_eq!(scripts.value(&format!("preceptorText.markdown({text})")), Value::Null);
    }
}

#[test]
fn maths_of_models_is_no_markup() {
    let scripts = Scripts::new();
    for tex in [
        r"\href{javascript:alert(1)}{x}",
        r"\text{</math><script>alert(1)</script>}",
        r"\includegraphics{http://x/y.png}",
        r"\style{background:url(http://x)}{y}",
    ] {
        let tex = serde_json::to_string(tex).expect("text");
        let html = scripts.value(&format!("temml.renderToString({tex}, {{throwOnError: false}})"));
        let html = html.as_str().expect("text");
        for bad in ["<script", "href=", "<img", "src=", "url("] {
            let is_shown = html.replace("&lt;", "").replace("&quot;", "");
            let is_in_tag = is_shown.split('<').any(|tag| {
                tag.split('>').next().is_some_and(|tag| format!("<{tag}").contains(bad))
            });
            assert!(!is_in_tag, "{bad} in {html}");
        }
    }
}

#[test]
fn labels_are_saved_as_cases_and_read_again() {
    let scripts = Scripts::new();
    let file = include_str!("../../../../tests/fixtures/explorer/labels.jsonl");
    let labels = r#"[
        {response: "GOOD advice", criterion: "It is short.", label: false, verdict: "met", note: "far too long", record: "p1#0"},
        {prompt: "What \u202ehelps?", response: "GOOD advice", criterion: "It helps.", label: true, verdict: "met", note: 'as "written"', record: "p0#0"},
        {prompt: "What \u202ehelps?", response: "a bad one", criterion: "It helps.", label: false, verdict: "not met", note: "", record: "p0#1"},
    ]"#;
    let saved = scripts.value(&format!(
        "preceptorLabels.toFile(new Map({labels}.map((one) => [preceptorLabels.key(one), one])))"
    ));
    assert_eq!(saved, file);
    let text = serde_json::to_string(&format!("\u{feff}{file}\n")).expect("text");
    let again =
        scripts.value(&format!("preceptorLabels.toFile(preceptorLabels.fromFile({text}, 'f'))"));
    assert_eq!(again, file);
}

#[test]
fn a_broken_file_of_labels_is_named_with_its_line() {
    let scripts = Scripts::new();
    let good = r#"{"response": "r", "criterion": "c", "label": true}"#;
    let files = [
        format!("{good}\n\n{{\"response\": 5}}"),
        format!("{good}\n{}", good.replace("true", "\"yes\"")),
        format!("{good}\n[]"),
        String::new(),
    ];
    let said: Vec<String> = files
        .iter()
        .map(|file| {
            let text = serde_json::to_string(file).expect("text");
            scripts.error(&format!("preceptorLabels.fromFile({text}, 'labels.jsonl')"))
        })
        .collect();
    insta::assert_snapshot!(said.join("\n"), @r#"
    labels.jsonl, line 3: expected a text as `response`; a line is {"prompt": "..", "response": "..", "criterion": "..", "label": true}
    labels.jsonl, line 2: expected true or false as `label`; a line is {"prompt": "..", "response": "..", "criterion": "..", "label": true}
    labels.jsonl, line 2: expected an object; a line is {"prompt": "..", "response": "..", "criterion": "..", "label": true}
    labels.jsonl, line 1: there is no label in it; a line is {"prompt": "..", "response": "..", "criterion": "..", "label": true}
    "#);
    let cut = scripts.error("preceptorLabels.fromFile('{\"response\": ', 'labels.jsonl')");
    assert!(cut.starts_with("labels.jsonl, line 1: "), "{cut}");
}
