//! The unfinished tile of each level: what publisher and verifier carry along a log of any length.

use crate::frontier::root_of;
use crate::hash::Hash;
use crate::tile::{Kind, LEVEL_MAX, TILE_WIDTH, Tile};

const LEVELS: usize = LEVEL_MAX as usize + 1;

/// The hashes that stand in no full tile yet, level by level; never more than 255 each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edge {
    size: u64,
    levels: [Vec<Hash>; LEVELS],
}

impl Edge {
    /// The edge of a tree of this size, each level as `load` finds it.
    pub(crate) fn load<E>(size: u64, mut load: impl FnMut(Tile) -> Result<Vec<Hash>, E>) -> Result<Self, E> {
        let mut edge = Edge { size, ..Edge::default() };
        for (level, row) in (0..=LEVEL_MAX).zip(&mut edge.levels) {
            if let Some(tile) = last_tile(level, size).filter(|tile| !tile.is_full()) {
                *row = load(tile)?;
            }
        }
        Ok(edge)
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf and hands every tile that it fills to `filled`. After an error the edge is of no use.
    pub(crate) fn push<E>(
        &mut self,
        leaf: Hash,
        mut filled: impl FnMut(Tile, &[Hash]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.size = self.size.saturating_add(1);
        let mut node = leaf;
        for (level, row) in (0..=LEVEL_MAX).zip(&mut self.levels) {
            row.push(node);
            if row.len() < usize::from(TILE_WIDTH) {
                break;
            }
            if let Some(tile) = last_tile(level, self.size) {
                filled(tile, row)?;
            }
            node = root_of(row.drain(..));
        }
        Ok(())
    }

    /// The partial tiles, lowest level first.
    pub(crate) fn partial(&self) -> impl Iterator<Item = (Tile, &[Hash])> {
        let rows = (0..=LEVEL_MAX).zip(&self.levels).filter(|(_, row)| !row.is_empty());
        rows.filter_map(|(level, row)| Some((last_tile(level, self.size)?, row.as_slice())))
    }

    /// The root of the whole tree: what is unfinished below hangs to the right of each level's row.
    pub(crate) fn root(&self) -> Hash {
        let rows = self.levels.iter().filter(|row| !row.is_empty());
        let below = |rest: Option<Hash>, row: &Vec<Hash>| Some(root_of(row.iter().copied().chain(rest)));
        rows.fold(None, below).unwrap_or(Hash::EMPTY_ROOT)
    }
}

fn last_tile(level: u8, size: u64) -> Option<Tile> {
    Tile::last_in_tree(Kind::Hashes { level }, size)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::Frontier;
    use crate::hash::leaf_hash;
    use crate::tile::growth;

    #[test]
    fn agrees_with_the_frontier_and_fills_the_tiles_of_the_growth() {
        let (mut edge, mut frontier, mut tiles) = (Edge::default(), Frontier::new(), Vec::new());
        for i in 0..70_000_u32 {
            let leaf = leaf_hash(&i.to_be_bytes());
            frontier.push(leaf);
            let Ok(()) = edge.push::<Infallible>(leaf, |tile, hashes| {
                assert_eq!(hashes.len(), 256);
                tiles.push(tile);
                Ok(())
            });
            if i % 97 == 0 || i > 65_500 && i < 65_600 {
                assert_eq!(edge.root(), frontier.root(), "size {}", i + 1);
            }
        }
        assert_eq!(edge.root(), frontier.root());
        tiles.extend(edge.partial().map(|(tile, hashes)| {
            assert_eq!(hashes.len(), usize::from(tile.width()));
            tile
        }));
        tiles.sort_unstable();
        let expected: Vec<Tile> = growth(0, 70_000).filter(|tile| tile.kind() != Kind::Entries).collect();
        assert_eq!(tiles, expected);
    }
}
