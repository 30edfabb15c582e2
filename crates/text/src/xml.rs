//! The contents of `<tag> .. </tag>` elements in a model's reply.
//!
//! This is no XML parser: a reply is prose with some elements in it. The rules:
//!
//! - Names are compared without case; a start tag may have attributes; `<tag/>` is an empty element.
//! - Elements of the wanted name do not nest: a start tag inside an open element ends that element.
//! - A missing end tag is forgiven. The element then ends at the next start tag of its name or at the
//!   first end tag of any other name, whichever comes first, else with the text. [`ElementEnd`] says
//!   which; whether an element that only the text's end closes is whole is for the caller to decide.
//! - A space between the bracket and the wanted name is forgiven: `< tag>`.
//! - Comments hold no tags and are no content; one that is not closed reaches to the end. What stands in
//!   `<![CDATA[ .. ]]>` is content as it stands.
//! - An end tag without a start tag is passed over.
//! - `&lt; &gt; &amp; &quot; &apos;` and numeric references are decoded, once; any other `&` stays.
//! - At most [`MAX_ELEMENTS`] elements of at most [`MAX_ELEMENT_BYTES`] bytes are kept; what is beyond
//!   is counted.

/// Elements beyond these are counted, not kept.
const MAX_ELEMENTS: usize = 256;

/// Longer elements are counted, not kept.
const MAX_ELEMENT_BYTES: usize = 16 * 1024;

/// A longer tag is no tag. It bounds the work that a `<` can cause.
const MAX_TAG_BYTES: usize = 1024;

/// The event that ended an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementEnd {
    /// The element's own end tag.
    OwnTag,
    /// Another tag: its own was forgotten.
    OtherTag,
    /// The end of the text: the element may be cut off.
    TextEnd,
}

/// An element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    attributes: String,
    /// The content, with entities decoded, trimmed.
    pub content: String,
    /// The event that ended it.
    pub end: ElementEnd,
}

impl Element {
    /// Returns the value of attribute `name`, with or without quotes; the first if it is repeated.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let mut rest = self.attributes.trim_start();
        while !rest.is_empty() {
            let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
            let (key, after) = rest.split_at(end);
            let Some(value) = after.trim_start().strip_prefix('=') else {
                rest = after.trim_start();
                continue;
            };
            let value = value.trim_start();
            let (found, after) = match value.chars().next() {
                Some(quote @ ('"' | '\'')) => {
                    let inner = &value[1..];
                    inner.split_once(quote).unwrap_or((inner, ""))
                }
                _ => value.split_once(char::is_whitespace).unwrap_or((value, "")),
            };
            if key.eq_ignore_ascii_case(name) {
                return Some(found);
            }
            rest = after.trim_start();
        }
        None
    }
}

/// The elements of one name in a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elements {
    /// They, in order.
    pub elements: Vec<Element>,
    /// The number of elements left out because there are too many or they are too long.
    pub num_dropped: usize,
}

/// Returns the elements called `tag` in `text`.
///
/// ```
/// use preceptor_text::xml_elements;
/// let reply = "Here:\n<Item n=\"1\">a &lt; b</Item>\n<item>c</item>";
/// let found = xml_elements(reply, "item").elements;
/// assert_eq!(found[0].content, "a < b");
/// assert_eq!(found[0].attribute("n"), Some("1"));
/// assert_eq!(found[1].content, "c");
/// ```
pub fn xml_elements(text: &str, tag: &str) -> Elements {
    let mut found = Elements::default();
    // The open element: its attributes, where its content starts, where another end tag ended it.
    let mut open: Option<(&str, usize, Option<usize>)> = None;
    let mut at = 0;
    while let Some(offset) = text[at..].find('<') {
        let start = at + offset;
        if let Some(length) = verbatim_length(&text[start..]) {
            at = start + length;
            continue;
        }
        let Some(mark) = Mark::read(&text[start..], tag) else {
            at = start + 1;
            continue;
        };
        at = start + mark.length;
        if !mark.name.eq_ignore_ascii_case(tag) {
            if let Some((_, _, ended @ None)) = &mut open
                && mark.is_end
            {
                *ended = Some(start);
            }
            continue;
        }
        if let Some((attributes, from, ended)) = open.take() {
            if mark.is_end {
                found.keep(attributes, &text[from..start], ElementEnd::OwnTag);
            } else {
                let until = ended.unwrap_or(start);
                found.keep(attributes, &text[from..until], ElementEnd::OtherTag);
            }
        }
        if mark.is_empty && !mark.is_end {
            found.keep(mark.attributes, "", ElementEnd::OwnTag);
        } else if !mark.is_end {
            open = Some((mark.attributes, at, None));
        }
    }
    match open {
        Some((attributes, from, Some(ended))) => {
            found.keep(attributes, &text[from..ended], ElementEnd::OtherTag);
        }
        Some((attributes, from, None)) => {
            found.keep(attributes, &text[from..], ElementEnd::TextEnd);
        }
        None => {}
    }
    found
}

