//! Target paths: `spec.rules[0].to`, a key or index at a time (`externalsecret.md` 5.4).

use latchkey_templating::Tree;

/// The largest index of a path.
const LARGEST_INDEX: i64 = 10_000;
/// The most steps of a path. Objects are not that deep, and what walks them is recursive.
const MOST_STEPS: usize = 128;
/// The most items that all paths of an object may add to lists.
const MOST_ITEMS: usize = 100_000;

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// A path that begins with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) steps: Vec<Step>,
}

/// How many items lists may still get.
pub(super) struct Room(usize);

// === impl Step ===

impl Step {
    pub(super) fn key(name: &str) -> Self {
        Self::Key(name.to_owned())
    }
}

// === impl Room ===

impl Default for Room {
    fn default() -> Self {
        Self(MOST_ITEMS)
    }
}

// === impl Path ===

impl Path {
    /// Reads the text of a path. Errors are in upstream's words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let invalid = |why: String| format!("invalid path {text:?}: {why}");
        let mut steps = Vec::new();
        for segment in text.split('.') {
            let (name, indexes) = match segment.find('[') {
                Some(at) => segment.split_at(at),
                None => (segment, ""),
            };
            if segment.is_empty() {
                return Err(invalid("empty segment".to_owned()));
            }
            if !name.is_empty() {
                steps.push(Step::key(name));
            }
            add_indexes(indexes, &mut steps).map_err(invalid)?;
        }
        if matches!(steps.first(), Some(Step::Index(_))) {
            return Err(invalid("path must start with a key".to_owned()));
        }
        if steps.len() > MOST_STEPS {
            return Err(invalid(format!("more than {MOST_STEPS} steps")));
        }
        Ok(Self { steps })
    }
}

/// Reads `[0][1]`.
fn add_indexes(mut rest: &str, steps: &mut Vec<Step>) -> Result<(), String> {
    while !rest.is_empty() {
        let Some(inner) = rest.strip_prefix('[') else {
            return Err(format!("expected '[' near {rest:?}"));
        };
        let Some((index, after)) = inner.split_once(']') else {
            return Err("unterminated '['".to_owned());
        };
        let Ok(number) = index.parse::<i64>() else {
            return Err(format!("bad index {index:?}"));
        };
        let place = usize::try_from(number).map_err(|_| format!("negative index {number}"))?;
        if number > LARGEST_INDEX {
            return Err(format!("index {number} exceeds maximum ({LARGEST_INDEX})"));
        }
        steps.push(Step::Index(place));
        rest = after;
    }
    Ok(())
}

/// Walks down from `root`, makes the maps and lists that are missing, and hands the place at the end to `leaf`: null if there was
/// nothing. Lists grow by nulls.
pub(super) fn set(
    root: &mut Tree,
    steps: &[Step],
    room: &mut Room,
    leaf: impl FnOnce(&mut Tree),
) -> Result<(), String> {
    let mut node = root;
    for step in steps {
        node = down(node, step, room)?;
    }
    leaf(node);
    Ok(())
}

fn down<'a>(node: &'a mut Tree, step: &Step, room: &mut Room) -> Result<&'a mut Tree, String> {
    let found = node.type_name();
    match step {
        Step::Key(name) => {
            if node.is_null() {
                *node = Tree::map();
            }
            let Tree::Map(map) = node else {
                return Err(format!("expected map at key {name:?} but found {found}"));
            };
            Ok(map.entry(name.clone()).or_insert(Tree::Null))
        }
        Step::Index(index) => {
            if node.is_null() {
                *node = Tree::List(Vec::new());
            }
            let Tree::List(items) = node else {
                return Err(format!("expected array at index {index} but found {found}"));
            };
            let missing = (index + 1).saturating_sub(items.len());
            let Some(left) = room.0.checked_sub(missing) else {
                return Err(format!("lists would grow by more than {MOST_ITEMS} items"));
            };
            room.0 = left;
            items.resize(items.len() + missing, Tree::Null);
            // It is there now.
            items
                .get_mut(*index)
                .ok_or_else(|| format!("no item {index}"))
        }
    }
}
