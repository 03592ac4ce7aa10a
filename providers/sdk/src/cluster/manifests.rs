//! Objects as manifests in a directory, for a machine without Kubernetes.
//!
//! What is remembered is which file holds which object, never a content: a lookup looks whether the directory changed and reads
//! the one file again. So a change takes effect at once, and a credential is in memory only while it is used.
//!
//! The files decide where this server sends credentials, so a file that somebody else could have written is left out, and so is
//! one with a Secret that others may read. Each is named in the log once.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

use super::Object;
use crate::error::{ErrorClass, ProviderError, Result};

/// Largest file that is read, bytes.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// Most files that are looked at.
const MAX_FILES: usize = 1024;
/// Namespace of an object that names none.
const DEFAULT_NAMESPACE: &str = "default";

/// The directory. Clones share what is known of it.
#[derive(Clone)]
pub(super) struct Manifests(Arc<Shared>);

struct Shared {
    directory: PathBuf,
    index: Mutex<Arc<Index>>,
}

/// Which file holds which object.
#[derive(Default)]
struct Index {
    stamps: Vec<(PathBuf, Stamp)>,
    places: HashMap<Key, Spot>,
}

/// Two equal stamps of a path mean one content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
}

/// Where an object is.
#[derive(Clone, Debug)]
struct Spot {
    file: PathBuf,
    document: usize,
    version: String,
}

/// The part of an object that tells which one it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: String,
    kind: String,
    metadata: HeadMetadata,
}

#[derive(Deserialize)]
struct HeadMetadata {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
}

// === impl Manifests ===

impl Manifests {
    /// Looks at the directory once; files that cannot be used are logged.
    pub(super) fn open(directory: PathBuf) -> io::Result<Self> {
        let index = read_index(&directory, &Index::default())?.unwrap_or_default();
        Ok(Self(Arc::new(Shared {
            directory,
            index: Mutex::new(Arc::new(index)),
        })))
    }

    /// The object as its file has it now.
    pub(super) async fn get<K>(&self, object: Object<'_>, missing: ErrorClass) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + DeserializeOwned
            + Send
            + 'static,
    {
        let key = Key {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            namespace: object.namespace.to_owned(),
            name: object.name.to_owned(),
        };
        let shared = Arc::clone(&self.0);
        let found = tokio::task::spawn_blocking(move || shared.find::<K>(&key)).await;
        match found {
            Ok(Ok(Some(found))) => Ok(found),
            Ok(Ok(None)) => Err(ProviderError::new(missing, object.missing())),
            Ok(Err(Trouble::Shape)) => Err(ProviderError::new(
                ErrorClass::InvalidConfig,
                format!("{object} does not have the expected shape"),
            )),
            Ok(Err(Trouble::Io(error))) => Err(ProviderError::new(
                ErrorClass::BackendUnavailable,
                format!("the manifest of {object} cannot be read: {}", error.kind()),
            )),
            Err(_) => Err(ProviderError::internal(format!(
                "reading the manifest of {object} failed unexpectedly"
            ))),
        }
    }
}

/// Why there is no answer. Neither says anything about what a file holds.
#[derive(Debug)]
enum Trouble {
    Io(io::Error),
    Shape,
}

impl Shared {
    fn find<K>(&self, key: &Key) -> Result<Option<K>, Trouble>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let index = self.current().map_err(Trouble::Io)?;
        let Some(spot) = index.places.get(key) else {
            return Ok(None);
        };
        let text = read(&spot.file).map_err(Trouble::Io)?.1;
        let documents = documents(&text).ok_or(Trouble::Shape)?;
        let mut wanted = None;
        for (number, mut document) in documents.into_iter().enumerate() {
            if number == spot.document {
                wanted = Some(document);
            } else {
                wipe(&mut document);
            }
        }
        // The file may have been replaced a moment ago; then the next request finds it by its new order.
        let mut document = wanted
            .filter(|document| Key::of(document).as_ref() == Some(key))
            .ok_or(Trouble::Shape)?;
        move_string_data(&mut document);
        let mut object: K = serde_json::from_value(document).map_err(|_| Trouble::Shape)?;
        let metadata = object.meta_mut();
        metadata.namespace = Some(key.namespace.clone());
        metadata.resource_version = Some(spot.version.clone());
        Ok(Some(object))
    }

    /// The index of the directory as it is now.
    fn current(&self) -> io::Result<Arc<Index>> {
        let known = Arc::clone(&self.index.lock());
        match read_index(&self.directory, &known)? {
            None => Ok(known),
            Some(new) => {
                let new = Arc::new(new);
                *self.index.lock() = Arc::clone(&new);
                Ok(new)
            }
        }
    }
}

// === impl Key ===

impl Key {
    fn of(document: &Value) -> Option<Self> {
        let head = Head::deserialize(document).ok()?;
        Some(Self {
            api_version: head.api_version,
            kind: head.kind,
            namespace: head
                .metadata
                .namespace
                .filter(|namespace| !namespace.is_empty())
                .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
            name: head.metadata.name,
        })
    }
}

