//! Text for LaTeX in the default encoding OT1.

use crate::visible::visible;

/// Escapes text so that pdfTeX with OT1 and no package prints it as written. Characters that need
/// another encoding or font are shown as their code points.
pub(crate) fn escape_latex(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    for c in visible(text).chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                out.push('\\');
                out.push(c);
            }
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            '|' => out.push_str("\\textbar{}"),
            // The straight quote and backtick of the typewriter font.
            '"' => out.push_str("\\texttt{\\symbol{34}}"),
            '`' => out.push_str("\\texttt{\\symbol{18}}"),
            // After `\\` and `\midrule` these would be an argument.
            '[' | ']' | '*' => {
                out.push('{');
                out.push(c);
                out.push('}');
            }
            // Two of these are one sign: a dash or a quote.
            '-' | '\'' | ',' if before == c => {
                out.push_str("{}");
                out.push(c);
            }
            '\n' | '\t' => out.push(' '),
            '±' => out.push_str("$\\pm$"),
            '×' => out.push_str("$\\times$"),
            '·' => out.push_str("$\\cdot$"),
            '−' => out.push_str("$-$"),
            '≤' => out.push_str("$\\leq$"),
            '≥' => out.push_str("$\\geq$"),
            '≠' => out.push_str("$\\neq$"),
            '→' => out.push_str("$\\rightarrow$"),
            '…' => out.push_str("\\ldots{}"),
            '–' => out.push_str("--"),
            '—' => out.push_str("---"),
            '‘' => out.push('`'),
            '’' => out.push('\''),
            '“' => out.push_str("``"),
            '”' => out.push_str("''"),
            '\u{a0}' => out.push('~'),
            c if c.is_ascii() || has_accent(c) => out.push(c),
            c => out.push_str(&format!("{{[}}U+{:04X}{{]}}", u32::from(c))),
        }
        before = c;
    }
    out
}

/// Returns whether OT1 composes the Latin letter from a letter and an accent.
fn has_accent(c: char) -> bool {
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿŒœŠšŽžŸ".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_is_set_as_it_reads() {
        assert_eq!(
            escape_latex(r#"p <0.001 > 0 | "x" a_b 50% $ # & {} \ ~ ^ `c`"#),
            r"p \textless{}0.001 \textgreater{} 0 \textbar{} \texttt{\symbol{34}}x\texttt{\symbol{34}} a\_b 50\% \$ \# \& \{\} \textbackslash{} \textasciitilde{} \textasciicircum{} \texttt{\symbol{18}}c\texttt{\symbol{18}}"
        );
        assert_eq!(
            escape_latex("[-0.1, 0.2] * a--b don''t"),
            "{[}-0.1, 0.2{]} {*} a-{}-b don'{}'t"
        );
        assert_eq!(
            escape_latex("Müller ± 3 · 你\u{202e}"),
            "Müller $\\pm$ 3 $\\cdot$ {[}U+4F60{]}{[}U+202E{]}"
        );
    }
}
