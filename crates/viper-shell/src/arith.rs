//! `$((...))`: 64-bit integers that wrap, as in C.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Deepest nesting of brackets and signs.
const DEPTH_MAX: usize = 40;

/// Why a formula has no value.
pub(crate) type Wrong = &'static str;

/// Evaluates `text`. `value` gives variables; assignments are appended to `assigned`, to be
/// carried out by the caller, also when the formula fails later.
pub(crate) fn evaluate(
    text: &str,
    value: &mut dyn FnMut(&str) -> i64,
    assigned: &mut Vec<(String, i64)>,
) -> Result<i64, Wrong> {
    let mut formula = Formula {
        rest: text,
        value,
        assigned,
        depth: 0,
        skipping: 0,
    };
    formula.blanks();
    if formula.rest.is_empty() {
        return Ok(0);
    }
    let result = formula.ternary()?;
    if formula.rest.is_empty() {
        Ok(result)
    } else {
        Err("something is too much")
    }
}

struct Formula<'a> {
    rest: &'a str,
    value: &'a mut dyn FnMut(&str) -> i64,
    assigned: &'a mut Vec<(String, i64)>,
    depth: usize,
    /// Above 0 where the value does not count: no assignment, no division by zero.
    skipping: usize,
}

/// Operators of two sides, loosest first, longer ones before their beginnings.
const LEVELS: &[&[&str]] = &[
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<=", ">=", "<", ">"],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
];

