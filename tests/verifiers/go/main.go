// Verify-log checks a published log, or an audit bundle, with the code behind Go's checksum database.
//
//	verify-log VKEY DIR [OLD_CHECKPOINT_FILE]
//	verify-log bundle VKEY DIR
//
// Build it with Debian's packages golang-go and golang-golang-x-mod-dev:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -o verify-log main.go
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// tileHeight is the number of tree levels in a tile: 256 hashes.
const tileHeight = 8

const tileWidth = 1 << tileHeight

func main() {
	args := os.Args[1:]
	var err error
	switch {
	case len(args) == 3 && args[0] == "bundle":
		err = verifyBundle(args[1], args[2])
	case len(args) == 2:
		err = verifyLog(args[0], args[1], "")
	case len(args) == 3:
		err = verifyLog(args[0], args[1], args[2])
	default:
		fmt.Fprintln(os.Stderr, "usage: verify-log VKEY DIR [OLD_CHECKPOINT_FILE]\n       verify-log bundle VKEY DIR")
		os.Exit(64)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "verify-log:", err)
		os.Exit(1)
	}
}

// verifyLog checks a whole log directory.
func verifyLog(vkey, dir, oldFile string) error {
	tree, err := readCheckpoint(vkey, filepath.Join(dir, "checkpoint"))
	if err != nil {
		return err
	}
	fmt.Printf("checkpoint: size %d root %s\n", tree.N, tree.Hash)

	bytesRead, err := verifyEntries(tree, dir)
	if err != nil {
		return err
	}
	fmt.Printf("entries: %d with %d bytes\n", tree.N, bytesRead)

	if oldFile == "" {
		return nil
	}
	old, err := readCheckpoint(vkey, oldFile)
	if err != nil {
		return fmt.Errorf("old checkpoint: %w", err)
	}
	if err := verifyConsistency(tree, old, dir); err != nil {
		return err
	}
	fmt.Printf("consistent with size %d\n", old.N)
	return nil
}

// readCheckpoint opens a signed checkpoint; its origin must be the name of the key.
func readCheckpoint(vkey, file string) (tlog.Tree, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return tlog.Tree{}, err
	}
	tree, err := openCheckpoint(vkey, text)
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("%s: %w", file, err)
	}
	return tree, nil
}

func openCheckpoint(vkey string, text []byte) (tlog.Tree, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return tlog.Tree{}, fmt.Errorf("a checkpoint has three lines, this has %d", len(lines)-1)
	}
	if lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("checkpoint of %q, signed by %q", lines[0], verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return tlog.Tree{}, fmt.Errorf("malformed size %q", lines[1])
	}
	hash, err := tlog.ParseHash(lines[2])
	if err != nil {
		return tlog.Tree{}, err
	}
	return tlog.Tree{N: size, Hash: hash}, nil
}

// verifyEntries compares every entry with the leaf hashes that the checkpoint authenticates, and builds the tree
// once more from the entries alone.
func verifyEntries(tree tlog.Tree, dir string) (int64, error) {
	authenticated := tlog.TileHashReader(tree, diskTiles{dir})
	rebuilt := memoryHashes{}
	var bytesRead int64
	for first := int64(0); first < tree.N; first += tileWidth {
		width := tree.N - first
		if width > tileWidth {
			width = tileWidth
		}
		entries, err := readEntries(dir, first/tileWidth, int(width))
		if err != nil {
			return 0, err
		}
		indexes := make([]int64, width)
		for i := range indexes {
			indexes[i] = tlog.StoredHashIndex(0, first+int64(i))
		}
		leaves, err := authenticated.ReadHashes(indexes)
		if err != nil {
			return 0, fmt.Errorf("tiles of entries from %d: %w", first, err)
		}
		for i, entry := range entries {
			if tlog.RecordHash(entry) != leaves[i] {
				return 0, fmt.Errorf("entry %d does not have the hash that the checkpoint vouches for", first+int64(i))
			}
			stored, err := tlog.StoredHashes(first+int64(i), entry, &rebuilt)
			if err != nil {
				return 0, err
			}
			rebuilt.hashes = append(rebuilt.hashes, stored...)
			bytesRead += int64(len(entry))
		}
	}
	// Go's TreeHash has no hash for the tree without entries; RFC 6962 has.
	root := emptyRoot
	if tree.N > 0 {
		var err error
		if root, err = tlog.TreeHash(tree.N, &rebuilt); err != nil {
			return 0, err
		}
	}
	if root != tree.Hash {
		return 0, fmt.Errorf("the entries give root %s, the checkpoint says %s", root, tree.Hash)
	}
	return bytesRead, verifyTiles(tree, dir, &rebuilt)
}

