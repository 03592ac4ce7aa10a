//! What the structs that templates meet are made of: verbs that take no text print their fields.

use crate::time::{Time, Zone};
use crate::value::{Certificate, Text, Value};
use crate::version::Version;

/// A field of a struct.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) content: Content,
}

/// What a field holds.
pub(super) enum Content {
    Value(Value),
    /// A nil slice of the named type.
    NilSlice(&'static str),
    /// A pointer of the named type, not followed; `None` is nil.
    Pointer(&'static str, Option<Value>),
}

fn value_field(name: &'static str, value: Value) -> Field {
    Field {
        name,
        content: Content::Value(value),
    }
}

/// The fields of a certificate.
pub(super) fn certificate_fields(certificate: &Certificate) -> [Field; 2] {
    [
        value_field("Cert", Value::Text(certificate.certificate.clone())),
        value_field("Key", Value::Text(certificate.key.clone())),
    ]
}

/// The fields of a version.
pub(super) fn version_fields(version: &Version) -> [Field; 6] {
    [
        value_field("major", Value::Uint64(version.major())),
        value_field("minor", Value::Uint64(version.minor())),
        value_field("patch", Value::Uint64(version.patch())),
        value_field("pre", Value::Text(version.prerelease().clone())),
        value_field("metadata", Value::Text(version.metadata().clone())),
        value_field("original", Value::Text(version.original().clone())),
    ]
}

/// The fields of a time.
pub(super) fn time_fields(time: &Time) -> [Field; 3] {
    let (wall, extension) = time.raw();
    let location = match time.zone() {
        Zone::Utc => None,
        zone => Some(Value::Location(zone.clone())),
    };
    [
        value_field("wall", Value::Uint64(wall)),
        value_field("ext", Value::Int64(extension)),
        Field {
            name: "loc",
            content: Content::Pointer("*time.Location", location),
        },
    ]
}

/// The fields of a location, as those of UTC, which has no table.
pub(super) fn location_fields(zone: &Zone) -> [Field; 7] {
    let slice = |name, type_name| Field {
        name,
        content: Content::NilSlice(type_name),
    };
    [
        value_field("name", Value::Text(Text::from(zone.name()))),
        slice("zone", "[]time.zone"),
        slice("tx", "[]time.zoneTrans"),
        value_field("extend", Value::of("")),
        value_field("cacheStart", Value::Int64(0)),
        value_field("cacheEnd", Value::Int64(0)),
        Field {
            name: "cacheZone",
            content: Content::Pointer("*time.zone", None),
        },
    ]
}
