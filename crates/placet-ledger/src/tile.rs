//! Tiles: where the hashes and entries of a log stand, and under which path.
//!
//! A tile of level `L` holds up to 256 hashes, each of a complete subtree of 256^L entries; an entry bundle has the
//! shape of a level-0 tile and holds the entries themselves. The last tile of a level may be *partial*; its path says
//! how many it holds, so that every path names bytes that never change.
//!
//! ```text
//! tile/0/x001/x234/067        level 0, tile 1,234,067, full
//! tile/1/001.p/17             level 1, tile 1, 17 hashes
//! tile/entries/273.p/112      the entries under tile/0/273.p/112
//! ```

use crate::SIZE_MAX;

/// How many hashes or entries a full tile holds.
pub const TILE_WIDTH: u16 = 256;
/// A level has 256 times fewer nodes than the one below.
const LEVEL_BITS: u32 = 8;
/// The highest level: a subtree of level 8 would be larger than any log.
pub const LEVEL_MAX: u8 = 7;
/// `tile/entries/` and the seven groups of the largest index and `.p/255` fit easily.
const PATH_BYTES_MAX: usize = 64;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Hashes of complete subtrees of 256^level entries.
    Hashes {
        /// 0 for the hashes of the entries themselves.
        level: u8,
    },
    /// The entries.
    Entries,
}

impl Kind {
    /// All kinds there can be, the entries first.
    fn all() -> impl Iterator<Item = Kind> {
        std::iter::once(Kind::Entries).chain((0..=LEVEL_MAX).map(|level| Kind::Hashes { level }))
    }

    const fn level(self) -> u8 {
        match self {
            Kind::Hashes { level } => level,
            Kind::Entries => 0,
        }
    }

    /// How many complete items of this kind a tree has.
    fn items(self, tree_size: u64) -> u64 {
        tree_size.checked_shr(LEVEL_BITS * u32::from(self.level())).unwrap_or(0)
    }
}

/// The place of one tile: what it holds, the how manieth of its kind it is, and how many items it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    kind: Kind,
    index: u64,
    width: u16,
}

/// A path that names no tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the path names no tile: expected tile/<level>/<index>[.p/<width>] or tile/entries/<index>[.p/<width>]"
)]
pub struct NotATile;

impl Tile {
    /// A tile, if a log can have it.
    pub fn new(kind: Kind, index: u64, width: u16) -> Result<Self, NotATile> {
        let items_max = kind.items(SIZE_MAX);
        let first = index.checked_mul(u64::from(TILE_WIDTH)).ok_or(NotATile)?;
        let exists = kind.level() <= LEVEL_MAX && (1..=TILE_WIDTH).contains(&width) && first < items_max;
        if exists { Ok(Tile { kind, index, width }) } else { Err(NotATile) }
    }

    /// The tile number `index` as wide as a tree of this size has it; `None` if the tree does not reach it.
    #[must_use]
    pub fn in_tree(kind: Kind, index: u64, tree_size: u64) -> Option<Self> {
        let first = index.checked_mul(u64::from(TILE_WIDTH))?;
        let items = kind.items(tree_size.min(SIZE_MAX)).checked_sub(first)?;
        let width = u16::try_from(items).unwrap_or(TILE_WIDTH).min(TILE_WIDTH);
        Tile::new(kind, index, width).ok()
    }

    /// The last tile of its kind in a tree of this size.
    #[must_use]
    pub fn last_in_tree(kind: Kind, tree_size: u64) -> Option<Self> {
        let last_item = kind.items(tree_size).checked_sub(1)?;
        Tile::in_tree(kind, last_item / u64::from(TILE_WIDTH), tree_size)
    }

    /// What the tile holds.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The how manieth of its kind it is, from 0.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// How many items it holds, 1 to 256.
    #[must_use]
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// The number of its first item among all items of its kind.
    #[must_use]
    pub const fn first_item(&self) -> u64 {
        self.index * TILE_WIDTH as u64
    }

    /// Whether it holds all that it ever will.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// The full tile at the same place.
    #[must_use]
    pub const fn full(self) -> Self {
        Tile { width: TILE_WIDTH, ..self }
    }

    /// The path below the log's prefix.
    #[must_use]
    pub fn path(&self) -> String {
        let prefix = match self.kind {
            Kind::Hashes { level } => format!("tile/{level}"),
            Kind::Entries => "tile/entries".to_owned(),
        };
        let mut number = format!("{:03}", self.index % 1000);
        let mut higher = self.index / 1000;
        while higher > 0 {
            number = format!("x{:03}/{number}", higher % 1000);
            higher /= 1000;
        }
        if self.is_full() {
            format!("{prefix}/{number}")
        } else {
            format!("{prefix}/{number}.p/{}", self.width)
        }
    }

    /// Reads a path; every tile has one spelling.
    pub fn parse(path: &str) -> Result<Self, NotATile> {
        if path.len() > PATH_BYTES_MAX {
            return Err(NotATile);
        }
        let tile = Self::parse_loosely(path).ok_or(NotATile)?;
        // Leading zeroes, signs and superfluous groups come out differently.
        if tile.path() == path { Ok(tile) } else { Err(NotATile) }
    }