// verifyTiles compares every tile on disk with the one that the entries give.
func verifyTiles(tree tlog.Tree, dir string, rebuilt tlog.HashReader) error {
	tiles := map[string]tlog.Tile{}
	for _, tile := range tlog.NewTiles(tileHeight, 0, tree.N) {
		// NewTiles lists every width that a partial tile ever had; the tree has the widest.
		place := fmt.Sprintf("%d/%d", tile.L, tile.N)
		if tile.W > tiles[place].W {
			tiles[place] = tile
		}
	}
	for _, tile := range tiles {
		expected, err := tlog.ReadTileData(tile, rebuilt)
		if err != nil {
			return err
		}
		found, err := readTile(dir, tile)
		if err != nil {
			return err
		}
		if !bytes.Equal(found, expected) {
			return fmt.Errorf("%s does not follow from the entries", tilePath(tile))
		}
	}
	return nil
}

func verifyConsistency(tree, old tlog.Tree, dir string) error {
	if old.N > tree.N {
		return fmt.Errorf("the log has %d entries, the old checkpoint %d: entries were removed", tree.N, old.N)
	}
	if old.N == 0 {
		if old.Hash != emptyRoot {
			return fmt.Errorf("the old checkpoint has size 0 and another root than the empty tree")
		}
		return nil
	}
	proof, err := tlog.ProveTree(tree.N, old.N, tlog.TileHashReader(tree, diskTiles{dir}))
	if err != nil {
		return err
	}
	if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
		return fmt.Errorf("the log does not continue the old checkpoint: %w", err)
	}
	return nil
}

// verifyBundle checks every entry of an audit bundle against its proof.
func verifyBundle(vkey, dir string) error {
	tree, err := readCheckpoint(vkey, filepath.Join(dir, "checkpoint"))
	if err != nil {
		return err
	}
	fmt.Printf("checkpoint: size %d root %s\n", tree.N, tree.Hash)
	entries, err := numbered(filepath.Join(dir, "entries"), ".json")
	if err != nil {
		return err
	}
	proofs, err := numbered(filepath.Join(dir, "proofs"), ".tlog-proof")
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return fmt.Errorf("%s: the bundle holds no entry", dir)
	}
	if fmt.Sprint(entries) != fmt.Sprint(proofs) {
		return fmt.Errorf("entries %v and proofs %v are not the same", entries, proofs)
	}
	for _, index := range entries {
		entry, err := os.ReadFile(filepath.Join(dir, "entries", fmt.Sprintf("%d.json", index)))
		if err != nil {
			return err
		}
		proof, err := os.ReadFile(filepath.Join(dir, "proofs", fmt.Sprintf("%d.tlog-proof", index)))
		if err != nil {
			return err
		}
		if err := verifyProof(vkey, tree, index, entry, proof); err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		fmt.Printf("entry %d: included\n", index)
	}
	return nil
}

// numbered lists the indices of the files <index><suffix> of a directory; another file is an error.
func numbered(dir, suffix string) ([]int64, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var indices []int64
	for _, file := range files {
		number := strings.TrimSuffix(file.Name(), suffix)
		index, err := strconv.ParseInt(number, 10, 64)
		if err != nil || index < 0 || fmt.Sprintf("%d%s", index, suffix) != file.Name() {
			return nil, fmt.Errorf("%s: unexpected file %q", dir, file.Name())
		}
		indices = append(indices, index)
	}
	sort.Slice(indices, func(i, j int) bool { return indices[i] < indices[j] })
	return indices, nil
}

