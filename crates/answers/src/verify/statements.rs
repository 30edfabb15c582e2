//! Lists and the relations in them: separators, signs of relations, moduli, unions.

use super::relations::is_closed;
use super::scan::{Cursor, Parse};
use super::value::{RelationOp, Value};
use super::words::is_text_command;

impl Cursor<'_> {
    pub(crate) fn list(&mut self) -> Parse<Value> {
        let first = self.relation()?;
        let mut items = vec![first];
        while self.separator()? {
            if self.at_closer() {
                break;
            }
            items.push(self.relation()?);
        }
        Ok(match items.len() {
            1 => items.swap_remove(0),
            _ => Value::List(items),
        })
    }

    fn at_closer(&mut self) -> bool {
        self.skip_space();
        matches!(self.byte(), 0 | b')' | b']' | b'}') || self.rest().starts_with("\\}")
    }

    /// Eats `,`, `;`, `and` and `or`, alone or after one another.
    pub(crate) fn separator(&mut self) -> Parse<bool> {
        self.skip_space();
        let mut found = false;
        while self.eat(",") || self.eat(";") {
            self.step()?;
            self.skip_space();
            found = true;
        }
        Ok(self.conjunction() || found)
    }

    fn conjunction(&mut self) -> bool {
        let start = self.at;
        let length = if matches!(self.word(), "and" | "or") {
            self.word().len()
        } else if is_text_command(self.command()) {
            self.at += 1 + self.command().len();
            let contents = self.raw_group().map(str::trim);
            let end = self.at;
            self.at = start;
            match contents {
                Ok("and" | "or" | ", and" | ", or" | ",") => end - start,
                _ => 0,
            }
        } else if matches!(self.command(), "lor" | "land" | "vee") {
            self.command().len() + 1
        } else {
            0
        };
        self.at = start + length;
        length > 0
    }

    pub(crate) fn relation(&mut self) -> Parse<Value> {
        self.step()?;
        if self.ours {
            let start = self.at;
            // `= 5` and `\approx 3.14` state their value.
            if !matches!(self.relation_op(), Some(RelationOp::Equal | RelationOp::Approximate)) {
                self.at = start;
            }
        }
        let first = match self.assigned_name() {
            Some(name) => name,
            None => self.side()?,
        };
        let mut rest = Vec::new();
        while let Some(op) = self.relation_op() {
            self.step()?;
            rest.push((op, self.side()?));
        }
        if self.ours
            && let [(RelationOp::Equal, Value::Symbol(_))] = rest.as_slice()
            && is_closed(&first)
            && let Some((op, symbol)) = rest.pop()
        {
            // `5 = x` is `x = 5`.
            return Ok(Value::Relation(Box::new(symbol), vec![(op, first)]));
        }
        Ok(if rest.is_empty() { first } else { Value::Relation(Box::new(first), rest) })
    }

    /// Parses a side of a relation, with the modulus that may follow it.
    fn side(&mut self) -> Parse<Value> {
        let side = self.union()?;
        if !self.ours {
            return Ok(side);
        }
        self.skip_space();
        let start = self.at;
        if self.eat_command("pmod") {
            let modulus = self.argument()?;
            return Ok(Value::Modulo(Box::new(side), Box::new(modulus)));
        }
        let bracket = self.eat("(");
        self.skip_space();
        let command = self.eat_command("bmod") || self.eat_command("mod");
        let text = !command && matches!(self.upright(), Ok(Some(words)) if words.trim() == "mod");
        if !(command || text || (self.word() == "mod" && self.eat("mod"))) {
            self.at = start;
            return Ok(side);
        }
        let modulus = self.nested(Self::sum)?;
        if bracket {
            self.expect(")")?;
        }
        Ok(Value::Modulo(Box::new(side), Box::new(modulus)))
    }

    fn relation_op(&mut self) -> Option<RelationOp> {
        self.skip_space();
        let marks = [
            ("<=", RelationOp::LessEqual),
            (">=", RelationOp::GreaterEqual),
            ("!=", RelationOp::NotEqual),
            ("==", RelationOp::Equal),
            (":=", RelationOp::Equal),
            ("=", RelationOp::Equal),
            ("<", RelationOp::Less),
            (">", RelationOp::Greater),
        ];
        if let Some((_, op)) = marks.into_iter().find(|(mark, _)| self.eat(mark)) {
            return Some(op);
        }
        let op = match self.command() {
            "le" | "leq" | "leqslant" | "leqq" => RelationOp::LessEqual,
            "ge" | "geq" | "geqslant" | "geqq" => RelationOp::GreaterEqual,
            "lt" => RelationOp::Less,
            "gt" => RelationOp::Greater,
            "ne" | "neq" => RelationOp::NotEqual,
            "in" => RelationOp::Member,
            "equiv" | "coloneqq" => RelationOp::Equal,
            "approx" | "simeq" | "approxeq" | "thickapprox" | "doteq" | "cong" => {
                RelationOp::Approximate
            }
            "not" => {
                let start = self.at;
                self.at += 4;
                self.skip_space();
                if self.eat("=") {
                    return Some(RelationOp::NotEqual);
                }
                self.at = start;
                return None;
            }
            "" if self.ours && self.word() == "in" => {
                let set = self.rest()[2..].trim_start();
                if !set.starts_with(['[', '(', ']', '{', '\\']) {
                    return None;
                }
                self.at += 2;
                return Some(RelationOp::Member);
            }
            _ => return None,
        };
        self.at += 1 + self.command().len();
        Some(op)
    }

    fn union(&mut self) -> Parse<Value> {
        let first = self.sum()?;
        let mut parts = vec![first];
        loop {
            self.skip_space();
            let shaped = matches!(parts.last(), Some(Value::Tuple { .. } | Value::Set(_)));
            if !(self.eat_command("cup") || (shaped && self.word() == "U" && self.eat("U"))) {
                break;
            }
            self.step()?;
            parts.push(self.sum()?);
        }
        Ok(match parts.len() {
            1 => parts.swap_remove(0),
            _ => Value::Union(parts),
        })
    }
}
