//! Python's string methods, for templates.
//!
//! Other methods are left to minijinja's own list; a method that neither has is an error that names
//! it. Positions count characters, as in Python. Source: the Python library reference, "Text Sequence
//! Type". Case folding equals Python's for every character, title case except for digraphs such as `ǆ`.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Kwargs, Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

/// Calls a method that minijinja does not know.
pub(crate) fn call_method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let found = match (value.kind(), value.as_str()) {
        (ValueKind::String, Some(text)) => call_on_text(text, method, args),
        (ValueKind::Seq, _) if method == "index" => Some(index_in_list(value, args)),
        _ => None,
    };
    match found {
        Some(result) => result,
        None => pycompat::unknown_method_callback(state, value, method, args).map_err(|error| {
            match error.kind() {
                ErrorKind::UnknownMethod => Error::new(
                    ErrorKind::UnknownMethod,
                    format!("{} has no method named {method}", value.kind()),
                ),
                _ => error,
            }
        }),
    }
}

/// Computes Python's `text % values`: a tuple is several values, anything else a single one.
pub(crate) fn percent(text: &str, values: &Value) -> Result<String, Error> {
    match values.downcast_object_ref::<Tuple>() {
        Some(values) => format(FormatStyle::Printf, text, values),
        None => format(FormatStyle::Printf, text, std::slice::from_ref(values)),
    }
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.to_owned())
}

fn call_on_text(text: &str, method: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    Some(match method {
        "removeprefix" => strip_affix(text, args, |text, affix| text.strip_prefix(affix)),
        "removesuffix" => strip_affix(text, args, |text, affix| text.strip_suffix(affix)),
        "casefold" => map_text(args, || text.chars().flat_map(fold_case).collect()),
        "swapcase" => map_text(args, || swap_case(text)),
        "title" => map_text(args, || title_case(text)),
        "istitle" => from_args::<()>(args).map(|()| Value::from(is_title(text))),
        "ljust" => pad(text, args, |missing| (0, missing)),
        "rjust" => pad(text, args, |missing| (missing, 0)),
        "center" => from_args::<(i64, Option<&str>)>(args).and_then(|(width, _)| {
            // If the sides differ, CPython gives the left side one more in odd widths.
            let is_odd = usize::from(width % 2 != 0);
            let left = |missing: usize| missing / 2 + (missing & is_odd);
            pad(text, args, |missing| (left(missing), missing - left(missing)))
        }),
        "zfill" => zfill(text, args),
        "expandtabs" => expand_tabs(text, args),
        "partition" => partition(text, args, false),
        "rpartition" => partition(text, args, true),
        "split" => split(text, args, false),
        "rsplit" => split(text, args, true),
        "splitlines" => split_lines(text, args),
        "find" => find_position(text, args, false).map(|at| Value::from(at.unwrap_or(-1))),
        "rfind" => find_position(text, args, true).map(|at| Value::from(at.unwrap_or(-1))),
        "index" => find_position(text, args, false).and_then(expect_found),
        "rindex" => find_position(text, args, true).and_then(expect_found),
        "count" => count_parts(text, args),
        "startswith" => has_affix(text, args, |part, affix| part.starts_with(affix)),
        "endswith" => has_affix(text, args, |part, affix| part.ends_with(affix)),
        _ => return None,
    })
}

fn map_text(args: &[Value], text: impl FnOnce() -> String) -> Result<Value, Error> {
    from_args::<()>(args).map(|()| Value::from(text()))
}

fn expect_found(at: Option<i64>) -> Result<Value, Error> {
    at.map(Value::from).ok_or_else(|| invalid("substring not found"))
}

fn strip_affix(
    text: &str,
    args: &[Value],
    strip: impl for<'a> Fn(&'a str, &str) -> Option<&'a str>,
) -> Result<Value, Error> {
    let (affix,): (&str,) = from_args(args)?;
    Ok(Value::from(strip(text, affix).unwrap_or(text)))
}

/// Returns the full case folding of a character: upper case merges variants, then lower case.
fn fold_case(c: char) -> Vec<char> {
    match c {
        'ı' => vec![c],
        // Cherokee folds to upper case.
        '\u{13a0}'..='\u{13f5}' | '\u{13f8}'..='\u{13fd}' | '\u{ab70}'..='\u{abbf}' => {
            c.to_uppercase().collect()
        }
        _ => c.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect(),
    }
}

fn swap_case(text: &str) -> String {
    let swapped = |c: char| -> String {
        if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
    };
    text.chars().map(swapped).collect()
}

