use super::*;
use crate::ast::{Operator, Part};
use proptest::prelude::*;

fn simple(text: &str) -> Simple {
    let list = parse(text).unwrap();
    match list
        .items
        .into_iter()
        .next()
        .unwrap()
        .first
        .stages
        .into_iter()
        .next()
        .unwrap()
    {
        Command::Simple(simple) => simple,
        other => panic!("{other:?}"),
    }
}

fn kind(text: &str) -> ParseErrorKind {
    parse(text).unwrap_err().kind
}

#[test]
fn words_are_taken_apart() {
    let words = simple("Copy 'a b'c \"$x\" TO").words;
    assert_eq!(words[0].plain(), Some("Copy"));
    assert_eq!(
        words[1].parts,
        [Part::Quoted("a b".into()), Part::Literal("c".into())]
    );
    let [
        Part::Quoted(empty),
        Part::Parameter {
            parameter,
            quoted: true,
        },
    ] = &words[2].parts[..]
    else {
        panic!("{:?}", words[2]);
    };
    assert_eq!((empty.as_str(), parameter.name.as_str()), ("", "x"));
    assert_eq!(parameter.operator, Operator::Value);
    assert_eq!(words[3].plain(), Some("TO"));
}

#[test]
fn assignments_come_first() {
    let command = simple("A=1 B= cmd C=3");
    let names: Vec<_> = command
        .assignments
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["A", "B"]);
    assert_eq!(command.words.len(), 2);
}

#[test]
fn keywords_count_only_at_the_start() {
    assert_eq!(simple("Echo if then done").words.len(), 4);
    assert_eq!(simple("'if' x").words.len(), 2);
    assert_eq!(simple("Help }").words.len(), 2);
    assert_eq!(simple("iffy").words.len(), 1);
}

#[test]
fn errors_know_their_place() {
    let error = parse("Echo a\nif true\nthen )").unwrap_err();
    assert_eq!(
        error,
        ParseError {
            kind: ParseErrorKind::Expected("fi"),
            at: 20
        }
    );
    assert_eq!(
        kind("Echo \"abc"),
        ParseErrorKind::Incomplete("the closing \"")
    );
    assert_eq!(kind("a && "), ParseErrorKind::Incomplete("a command"));
    assert_eq!(kind("case x in"), ParseErrorKind::Incomplete("a pattern"));
    assert_eq!(kind("fi"), ParseErrorKind::Unmatched("fi"));
    assert_eq!(kind("a 3> b"), ParseErrorKind::Expected("stream 0, 1 or 2"));
    assert_eq!(kind("${}"), ParseErrorKind::BadSubstitution);
    assert_eq!(kind("; a"), ParseErrorKind::Expected("a command"));
}

#[test]
fn depth_is_bounded() {
    for (open, close) in [
        ("(", ")"),
        ("{ ", "; }"),
        ("$(", ")"),
        ("\"$(", ")\""),
        ("${x:-", "}"),
        ("if true; then ", "; fi"),
        ("while a; do ", "; done"),
        ("f() ", ""),
        ("case x in y) ", ";; esac"),
        ("If a EQ b; ", "; EndIf"),
        ("! ", ""),
        ("$((", "))"),
    ] {
        let text = |n: usize| format!("{}x{}", open.repeat(n), close.repeat(n));
        assert!(parse(&text(3)).is_ok(), "{open}");
        let deep = parse(&text(2_000));
        if open != "! " && open != "$((" {
            assert_eq!(deep.unwrap_err().kind, ParseErrorKind::TooDeep, "{open}");
        }
        let _ = parse(&open.repeat(50_000));
    }
    // Every level of back quotes doubles the backslashes of the one inside.
    let quoted = (0..12).fold(String::from("x"), |inner, _| {
        format!("`{}`", inner.replace('\\', "\\\\").replace('`', "\\`"))
    });
    assert!(parse(&quoted).is_ok());
}

#[test]
fn length_is_bounded() {
    assert_eq!(kind(&" ".repeat(TEXT_MAX + 1)), ParseErrorKind::TooLong);
    assert!(parse(&"Echo a; ".repeat(TEXT_MAX / 8)).is_ok());
    assert!(parse(&"x".repeat(TEXT_MAX)).is_ok());
}

/// Inputs that were once trouble, or look as if they could be. New ones are added as files.
#[test]
fn kept_corpus() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");
    let mut count = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        every_prefix(&text);
        count += 1;
    }
    assert!(count >= 20, "{count}");
}

