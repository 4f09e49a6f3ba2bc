//! Eight pairing products at a time, one a lane: the optimal ate pairing of arkworks and of EIP-197.

use std::sync::LazyLock;

use ark_bn254::{Bn254, Config, Fq2, Fq12, G1Affine, G2Affine, g2};
use ark_ec::AffineRepr;
use ark_ec::bn::BnConfig;
use ark_ec::pairing::Pairing;
use ark_ec::short_weierstrass::SWCurveConfig;

use super::fp::{Constant, FpX8, LANES};
use super::tower::{Fp2X8, Fp12X8};

/// Half the width of a window of the exponentiation by the curve's parameter: digits are odd and below this.
const LARGEST_DIGIT: i8 = 8;

/// Lines of the Miller loop for -G2: of l0 + l3·w + l4·w³ at (1, 1) the quotients l3 / l0 and l4 / l0.
static LINES_OF_GENERATOR: LazyLock<Vec<[Constant; 4]>> = LazyLock::new(|| {
    let prepared = <Bn254 as Pairing>::G2Prepared::from(-G2Affine::generator());
    let mut inverses: Vec<Fq2> = prepared.ell_coeffs.iter().map(|line| line.0).collect();
    ark_ff::batch_inversion(&mut inverses);
    let quotients = prepared.ell_coeffs.iter().zip(inverses);
    quotients
        .map(|((_, l3, l4), inverse)| {
            let (l3, l4) = (*l3 * inverse, *l4 * inverse);
            [l3.c0, l3.c1, l4.c0, l4.c1].map(Constant::new)
        })
        .collect()
});

/// The curve's parameter in non-adjacent form of width 4, most significant digit first.
static PARAMETER_DIGITS: LazyLock<Vec<i8>> = LazyLock::new(|| {
    let mut rest = i128::from(Config::X[0]);
    let mut digits = Vec::new();
    while rest != 0 {
        let mut digit = 0;
        if rest % 2 != 0 {
            digit = rest.rem_euclid(2 * i128::from(LARGEST_DIGIT)) as i8;
            if digit >= LARGEST_DIGIT {
                digit -= 2 * LARGEST_DIGIT;
            }
            rest -= i128::from(digit);
        }
        digits.push(digit);
        rest /= 2;
    }
    digits.reverse();
    digits
});

/// Eight points of G1 as lines need them: x / y and 1 / y, both zero for the point at infinity, where lines become one.
struct G1X8 {
    x: FpX8,
    y: FpX8,
}

impl G1X8 {
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn new(points: &[G1Affine; LANES]) -> Self {
        // The point at infinity has coordinates (0, 0) in arkworks, no other point of the curve has y = 0.
        let y = FpX8::from_elements(&points.map(|point| point.y)).inverse();
        let x = FpX8::from_elements(&points.map(|point| point.x)).mul(&y);
        Self { x, y }
    }
}

/// Eight pairs of the Miller loop, with the multiple of the G2 point that the loop has reached.
struct PairsX8 {
    point: G1X8,
    x: Fp2X8,
    y: Fp2X8,
    reached: HomogeneousX8,
}

impl PairsX8 {
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn new(points: &[G1Affine; LANES], keys: &[G2Affine; LANES]) -> Self {
        let (mut points, mut keys) = (*points, *keys);
        for (point, key) in points.iter_mut().zip(&mut keys) {
            if key.is_zero() {
                // One as the pairing is, but with lines that exist.
                *point = G1Affine::identity();
                *key = G2Affine::generator();
            }
        }
        let x = Fp2X8::from_elements(&keys.map(|key| key.x));
        let y = Fp2X8::from_elements(&keys.map(|key| key.y));
        let reached = HomogeneousX8 {
            x,
            y,
            z: Fp2X8::one(),
        };
        Self {
            point: G1X8::new(&points),
            x,
            y,
            reached,
        }
    }

    /// `value` times the tangents at the points reached, which are doubled.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn double(&mut self, value: &Fp12X8) -> Fp12X8 {
        let line = self.reached.double();
        self.times_line(value, &line)
    }

    /// `value` times the lines through the points reached and (x, y), which is added.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn add(&mut self, value: &Fp12X8, x: &Fp2X8, y: &Fp2X8) -> Fp12X8 {
        let line = self.reached.add(x, y);
        self.times_line(value, &line)
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn times_line(&self, value: &Fp12X8, [l0, l3, l4]: &[Fp2X8; 3]) -> Fp12X8 {
        let (l3, l4) = (l3.mul_by_fp(&self.point.x), l4.mul_by_fp(&self.point.y));
        value.mul_by_line(l0, &l3, &l4)
    }
}

