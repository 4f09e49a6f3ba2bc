//! The tower Fp12 = Fp6[w]/(w² - v), Fp6 = Fp2[v]/(v³ - ξ), Fp2 = Fp[u]/(u² + 1), ξ = 9 + u, eight elements a value.
//!
//! The layout is that of arkworks and of EIP-197. Values that functions take and return are reduced (bound 2, see
//! `super::fp`) unless a comment says otherwise.

use ark_bn254::{Fq2, Fq6, Fq6Config, Fq12, Fq12Config};
use ark_ff::{Fp6Config, Fp12Config};

use super::fp::{Constant, FpX8, LANES};

/// Eight elements of Fp2: c0 + c1 · u.
#[derive(Clone, Copy)]
pub(super) struct Fp2X8 {
    pub(super) c0: FpX8,
    pub(super) c1: FpX8,
}

/// Eight elements of Fp6: c0 + c1 · v + c2 · v².
#[derive(Clone, Copy)]
pub(super) struct Fp6X8 {
    c0: Fp2X8,
    c1: Fp2X8,
    c2: Fp2X8,
}

/// Eight elements of Fp12: c0 + c1 · w.
#[derive(Clone, Copy)]
pub(super) struct Fp12X8 {
    c0: Fp6X8,
    c1: Fp6X8,
}

