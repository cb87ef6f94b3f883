//! Entry bundles: up to 256 entries, each behind its length as a big-endian 16-bit number.

use crate::ENTRY_BYTES_MAX;
use crate::tile::TILE_WIDTH;

/// The largest bundle there can be, in bytes (about 16 MiB).
pub const BUNDLE_BYTES_MAX: usize = TILE_WIDTH as usize * (2 + ENTRY_BYTES_MAX);

/// An entry that fits no bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the entry has {bytes} bytes, a log takes at most 65535: keep the large part outside and log its hash"
)]
pub struct EntryTooLong {
    /// How long it is.
    pub bytes: usize,
}

/// Bytes that are not a bundle of the expected width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The bytes end inside an entry.
    #[error("the bundle ends inside entry {position}: the file is cut or damaged, publish it again")]
    Cut {
        /// Which entry of the bundle, from 0.
        position: u16,
    },
    /// The bundle holds more or fewer entries than its path says.
    #[error(
        "the bundle holds {found} entries where its path says {expected}: the file is damaged, publish it again"
    )]
    Width {
        /// What the path says.
        expected: u16,
        /// What was found, counted up to 257.
        found: u16,
    },
}

/// Appends one entry to a bundle.
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), EntryTooLong> {
    let length = u16::try_from(entry.len()).map_err(|_| EntryTooLong { bytes: entry.len() })?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// Splits a bundle into its entries; there must be exactly `width` of them and nothing behind.
pub fn split_entries(bundle: &[u8], width: u16) -> Result<Vec<&[u8]>, BundleError> {
    let (entries, rest) = split_prefix(bundle, width)?;
    if rest.is_empty() { Ok(entries) } else { Err(BundleError::Width { expected: width, found: width + 1 }) }
}

/// Splits off the first `width` entries and returns what stands behind them.
pub(crate) fn split_prefix(bundle: &[u8], width: u16) -> Result<(Vec<&[u8]>, &[u8]), BundleError> {
    let mut entries = Vec::with_capacity(usize::from(width.min(TILE_WIDTH)));
    let mut rest = bundle;
    for position in 0..width {
        if rest.is_empty() {
            return Err(BundleError::Width { expected: width, found: position });
        }
        let cut = BundleError::Cut { position };
        let (length, behind) = rest.split_first_chunk().ok_or(cut)?;
        let (entry, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(cut)?;
        entries.push(entry);
        rest = behind;
    }
    Ok((entries, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bundle(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        entries.iter().for_each(|entry| push_entry(&mut bytes, entry).unwrap());
        bytes
    }

    #[test]
    fn the_longest_entry_fits_and_one_byte_more_does_not() {
        let mut bytes = Vec::new();
        push_entry(&mut bytes, &vec![7; 65_535]).unwrap();
        assert_eq!(bytes.len(), 65_537);
        assert_eq!(split_entries(&bytes, 1).unwrap(), [&vec![7; 65_535][..]]);
        let before = bytes.clone();
        assert_eq!(push_entry(&mut bytes, &vec![7; 65_536]), Err(EntryTooLong { bytes: 65_536 }));
        assert_eq!(bytes, before);
    }

    #[test]
    fn bytes_on_the_wire() {
        assert_eq!(bundle(&[b"ab".to_vec(), vec![]]), [0, 2, b'a', b'b', 0, 0]);
        assert_eq!(split_entries(&[], 0), Ok(vec![]));
        assert_eq!(split_entries(&[0], 1), Err(BundleError::Cut { position: 0 }));
        assert_eq!(split_entries(&[0, 1], 1), Err(BundleError::Cut { position: 0 }));
        assert_eq!(split_entries(&[0, 0, 0, 0], 1), Err(BundleError::Width { expected: 1, found: 2 }));
        assert_eq!(split_entries(&[0, 0], 2), Err(BundleError::Width { expected: 2, found: 1 }));
    }

    proptest! {
        #[test]
        fn any_entries_survive(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let bytes = bundle(&entries);
            let width = entries.len() as u16;
            prop_assert_eq!(split_entries(&bytes, width).unwrap(), entries);
            prop_assert!(split_entries(&bytes, width + 1).is_err());
            for length in 0..bytes.len() {
                prop_assert!(split_entries(&bytes[..length], width).is_err());
            }
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), width in 0..=256_u16) {
            if let Ok(entries) = split_entries(&bytes, width) {
                let entries: Vec<Vec<u8>> = entries.into_iter().map(<[u8]>::to_vec).collect();
                prop_assert_eq!(bundle(&entries), bytes);
            }
        }
    }
}