/// Returns true if a character has a case.
fn is_cased(c: char) -> bool {
    c.is_uppercase() || c.is_lowercase() || "ǅǈǋǲ".contains(c)
}

/// Converts to title case: letters after a character without case are upper case, others lower case.
fn title_case(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_inside = false;
    for c in text.chars() {
        if is_inside {
            out.extend(c.to_lowercase());
        } else {
            let mut upper = c.to_uppercase();
            out.extend(upper.next());
            out.extend(upper.flat_map(char::to_lowercase));
        }
        is_inside = is_cased(c);
    }
    out
}

fn is_title(text: &str) -> bool {
    text.chars().any(is_cased) && title_case(text) == text
}

/// Pads to a width; `sides` returns the number of characters on the left and on the right.
fn pad(
    text: &str,
    args: &[Value],
    sides: impl Fn(usize) -> (usize, usize),
) -> Result<Value, Error> {
    let (width, fill): (i64, Option<&str>) = from_args(args)?;
    let fill = fill.unwrap_or(" ");
    if fill.chars().count() != 1 {
        return Err(invalid("the fill character must be exactly one character long"));
    }
    let width = usize::try_from(width).unwrap_or(0);
    let (left, right) = sides(checked_width(width)?.saturating_sub(text.chars().count()));
    Ok(Value::from(format!("{}{text}{}", fill.repeat(left), fill.repeat(right))))
}

/// Rejects widths that would fill memory.
fn checked_width(width: usize) -> Result<usize, Error> {
    const MOST: usize = 1 << 20;
    if width <= MOST { Ok(width) } else { Err(invalid("a width is at most 1048576 characters")) }
}

fn zfill(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (width,): (i64,) = from_args(args)?;
    let width = checked_width(usize::try_from(width).unwrap_or(0))?;
    let zeros = "0".repeat(width.saturating_sub(text.chars().count()));
    let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
    Ok(Value::from(format!("{sign}{zeros}{digits}")))
}

fn expand_tabs(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (size, options): (Option<i64>, Kwargs) = from_args(args)?;
    let size = size.map_or_else(|| options.get::<Option<i64>>("tabsize"), |size| Ok(Some(size)))?;
    options.assert_all_used()?;
    let size = checked_width(usize::try_from(size.unwrap_or(8)).unwrap_or(0))?;
    let (mut out, mut column) = (String::new(), 0);
    for c in text.chars() {
        match c {
            '\t' => {
                let spaces = if size == 0 { 0 } else { size - column % size };
                out.push_str(&" ".repeat(spaces));
                column += spaces;
            }
            '\n' | '\r' => {
                out.push(c);
                column = 0;
            }
            _ => {
                out.push(c);
                column += 1;
            }
        }
    }
    Ok(Value::from(out))
}

