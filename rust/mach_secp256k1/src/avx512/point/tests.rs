//! Points against those of the `k256` crate.

use k256::elliptic_curve::sec1::ToEncodedPoint;
use k256::{ProjectivePoint, Scalar};
use proptest::prelude::*;

use super::*;
use crate::avx512::Avx512;
use crate::avx512::generator_table::GeneratorTable;
use crate::avx512::lanes::LANES;
use crate::avx512::nonce_table::{Base, NonceTable};
use crate::scalars::tests::lambda;

/// Multiples of the generator, one a lane; zero is the point at infinity.
type Multiples = [i64; LANES];

fn scalar(number: i64) -> Scalar {
    let size = Scalar::from(number.unsigned_abs());
    if number < 0 { -size } else { size }
}

/// x and y of a multiple of the generator, zeros for the point at infinity.
fn coordinates(scalar: Scalar) -> [[u8; 32]; 2] {
    let point = (ProjectivePoint::GENERATOR * scalar).to_affine();
    match point.to_encoded_point(false).as_bytes() {
        [_, coordinates @ ..] if !coordinates.is_empty() => {
            let (halves, _) = coordinates.as_chunks::<32>();
            [halves[0], halves[1]]
        }
        _ => [[0; 32]; 2],
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn affine(multiples: &Multiples) -> AffineX8 {
    let points = multiples.map(|multiple| coordinates(scalar(multiple)));
    let [x, y] = [0, 1].map(|i| FieldX8::from_bytes(&points.map(|point| point[i])));
    AffineX8::from_coordinates(&x, &y)
}

/// The points with other coordinates than Z = 1.
#[target_feature(enable = "avx512f,avx512ifma")]
fn points(multiples: &Multiples) -> PointX8 {
    let scale = FieldX8::constant(&[3, 1, 4, 1 << 62]);
    let AffineX8 { x, y } = affine(multiples);
    let mut infinite = 0;
    for (lane, multiple) in multiples.iter().enumerate() {
        infinite |= u8::from(*multiple == 0) << lane;
    }
    PointX8 {
        x: x.mul(&scale),
        y: y.mul(&scale),
        z: scale,
    }
    .replaced_in(infinite, &PointX8::infinity())
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn compare(points: &PointX8, expected: [Scalar; LANES]) {
    let mut inverse = [points.z];
    let infinite = powers::invert_all(&mut inverse)[0];
    let point = AffineX8 {
        x: points.x.mul(&inverse[0]),
        y: points.y.mul(&inverse[0]),
    };
    let [x, y] = point.coordinates();
    assert_eq!(on_curve(&x, &y) | infinite, 0xff);
    let (x, y) = (x.to_bytes(), y.to_bytes());
    for (lane, expected) in expected.into_iter().enumerate() {
        let found = if infinite >> lane & 1 == 1 {
            [[0; 32]; 2]
        } else {
            [x[lane], y[lane]]
        };
        assert_eq!(found, coordinates(expected), "lane {lane}");
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn compare_sums(a: &Multiples, b: &Multiples) {
    let sums = core::array::from_fn(|lane| scalar(a[lane]) + scalar(b[lane]));
    let [p, q] = [points(a), points(b)];
    compare(&p.double(), a.map(|a| scalar(a) + scalar(a)));
    compare(&p.add(&q), sums);
    compare(
        &p.add(&q.negated_in(0xff)),
        core::array::from_fn(|lane| scalar(a[lane]) - scalar(b[lane])),
    );
    if b.iter().all(|multiple| *multiple != 0) {
        let q = affine(b);
        compare(&p.add_affine(&q), sums);
        compare(&q.to_point(), b.map(scalar));
        let differences = core::array::from_fn(|lane| scalar(a[lane]) - scalar(b[lane]));
        compare(&p.add_affine(&q.negated_in(0xff)), differences);
    }
}

/// Picks of every digit there is, in each lane another.
#[target_feature(enable = "avx512f,avx512ifma")]
fn compare_tables(multiples: &Multiples) {
    let table = NonceTable::new(&affine(multiples));
    for digit in 0..=16_u16 {
        let sizes = core::array::from_fn(|lane| (digit + lane as u16) % 17);
        let expected = core::array::from_fn(|lane| {
            let product = scalar(multiples[lane]) * Scalar::from(u64::from(sizes[lane]));
            if lane % 2 == 1 { -product } else { product }
        });
        compare(&table.pick(Base::Nonce, &sizes, 0b1010_1010), expected);
        compare(
            &table.pick(Base::Turned, &sizes, 0b1010_1010),
            expected.map(|scalar| scalar * lambda()),
        );
    }
    let power = (0..130).fold(Scalar::ONE, |power, _| power + power);
    for digit in 0..512_u16 {
        let sizes = core::array::from_fn(|lane| (digit + 64 * lane as u16) % 512 + 1);
        let expected = sizes.map(|size| Scalar::from(u64::from(size)));
        let generators = GeneratorTable::get();
        compare(&generators.pick(false, &sizes, 0).to_point(), expected);
        let expected = expected.map(|size| -size * power);
        compare(&generators.pick(true, &sizes, 0xff).to_point(), expected);
    }
}

fn detected() -> bool {
    let detected = Avx512::detect().is_some();
    if !detected {
        eprintln!("skipped: this processor has no AVX-512 IFMA");
    }
    detected
}

#[test]
fn every_digit_picks_its_multiple() {
    if detected() {
        // SAFETY: the features that the function is marked with were detected.
        unsafe { compare_tables(&[1, -1, 2, 3, i64::MAX, i64::MIN, 12_345, -7]) };
    }
}

#[test]
fn equal_opposite_and_infinite_points_add_up() {
    if detected() {
        // SAFETY: as above.
        unsafe {
            compare_sums(
                &[0, 0, 1, 5, 5, -5, 1, i64::MAX],
                &[0, 1, 0, 5, -5, 5, 2, i64::MAX],
            );
            compare_sums(
                &[0, 0, 1, 5, 5, -5, 1, i64::MAX],
                &[1, -1, 1, 5, -5, 5, 2, i64::MAX],
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn points_add_up(a in any::<Multiples>(), b in any::<Multiples>()) {
        if detected() {
            // SAFETY: as above.
            unsafe { compare_sums(&a, &b) };
        }
    }
}
