//! Multiples of points of the twist, eight at a time.

use ark_bn254::{Config, Fq2, G2Affine, G2Projective};
use ark_ec::bn::BnConfig;

use super::fp::LANES;
use super::tower::Fp2X8;

/// Eight points in Jacobian coordinates: (x / z², y / z³).
///
/// Doubling and addition are "dbl-2009-l" and "madd-2007-bl" of the Explicit-Formulas Database.
struct JacobianX8 {
    x: Fp2X8,
    y: Fp2X8,
    z: Fp2X8,
}

impl JacobianX8 {
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn double(&self) -> Self {
        let Self { x, y, z } = self;
        let a = x.square();
        let b = y.square();
        let c = b.square();
        let d = x
            .add(&b)
            .square()
            .sub::<2>(&a)
            .sub::<2>(&c)
            .double()
            .reduced();
        let e = a.double().add(&a).reduced();
        let new_x = e.square().sub::<4>(&d.double()).reduced();
        let eight_c = c.double().double().double().reduced();
        Self {
            x: new_x,
            y: e.mul(&d.sub::<2>(&new_x)).sub::<2>(&eight_c).reduced(),
            z: y.mul(z).double().reduced(),
        }
    }

    /// The sum with an affine point. If that is the same, opposite or the first is at infinity, z becomes zero, and
    /// stays so.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn add(&self, other_x: &Fp2X8, other_y: &Fp2X8) -> Self {
        let Self { x, y, z } = self;
        let zz = z.square();
        let h = other_x.mul(&zz).sub::<2>(x).reduced();
        let hh = h.square();
        let i = hh.double().double().reduced();
        let j = h.mul(&i);
        let r = other_y.mul(&z.mul(&zz)).sub::<2>(y).double().reduced();
        let v = x.mul(&i);
        let new_x = r.square().sub::<2>(&j).sub::<4>(&v.double()).reduced();
        let yj = y.mul(&j).double();
        Self {
            x: new_x,
            y: r.mul(&v.sub::<2>(&new_x)).sub::<4>(&yj).reduced(),
            z: z.add(&h).square().sub::<2>(&zz).sub::<2>(&hh).reduced(),
        }
    }
}

/// Each of `points`, none at infinity, times the curve's parameter.
///
/// At infinity (z = 0) is what really is there, and where the addition met equal or opposite points, which only points
/// of small order make it do: look at those in another way.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn times_parameter(points: &[G2Affine; LANES]) -> [G2Projective; LANES] {
    let x = Fp2X8::from_elements(&points.map(|point| point.x));
    let y = Fp2X8::from_elements(&points.map(|point| point.y));
    let parameter = Config::X[0];
    let mut multiple = JacobianX8 {
        x,
        y,
        z: Fp2X8::one(),
    };
    for bit in (0..u64::BITS - 1 - parameter.leading_zeros()).rev() {
        multiple = multiple.double();
        if parameter >> bit & 1 == 1 {
            multiple = multiple.add(&x, &y);
        }
    }
    let coordinates: [[Fq2; LANES]; 3] =
        [multiple.x, multiple.y, multiple.z].map(|coordinate| coordinate.to_elements());
    let [x, y, z] = coordinates;
    core::array::from_fn(|lane| G2Projective::new_unchecked(x[lane], y[lane], z[lane]))
}
