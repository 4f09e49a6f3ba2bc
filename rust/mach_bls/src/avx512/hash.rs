//! Square roots for hashing to the curve, sixteen candidates at a time.

use ark_bn254::{Fq, G1Affine};

use super::fp::{Constant, FpX8, LANES};
use crate::square_root::{EXPONENT_WINDOWS, ODD_POWERS};

/// Candidates tried at once: two vectors, because a chain of products of one leaves the multipliers waiting.
pub(crate) const CANDIDATES: usize = 2 * LANES;

/// For each x the point (x, y) where y is the power of x³ + 3 with exponent (p + 1) / 4, if y is a square root of it.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn points_at(candidates: &[Fq; CANDIDATES]) -> [Option<G1Affine>; CANDIDATES] {
    let (vectors, _) = candidates.as_chunks::<LANES>();
    let x = [
        FpX8::from_elements(&vectors[0]),
        FpX8::from_elements(&vectors[1]),
    ];
    let three = FpX8::splat(&Constant::new(Fq::from(3_u8)));
    let squares = [
        x[0].square().mul(&x[0]).add(&three),
        x[1].square().mul(&x[1]).add(&three),
    ];
    let roots = candidate_roots(&squares);
    let mut points = [None; CANDIDATES];
    for half in 0..2 {
        let is_root = roots[half].square().sub::<4>(&squares[half]).is_zero();
        for (lane, y) in roots[half].to_elements().into_iter().enumerate() {
            if is_root >> lane & 1 == 1 {
                let position = half * LANES + lane;
                points[position] = Some(G1Affine::new_unchecked(candidates[position], y));
            }
        }
    }
    points
}

/// The powers with exponent (p + 1) / 4. The bound of `bases` is at most 4.
#[target_feature(enable = "avx512f,avx512ifma")]
fn candidate_roots(bases: &[FpX8; 2]) -> [FpX8; 2] {
    let squares = [bases[0].square(), bases[1].square()];
    let mut odd_powers = [*bases; ODD_POWERS];
    for i in 1..ODD_POWERS {
        let [a, b] = odd_powers[i - 1];
        odd_powers[i] = [a.mul(&squares[0]), b.mul(&squares[1])];
    }
    let [first, rest @ ..] = &EXPONENT_WINDOWS;
    let [mut a, mut b] = first.odd_power.map_or(*bases, |power| odd_powers[power]);
    for window in rest {
        for _ in 0..window.squarings {
            (a, b) = (a.square(), b.square());
        }
        if let Some(power) = window.odd_power {
            (a, b) = (a.mul(&odd_powers[power][0]), b.mul(&odd_powers[power][1]));
        }
    }
    [a, b]
}
