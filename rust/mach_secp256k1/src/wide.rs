//! Integers of 256 bits in four words, least significant first, as far as splitting a multiplier needs them.

pub(crate) type U256 = [u64; 4];

pub(crate) fn from(number: u128) -> U256 {
    [number as u64, (number >> 64) as u64, 0, 0]
}

/// The product of two numbers.
pub(crate) fn mul(a: u128, b: u128) -> U256 {
    let product = full_product(from(a), from(b));
    [product[0], product[1], product[2], product[3]]
}

/// a · b / 2³⁸⁴, rounded, for a b below 2⁵¹² - 2³⁸³.
pub(crate) fn rounded_product(a: U256, b: U256) -> u128 {
    let product = full_product(a, b);
    let quotient = u128::from(product[6]) | u128::from(product[7]) << 64;
    quotient + u128::from(product[5] >> 63)
}

/// a - b modulo 2²⁵⁶.
pub(crate) fn sub(a: U256, b: U256) -> U256 {
    let mut difference = [0; 4];
    let mut borrow = false;
    for (i, word) in difference.iter_mut().enumerate() {
        let (once, first) = a[i].overflowing_sub(b[i]);
        let (twice, second) = once.overflowing_sub(u64::from(borrow));
        *word = twice;
        borrow = first | second;
    }
    difference
}

/// The distance from zero of a number between -2¹²⁸ and 2¹²⁸ in two's complement, and whether it is below zero.
pub(crate) fn size(number: U256) -> (u128, bool) {
    let negative = number[3] >> 63 == 1;
    let [low, high, ..] = if negative {
        sub([0; 4], number)
    } else {
        number
    };
    (u128::from(low) | u128::from(high) << 64, negative)
}

fn full_product(a: U256, b: U256) -> [u64; 8] {
    let mut product = [0; 8];
    for (i, a) in a.into_iter().enumerate() {
        let mut carry = 0;
        for (j, b) in b.into_iter().enumerate() {
            let sum = u128::from(a) * u128::from(b) + u128::from(product[i + j]) + carry;
            product[i + j] = sum as u64;
            carry = sum >> 64;
        }
        product[i + 4] = carry as u64;
    }
    product
}