// === impl Stamp ===

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The index of `directory`, or `None` if it is as `known` has it.
fn read_index(directory: &Path, known: &Index) -> io::Result<Option<Index>> {
    let metadata = std::fs::metadata(directory)?;
    if !metadata.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::NotADirectory,
            format!("{} is not a directory", directory.display()),
        ));
    }
    guarded(&metadata, false).map_err(|reason| {
        io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} {reason}", directory.display()),
        )
    })?;
    let mut stamps = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if !is_manifest(&path) {
            continue;
        }
        // A file that goes away meanwhile is not there.
        if let Ok(metadata) = std::fs::metadata(&path)
            && metadata.is_file()
        {
            stamps.push((path, Stamp::from(&metadata)));
        }
        if stamps.len() > MAX_FILES {
            return Err(io::Error::other(format!(
                "{} holds more than {MAX_FILES} manifests",
                directory.display()
            )));
        }
    }
    stamps.sort_by(|left, right| left.0.cmp(&right.0));
    if stamps == known.stamps && !known.stamps.is_empty() {
        return Ok(None);
    }
    let mut places = HashMap::new();
    for (path, stamp) in &stamps {
        let is_new = !known.stamps.contains(&(path.clone(), *stamp));
        match read_heads(path) {
            Ok(heads) => {
                for (document, key) in heads {
                    let spot = Spot {
                        file: path.clone(),
                        document,
                        version: version(path, *stamp),
                    };
                    if let Some(earlier) = places.get(&key) {
                        let earlier: &Spot = earlier;
                        tracing::warn!(
                            kind = key.kind, namespace = key.namespace, name = key.name,
                            used = %earlier.file.display(), left_out = %path.display(),
                            "two manifests of one object"
                        );
                    } else {
                        places.insert(key, spot);
                    }
                }
            }
            Err(reason) if is_new => {
                tracing::warn!(file = %path.display(), reason, "a manifest is left out");
            }
            Err(_) => {}
        }
    }
    Ok(Some(Index { stamps, places }))
}

fn is_manifest(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|extension| extension.to_str());
    !hidden && matches!(extension, Some("yaml" | "yml" | "json"))
}

/// Opaque, and another one whenever the file changed. Not a digest: that of a short secret is as good as the secret.
fn version(path: &Path, stamp: Stamp) -> String {
    format!(
        "{}:{}:{}.{}:{}.{}",
        path.display(),
        stamp.inode,
        stamp.modified.0,
        stamp.modified.1,
        stamp.changed.0,
        stamp.changed.1
    )
}

/// The objects of a file by their number in it, or why it cannot be used.
fn read_heads(path: &Path) -> Result<Vec<(usize, Key)>, String> {
    let (metadata, text) = read(path).map_err(|error| format!("it cannot be read: {error}"))?;
    guarded(&metadata, false)?;
    let documents = documents(&text)
        .ok_or_else(|| String::from("it is not YAML or JSON, or not a list of objects"))?;
    let mut heads = Vec::new();
    let mut has_secret = false;
    for (number, mut document) in documents.into_iter().enumerate() {
        if document.is_null() {
            continue;
        }
        let key = Key::of(&document);
        wipe(&mut document);
        let key = key
            .ok_or_else(|| format!("document {number} lacks apiVersion, kind or metadata.name"))?;
        has_secret |= key.kind == Secret::kind(&()) && key.api_version == "v1";
        heads.push((number, key));
    }
    if has_secret {
        guarded(&metadata, true)?;
    }
    Ok(heads)
}

/// The text is wiped when it is dropped.
fn read(path: &Path) -> io::Result<(Metadata, Zeroizing<String>)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.len() > MAX_FILE {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "a manifest may have 4 MiB",
        ));
    }
    let capacity = usize::try_from(metadata.len()).unwrap_or_default() + 1;
    // Reserved at once: a text that grows leaves copies behind that nobody wipes.
    let mut text = Zeroizing::new(String::with_capacity(capacity));
    file.take(MAX_FILE).read_to_string(&mut text)?;
    Ok((metadata, text))
}

/// The parser's error could quote the text, so there is none.
fn documents(text: &str) -> Option<Vec<Value>> {
    serde_saphyr::from_multiple(text).ok()
}

/// Whether only root and the user of this process could have written a file, and if `secret`, whether no other may read it.
fn guarded(metadata: &Metadata, secret: bool) -> Result<(), String> {
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != own {
        return Err(format!(
            "belongs to user {}; it must belong to root or user {own}",
            metadata.uid()
        ));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(String::from(
            "may be written by its group or by others; take that right away (chmod go-w)",
        ));
    }
    if secret && metadata.mode() & 0o007 != 0 {
        return Err(String::from(
            "holds a Secret and may be read by others; take that right away (chmod o-rwx)",
        ));
    }
    Ok(())
}

/// As the API server does with `stringData`: it wins over `data`.
fn move_string_data(document: &mut Value) {
    use base64::Engine as _;
    let Some(Value::Object(texts)) = document
        .as_object_mut()
        .filter(|object| object.get("kind").is_some_and(|kind| kind == "Secret"))
        .and_then(|object| object.remove("stringData"))
    else {
        return;
    };
    let data = &mut document["data"];
    if data.is_null() {
        *data = Value::Object(serde_json::Map::new());
    }
    for (key, mut value) in texts {
        if let Some(text) = value.as_str() {
            data[&key] = base64::engine::general_purpose::STANDARD
                .encode(text)
                .into();
        }
        wipe(&mut value);
    }
}

/// Wipes every text of a document.
fn wipe(document: &mut Value) {
    match document {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(map) => map.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests;
