//! docs/services.md is made from the declarations. `UPDATE=1 cargo test -p viper-proto` writes it.

use std::fmt::Write;
use viper_proto::interface::Operation;
use viper_proto::{block, console, entropy, fs, names, net, stream};

type Service = (&'static str, &'static str, u32, &'static [Operation]);

const SERVICES: &[Service] = &[
    (
        "Names",
        "the channel in `Slot::NAMES`",
        names::VERSION,
        names::OPERATIONS,
    ),
    (
        "Streams",
        "standard input and output",
        stream::VERSION,
        stream::OPERATIONS,
    ),
    (
        "Console",
        "`CONSOLED:`",
        console::VERSION,
        console::OPERATIONS,
    ),
    ("Block", "`BLKD:`", block::VERSION, block::OPERATIONS),
    ("Files", "`FSD:`", fs::VERSION, fs::OPERATIONS),
    (
        "Entropy",
        "`ENTROPYD:`",
        entropy::VERSION,
        entropy::OPERATIONS,
    ),
    ("Network", "`NETD:`", net::VERSION, net::OPERATIONS),
];

fn page() -> String {
    let mut page = String::from(
        "# Services\n\nMade from the declarations in `viper-proto`; do not edit. How messages are \
         laid out: see the README\nof that crate. Operation 0 of every service tells its version. \
         *Again* says whether a client may\nrepeat the operation after the server died.\n",
    );
    for (title, place, version, operations) in SERVICES {
        write!(
            page,
            "\n## {title}, version {version}\n\nReached through {place}.\n"
        )
        .unwrap();
        for o in *operations {
            let list = |items: &[(&str, &str)]| {
                let items: Vec<_> = items.iter().map(|(n, t)| format!("{n}: {t}")).collect();
                items.join(", ")
            };
            let again = if o.idempotent { "yes" } else { "no" };
            write!(
                page,
                "\n### {} {}\n\n    {}({}) -> ({})\n\n{}\n\nAgain: {again}.\n",
                o.number,
                o.name,
                o.name,
                list(o.arguments),
                list(o.results),
                o.doc
                    .iter()
                    .map(|l| l.trim())
                    .collect::<Vec<_>>()
                    .join("\n"),
            )
            .unwrap();
        }
    }
    page
}

#[test]
fn the_page_is_what_the_declarations_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/services.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == page(),
        "docs/services.md is stale: run with UPDATE=1"
    );
}

#[test]
fn numbers_are_unique_and_ascend_and_every_operation_is_explained() {
    for (title, _, version, operations) in SERVICES {
        assert!(*version > 0 && !operations.is_empty(), "{title}");
        assert!(
            operations.windows(2).all(|w| w[0].number < w[1].number),
            "{title}"
        );
        assert!(operations[0].number > 0, "0 is the version's");
        for operation in *operations {
            assert!(
                operation.doc.iter().any(|line| line.trim().ends_with('.')),
                "{title}"
            );
        }
    }
}
