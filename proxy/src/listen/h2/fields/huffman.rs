//! Huffman's code of HPACK (RFC 7541, appendix B), followed half a byte at a time.
//!
//! The code is canonical: its words go up with their length, and with the symbol among those of a length. So
//! the lengths say all of it, and the tables are made of them when this is compiled.

/// The bits of each symbol's word. The end of a string has the last word there is, and may not be sent.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
const LONGEST: u8 = 30;

/// Nodes of the tree in which each word is a way down; the first is the root.
const NODES: usize = 256;

/// Where half a byte leads to. A word has five bits at least, so it completes at most one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) node: u8,
    pub(super) symbol: Option<u8>,
}

/// From each node, by each half of a byte.
pub(super) static STEPS: [[Step; 16]; NODES] = steps();

#[derive(Clone, Copy)]
enum Child {
    None,
    Node(u8),
    Symbol(u8),
}

#[expect(clippy::cast_possible_truncation, reason = "checked when this is compiled")]
const fn byte(number: usize) -> u8 {
    assert!(number < 256, "there are more nodes or symbols than a byte can tell apart");
    number as u8
}

const fn tree() -> [[Child; 2]; NODES] {
    let mut tree = [[Child::None; 2]; NODES];
    let (mut nodes, mut word, mut length) = (1, 0_u32, 1);
    while length <= LONGEST {
        word <<= 1;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] == length {
                nodes = insert(&mut tree, nodes, word, length, byte(symbol));
                word += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    tree
}

/// Adds a word to the tree; how many nodes there are then.
const fn insert(
    tree: &mut [[Child; 2]; NODES],
    mut nodes: usize,
    word: u32,
    length: u8,
    symbol: u8,
) -> usize {
    let (mut node, mut left) = (0, length);
    while left > 1 {
        left -= 1;
        let bit = (word >> left & 1) as usize;
        node = match tree[node][bit] {
            Child::Node(next) => next as usize,
            Child::Symbol(_) => panic!("a word begins with another"),
            Child::None => {
                tree[node][bit] = Child::Node(byte(nodes));
                nodes += 1;
                nodes - 1
            }
        };
    }
    tree[node][(word & 1) as usize] = Child::Symbol(symbol);
    nodes
}

const fn steps() -> [[Step; 16]; NODES] {
    let tree = tree();
    let mut steps = [[Step { node: 0, symbol: None }; 16]; NODES];
    let mut from = 0;
    while from < NODES {
        let mut half = 0;
        while half < 16 {
            steps[from][half] = step(&tree, from, half);
            half += 1;
        }
        from += 1;
    }
    steps
}

const fn step(tree: &[[Child; 2]; NODES], from: usize, half: usize) -> Step {
    let mut step = Step { node: byte(from), symbol: None };
    let mut left = 4;
    while left > 0 {
        left -= 1;
        match tree[step.node as usize][half >> left & 1] {
            Child::Node(next) => step.node = next,
            Child::Symbol(symbol) => step = Step { node: 0, symbol: Some(symbol) },
            // Only the end of a string is missing, and whoever decodes for good refuses it.
            Child::None => step.node = 0,
        }
    }
    step
}