fn partition(text: &str, args: &[Value], from_end: bool) -> Result<Value, Error> {
    let (separator,): (&str,) = from_args(args)?;
    if separator.is_empty() {
        return Err(invalid("empty separator"));
    }
    let parts = if from_end { text.rsplit_once(separator) } else { text.split_once(separator) };
    let parts = match parts {
        Some((before, after)) => [before, separator, after],
        None if from_end => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

fn split(text: &str, args: &[Value], from_end: bool) -> Result<Value, Error> {
    let (separator, limit, options): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = match separator {
        Some(separator) => Some(separator),
        None => options.get::<Option<Value>>("sep")?,
    };
    let limit = match limit {
        Some(limit) => Some(limit),
        None => options.get::<Option<i64>>("maxsplit")?,
    };
    options.assert_all_used()?;
    // Without a limit there are no more splits than characters.
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(text.len() + 1);
    let separator = separator.filter(|separator| !separator.is_none() && !separator.is_undefined());
    let mut parts: Vec<&str> = match &separator {
        None => split_at_spaces(text, limit, from_end),
        Some(separator) => {
            let separator = separator.as_str().ok_or_else(|| invalid("a separator is a text"))?;
            if separator.is_empty() {
                return Err(invalid("empty separator"));
            }
            if from_end {
                text.rsplitn(limit.saturating_add(1), separator).collect()
            } else {
                text.splitn(limit.saturating_add(1), separator).collect()
            }
        }
    };
    if from_end {
        parts.reverse();
    }
    Ok(parts.into_iter().map(Value::from).collect())
}

/// Splits at white space into at most `limit` words and the rest. From the end, the order is reversed.
fn split_at_spaces(text: &str, limit: usize, from_end: bool) -> Vec<&str> {
    let trimmed = |text| if from_end { str::trim_end(text) } else { str::trim_start(text) };
    let (mut parts, mut rest) = (Vec::new(), trimmed(text));
    while !rest.is_empty() {
        let cut = if from_end {
            rest.rsplit_once(char::is_whitespace).map(|(rest, word)| (word, rest))
        } else {
            rest.split_once(char::is_whitespace)
        };
        match cut.filter(|_| parts.len() < limit) {
            Some((word, after)) => {
                parts.push(word);
                rest = trimmed(after);
            }
            None => {
                parts.push(rest);
                break;
            }
        }
    }
    parts
}

fn split_lines(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (keep, options): (Option<bool>, Kwargs) = from_args(args)?;
    let keep =
        keep.map_or_else(|| options.get::<Option<bool>>("keepends"), |keep| Ok(Some(keep)))?;
    options.assert_all_used()?;
    let is_end = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let (mut lines, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(is_end) {
        let end = if rest[at..].starts_with("\r\n") { 2 } else { first_len(&rest[at..]) };
        let shown = if keep.unwrap_or(false) { at + end } else { at };
        lines.push(Value::from(&rest[..shown]));
        rest = &rest[at + end..];
    }
    if !rest.is_empty() {
        lines.push(Value::from(rest));
    }
    Ok(Value::from(lines))
}

/// Returns the number of bytes of the first character.
fn first_len(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

/// Returns Python's `[start:end]` of a text, and the position of its start.
fn slice(text: &str, start: Option<i64>, end: Option<i64>) -> Option<(usize, &str)> {
    let len = text.chars().count();
    let position = |at: i64| {
        let from_end = usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX);
        if at < 0 { len.saturating_sub(from_end) } else { from_end }
    };
    let (start, end) = (start.map_or(0, position), end.map_or(len, position).min(len));
    if start > end {
        return None;
    }
    let byte = |position: usize| text.char_indices().nth(position).map_or(text.len(), |(at, _)| at);
    Some((start, &text[byte(start)..byte(end)]))
}

/// Reads the text to search for, and the part to search in.
type Search<'a> = (&'a str, Option<i64>, Option<i64>);

fn find_position(text: &str, args: &[Value], from_end: bool) -> Result<Option<i64>, Error> {
    let (needle, start, end): Search<'_> = from_args(args)?;
    let Some((first, part)) = slice(text, start, end) else { return Ok(None) };
    let at = if from_end { part.rfind(needle) } else { part.find(needle) };
    let position = at.map(|at| first + part[..at].chars().count());
    Ok(position.and_then(|position| i64::try_from(position).ok()))
}

fn count_parts(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (needle, start, end): Search<'_> = from_args(args)?;
    let part = slice(text, start, end);
    Ok(Value::from(part.map_or(0, |(_, part)| part.matches(needle).count())))
}

fn has_affix(text: &str, args: &[Value], has: impl Fn(&str, &str) -> bool) -> Result<Value, Error> {
    let (affix, start, end): (Value, Option<i64>, Option<i64>) = from_args(args)?;
    let affixes = match affix.kind() {
        ValueKind::String => vec![affix],
        ValueKind::Seq | ValueKind::Iterable => affix.try_iter()?.collect(),
        other => return Err(invalid(&format!("expected a text or several, found {other}"))),
    };
    let Some((_, part)) = slice(text, start, end) else { return Ok(Value::from(false)) };
    for affix in &affixes {
        let affix = affix.as_str().ok_or_else(|| invalid("expected texts only"))?;
        if has(part, affix) {
            return Ok(Value::from(true));
        }
    }
    Ok(Value::from(false))
}

fn index_in_list(list: &Value, args: &[Value]) -> Result<Value, Error> {
    let (wanted,): (Value,) = from_args(args)?;
    let at = list.try_iter()?.position(|item| item == wanted);
    at.map(Value::from).ok_or_else(|| invalid(&format!("{wanted} is not in the list")))
}

#[cfg(test)]
mod tests {
    use minijinja::Environment;

    fn evaluate(expression: &str) -> Result<String, minijinja::Error> {
        let mut environment = Environment::new();
        environment.set_unknown_method_callback(super::call_method);
        environment
            .add_function(super::super::source::PERCENT, |text: &str, values: minijinja::Value| {
                super::percent(text, &values)
            });
        let source = super::super::source::translate(&format!("{{{{ {expression} }}}}"));
        environment.render_str(&source, minijinja::context! { who => "Ann", n => 7 })
    }

    /// Compares expressions with the results of Python 3.11.
    #[test]
    fn methods_agree_with_python() {
        for (expression, expected) in [
            ("'assistant'.removeprefix('ass')", "istant"),
            ("'a'.removeprefix('ab')", "a"),
            ("'file.txt'.removesuffix('.txt')", "file"),
            ("'Straße ΣΑΣ'.casefold()", "strasse σασ"),
            ("'aßC'.swapcase()", "ASSc"),
            ("'they\\'re HERE 2nd'.title()", "They'Re Here 2Nd"),
            ("'Ab Cd'.istitle() and not 'Ab cd'.istitle()", "True"),
            ("'ab'.ljust(5, '.') ~ '|' ~ 'ab'.rjust(4) ~ '|' ~ 'abc'.ljust(2)", "ab...|  ab|abc"),
            ("'ab'.center(5, '*') ~ '|' ~ 'abc'.center(6, '*')", "**ab*|*abc**"),
            ("'-42'.zfill(6) ~ '|' ~ '7'.zfill(3) ~ '|' ~ '1234'.zfill(2)", "-00042|007|1234"),
            ("'a\\tbc\\td'.expandtabs(4)", "a   bc  d"),
            ("'a\\tb'.expandtabs()", "a       b"),
            (
                "'k=v=w'.partition('=')|join('|') ~ ';' ~ 'kv'.partition('=')|join('|')",
                "k|=|v=w;kv||",
            ),
            (
                "'k=v=w'.rpartition('=')|join('|') ~ ';' ~ 'kv'.rpartition('=')|join('|')",
                "k=v|=|w;||kv",
            ),
            (
                "' a  b c '.split()|join('|') ~ ';' ~ ' a  b c '.split(none, 1)|join('|')",
                "a|b|c;a|b c ",
            ),
            (
                "'a,b,,c'.split(',')|join('|') ~ ';' ~ 'a,b,c'.split(',', 1)|join('|')",
                "a|b||c;a|b,c",
            ),
            (
                "'a,b,c'.rsplit(',', maxsplit=1)|join('|') ~ ';' ~ ' a b  c '.rsplit(none, 1)|join('|')",
                "a,b|c; a b|c",
            ),
            ("'a\\r\\nb\\rc\\n'.splitlines()|join('|')", "a|b|c"),
            (
                "'banana'.find('an', 2) ~ '|' ~ 'banana'.rfind('an', 0, -1) ~ '|' ~ 'b'.find('x')",
                "3|3|-1",
            ),
            ("'äb'.index('b') ~ '|' ~ 'banana'.rindex('a') ~ '|' ~ [3, 4].index(4)", "1|5|1"),
            ("'banana'.count('a', 2) ~ '|' ~ 'aaa'.count('aa')", "2|1"),
            (
                "'abc'.startswith(('x', 'a')) and 'abc'.startswith('b', 1) and 'abc'.endswith('b', 0, 2)",
                "True",
            ),
            ("'{} and {x:>3}'.format(who, x=n)", "Ann and   7"),
            ("'%s has %03d%%' % (who, n)", "Ann has 007%"),
            ("'<%s>' % who ~ '|' ~ n % 4 ~ '|' ~ -n % 4", "<Ann>|3|1"),
            ("'%s' % ('%d' % n) + '!'", "7!"),
            ("'%.2f' % 0.125 ~ '%5s|%-5s|' % ('a', 'b')", "0.12    a|b    |"),
            ("n % 4 % 2 ~ '|' ~ 2 * n % 4", "1|2"),
        ] {
            let found =
                evaluate(expression).unwrap_or_else(|error| panic!("{expression}: {error:#}"));
            assert_eq!(found, expected, "{expression}");
        }
    }

    #[test]
    fn errors_of_python_are_errors() {
        for (expression, expected) in [
            ("'a'.index('b')", "substring not found"),
            ("'a'.partition('')", "empty separator"),
            ("'a'.split('')", "empty separator"),
            ("'a'.ljust(3, 'xy')", "exactly one character"),
            ("'a'.removeprefix()", "missing"),
            ("'a'.reversed()", "no method named reversed"),
            ("'%d' % 'x'", ""),
        ] {
            let error = evaluate(expression).expect_err(expression);
            assert!(format!("{error:#}").contains(expected), "{expression}: {error:#}");
        }
    }
}
