//! The text of `docs/templates.md`.

use std::fmt::Write as _;

use latchkey_templating::reference::Entry;
use latchkey_templating::{Limits, reference};

/// The whole page.
pub(crate) fn page() -> String {
    let mut page = include_str!("preface.md").to_owned();
    page.push_str(&limits());
    page.push_str(
        "\nOne object may also name at most 64 other objects in `templateFrom`, and its templates may be 8 MiB long together; \
         all of them together may take 20 times the steps and twice the cryptography of one. The \
         same holds for all rewrites of a `dataFrom` entry on all of its keys.\n\
         \n## Functions\n\n\
         The types: `any` takes everything; `list` is a list of any, `strings`, `ints` and `lists` are lists of one type; `dict` is \
         a map from string to any, `smap` one from string to string; `alg` takes a literal string only. `any...` stands for any number. Behind `=>` is what the example renders to.\n",
    );
    let mut subject = "";
    for entry in reference() {
        if entry.subject != subject {
            subject = entry.subject;
            let _ = write!(page, "\n### {subject}\n");
        }
        write_entry(&mut page, &entry);
    }
    page
}

fn limits() -> String {
    let Limits {
        steps,
        memory,
        output,
        nesting,
        pattern,
        cryptography,
    } = Limits::default();
    format!(
        "\n| limit | value | of |\n|---|---|---|\n\
         | steps | {steps} | tokens of the text, nodes that are run, and list elements and each 2 to 64 bytes that a function touches |\n\
         | memory | {} MiB | all values that a render makes, garbage included |\n\
         | output | {} MiB | the text that is rendered; also of all templates of an object together |\n\
         | nesting | {nesting} | parentheses, blocks, template calls, values in values |\n\
         | pattern size | {} MiB | a compiled regular expression |\n\
         | cryptography | {cryptography} | operations of about 100 ms of processor time: a bcrypt hash, an RSA key of 2048 bits; one of 4096 bits is 4, `derivePassword` 2, a DSA key 12 |\n",
        memory >> 20,
        output >> 20,
        pattern >> 20,
    )
}

fn write_entry(page: &mut String, entry: &Entry) {
    let output = if entry.output.is_empty() {
        "(nothing)"
    } else {
        entry.output
    };
    let _ = write!(
        page,
        "\n#### {}\n\n`{}` ({}). {}\n\n```\n{}\n=> {output}\n```\n",
        entry.name,
        entry.signature(),
        entry.source,
        entry.summary,
        entry.example,
    );
}
