//! Chat templates: Jinja as `transformers` renders it.
//!
//! Blocks are trimmed on both sides, Python's string methods and `%` exist, `raise_exception` rejects a
//! conversation, line ends are line feeds, and `{% generation %}` renders its contents. There is no clock:
//! `strftime_now` is not defined, and templates that test for it fall back to a fixed date.

use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value, context};
use preceptor_core::{Digest, Message, Role, Thinking};
use serde::Serialize;

use super::python_strings::{call_method, percent};
use super::source::{PERCENT, translate};
use crate::Error;

/// A model's chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    path: PathBuf,
    digest: Digest,
    bos_token: Option<String>,
    eos_token: Option<String>,
}

const NAME: &str = "chat";

impl ChatTemplate {
    /// Compiles `source`, which was read from `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Template`] if the template is invalid.
    pub fn new(
        source: String,
        path: &Path,
        bos_token: Option<String>,
        eos_token: Option<String>,
    ) -> Result<Self, Error> {
        // Line ends don't reach a prompt, so the digest ignores them too.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        let digest = Digest::of(source.as_bytes());
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("the usual delimiters are valid"));
        environment.set_unknown_method_callback(call_method);
        environment.add_function(PERCENT, |text: &str, values: Value| percent(text, &values));
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<Value, minijinja::Error> {
                Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        environment.add_filter("tojson", to_json);
        let path = path.to_owned();
        environment
            .add_template_owned(NAME, translate(&source))
            .map_err(|error| Error::Template { path: path.clone(), detail: error.to_string() })?;
        Ok(Self { environment, source, path, digest, bos_token, eos_token })
    }

    /// Returns the template's source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the start and end tokens, as the template may spell them.
    pub(crate) fn bos_and_eos(&self) -> [Option<&str>; 2] {
        [self.bos_token.as_deref(), self.eos_token.as_deref()]
    }

    /// Returns the digest of the template's source.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns whether the template can turn thinking before an answer on and off.
    pub fn has_thinking_switch(&self) -> bool {
        let probe = [Message { role: Role::User, content: "1".to_owned() }];
        let rendered = |thinking| self.render(&probe, thinking).ok();
        rendered(Thinking::Off) != rendered(Thinking::On)
    }

    /// Renders a conversation up to the start of the model's reply. `thinking` sets the template's switch, if
    /// it has one.
    ///
    /// # Errors
    ///
    /// [`Error::Template`] if the template rejects it, for example because it has no system role.
    pub fn render(&self, messages: &[Message], thinking: Thinking) -> Result<String, Error> {
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| context! { role => message.role.as_str(), content => message.content.as_str() })
            .collect();
        let template = self.environment.get_template(NAME).expect("it is added on construction");
        let variables = context! {
            messages,
            add_generation_prompt => true,
            enable_thinking => !thinking.is_off(),
            bos_token => self.bos_token.as_deref().unwrap_or_default(),
            eos_token => self.eos_token.as_deref().unwrap_or_default(),
        };
        template.render(variables).map_err(|error| Error::Template {
            path: self.path.clone(),
            detail: error.detail().map_or_else(|| error.to_string(), str::to_owned),
        })
    }
}

/// Writes JSON as Python's `json.dumps` does: a space after each comma and colon, no HTML escapes.
fn to_json(value: &Value, options: minijinja::value::Kwargs) -> Result<String, minijinja::Error> {
    let invalid = |error: serde_json::Error| {
        minijinja::Error::new(ErrorKind::BadSerialization, error.to_string())
    };
    let indent: Option<usize> = options.get("indent")?;
    let mut out = Vec::new();
    match indent {
        Some(width) => {
            let spaces = " ".repeat(width.min(16));
            let formatter = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
            value.serialize(&mut serializer).map_err(invalid)?;
        }
        None => {
            let mut serializer = serde_json::Serializer::with_formatter(&mut out, PythonFormatter);
            value.serialize(&mut serializer).map_err(invalid)?;
        }
    }
    Ok(String::from_utf8(out).expect("serde_json writes UTF-8"))
}

struct PythonFormatter;

impl serde_json::ser::Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
    ) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str) -> Result<String, Error> {
        let template =
            ChatTemplate::new(source.to_owned(), Path::new("model"), Some("<s>".to_owned()), None)?;
        let messages = [Message { role: Role::User, content: " Hi <b> ".to_owned() }];
        template.render(&messages, Thinking::Off)
    }

    #[test]
    fn python_methods_and_trimmed_blocks_work() {
        let source = "{{ bos_token }}\n{% for m in messages %}\n  {% if m.role.startswith('u') %}\n{{ m['content'].strip() | upper }}\n  {% endif %}\n{% endfor %}";
        assert_eq!(render(source).expect("valid"), "<s>\nHI <B>\n");
    }

    #[test]
    fn json_looks_like_pythons() {
        assert_eq!(
            render("{{ messages | tojson }}").expect("valid"),
            r#"[{"role": "user", "content": " Hi <b> "}]"#
        );
    }

    #[test]
    fn line_ends_do_not_matter() {
        let source = "{%- for m in messages %}\n<{{ m.role }}>\n  {%- if true %}\nx\n{% endif %}\n{% endfor %}\nend\n";
        let expected = render(source).expect("valid");
        assert_eq!(expected, "<user>x\nend");
        for ends in ["\r\n", "\r"] {
            assert_eq!(render(&source.replace('\n', ends)).expect("valid"), expected);
        }
        let new = |source: String| ChatTemplate::new(source, Path::new("m"), None, None);
        let (lf, crlf) = (new(source.to_owned()), new(source.replace('\n', "\r\n")));
        assert_eq!(lf.expect("valid").digest(), crlf.expect("valid").digest());
    }

    #[test]
    fn a_generation_block_renders_its_contents_in_its_own_scope() {
        let source = "{% for m in messages %}\n{%- if m.role == 'user' %}\n  {% generation %}\n{% set x = 1 %}{{ m.content.strip() }}\n  {% endgeneration %}\n{% endif %}{{ x is defined }}{% endfor %}";
        let plain = source.replace("{% generation %}", "").replace("{% endgeneration %}", "");
        assert_eq!(render(source).expect("valid"), "Hi <b>\nFalse");
        assert!(render(&plain).expect("valid").contains("True"), "`set` reaches the loop's end");
        let raw =
            "{% raw %}{% generation %}{% endraw %}{%- generation -%} a {%- endgeneration -%} b";
        assert_eq!(render(raw).expect("valid"), "{% generation %}ab");
        assert!(render("{% generation %}never closed").is_err());
    }

    #[test]
    fn a_template_can_reject_a_conversation() {
        let error = render("{{ raise_exception('no system role') }}").expect_err("rejected");
        insta::assert_snapshot!(error, @"render the chat template of `model`: no system role");
    }

    #[test]
    fn thinking_is_off_unless_it_is_asked_for() {
        // As Qwen 3 writes it: an empty thought where it is off.
        let switch = "{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}";
        let new = |source: &str| {
            ChatTemplate::new(source.to_owned(), Path::new("m"), None, None).expect("valid")
        };
        assert_eq!(render(switch).expect("valid"), "<think></think>");
        assert_eq!(new(switch).render(&[], Thinking::On).expect("valid"), "");
        assert!(new(switch).has_thinking_switch());
        assert!(!new("{{ messages[0].content }}<think>").has_thinking_switch());
    }

    #[test]
    fn there_is_no_clock() {
        let source =
            "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}fixed{% endif %}";
        assert_eq!(render(source).expect("valid"), "fixed");
    }
}