/// Returns the positions where start tags called `tag` begin in `text`.
///
/// ```
/// assert_eq!(preceptor_text::tag_starts("<a>, <!-- <a> --> </a> < A>", "a"), [0, 23]);
/// ```
pub fn tag_starts(text: &str, tag: &str) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(offset) = text[at..].find('<') {
        let start = at + offset;
        if let Some(length) = verbatim_length(&text[start..]) {
            at = start + length;
            continue;
        }
        let mark = Mark::read(&text[start..], tag);
        at = start + mark.as_ref().map_or(1, |mark| mark.length);
        if mark.is_some_and(|mark| !mark.is_end && mark.name.eq_ignore_ascii_case(tag)) {
            starts.push(start);
        }
    }
    starts
}

const COMMENT: (&str, &str) = ("<!--", "-->");
const VERBATIM: (&str, &str) = ("<![CDATA[", "]]>");

/// Returns the length of the comment or verbatim text at the start of `text`, if there is one.
fn verbatim_length(text: &str) -> Option<usize> {
    let (open, close) = [COMMENT, VERBATIM].into_iter().find(|(open, _)| text.starts_with(open))?;
    let inner = &text[open.len()..];
    let end = inner.find(close).map_or(inner.len(), |end| end + close.len());
    Some(open.len() + end)
}

impl Elements {
    fn keep(&mut self, attributes: &str, content: &str, end: ElementEnd) {
        if self.elements.len() == MAX_ELEMENTS || content.len() > MAX_ELEMENT_BYTES {
            self.num_dropped += 1;
            return;
        }
        let content = decode(content.trim()).trim().to_owned();
        self.elements.push(Element { attributes: attributes.to_owned(), content, end });
    }
}

/// A start or end tag.
struct Mark<'t> {
    name: &'t str,
    attributes: &'t str,
    is_end: bool,
    is_empty: bool,
    length: usize,
}

impl<'t> Mark<'t> {
    /// Returns the tag at the start of `text`, which starts with `<`. Only the name `wanted` may
    /// have a space before it: elsewhere `<` may be a sign of mathematics.
    fn read(text: &'t str, wanted: &str) -> Option<Self> {
        let is_end = text[1..].trim_start().starts_with('/');
        let slash = if is_end { text.find('/')? } else { 0 };
        let rest = &text[slash + 1..];
        let name_start = text.len() - rest.trim_start().len();
        let is_spaced = name_start != 1 + usize::from(is_end);
        if name_start > MAX_TAG_BYTES {
            return None;
        }
        let is_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':');
        let name_length = text.as_bytes()[name_start..].iter().take_while(|b| is_name(b)).count();
        let name_end = name_start + name_length.min(MAX_TAG_BYTES);
        if !text[name_start..name_end].starts_with(|c: char| c.is_ascii_alphabetic()) {
            return None;
        }
        let mut quote = None;
        let mut close = None;
        for (at, byte) in text.bytes().enumerate().take(MAX_TAG_BYTES).skip(name_end) {
            match (byte, quote) {
                (b'>', None) => {
                    close = Some(at);
                    break;
                }
                (b'<', None) => return None,
                (b'"' | b'\'', None) => quote = Some(byte),
                (_, Some(open)) if byte == open => quote = None,
                _ => {}
            }
        }
        let close = close?;
        let inner = &text[name_end..close];
        // A name ends at white space or at the end of the tag.
        if !inner.is_empty() && !inner.starts_with(|c: char| c.is_whitespace() || c == '/') {
            return None;
        }
        let trimmed = inner.trim_end();
        let is_empty = trimmed.ends_with('/');
        let attributes = trimmed.strip_suffix('/').unwrap_or(trimmed);
        let name = &text[name_start..name_end];
        if is_spaced && !name.eq_ignore_ascii_case(wanted) {
            return None;
        }
        Some(Self { name, attributes, is_end, is_empty, length: close + 1 })
    }
}

