package storage

// Tree is the directory of a Dir.
type Tree = tree

// OpenTree is OpenDir of a tree.
func OpenTree(t Tree) (*Dir, error) { return openTree(t) }