// verifyProof checks a c2sp.org/tlog-proof. The checkpoint in it must be the bundle's.
func verifyProof(vkey string, tree tlog.Tree, index int64, entry, proof []byte) error {
	split := bytes.Index(proof, []byte("\n\n"))
	if split < 0 {
		return fmt.Errorf("the proof has no checkpoint")
	}
	inner, err := openCheckpoint(vkey, proof[split+2:])
	if err != nil {
		return err
	}
	if inner != tree {
		return fmt.Errorf("the proof leads to size %d, the bundle's checkpoint has %d", inner.N, tree.N)
	}
	lines := strings.Split(string(proof[:split]), "\n")
	if lines[0] != "c2sp.org/tlog-proof@v1" {
		return fmt.Errorf("not a c2sp.org/tlog-proof@v1")
	}
	lines = lines[1:]
	if len(lines) > 0 && strings.HasPrefix(lines[0], "extra ") {
		lines = lines[1:]
	}
	if len(lines) == 0 || lines[0] != fmt.Sprintf("index %d", index) {
		return fmt.Errorf("the proof is not one for index %d", index)
	}
	var hashes tlog.RecordProof
	for _, line := range lines[1:] {
		decoded, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(decoded) != tlog.HashSize {
			return fmt.Errorf("malformed hash %q", line)
		}
		var hash tlog.Hash
		copy(hash[:], decoded)
		hashes = append(hashes, hash)
	}
	return tlog.CheckRecord(hashes, tree.N, tree.Hash, index, tlog.RecordHash(entry))
}

// readEntries reads an entry bundle, of which the tree has width entries.
func readEntries(dir string, index int64, width int) ([][]byte, error) {
	// The place of a bundle is that of the level-0 tile.
	tile := tlog.Tile{H: tileHeight, L: 0, N: index, W: width}
	path := strings.Replace(tilePath(tile), "tile/0/", "tile/entries/", 1)
	data, err := os.ReadFile(filepath.Join(dir, path))
	exact := true
	if os.IsNotExist(err) && width < tileWidth {
		// A log may drop a partial bundle once the full one is there.
		tile.W = tileWidth
		exact = false
		data, err = os.ReadFile(filepath.Join(dir, strings.Replace(tilePath(tile), "tile/0/", "tile/entries/", 1)))
	}
	if err != nil {
		return nil, err
	}
	entries := make([][]byte, width)
	for i := range entries {
		if len(data) < 2 {
			return nil, fmt.Errorf("%s ends at entry %d of %d", path, i, width)
		}
		length := int(binary.BigEndian.Uint16(data))
		if len(data) < 2+length {
			return nil, fmt.Errorf("%s ends inside entry %d", path, i)
		}
		entries[i], data = data[2:2+length], data[2+length:]
	}
	if exact && len(data) > 0 {
		return nil, fmt.Errorf("%s holds more than %d entries", path, width)
	}
	return entries, nil
}

// tilePath is the path of C2SP's tlog-tiles: Go's own has the height in it.
func tilePath(tile tlog.Tile) string {
	return "tile/" + strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", tileHeight))
}

func readTile(dir string, tile tlog.Tile) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(dir, tilePath(tile)))
	if os.IsNotExist(err) && tile.W < tileWidth {
		full := tile
		full.W = tileWidth
		if data, err = os.ReadFile(filepath.Join(dir, tilePath(full))); err == nil && len(data) == tileWidth*tlog.HashSize {
			data = data[:tile.W*tlog.HashSize]
		}
	}
	if err != nil {
		return nil, err
	}
	if len(data) != tile.W*tlog.HashSize {
		return nil, fmt.Errorf("%s has %d bytes, expected %d", tilePath(tile), len(data), tile.W*tlog.HashSize)
	}
	return data, nil
}

// diskTiles is a tlog.TileReader over the log's directory.
type diskTiles struct{ dir string }

func (d diskTiles) Height() int { return tileHeight }

func (d diskTiles) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(tiles))
	for i, tile := range tiles {
		var err error
		if data[i], err = readTile(d.dir, tile); err != nil {
			return nil, err
		}
	}
	return data, nil
}

func (d diskTiles) SaveTiles([]tlog.Tile, [][]byte) {}

// memoryHashes is a tlog.HashReader over hashes computed here.
type memoryHashes struct{ hashes []tlog.Hash }

func (m *memoryHashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= int64(len(m.hashes)) {
			return nil, fmt.Errorf("hash %d is not known yet", index)
		}
		found[i] = m.hashes[index]
	}
	return found, nil
}

// emptyRoot is SHA-256 of nothing.
var emptyRoot = func() tlog.Hash {
	hash, err := tlog.ParseHash("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
	if err != nil {
		panic(err)
	}
	return hash
}()
