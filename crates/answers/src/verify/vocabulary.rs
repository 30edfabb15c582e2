//! The closed word classes that tell a unit from a remark.

/// Words that make an answer another one: `3 or less`, `n is even`, `7 mod 12`.
const REMARKS: &[&str] = &[
    "is",
    "are",
    "was",
    "were",
    "be",
    "been",
    "or",
    "and",
    "not",
    "no",
    "nor",
    "more",
    "less",
    "than",
    "least",
    "most",
    "fewer",
    "greater",
    "smaller",
    "larger",
    "bigger",
    "higher",
    "lower",
    "about",
    "around",
    "approximately",
    "approx",
    "roughly",
    "nearly",
    "almost",
    "over",
    "under",
    "above",
    "below",
    "between",
    "exactly",
    "only",
    "if",
    "when",
    "where",
    "unless",
    "except",
    "plus",
    "minus",
    "divided",
    "multiplied",
    "modulo",
    "mod",
    "remainder",
    "rem",
    "squared",
    "cubed",
    "through",
    "infinitely",
    "factorial",
    "off",
    "out",
    "short",
    "beyond",
    "up",
    "down",
    "maximum",
    "minimum",
    "max",
    "this",
    "that",
    "which",
    "who",
    "does",
    "do",
    "has",
    "have",
    "can",
    "could",
    "would",
    "should",
    "must",
    "may",
    "might",
    "divides",
    "equals",
    "works",
    "holds",
    "exists",
    "lies",
    "satisfies",
    "perhaps",
    "always",
    "sometimes",
    "never",
    "yes",
    "us",
    "thus",
    "its",
    "as",
    "even",
    "odd",
    "prime",
    "composite",
    "positive",
    "negative",
    "half",
    "halves",
    "base",
    "then",
    "else",
    "but",
    "because",
    "since",
    "while",
    "so",
    "such",
    "for",
    "recurring",
    "repeating",
    "rounded",
    "double",
    "triple",
    "twice",
    "power",
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "the",
    "with",
    "without",
    "other",
    "each",
    "every",
    "any",
    "some",
    "all",
    "both",
    "none",
    "either",
    "neither",
    "given",
    "let",
    "fails",
    "gives",
    "makes",
    "becomes",
    "follows",
    "remains",
    "occurs",
    "appears",
    "needs",
    "wins",
    "goes",
    "comes",
    "means",
    "shows",
    "yields",
    "seems",
    "exceeds",
    "increases",
    "decreases",
    "varies",
    "depends",
    "applies",
    "belongs",
    "contains",
    "diverges",
    "converges",
    "tends",
    "approaches",
    "repeats",
    "divisible",
    "solution",
    "integer",
    "real",
    "undefined",
    "ago",
    "choose",
    "bonus",
    "versus",
    "vs",
];

/// Remarks that are also short products of symbols, or adjectives of counted things.
const HARMLESS: &[&str] =
    &["real", "positive", "negative", "prime", "odd", "even", "composite", "integer", "one", "two"];

/// Nouns whose plural has no `s`.
const IRREGULAR: &[&str] = &[
    "people", "person", "men", "women", "children", "teeth", "mice", "geese", "fish", "sheep",
    "deer", "cattle", "dice", "oxen", "data", "vertices", "vertex", "hertz", "yen", "yuan", "won",
    "baht", "rand", "money", "staff", "fruit",
];

/// Prepositions after a counted noun.
const PREPOSITIONS: &[&str] = &["of", "in", "from", "on", "at", "by", "to", "away", "per"];

/// Words after a unit that say which length it is.
const TRAILING: &[&str] = &[
    "old",
    "long",
    "tall",
    "high",
    "wide",
    "deep",
    "apart",
    "away",
    "left",
    "total",
    "remaining",
    "altogether",
    "each",
];

/// Adjectives that count nothing else.
const DECORATION: &[&str] = &["different", "distinct", "possible", "total", "unique", "separate"];

/// Returns whether a run of letters is prose rather than a product of symbols.
pub(crate) fn is_prose(word: &str) -> bool {
    let long = word.len() > 2 || word == "is";
    long && REMARKS.contains(&word.to_ascii_lowercase().as_str())
}

/// Returns whether a word, in lower case, turns the number before it into another answer.
pub(crate) fn is_remark(word: &str) -> bool {
    REMARKS.contains(&word) || word.ends_with("ly")
}

/// Returns the counted noun that the words name with its adjectives; `None` where that is in doubt.
///
/// ```text
/// red marbles in the bag -> redmarble     tenths, or less, is even -> none
/// ```
pub(crate) fn counted_noun(words: &[String], one: bool) -> Option<String> {
    let end = words.iter().position(|word| PREPOSITIONS.contains(&word.as_str()));
    let (head, tail) = words.split_at(end.unwrap_or(words.len()));
    let adjective = |word: &String| !is_remark(word) || HARMLESS.contains(&word.as_str());
    let mut tail = tail.iter().filter(|word| *word != "the" && *word != "each");
    let trailing = head.iter().rev().take_while(|word| TRAILING.contains(&word.as_str())).count();
    let (noun, before) = head[..head.len() - trailing].split_last()?;
    let plural = noun.len() > 2 && noun.ends_with('s') && !noun.ends_with("ss");
    let countable = plural || one || IRREGULAR.contains(&noun.as_str());
    let symbol = |word: &String| word.len() == 1 && word != "a";
    let clear = !tail.any(|word| is_remark(word) || symbol(word)) && !head.iter().any(symbol);
    if !countable || is_remark(noun) || !before.iter().all(adjective) || !clear {
        return None;
    }
    let mut name = String::new();
    for word in before.iter().filter(|word| !DECORATION.contains(&word.as_str())) {
        name.push_str(word);
    }
    name.push_str(noun.strip_suffix('s').filter(|_| plural).unwrap_or(noun));
    Some(name)
}

/// Returns whether the words may follow a unit without changing the number before it.
pub(crate) fn is_aside(words: &[String]) -> bool {
    match words.first() {
        None => true,
        Some(first) if PREPOSITIONS.contains(&first.as_str()) => {
            let clear = |word: &String| {
                word == "the" || word == "a" || (word.len() > 1 && !is_remark(word))
            };
            words.len() > 1 && words[1..].iter().all(clear)
        }
        Some(_) => words.iter().all(|word| TRAILING.contains(&word.as_str())),
    }
}