/// Decodes entities in a single pass, so that `&amp;lt;` becomes `&lt;`.
fn decode(text: &str) -> String {
    const LONGEST: usize = 10;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['&', '<']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(length) = verbatim_length(rest) {
            let (verbatim, after) = rest.split_at(length);
            if let Some(inner) = verbatim.strip_prefix(VERBATIM.0) {
                out.push_str(inner.strip_suffix(VERBATIM.1).unwrap_or(inner));
            }
            rest = after;
            continue;
        }
        if rest.starts_with('<') {
            out.push('<');
            rest = &rest[1..];
            continue;
        }
        let end = rest.bytes().take(LONGEST).position(|byte| byte == b';');
        match end.and_then(|end| Some((entity(&rest[1..end])?, end))) {
            Some((c, end)) => {
                out.push(c);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contents(text: &str) -> Vec<(String, ElementEnd)> {
        let found = xml_elements(text, "criterion").elements;
        found.into_iter().map(|element| (element.content, element.end)).collect()
    }

    fn own(texts: &[&str]) -> Vec<(String, ElementEnd)> {
        texts.iter().map(|text| ((*text).to_owned(), ElementEnd::OwnTag)).collect()
    }

    #[test]
    fn elements_are_found_in_prose_and_code_fences() {
        let text = "Sure!\n```xml\n<rubric>\n<criterion>one</criterion>\n\
                    <CRITERION id='2'> two\n</Criterion >\n<criterion/></rubric>\n```\nDone.";
        assert_eq!(contents(text), own(&["one", "two", ""]));
        assert_eq!(contents("<criteria>a</criteria> < b <criterion2>x</criterion2>"), own(&[]));
    }

    #[test]
    fn a_forgotten_end_tag_ends_at_the_next_tag() {
        let other = |text: &str| (text.to_owned(), ElementEnd::OtherTag);
        let text = "<rubric><criterion>a\n<criterion>b</rubric> That is all.";
        assert_eq!(contents(text), [other("a"), other("b")]);
        assert_eq!(
            contents("<criterion>a</rubric> b <criterion>c</criterion>"),
            [other("a"), ("c".to_owned(), ElementEnd::OwnTag),]
        );
        let cut = ("says that".to_owned(), ElementEnd::TextEnd);
        assert_eq!(contents("<criterion>says that"), [cut]);
    }

    #[test]
    fn markup_inside_a_closed_element_stays() {
        assert_eq!(
            contents("<criterion>a <b>bold</b> word</criterion>"),
            own(&["a <b>bold</b> word"])
        );
        assert_eq!(contents("<criterion>x < 3 and y > 2</criterion>"), own(&["x < 3 and y > 2"]));
        assert_eq!(contents("</criterion><criterion>a</criterion>"), own(&["a"]));
    }

    #[test]
    fn comments_are_no_content_and_verbatim_text_is() {
        let text = "<!-- <criterion>a draft</criterion> --><criterion>one<!-- or <criterion> --></criterion>\
                    <criterion><![CDATA[x < 5 & y > <b>]]></criterion>";
        assert_eq!(contents(text), own(&["one", "x < 5 & y > <b>"]));
        assert_eq!(contents("<!-- <criterion>a</criterion>"), own(&[]));
        assert_eq!(contents("<criterion>a</criterion> <!-- <criterion>b</criterion>"), own(&["a"]));
    }

    #[test]
    fn a_space_before_the_wanted_name_is_forgiven() {
        let text = "< criterion>one</criterion> < Criterion n='2' >two</ criterion> <criterion>three< / criterion>";
        assert_eq!(contents(text), own(&["one", "two", "three"]));
        assert_eq!(contents("<criterion>a < b and c > d</criterion>"), own(&["a < b and c > d"]));
    }

    #[test]
    fn entities_are_decoded_once() {
        let text = "<criterion>a &amp;lt; b &#60; &#x3C; &bogus; & c &#xD800; &quot;</criterion>";
        assert_eq!(contents(text), own(&["a &lt; b < < &bogus; & c &#xD800; \""]));
    }

    #[test]
    fn attributes_are_read_with_and_without_quotes() {
        let text = "<answer a = \"x > y\" B='2' c=3 flag criterion=\"4\">yes</answer>";
        let found = xml_elements(text, "answer").elements;
        let value = |name| found[0].attribute(name);
        assert_eq!(value("a"), Some("x > y"));
        assert_eq!((value("b"), value("c")), (Some("2"), Some("3")));
        assert_eq!((value("criterion"), value("flag")), (Some("4"), None));
    }

    #[test]
    fn number_and_size_are_bounded_and_the_rest_is_counted() {
        let many = "<criterion>a</criterion>".repeat(MAX_ELEMENTS + 7);
        let found = xml_elements(&many, "criterion");
        assert_eq!((found.elements.len(), found.num_dropped), (MAX_ELEMENTS, 7));
        let long = format!("<criterion>{}</criterion>", "a".repeat(MAX_ELEMENT_BYTES + 1));
        assert_eq!(xml_elements(&long, "criterion").num_dropped, 1);
    }

    #[test]
    fn hostile_texts_take_linear_work() {
        for unit in [
            "<!--",
            "<![CDATA[",
            "< ",
            "<criterion ",
            "<criterion a=\"",
            "<",
            "<criterion>",
            "</",
            "&",
            "&#x",
            "<a",
        ] {
            let text = unit.repeat(2_000_000 / unit.len());
            let _ = xml_elements(&text, "criterion");
            let _ = decode(&text);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(
            text in r#"(?s)(.|<|>|/|&|"|'|=|<criterion>|</criterion>|<criterion a="|&lt;){0,80}"#,
        ) {
            let found = xml_elements(&text, "criterion");
            let total: usize = found.elements.iter().map(|element| element.content.len()).sum();
            prop_assert!(total <= text.len());
            for element in &found.elements {
                let _ = element.attribute("a");
            }
        }

        #[test]
        fn what_was_written_with_entities_is_read_back(texts in prop::collection::vec("[^\u{0}]{0,20}", 0..6)) {
            let escaped = |text: &String| text.replace('&', "&amp;").replace('<', "&lt;");
            let written: String =
                texts.iter().map(|text| format!("<t>{}</t>\n", escaped(text))).collect();
            let read: Vec<_> =
                xml_elements(&written, "t").elements.into_iter().map(|e| e.content).collect();
            let expected: Vec<_> = texts.iter().map(|text| text.trim().to_owned()).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
