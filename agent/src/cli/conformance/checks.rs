//! The checks, by the numbers of provider-protocol.md 15.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::report::{Checked, Steps};
use super::subject::{Generator, Store};
use super::suite::Suite;
use super::{connection, generators, stores, writes};

/// One line of the checklist that a server can be asked about.
pub(super) struct Check {
    /// Its number.
    pub(super) number: u8,
    /// What the contract says.
    pub(super) title: &'static str,
    /// Flags without which it, or a part of it, is not run.
    pub(super) needs: &'static str,
    body: Body,
}

type Run<T> = for<'a> fn(&'a Suite, &'a T, &'a mut Steps) -> BoxFuture<'a, ()>;

/// What a check is about.
enum Body {
    /// The store of `--provider-ref`.
    Store(Run<Store>),
    /// The generator of `--generator-ref`.
    Generator(Run<Generator>),
    /// Whatever is served.
    Any(for<'a> fn(&'a Suite, &'a mut Steps) -> BoxFuture<'a, ()>),
}

/// All checks. Lines 19 to 25, 28 to 30 and 32 bind the client and are not here.
pub(super) const TABLE: &[Check] = &[
    Check {
        number: 1,
        title: "capabilities of a served kind are told, even of an object that does not exist",
        needs: "--provider-ref",
        body: Body::Store(|suite, store, steps| stores::capabilities(suite, store, steps).boxed()),
    },
    Check {
        number: 2,
        title: "an api version without a group is refused",
        needs: "--provider-ref",
        body: Body::Store(|suite, store, steps| stores::api_version(suite, store, steps).boxed()),
    },
    Check {
        number: 3,
        title: "a kind that is not served is refused",
        needs: "--provider-ref",
        body: Body::Store(|suite, store, steps| stores::kind(suite, store, steps).boxed()),
    },
    Check {
        number: 4,
        title: "a value comes byte for byte, and a missing one is NOT_FOUND",
        needs: "--provider-ref, --existing",
        body: Body::Store(|suite, store, steps| stores::value(suite, store, steps).boxed()),
    },
    Check {
        number: 5,
        title: "versions and properties are found, or NOT_FOUND",
        needs: "--provider-ref, --existing, --json",
        body: Body::Store(|suite, store, steps| stores::parts(suite, store, steps).boxed()),
    },
    Check {
        number: 6,
        title: "a source namespace is required, but for Validate",
        needs: "--provider-ref",
        body: Body::Store(|suite, store, steps| stores::source(suite, store, steps).boxed()),
    },
    Check {
        number: 7,
        title: "a provider reference is required",
        needs: "--provider-ref",
        body: Body::Store(|suite, store, steps| stores::reference(suite, store, steps).boxed()),
    },
    Check {
        number: 8,
        title: "the object is read in its namespace, or else in the caller's",
        needs: "--provider-ref",
        body: Body::Store(|suite, store, steps| stores::namespaces(suite, store, steps).boxed()),
    },
    Check {
        number: 9,
        title: "a missing object is never a missing secret",
        needs: "--provider-ref",
        body: Body::Store(|suite, store, steps| stores::absent_object(suite, store, steps).boxed()),
    },
    Check {
        number: 10,
        title: "a map has strings as their text and other members as their JSON text",
        needs: "--provider-ref, --existing, --json",
        body: Body::Store(|suite, store, steps| stores::map(suite, store, steps).boxed()),
    },
    Check {
        number: 11,
        title: "a search finds what matches, with the value of the highest version",
        needs: "--provider-ref, --find-regexp, --existing or --found",
        body: Body::Store(|suite, store, steps| stores::find(suite, store, steps).boxed()),
    },
    Check {
        number: 12,
        title: "what is pushed is read, and a push over what is not the provider's to change is refused",
        needs: "--provider-ref, --write, --protected",
        body: Body::Store(|suite, store, steps| writes::push(suite, store, steps).boxed()),
    },
    Check {
        number: 13,
        title: "a delete of nothing succeeds, and SecretExists tells what is there",
        needs: "--provider-ref, --write",
        body: Body::Store(|suite, store, steps| writes::delete(suite, store, steps).boxed()),
    },
    Check {
        number: 14,
        title: "Validate tells whether the object can be used",
        needs: "--provider-ref, --invalid-ref, --unsure-ref",
        body: Body::Store(|suite, store, steps| stores::validation(suite, store, steps).boxed()),
    },
    Check {
        number: 15,
        title: "health is that of the empty service name",
        needs: "",
        body: Body::Any(|suite, steps| connection::health(suite, steps).boxed()),
    },
    Check {
        number: 16,
        title: "only client certificates of the authority are served",
        needs: "--server-cert, --server-key",
        body: Body::Any(|suite, steps| connection::certificates(suite, steps).boxed()),
    },
    Check {
        number: 17,
        title: "an idle connection that is pinged every 10 s stays open",
        needs: "--slow",
        body: Body::Any(|suite, steps| connection::pings(suite, steps).boxed()),
    },
    Check {
        number: 18,
        title: "a push of 5 MiB is RESOURCE_EXHAUSTED and hurts nothing else",
        needs: "--provider-ref, --write",
        body: Body::Store(|suite, store, steps| writes::large(suite, store, steps).boxed()),
    },
    Check {
        number: 26,
        title: "values are made, and a kind of another group is refused",
        needs: "--generator-ref",
        body: Body::Generator(|suite, generator, steps| {
            generators::generate(suite, generator, steps).boxed()
        }),
    },
    Check {
        number: 27,
        title: "Cleanup may repeat",
        needs: "--generator-ref",
        body: Body::Generator(|suite, generator, steps| {
            generators::cleanup(suite, generator, steps).boxed()
        }),
    },
    Check {
        number: 31,
        title: "calls that the client gives up leave server and connection usable",
        needs: "",
        body: Body::Any(|suite, steps| connection::abandoned(suite, steps).boxed()),
    },
];

// === impl Check ===

impl Check {
    pub(super) async fn run(&self, suite: &Suite) -> Checked {
        let mut steps = Steps::default();
        match (&self.body, &suite.store, &suite.generator) {
            (Body::Store(run), Some(store), _) => run(suite, store, &mut steps).await,
            (Body::Generator(run), _, Some(generator)) => run(suite, generator, &mut steps).await,
            (Body::Any(run), _, _) => run(suite, &mut steps).await,
            (Body::Store(_), None, _) => steps.skip("all of it", "--provider-ref"),
            (Body::Generator(_), _, None) => steps.skip("all of it", "--generator-ref"),
        }
        steps.checked(self)
    }
}

/// Reads the number of a check, as in `PC-04`.
pub(super) fn number(text: &str) -> Result<u8, String> {
    let digits = text.strip_prefix("PC-").unwrap_or(text);
    let number = digits.parse::<u8>().ok();
    number
        .filter(|number| TABLE.iter().any(|check| check.number == *number))
        .ok_or_else(|| String::from("is no check of a server, such as PC-04"))
}