/// Eight points of the twist in homogeneous coordinates: (x / z, y / z).
///
/// Doubling and addition follow Costello, Lange and Naehrig, eprint 2009/615; each also gives the line l0·y + l3·x·w +
/// l4·w³ that the Miller loop evaluates, up to a factor of Fp2, which the final exponentiation removes.
struct HomogeneousX8 {
    x: Fp2X8,
    y: Fp2X8,
    z: Fp2X8,
}

impl HomogeneousX8 {
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn double(&mut self) -> [Fp2X8; 3] {
        let Self { x, y, z } = self;
        let xx = x.square();
        let yy = y.square();
        let zz = z.square();
        let triple_b = Fp2X8::splat(*TRIPLE_B);
        let e = zz.mul(&triple_b);
        let f = e.double().add(&e);
        let yz = y.add(z).square().sub::<2>(&yy).sub::<2>(&zz).reduced();
        let line = [
            yz.neg().reduced(),
            xx.double().add(&xx).reduced(),
            e.sub::<2>(&yy).reduced(),
        ];
        // Four times the usual coordinates, so that nothing is halved.
        let ee = e.square();
        let twelve = ee.double().add(&ee).double().double().reduced();
        *self = Self {
            x: x.mul(y).double().mul(&yy.sub::<6>(&f).reduced()),
            y: yy.add(&f).reduced().square().sub::<2>(&twelve).reduced(),
            z: yy.mul(&yz).double().double().reduced(),
        };
        line
    }

    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn add(&mut self, other_x: &Fp2X8, other_y: &Fp2X8) -> [Fp2X8; 3] {
        let Self { x, y, z } = self;
        let theta = y.sub::<2>(&z.mul(other_y)).reduced();
        let lambda = x.sub::<2>(&z.mul(other_x)).reduced();
        let d = lambda.square();
        let e = lambda.mul(&d);
        let f = z.mul(&theta.square());
        let g = x.mul(&d);
        let h = e.add(&f).sub::<4>(&g.double()).reduced();
        let line = [
            lambda,
            theta.neg().reduced(),
            theta.mul(other_x).sub::<2>(&lambda.mul(other_y)).reduced(),
        ];
        *self = Self {
            x: lambda.mul(&h),
            y: theta.mul(&g.sub::<2>(&h)).sub::<2>(&e.mul(y)).reduced(),
            z: z.mul(&e),
        };
        line
    }
}

/// Three times the constant of the twist y² = x³ + b.
static TRIPLE_B: LazyLock<Fq2> = LazyLock::new(|| g2::Config::COEFF_B * Fq2::from(3_u8));

/// The product of the Miller loops of `pairs` and, if there are `signatures`, of the pairs (signature, -G2), whose lines
/// are known.
#[target_feature(enable = "avx512f,avx512ifma")]
fn miller(signatures: Option<&G1X8>, pairs: &mut [PairsX8]) -> Fp12X8 {
    let mut lines = LINES_OF_GENERATOR.iter();
    let mut value = Fp12X8::one();
    let mut times_generator_line = |value: &mut Fp12X8| {
        if let (Some(signatures), Some([a, b, c, d])) = (signatures, lines.next()) {
            let [a, b, c, d] = [a, b, c, d].map(|constant| FpX8::splat(constant));
            let l3 = Fp2X8 { c0: a, c1: b }.mul_by_fp(&signatures.x);
            let l4 = Fp2X8 { c0: c, c1: d }.mul_by_fp(&signatures.y);
            *value = value.mul_by_monic_line(&l3, &l4);
        }
    };
    let digits = Config::ATE_LOOP_COUNT;
    for (position, digit) in digits.iter().rev().skip(1).enumerate() {
        if position > 0 {
            value = value.square();
        }
        times_generator_line(&mut value);
        for pair in &mut *pairs {
            value = pair.double(&value);
        }
        if *digit == 0 {
            continue;
        }
        times_generator_line(&mut value);
        for pair in &mut *pairs {
            let (x, mut y) = (pair.x, pair.y);
            if *digit < 0 {
                y = y.neg().reduced();
            }
            value = pair.add(&value, &x, &y);
        }
    }
    times_generator_line(&mut value);
    times_generator_line(&mut value);
    for pair in pairs {
        // The images of the key under the p-th power, once and, negated, twice.
        let (x1, y1) = frobenius(&pair.x, &pair.y);
        let (x2, y2) = frobenius(&x1, &y1);
        value = pair.add(&value, &x1, &y1);
        value = pair.add(&value, &x2, &y2.neg().reduced());
    }
    value
}

