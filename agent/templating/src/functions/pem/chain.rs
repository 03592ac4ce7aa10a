//! Putting certificates in the order from the leaf to the root, by key ids alone.

use zeroize::Zeroizing;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::pem;
use crate::x509::{self, Certificate};

/// The bodies of all blocks of a PEM text.
pub(crate) fn blocks(cx: &mut Context, mut input: &[u8]) -> Result<Vec<Zeroizing<Vec<u8>>>> {
    cx.allocate(input.len())?;
    let mut blocks = Vec::new();
    loop {
        let (block, rest) = pem::decode(input);
        input = rest;
        match block {
            Some(block) => blocks.push(block.bytes),
            None => return Ok(blocks),
        }
        cx.allocate(size_of::<Certificate>())?;
    }
}

/// Reads certificates and orders them: each is followed by the first other one whose subject key id is its authority key id.
pub(crate) fn ordered<'a>(
    cx: &mut Context,
    blocks: &'a [Zeroizing<Vec<u8>>],
) -> Result<Vec<Certificate<'a>>> {
    let mut certificates = Vec::with_capacity(blocks.len());
    for block in blocks {
        certificates.push(Some(x509::parse(cx, block)?));
    }
    let order = order(cx, &certificates)?;
    let chain = order
        .into_iter()
        .filter_map(|index| certificates.get_mut(index).and_then(Option::take));
    Ok(chain.collect())
}

fn order(cx: &mut Context, certificates: &[Option<Certificate>]) -> Result<Vec<usize>> {
    let count = certificates.len() as u64;
    cx.work(count.saturating_mul(count))?;
    let certificates = || certificates.iter().flatten().enumerate();
    let mut parents = Vec::new();
    let mut is_parent = vec![false; certificates().count()];
    for (index, certificate) in certificates() {
        let authority = certificate.authority_key_id.unwrap_or_default();
        let parent = certificates()
            .find(|(other, parent)| {
                *other != index && parent.subject_key_id.unwrap_or_default() == authority
            })
            .map(|(parent, _)| parent);
        if let Some(flag) = parent.and_then(|parent| is_parent.get_mut(parent)) {
            *flag = true;
        }
        parents.push(parent);
    }
    let mut leaves = (0..parents.len()).filter(|index| is_parent.get(*index) == Some(&false));
    let Some(leaf) = leaves.next() else {
        return Err(Failure::plain("no leaf certificate found"));
    };
    if leaves.next().is_some() {
        return Err(Failure::plain(
            "found multiple leaf or disjunct certificates",
        ));
    }
    let mut chain = vec![leaf];
    let mut next = parents.get(leaf).copied().flatten();
    while let Some(index) = next {
        if chain.len() == parents.len() {
            return Err(Failure::plain("constructing chain resulted in cycle"));
        }
        chain.push(index);
        next = parents.get(index).copied().flatten();
    }
    Ok(chain)
}