impl Formula<'_> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, Wrong>) -> Result<T, Wrong> {
        if self.depth >= DEPTH_MAX {
            return Err("too many brackets");
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn skipped(&mut self, skip: bool, level: usize) -> Result<i64, Wrong> {
        self.skipping += usize::from(skip);
        let result = self.level(level);
        self.skipping -= usize::from(skip);
        result
    }

    fn ternary(&mut self) -> Result<i64, Wrong> {
        if let Some(result) = self.assignment() {
            return result;
        }
        let condition = self.level(0)?;
        if !self.eat("?") {
            return Ok(condition);
        }
        self.skipping += usize::from(condition == 0);
        let yes = self.deeper(Self::ternary);
        self.skipping -= usize::from(condition == 0);
        let yes = yes?;
        if !self.eat(":") {
            return Err("`:` is missing");
        }
        self.skipping += usize::from(condition != 0);
        let no = self.deeper(Self::ternary);
        self.skipping -= usize::from(condition != 0);
        Ok(if condition != 0 { yes } else { no? })
    }

    /// `name = formula` and `name += formula`, if that is what stands here.
    fn assignment(&mut self) -> Option<Result<i64, Wrong>> {
        let name = self.name();
        if name.is_empty() {
            return None;
        }
        let after = self.rest[name.len()..].trim_start();
        let (operator, formula) = if let Some(rest) = after.strip_prefix('=') {
            ("", rest)
        } else {
            let operator = ["+", "-", "*", "/", "%"].into_iter().find(|&op| {
                after
                    .strip_prefix(op)
                    .is_some_and(|rest| rest.starts_with('='))
            })?;
            (operator, &after[2..])
        };
        if formula.starts_with('=') {
            return None;
        }
        self.rest = formula.trim_start();
        let old = self.get(&name);
        Some(self.deeper(Self::ternary).and_then(|right| {
            let result = match operator {
                "" => right,
                operator => self.apply(operator, old, right)?,
            };
            if self.skipping == 0 {
                self.assigned.push((name, result));
            }
            Ok(result)
        }))
    }

    fn get(&mut self, name: &str) -> i64 {
        let latest = self
            .assigned
            .iter()
            .rev()
            .find(|(assigned, _)| assigned == name);
        latest.map_or_else(|| (self.value)(name), |(_, value)| *value)
    }

    fn level(&mut self, level: usize) -> Result<i64, Wrong> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.level(level + 1)?;
        while let Some(operator) = self.operator(operators) {
            let decided = match operator {
                "||" => left != 0,
                "&&" => left == 0,
                _ => false,
            };
            let right = self.skipped(decided, level + 1)?;
            left = match operator {
                "||" => i64::from(left != 0 || right != 0),
                "&&" => i64::from(left != 0 && right != 0),
                operator => self.apply(operator, left, right)?,
            };
        }
        Ok(left)
    }

    fn operator(&mut self, operators: &[&'static str]) -> Option<&'static str> {
        let found = operators
            .iter()
            .copied()
            .find(|op| self.rest.starts_with(op))?;
        let next = self.rest.as_bytes().get(found.len()).copied();
        // `<` is not the beginning of `<<`, nor `|` of `||`, nor `&` of `&&`.
        let doubled = matches!(found, "<" | ">" | "|" | "&") && next == found.bytes().next();
        if doubled {
            return None;
        }
        self.eat(found);
        Some(found)
    }

    fn apply(&self, operator: &str, a: i64, b: i64) -> Result<i64, Wrong> {
        Ok(match operator {
            "|" => a | b,
            "^" => a ^ b,
            "&" => a & b,
            "==" => i64::from(a == b),
            "!=" => i64::from(a != b),
            "<=" => i64::from(a <= b),
            ">=" => i64::from(a >= b),
            "<" => i64::from(a < b),
            ">" => i64::from(a > b),
            "<<" => a.wrapping_shl(b as u32),
            ">>" => a.wrapping_shr(b as u32),
            "+" => a.wrapping_add(b),
            "-" => a.wrapping_sub(b),
            "*" => a.wrapping_mul(b),
            _ if b == 0 && self.skipping > 0 => 0,
            _ if b == 0 => return Err("division by zero"),
            "/" => a.wrapping_div(b),
            _ => a.wrapping_rem(b),
        })
    }

    fn unary(&mut self) -> Result<i64, Wrong> {
        if self.eat("-") {
            return Ok(self.deeper(Self::unary)?.wrapping_neg());
        }
        if self.eat("+") {
            return self.deeper(Self::unary);
        }
        if self.eat("!") {
            return Ok(i64::from(self.deeper(Self::unary)? == 0));
        }
        if self.eat("~") {
            return Ok(!self.deeper(Self::unary)?);
        }
        if self.eat("(") {
            let value = self.deeper(Self::ternary)?;
            return if self.eat(")") {
                Ok(value)
            } else {
                Err("`)` is missing")
            };
        }
        let name = self.name();
        if !name.is_empty() {
            self.rest = self.rest[name.len()..].trim_start();
            return Ok(self.get(&name));
        }
        self.number()
    }

    fn name(&self) -> String {
        let digit = self.rest.starts_with(|c: char| c.is_ascii_digit());
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        if digit {
            String::new()
        } else {
            self.rest[..end].to_string()
        }
    }

    fn number(&mut self) -> Result<i64, Wrong> {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(self.rest.len());
        let digits = &self.rest[..end];
        let (radix, digits) = match digits.as_bytes() {
            [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
            [b'0', _, ..] => (8, &digits[1..]),
            _ => (10, digits),
        };
        let value = i64::from_str_radix(digits, radix).map_err(|_| "a number is missing")?;
        self.rest = self.rest[end..].trim_start();
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(text: &str) -> Result<i64, Wrong> {
        evaluate(
            text,
            &mut |name| if name == "x" { 7 } else { 0 },
            &mut Vec::new(),
        )
    }

    #[test]
    fn values() {
        for (text, expected) in [
            ("", 0),
            ("1 + 2 * 3", 7),
            ("(1 + 2) * 3", 9),
            ("-2 - -3", 1),
            ("x % 4 == 3 && !0", 1),
            ("1 << 4 | 1", 17),
            ("0x10 + 010", 24),
            ("x > 5 ? 10 : 1 / 0", 10),
            ("0 && 1 / 0", 0),
            ("y = 3, 1", -1),
            ("y += 5", 5),
            ("2 < 3", 1),
            ("~0", -1),
            ("9223372036854775807 + 1", i64::MIN),
        ] {
            let found = value(text);
            if expected == -1 && text.contains(',') {
                assert!(found.is_err(), "{text}");
            } else {
                assert_eq!(found, Ok(expected), "{text}");
            }
        }
    }

    #[test]
    fn mistakes() {
        for text in [
            "1 +",
            "(1",
            "1 / 0",
            "1 2",
            "$",
            "08",
            &"(".repeat(1000),
            &"-".repeat(1000),
        ] {
            assert!(value(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[-+*/%()<>=!~&|^?:0-9a-z ]{0,60}") {
            let _ = value(&text);
        }
    }
}