/// The image of a point of the twist under the p-th power map of the curve.
#[target_feature(enable = "avx512f,avx512ifma")]
fn frobenius(x: &Fp2X8, y: &Fp2X8) -> (Fp2X8, Fp2X8) {
    let twist_x = Fp2X8::splat(Config::TWIST_MUL_BY_Q_X);
    let twist_y = Fp2X8::splat(Config::TWIST_MUL_BY_Q_Y);
    (x.conjugate().mul(&twist_x), y.conjugate().mul(&twist_y))
}

/// The power that makes values of Miller loops unique, the same as that of arkworks.
///
/// Its second part is that of Fuentes-Castañeda, Knapp and Rodríguez-Henríquez, "Faster hashing to G2", section 4: the
/// sums of powers of the parameter t that multiply 1, p, p² and p³ in 2t(6t² + 3t + 1) · (p⁴ - p² + 1) / r.
#[target_feature(enable = "avx512f,avx512ifma")]
fn final_exponentiation(value: &Fp12X8) -> Fp12X8 {
    let unitary = value.conjugate().mul(&value.inverse());
    let base = unitary.frobenius::<2>().mul(&unitary);
    let t = power_of_parameter(&base).conjugate();
    let t2 = t.cyclotomic_square();
    let t6 = t2.cyclotomic_square().mul(&t2);
    let t6_2 = power_of_parameter(&t6).conjugate();
    let t12_3 = power_of_parameter(&t6_2.cyclotomic_square()).conjugate();
    let a = t12_3.conjugate().mul(&t6_2).mul(&t6.conjugate());
    let b = a.mul(&t2);
    let ones = a.mul(&t6_2).mul(&base);
    let cubes = b.mul(&base.conjugate());
    ones.mul(&b.frobenius::<1>())
        .mul(&a.frobenius::<2>())
        .mul(&cubes.frobenius::<3>())
}

/// The power with the curve's parameter, of elements of the cyclotomic subgroup.
#[target_feature(enable = "avx512f,avx512ifma")]
fn power_of_parameter(base: &Fp12X8) -> Fp12X8 {
    let square = base.cyclotomic_square();
    let mut odd_powers = [*base; LARGEST_DIGIT as usize / 2];
    for i in 1..odd_powers.len() {
        odd_powers[i] = odd_powers[i - 1].mul(&square);
    }
    let mut power: Option<Fp12X8> = None;
    for digit in PARAMETER_DIGITS.iter() {
        power = power.map(|power| power.cyclotomic_square());
        if *digit != 0 {
            let mut factor = odd_powers[usize::from(digit.unsigned_abs() / 2)];
            if *digit < 0 {
                factor = factor.conjugate();
            }
            power = Some(power.map_or(factor, |power| power.mul(&factor)));
        }
    }
    power.unwrap_or(Fp12X8::one())
}

/// e(signature, -G2) · e(point, key) in each lane.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn mismatches(
    signatures: &[G1Affine; LANES],
    points: &[G1Affine; LANES],
    keys: &[G2Affine; LANES],
) -> [Fq12; LANES] {
    let mut pairs = [PairsX8::new(points, keys)];
    let value = miller(Some(&G1X8::new(signatures)), &mut pairs);
    final_exponentiation(&value).to_elements()
}

/// In each lane the product of e(point, key) over all `pairs`, before the final exponentiation.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn miller_values(pairs: &[([G1Affine; LANES], [G2Affine; LANES])]) -> [Fq12; LANES] {
    let mut pairs: Vec<PairsX8> = pairs
        .iter()
        .map(|(points, keys)| PairsX8::new(points, keys))
        .collect();
    miller(None, &mut pairs).to_elements()
}