    fn parse_loosely(path: &str) -> Option<Self> {
        let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = match kind {
            "entries" => Kind::Entries,
            level => Kind::Hashes { level: level.parse().ok()? },
        };
        let (groups, width) = match rest.split_once(".p/") {
            Some((groups, width)) => (groups, width.parse().ok()?),
            None => (rest, TILE_WIDTH),
        };
        let mut index: u64 = 0;
        for group in groups.split('/') {
            let digits: u64 = group.strip_prefix('x').unwrap_or(group).parse().ok()?;
            index = index.checked_mul(1000)?.checked_add(digits)?;
        }
        Tile::new(kind, index, width).ok()
    }
}

/// The tiles that a tree of `new_size` has and one of `old_size` has not: entry bundles first, then hashes from the
/// lowest level up, in each the full ones before the partial one.
pub fn growth(old_size: u64, new_size: u64) -> impl Iterator<Item = Tile> {
    // Beyond it there are no tiles, and there is no end of looking for them.
    let (old_size, new_size) = (old_size.min(SIZE_MAX), new_size.min(SIZE_MAX));
    Kind::all().flat_map(move |kind| {
        let (old, new) = (kind.items(old_size), kind.items(new_size));
        let changed =
            if old < new { old / u64::from(TILE_WIDTH)..new.div_ceil(u64::from(TILE_WIDTH)) } else { 0..0 };
        changed.filter_map(move |index| Tile::in_tree(kind, index, new_size))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hashes(level: u8, index: u64, width: u16) -> Tile {
        Tile::new(Kind::Hashes { level }, index, width).unwrap()
    }

    #[test]
    fn paths_have_one_spelling() {
        let cases = [
            ("tile/0/x001/x234/067", hashes(0, 1_234_067, 256)),
            ("tile/1/001.p/17", hashes(1, 1, 17)),
            ("tile/7/000.p/1", hashes(7, 0, 1)),
            ("tile/0/x001/000", hashes(0, 1000, 256)),
            ("tile/entries/273.p/112", Tile::new(Kind::Entries, 273, 112).unwrap()),
        ];
        for (path, tile) in cases {
            assert_eq!(tile.path(), path);
            assert_eq!(Tile::parse(path), Ok(tile), "{path}");
        }
        for wrong in [
            "",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/00",
            "tile/0/0000",
            "tile/0/+00",
            "tile/00/000",
            "tile/+0/000",
            "tile/8/000",
            "tile/63/000",
            "tile/256/000",
            "tile/-1/000",
            "tile/0/x000/001",
            "tile/0/001/001",
            "tile/0/x001",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/000.p/1/",
            "tile/0/000.p/1.p/1",
            "tile/8/0/000",
            "tile/entries/x001",
            "tile/data/000",
            "tile/7/001",
            "/tile/0/000",
            "tile/0/../000",
            "tile/0/x999/x999/x999/x999/x999/x999/999",
            "tile/0/٠٠٠",
        ] {
            assert_eq!(Tile::parse(wrong), Err(NotATile), "{wrong:?}");
        }
        assert_eq!(Tile::parse(&"tile/0/".repeat(100_000)), Err(NotATile));
    }

    #[test]
    fn seventy_thousand_entries_have_the_tiles_of_the_standard() {
        let tiles: Vec<Tile> = growth(0, 70_000).collect();
        let count =
            |kind, full| tiles.iter().filter(|tile| tile.kind() == kind && tile.is_full() == full).count();
        assert_eq!(count(Kind::Entries, true), 273);
        assert_eq!(count(Kind::Hashes { level: 0 }, true), 273);
        assert_eq!(count(Kind::Hashes { level: 1 }, true), 1);
        let partial: Vec<String> = tiles.iter().filter(|tile| !tile.is_full()).map(Tile::path).collect();
        assert_eq!(
            partial,
            ["tile/entries/273.p/112", "tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]
        );
        let at_256: Vec<String> = growth(0, 256).map(|tile| tile.path()).collect();
        assert_eq!(at_256, ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
    }

    proptest! {
        #[test]
        fn any_tile_survives_its_path(level in 0..=LEVEL_MAX, entries: bool, index: u64, width in 1..=TILE_WIDTH) {
            let kind = if entries { Kind::Entries } else { Kind::Hashes { level } };
            let index = index % (kind.items(SIZE_MAX) / 256).max(1);
            let tile = Tile::new(kind, index, width).unwrap();
            prop_assert_eq!(Tile::parse(&tile.path()), Ok(tile));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,80}") {
            if let Ok(tile) = Tile::parse(&text) {
                prop_assert_eq!(tile.path(), text);
            }
        }

        /// Growing in two steps writes every full tile once, and ends with the same partial ones.
        #[test]
        fn growth_is_additive(a in 0..200_000_u64, b in 0..200_000_u64) {
            let (old, new) = (a.min(b), a.max(b));
            let at_once: Vec<Tile> = growth(0, new).collect();
            let mut in_steps: Vec<Tile> = growth(0, old).filter(Tile::is_full).chain(growth(old, new)).collect();
            let untouched = growth(0, old).filter(|tile| !tile.is_full() && at_once.contains(tile));
            in_steps.extend(untouched);
            in_steps.sort_unstable();
            in_steps.dedup();
            let mut expected = at_once;
            expected.sort_unstable();
            prop_assert_eq!(in_steps, expected);
        }
    }

    #[test]
    fn nothing_grows_from_nothing_or_backwards() {
        assert_eq!(growth(0, 0).count(), 0);
        assert_eq!(growth(7, 7).count(), 0);
        assert_eq!(growth(8, 7).count(), 0);
        assert!(Tile::in_tree(Kind::Entries, 1, 256).is_none());
        assert!(Tile::in_tree(Kind::Entries, u64::MAX, u64::MAX).is_none());
    }
}
