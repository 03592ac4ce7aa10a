//! The data of an ExternalSecret, laid out as the files of one volume (csi.md 8, attribute `items`).

use latchkey_csi::backend::{File, FileSet};
use latchkey_secret::SecretData;

use super::attributes::items::{check_collisions, check_path};
use super::attributes::{Layout, quoted};
use super::state::Content;

/// Why data and layout do not fit. Someone must change the ExternalSecret or the pod.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misfit {
    /// `items` asks for a key that the ExternalSecret does not produce.
    #[error("has no key {}, which attribute items asks for", quoted(.key))]
    MissingKey {
        /// The key.
        key: String,
    },
    /// A key cannot be the name of a file, and no item maps it.
    #[error("has key {}, which {rule}; map it with attribute items", quoted(.key))]
    NotAFileName {
        /// The key.
        key: String,
        /// The broken rule of csi.md 5.5.
        rule: String,
    },
    /// Two keys want the same place.
    #[error("cannot be shown: {rule}")]
    Collision {
        /// The collision, in words.
        rule: String,
    },
}

/// The files of a volume with `layout` that shows `content`, and what the volume is to remember of it.
///
/// # Errors
///
/// As for [`lay_out`].
pub(super) fn show(content: &Content, layout: &Layout) -> Result<FileSet, Misfit> {
    // Items hide keys and rename them: such files do not tell what the data was.
    let revision = content.identity.clone();
    Ok(FileSet {
        revision: revision.filter(|_| layout.items.is_none()),
        age: content.fetched.elapsed(),
        ..lay_out(&content.data, layout)?
    })
}

/// The files of a volume with `layout` that shows `data`. Values are shared, not copied.
///
/// # Errors
///
/// A [`Misfit`] for the first key, in the order of the list or of the keys, that cannot be shown.
fn lay_out(data: &SecretData, layout: &Layout) -> Result<FileSet, Misfit> {
    let mut files = Vec::new();
    match &layout.items {
        Some(items) => {
            for item in items {
                let content = match data.get(&item.key) {
                    Some(content) => content,
                    None if layout.is_optional => continue,
                    None => {
                        let key = item.key.clone();
                        return Err(Misfit::MissingKey { key });
                    }
                };
                files.push(File {
                    path: item.path.clone(),
                    mode: item.mode,
                    content: content.clone(),
                });
            }
        }
        None => {
            for (key, content) in data {
                check_path(key).map_err(|rule| Misfit::NotAFileName {
                    key: key.clone(),
                    rule,
                })?;
                files.push(File {
                    path: key.clone(),
                    mode: None,
                    content: content.clone(),
                });
            }
            check_collisions(data.keys().map(|key| (key.as_str(), key.as_str())))
                .map_err(|rule| Misfit::Collision { rule })?;
        }
    }
    Ok(FileSet {
        files,
        ..FileSet::default()
    })
}

#[cfg(test)]
mod tests {
    use latchkey_secret::SecretValue;

    use super::super::attributes::items::Item;
    use super::*;

    fn data(pairs: &[(&str, &str)]) -> SecretData {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), SecretValue::from((*value).to_owned())))
            .collect()
    }

    fn file(path: &str, mode: Option<u32>, content: &str) -> File {
        File {
            path: path.to_owned(),
            mode,
            content: SecretValue::from(content.to_owned()),
        }
    }

    #[test]
    fn without_items_every_key_is_a_file() {
        let set = lay_out(
            &data(&[("password", "p"), ("user", "")]),
            &Layout::default(),
        )
        .unwrap();
        assert_eq!(
            set.files,
            [file("password", None, "p"), file("user", None, "")]
        );
    }

    #[test]
    fn items_hide_all_other_keys_and_their_mode_wins() {
        let layout = Layout {
            items: Some(vec![
                Item {
                    key: String::from("b"),
                    path: String::from("conf/b"),
                    mode: Some(0o600),
                },
                Item {
                    key: String::from("a"),
                    path: String::from("a.txt"),
                    mode: None,
                },
            ]),
            is_optional: false,
        };
        let set = lay_out(&data(&[("a", "1"), ("b", "2"), ("c", "3")]), &layout).unwrap();
        assert_eq!(
            set.files,
            [file("conf/b", Some(0o600), "2"), file("a.txt", None, "1")]
        );
    }

    #[test]
    fn a_missing_item_names_the_key() {
        let items = Some(vec![Item {
            key: String::from("nope"),
            path: String::from("x"),
            mode: None,
        }]);
        let misfit = lay_out(
            &data(&[("a", "1")]),
            &Layout {
                items,
                is_optional: false,
            },
        )
        .unwrap_err();
        assert_eq!(
            misfit.to_string(),
            "has no key \"nope\", which attribute items asks for"
        );
    }

    #[test]
    fn an_optional_volume_leaves_missing_keys_out() {
        let item = |key: &str| Item {
            key: key.to_owned(),
            path: format!("conf/{key}"),
            mode: None,
        };
        let layout = Layout {
            items: Some(vec![item("nope"), item("a")]),
            is_optional: true,
        };
        let set = lay_out(&data(&[("a", "1")]), &layout).unwrap();
        assert_eq!(set.files, [file("conf/a", None, "1")]);
        assert!(lay_out(&data(&[]), &layout).unwrap().files.is_empty());
    }

    #[test]
    fn a_key_that_is_no_file_name_is_refused_unless_an_item_maps_it() {
        // SB-37.
        let values = data(&[("..data", "1")]);
        let misfit = lay_out(&values, &Layout::default()).unwrap_err();
        assert!(
            misfit.to_string().contains("has key \"..data\""),
            "{misfit}"
        );
        let items = Some(vec![Item {
            key: String::from("..data"),
            path: String::from("data"),
            mode: None,
        }]);
        assert!(
            lay_out(
                &values,
                &Layout {
                    items,
                    is_optional: false
                }
            )
            .is_ok()
        );
    }
}