impl Fp2X8 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn zero() -> Self {
        Self {
            c0: FpX8::zero(),
            c1: FpX8::zero(),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn one() -> Self {
        Self {
            c0: FpX8::one(),
            c1: FpX8::zero(),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn splat(element: Fq2) -> Self {
        let [c0, c1] = [element.c0, element.c1].map(Constant::new);
        Self {
            c0: FpX8::splat(&c0),
            c1: FpX8::splat(&c1),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn from_elements(elements: &[Fq2; LANES]) -> Self {
        Self {
            c0: FpX8::from_elements(&elements.map(|element| element.c0)),
            c1: FpX8::from_elements(&elements.map(|element| element.c1)),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn to_elements(self) -> [Fq2; LANES] {
        let (c0, c1) = (self.c0.to_elements(), self.c1.to_elements());
        core::array::from_fn(|lane| Fq2::new(c0[lane], c1[lane]))
    }

    /// The bounds add up.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn add(&self, other: &Self) -> Self {
        Self {
            c0: self.c0.add(&other.c0),
            c1: self.c1.add(&other.c1),
        }
    }

    /// The bound doubles.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn double(&self) -> Self {
        self.add(self)
    }

    /// `other` has at most bound `B`, which is added to that of `self`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn sub<const B: u32>(&self, other: &Self) -> Self {
        Self {
            c0: self.c0.sub::<B>(&other.c0),
            c1: self.c1.sub::<B>(&other.c1),
        }
    }

    /// Bound 3, for `self` with bound 2.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn neg(&self) -> Self {
        Self {
            c0: self.c0.neg::<2>(),
            c1: self.c1.neg::<2>(),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn reduced(&self) -> Self {
        Self {
            c0: self.c0.reduced(),
            c1: self.c1.reduced(),
        }
    }

    /// a0·b0 - a1·b1 + (a0·b1 + a1·b0) · u, with one reduction for each coefficient.
    ///
    /// For bounds A of `self` and B ≤ 4 of `other` with A · (B + 5) ≤ 84.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul(&self, other: &Self) -> Self {
        let negated = other.c1.neg::<4>();
        let real = self.c0.product(&other.c0).plus_product(&self.c1, &negated);
        let imaginary = self.c0.product(&other.c1).plus_product(&self.c1, &other.c0);
        Self {
            c0: real.reduce(),
            c1: imaginary.reduce(),
        }
    }

    /// (a0 + a1) · (a0 - a1) + 2 · a0 · a1 · u, for a bound of at most 4.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn square(&self) -> Self {
        let sum = self.c0.add(&self.c1);
        let difference = self.c0.sub::<4>(&self.c1);
        Self {
            c0: sum.mul(&difference),
            c1: self.c0.double().mul(&self.c1),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul_by_fp(&self, factor: &FpX8) -> Self {
        Self {
            c0: self.c0.mul(factor),
            c1: self.c1.mul(factor),
        }
    }

    /// ξ · `self`: 9·a0 - a1 + (9·a1 + a0) · u, for a bound of at most 8.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn times_nonresidue(&self) -> Self {
        let nine = |x: &FpX8| x.double().double().double().add(x);
        Self {
            c0: nine(&self.c0).sub::<8>(&self.c1).reduced(),
            c1: nine(&self.c1).add(&self.c0).reduced(),
        }
    }

    /// The conjugate, which is the p-th power. Bound 3.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn conjugate(&self) -> Self {
        Self {
            c0: self.c0,
            c1: self.c1.neg::<2>(),
        }
    }

    /// The inverse; zero for zero.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn inverse(&self) -> Self {
        let norm = self.c0.square().add(&self.c1.square());
        let inverse = norm.inverse();
        Self {
            c0: self.c0.mul(&inverse),
            c1: self.c1.mul(&inverse).neg::<2>().reduced(),
        }
    }
}

impl Fp6X8 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn zero() -> Self {
        Self {
            c0: Fp2X8::zero(),
            c1: Fp2X8::zero(),
            c2: Fp2X8::zero(),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn one() -> Self {
        Self {
            c0: Fp2X8::one(),
            ..Self::zero()
        }
    }

    /// The bounds add up.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn add(&self, other: &Self) -> Self {
        Self {
            c0: self.c0.add(&other.c0),
            c1: self.c1.add(&other.c1),
            c2: self.c2.add(&other.c2),
        }
    }

    /// `other` has bound 2, which is added to that of `self`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn sub(&self, other: &Self) -> Self {
        Self {
            c0: self.c0.sub::<2>(&other.c0),
            c1: self.c1.sub::<2>(&other.c1),
            c2: self.c2.sub::<2>(&other.c2),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn neg(&self) -> Self {
        Self {
            c0: self.c0.neg(),
            c1: self.c1.neg(),
            c2: self.c2.neg(),
        }
        .reduced()
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn reduced(&self) -> Self {
        Self {
            c0: self.c0.reduced(),
            c1: self.c1.reduced(),
            c2: self.c2.reduced(),
        }
    }

    /// Karatsuba's way, six products.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn mul(&self, other: &Self) -> Self {
        let v0 = self.c0.mul(&other.c0);
        let v1 = self.c1.mul(&other.c1);
        let v2 = self.c2.mul(&other.c2);
        let t12 = self.c1.add(&self.c2).mul(&other.c1.add(&other.c2));
        let t01 = self.c0.add(&self.c1).mul(&other.c0.add(&other.c1));
        let t02 = self.c0.add(&self.c2).mul(&other.c0.add(&other.c2));
        Self {
            c0: t12.sub::<2>(&v1).sub::<2>(&v2).times_nonresidue().add(&v0),
            c1: t01.sub::<2>(&v0).sub::<2>(&v1).add(&v2.times_nonresidue()),
            c2: t02.sub::<2>(&v0).sub::<2>(&v2).add(&v1),
        }
        .reduced()
    }

    /// The product with b0 + b1 · v, five products.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn mul_by_01(&self, b0: &Fp2X8, b1: &Fp2X8) -> Self {
        let v0 = self.c0.mul(b0);
        let v1 = self.c1.mul(b1);
        let t12 = self.c1.add(&self.c2).mul(b1);
        let t01 = self.c0.add(&self.c1).mul(&b0.add(b1));
        let t02 = self.c0.add(&self.c2).mul(b0);
        Self {
            c0: t12.sub::<2>(&v1).times_nonresidue().add(&v0),
            c1: t01.sub::<2>(&v0).sub::<2>(&v1),
            c2: t02.sub::<2>(&v0).add(&v1),
        }
        .reduced()
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn mul_by_fp2(&self, factor: &Fp2X8) -> Self {
        Self {
            c0: self.c0.mul(factor),
            c1: self.c1.mul(factor),
            c2: self.c2.mul(factor),
        }
    }

    /// v · `self`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn times_nonresidue(&self) -> Self {
        Self {
            c0: self.c2.times_nonresidue(),
            c1: self.c0,
            c2: self.c1,
        }
    }

    /// The inverse; zero for zero.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn inverse(&self) -> Self {
        let Self { c0, c1, c2 } = self;
        let t0 = c0
            .square()
            .sub::<2>(&c1.mul(c2).times_nonresidue())
            .reduced();
        let t1 = c2
            .square()
            .times_nonresidue()
            .sub::<2>(&c0.mul(c1))
            .reduced();
        let t2 = c1.square().sub::<2>(&c0.mul(c2)).reduced();
        let mixed = c2.mul(&t1).add(&c1.mul(&t2)).times_nonresidue();
        let inverse = c0.mul(&t0).add(&mixed).reduced().inverse();
        Self {
            c0: t0,
            c1: t1,
            c2: t2,
        }
        .mul_by_fp2(&inverse)
    }
}

impl Fp12X8 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn one() -> Self {
        Self {
            c0: Fp6X8::one(),
            c1: Fp6X8::zero(),
        }
    }