/// Parses all beginnings of a text: each is a script, or wrong at a place inside it.
fn every_prefix(text: &str) {
    // Of long texts not every beginning: that would take quadratic time.
    let step = text.len() / 500 + 1;
    for end in (0..=text.len())
        .step_by(step)
        .filter(|&end| text.is_char_boundary(end))
    {
        if let Err(error) = parse(&text[..end]) {
            assert!(error.at <= end, "{error:?} in {:?}", &text[..end]);
            assert!(!error.to_string().is_empty());
        }
    }
}

fn token() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "a", "b=", "$x", "${", "}", "$(", ")", "(", "((", "))", "$((", "`", "'", "\"", "\\", "\n",
        " ", " ", ";", ";;", "&", "&&", "|", "||", "<", ">", ">>", "<<", "<<-", "<<<", ">&", "2>",
        "if ", "then ", "else ", "elif ", "fi", "while ", "do ", "done", "for ", "in ", "case ",
        "esac", "{ ", "! ", "If ", "EndIf", "Else ", "#", "*", "?", "[", "é", "x()", "EOF\n",
    ])
}

/// Scripts made of whole constructs: all of them parse.
fn script() -> impl Strategy<Value = String> {
    let leaf = "[a-z]{1,4}( [a-z$]{1,4}| '[^']{0,4}'| \"[a-z ]{0,4}\"){0,3}";
    let leaf = leaf.prop_filter("a word of the grammar", |text| {
        let first = text.split(' ').next().unwrap_or("");
        ![
            "if", "do", "for", "fi", "in", "then", "else", "elif", "esac", "done", "case",
        ]
        .contains(&first)
            && !["while", "until"].contains(&first)
    });
    leaf.prop_recursive(5, 40, 4, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            two.clone().prop_map(|(a, b)| format!("{a}; {b}")),
            two.clone().prop_map(|(a, b)| format!("{a}\n{b}")),
            two.clone().prop_map(|(a, b)| format!("({a}) | {{ {b}; }}")),
            two.clone()
                .prop_map(|(a, b)| format!("if {a}; then {b}; else {a}; fi")),
            two.clone()
                .prop_map(|(a, b)| format!("while {a}\ndo\n{b}\ndone > f")),
            two.clone()
                .prop_map(|(a, b)| format!("{{ {a}; }} && {{ {b}; }}")),
            inner
                .clone()
                .prop_map(|a| format!("for v in 1 2; do {a}; done")),
            inner
                .clone()
                .prop_map(|a| format!("case x in a|b) {a};; *) {a}; esac")),
            inner.clone().prop_map(|a| format!("f() {{ {a}; }}; f")),
            inner
                .clone()
                .prop_map(|a| format!("If EXISTS x\n{a}\nElse\n{a}\nEndIf")),
            inner
                .clone()
                .prop_map(|a| format!("echo $( {a}) \"$( {a})\" ${{x:-$( {a})}}")),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text: String) {
        every_prefix(&text);
    }

    #[test]
    fn any_tokens_are_parsed_or_refused(tokens in proptest::collection::vec(token(), 0..40)) {
        every_prefix(&tokens.concat());
    }

    #[test]
    fn whole_constructs_parse(text in script()) {
        let list = parse(&text);
        prop_assert!(list.is_ok(), "{list:?}: {text}");
        // Blanks, comments and line ends around change nothing.
        prop_assert_eq!(parse(&format!("  # comment\n\n{text}  # more\n")), list);
    }

    #[test]
    fn a_beginning_of_a_script_is_never_a_mistake(text in script(), cut: proptest::sample::Index) {
        // Cut between words: half a keyword is another word.
        let ends: Vec<usize> = text.match_indices([' ', '\n']).map(|(at, _)| at).collect();
        let at = ends.get(cut.index(ends.len() + 1)).copied().unwrap_or(text.len());
        if let Err(error) = parse(&text[..at]) {
            let incomplete = matches!(error.kind, ParseErrorKind::Incomplete(_));
            prop_assert!(incomplete, "{error:?}: {}", &text[..at]);
        }
    }

    #[test]
    fn quoted_words_come_back(word: String) {
        let quoted = crate::simple::quote(&word);
        let words = simple(&format!("x {quoted}")).words;
        let text: String = words[1].parts.iter().map(|part| match part {
            Part::Quoted(text) | Part::Literal(text) => text.as_str(),
            _ => panic!(),
        }).collect();
        prop_assert_eq!(text, word);
    }
}
