package main

import (
	"encoding/binary"
	"io"
)

// Content of a length, without a pattern that a lost or repeated block would keep; made as it is read.
type content struct {
	left  int64
	state uint64
}

func newContent(length int64) *content {
	return &content{left: length, state: 1}
}

func (c *content) Read(buffer []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	// Whole words, so that how it is read makes no difference; the last one may be cut.
	count := min(int64(len(buffer)), c.left)
	if count < c.left {
		count -= count % 8
	}
	var word [8]byte
	for at := int64(0); at < count; at += 8 {
		// xorshift64.
		c.state ^= c.state << 13
		c.state ^= c.state >> 7
		c.state ^= c.state << 17
		binary.LittleEndian.PutUint64(word[:], c.state)
		copy(buffer[at:count], word[:])
	}
	c.left -= count
	return int(count), nil
}