    /// The elements.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn to_elements(self) -> [Fq12; LANES] {
        let coefficients = [self.c0, self.c1]
            .map(|half| [half.c0, half.c1, half.c2].map(|coefficient| coefficient.to_elements()));
        core::array::from_fn(|lane| {
            let [c0, c1] = coefficients.map(|[c0, c1, c2]| Fq6::new(c0[lane], c1[lane], c2[lane]));
            Fq12::new(c0, c1)
        })
    }

    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul(&self, other: &Self) -> Self {
        let v0 = self.c0.mul(&other.c0);
        let v1 = self.c1.mul(&other.c1);
        let cross = self
            .c0
            .add(&self.c1)
            .reduced()
            .mul(&other.c0.add(&other.c1).reduced());
        Self {
            c0: v0.add(&v1.times_nonresidue()).reduced(),
            c1: cross.sub(&v0).sub(&v1).reduced(),
        }
    }

    /// The complex way: (a0 + a1) · (a0 + v·a1) - (1 + v) · a0·a1 + 2 · a0·a1 · w.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn square(&self) -> Self {
        let cross = self.c0.mul(&self.c1);
        let sum = self.c0.add(&self.c1).reduced();
        let twisted = self.c0.add(&self.c1.times_nonresidue()).reduced();
        Self {
            c0: sum
                .mul(&twisted)
                .sub(&cross)
                .sub(&cross.times_nonresidue())
                .reduced(),
            c1: cross.add(&cross).reduced(),
        }
    }

    /// The product with l0 + (l3 + l4 · v) · w, which a line is.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul_by_line(&self, l0: &Fp2X8, l3: &Fp2X8, l4: &Fp2X8) -> Self {
        let v0 = self.c0.mul_by_fp2(l0);
        let v1 = self.c1.mul_by_01(l3, l4);
        let cross = self
            .c0
            .add(&self.c1)
            .reduced()
            .mul_by_01(&l0.add(l3).reduced(), l4);
        Self {
            c0: v0.add(&v1.times_nonresidue()).reduced(),
            c1: cross.sub(&v0).sub(&v1).reduced(),
        }
    }

    /// The product with 1 + (l3 + l4 · v) · w.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul_by_monic_line(&self, l3: &Fp2X8, l4: &Fp2X8) -> Self {
        let low = self.c0.mul_by_01(l3, l4);
        let high = self.c1.mul_by_01(l3, l4);
        Self {
            c0: self.c0.add(&high.times_nonresidue()).reduced(),
            c1: self.c1.add(&low).reduced(),
        }
    }

    /// The conjugate over Fp6, which is the inverse in the cyclotomic subgroup.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn conjugate(&self) -> Self {
        Self {
            c0: self.c0,
            c1: self.c1.neg(),
        }
    }

    /// The inverse; zero for zero.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn inverse(&self) -> Self {
        let norm = self
            .c0
            .mul(&self.c0)
            .sub(&self.c1.mul(&self.c1).times_nonresidue());
        let inverse = norm.reduced().inverse();
        Self {
            c0: self.c0.mul(&inverse),
            c1: self.c1.mul(&inverse).neg(),
        }
    }

    /// The square of an element of the cyclotomic subgroup (Granger and Scott, eprint 2009/565).
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn cyclotomic_square(&self) -> Self {
        let (low, high) = (&self.c0, &self.c1);
        let (a0, a1) = square_in_fp4(&low.c0, &high.c1);
        let (b0, b1) = square_in_fp4(&high.c0, &low.c2);
        let (c0, c1) = square_in_fp4(&low.c1, &high.c2);
        // 3t - 2z and 3t + 2z.
        let minus = |t: &Fp2X8, z: &Fp2X8| t.sub::<2>(z).double().add(t).reduced();
        let plus = |t: &Fp2X8, z: &Fp2X8| t.add(z).double().add(t).reduced();
        Self {
            c0: Fp6X8 {
                c0: minus(&a0, &low.c0),
                c1: minus(&b0, &low.c1),
                c2: minus(&c0, &low.c2),
            },
            c1: Fp6X8 {
                c0: plus(&c1.times_nonresidue(), &high.c0),
                c1: plus(&a1, &high.c1),
                c2: plus(&b1, &high.c2),
            },
        }
    }

    /// The p^`power`-th power.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn frobenius<const POWER: usize>(&self) -> Self {
        let map = |x: &Fp2X8| if POWER % 2 == 1 { x.conjugate() } else { *x };
        let (v1, v2) = (
            Fp2X8::splat(Fq6Config::FROBENIUS_COEFF_FP6_C1[POWER]),
            Fp2X8::splat(Fq6Config::FROBENIUS_COEFF_FP6_C2[POWER]),
        );
        let half = |x: &Fp6X8| Fp6X8 {
            c0: map(&x.c0),
            c1: map(&x.c1).mul(&v1),
            c2: map(&x.c2).mul(&v2),
        };
        let w = Fp2X8::splat(Fq12Config::FROBENIUS_COEFF_FP12_C1[POWER]);
        Self {
            c0: half(&self.c0).reduced(),
            c1: half(&self.c1).mul_by_fp2(&w),
        }
    }
}

/// (x + y·s)² = x² + ξ·y² + 2·x·y·s where s² = ξ.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn square_in_fp4(x: &Fp2X8, y: &Fp2X8) -> (Fp2X8, Fp2X8) {
    let (xx, yy) = (x.square(), y.square());
    let cross = x.add(y).square().sub::<2>(&xx).sub::<2>(&yy);
    (xx.add(&yy.times_nonresidue()).reduced(), cross.reduced())
}
