//! The bracketed shapes: groups, tuples, intervals, sets, magnitudes and matrices.

use super::scan::{Cursor, Parse, Stop};
use super::value::{Function, Value};

impl Cursor<'_> {
    /// `(..)`, `[..]` or `{..}`: grouping around one value, a shape around several.
    pub(crate) fn bracketed(&mut self) -> Parse<Value> {
        let open = self.byte();
        if open == b'{' {
            return Ok(match self.group()? {
                Value::List(items) => Value::Set(items),
                value => value,
            });
        }
        self.at += 1;
        self.brackets += 1;
        let inner = self.list()?;
        self.brackets -= 1;
        self.skip_space();
        let mut close = self.byte();
        let turned = self.ours && (open == b']' || close == b'[');
        if !(matches!(close, b')' | b']') || (turned && close == b'[')) {
            return Err(Stop::Syntax);
        }
        self.at += 1;
        let mut open = open;
        if turned {
            // `]0,1[` is open where brackets turn away.
            if !matches!(&inner, Value::List(items) if items.len() == 2)
                || open == b'('
                || close == b')'
            {
                return Err(Stop::Syntax);
            }
            (open, close) = match (open, close) {
                (b']', b']') => (b'(', b']'),
                (b'[', b'[') => (b'[', b')'),
                turned => turned,
            };
        }
        Ok(match inner {
            Value::List(items) => Value::Tuple { open, close, items },
            value => value,
        })
    }

    /// Parses a braced group, whose commas group thousands again.
    pub(crate) fn group(&mut self) -> Parse<Value> {
        self.expect("{")?;
        let brackets = std::mem::replace(&mut self.brackets, 0);
        let inner = self.list()?;
        let inner = self.over(inner)?;
        self.brackets = brackets;
        self.expect("}")?;
        Ok(inner)
    }

    pub(crate) fn braced_set(&mut self, close: &str) -> Parse<Value> {
        self.skip_space();
        if self.eat(close) {
            return Ok(Value::Set(Vec::new()));
        }
        self.brackets += 1;
        let inner = self.list()?;
        self.brackets -= 1;
        self.expect(close)?;
        Ok(match inner {
            Value::List(items) => Value::Set(items),
            value => Value::Set(vec![value]),
        })
    }

    pub(crate) fn vector(&mut self) -> Parse<Value> {
        self.brackets += 1;
        let inner = self.list()?;
        self.brackets -= 1;
        self.expect("\\rangle")?;
        Ok(match inner {
            Value::List(items) => Value::Tuple { open: b'(', close: b')', items },
            value => value,
        })
    }

    pub(crate) fn magnitude(&mut self, open: &str, close: &str) -> Parse<Value> {
        self.expect(open)?;
        self.enclosed(Function::Abs, close)
    }

    /// Parses a function written as a pair of marks, the first of which is read.
    pub(crate) fn enclosed(&mut self, function: Function, close: &str) -> Parse<Value> {
        let inner = self.sum()?;
        self.expect(close)?;
        Ok(Value::Call(function, vec![inner]))
    }

    /// Skips the gap after a row of a matrix: `[4pt]`.
    fn skip_row_gap(&mut self) {
        let inside = self.rest().strip_prefix('[').and_then(|rest| rest.split_once(']'));
        if let Some((length, _)) = inside.filter(|_| self.ours) {
            let number = length.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
            if matches!(number.trim(), "pt" | "em" | "ex" | "mm" | "cm" | "in" | "px" | "mu") {
                self.at += length.len() + 2;
            }
        }
    }

    /// Parses a matrix environment after `\begin`.
    pub(crate) fn matrix(&mut self) -> Parse<Value> {
        let name = self.raw_group()?;
        match name {
            "pmatrix" | "bmatrix" | "Bmatrix" | "matrix" | "smallmatrix" => {}
            "array" => {
                self.raw_group()?;
            }
            _ => return Err(Stop::Syntax),
        }
        let brackets = std::mem::replace(&mut self.brackets, 1);
        let (mut cells, mut columns, mut in_row) = (Vec::new(), 0, 0);
        loop {
            self.step()?;
            cells.push(self.relation()?);
            in_row += 1;
            self.skip_space();
            if self.eat("&") {
                continue;
            }
            let more = self.eat("\\\\") || (self.ours && self.eat_command("cr"));
            self.skip_row_gap();
            self.skip_space();
            if columns != 0 && in_row != columns {
                return Err(Stop::Syntax);
            }
            (columns, in_row) = (in_row, 0);
            if self.eat_command("end") {
                break;
            }
            if !more {
                return Err(Stop::Syntax);
            }
        }
        self.brackets = brackets;
        if self.raw_group()? != name {
            return Err(Stop::Syntax);
        }
        Ok(Value::Matrix { columns, cells })
    }
}
