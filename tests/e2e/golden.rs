//! The published bucketing, written a second time from its description and nothing else.
//!
//! It shares no code with the proxy: XXH3-64 is written out here from the xxHash specification, for the
//! lengths up to 240 bytes that keys in tests have. If the proxy and this file ever disagree, users move.

const P1: u64 = 0x9E37_79B1_85EB_CA87;
const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P3: u64 = 0x1656_67B1_9E37_79F9;

#[rustfmt::skip]
const SECRET: [u8; 192] = [
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
];

/// The pool of a user: `weights` are names with weights, `salt` is the split's.
pub(crate) fn pool<'a>(key: &str, salt: &str, weights: &[(&'a str, u32)]) -> &'a str {
    let hash = xxh3(key.as_bytes(), xxh3(salt.as_bytes(), 0));
    let mut best: Option<(f64, &str)> = None;
    for (name, weight) in weights.iter().filter(|(_, weight)| *weight > 0) {
        let mixed = mix(hash ^ xxh3(name.as_bytes(), 0));
        let unit = ((mixed >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0;
        let score = -f64::from(*weight) / unit.ln();
        let better =
            best.is_none_or(|(high, of)| score > high || (score.total_cmp(&high).is_eq() && *name < of));
        if better {
            best = Some((score, name));
        }
    }
    best.expect("a weight above 0").1
}

/// The finaliser of SplitMix64.
fn mix(mut z: u64) -> u64 {
    z ^= z >> 30;
    z = z.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^= z >> 27;
    z = z.wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// XXH3, 64 bits, of at most 240 bytes.
pub(crate) fn xxh3(input: &[u8], seed: u64) -> u64 {
    match input.len() {
        0 => xxh64_avalanche(seed ^ secret(56) ^ secret(64)),
        1..=3 => to_3(input, seed),
        4..=8 => to_8(input, seed),
        9..=16 => to_16(input, seed),
        17..=128 => to_128(input, seed),
        129..=240 => to_240(input, seed),
        length => panic!("{length} bytes: keys in tests are shorter"),
    }
}

fn to_3(input: &[u8], seed: u64) -> u64 {
    let length = input.len();
    let (first, middle, last) =
        (u64::from(input[0]), u64::from(input[length >> 1]), u64::from(input[length - 1]));
    let combined = (first << 16) | (middle << 24) | last | ((length as u64) << 8);
    let flip = u64::from(read32(&SECRET, 0) ^ read32(&SECRET, 4)).wrapping_add(seed);
    xxh64_avalanche(combined ^ flip)
}

fn to_8(input: &[u8], seed: u64) -> u64 {
    let length = input.len();
    let low_half = u32::try_from(seed & 0xffff_ffff).unwrap();
    let seed = seed ^ (u64::from(low_half.swap_bytes()) << 32);
    let (first, last) = (u64::from(read32(input, 0)), u64::from(read32(input, length - 4)));
    let mut hash = last.wrapping_add(first << 32) ^ (secret(8) ^ secret(16)).wrapping_sub(seed);
    hash ^= hash.rotate_left(49) ^ hash.rotate_left(24);
    hash = hash.wrapping_mul(0x9FB2_1C65_1E98_DF25);
    hash ^= (hash >> 35).wrapping_add(length as u64);
    hash = hash.wrapping_mul(0x9FB2_1C65_1E98_DF25);
    hash ^ (hash >> 28)
}

fn to_16(input: &[u8], seed: u64) -> u64 {
    let length = input.len();
    let low = read64(input, 0) ^ (secret(24) ^ secret(32)).wrapping_add(seed);
    let high = read64(input, length - 8) ^ (secret(40) ^ secret(48)).wrapping_sub(seed);
    let sum = (length as u64).wrapping_add(low.swap_bytes()).wrapping_add(high).wrapping_add(fold(low, high));
    avalanche(sum)
}

fn to_128(input: &[u8], seed: u64) -> u64 {
    let length = input.len();
    let mut sum = (length as u64).wrapping_mul(P1);
    // From the outside inwards, as many pairs of 16 bytes as the input is long.
    for pair in 0..=(length - 1) / 32 {
        sum = sum.wrapping_add(mix16(input, 16 * pair, 32 * pair, seed));
        sum = sum.wrapping_add(mix16(input, length - 16 * (pair + 1), 32 * pair + 16, seed));
    }
    avalanche(sum)
}

fn to_240(input: &[u8], seed: u64) -> u64 {
    let length = input.len();
    let mut sum = (length as u64).wrapping_mul(P1);
    for block in 0..8 {
        sum = sum.wrapping_add(mix16(input, 16 * block, 16 * block, seed));
    }
    sum = avalanche(sum);
    for block in 8..length / 16 {
        sum = sum.wrapping_add(mix16(input, 16 * block, 16 * (block - 8) + 3, seed));
    }
    avalanche(sum.wrapping_add(mix16(input, length - 16, 136 - 17, seed)))
}

fn mix16(input: &[u8], at: usize, of_secret: usize, seed: u64) -> u64 {
    let low = read64(input, at) ^ secret(of_secret).wrapping_add(seed);
    let high = read64(input, at + 8) ^ secret(of_secret + 8).wrapping_sub(seed);
    fold(low, high)
}

fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    u64::try_from(product & u128::from(u64::MAX)).unwrap() ^ u64::try_from(product >> 64).unwrap()
}

fn avalanche(mut hash: u64) -> u64 {
    hash ^= hash >> 37;
    hash = hash.wrapping_mul(0x1656_6791_9E37_79F9);
    hash ^ (hash >> 32)
}

fn xxh64_avalanche(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(P2);
    hash ^= hash >> 29;
    hash = hash.wrapping_mul(P3);
    hash ^ (hash >> 32)
}

fn secret(at: usize) -> u64 {
    read64(&SECRET, at)
}

fn read32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn read64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}
