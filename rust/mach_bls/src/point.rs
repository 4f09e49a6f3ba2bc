//! Total codecs between bytes and points.
//!
//! A G1 point is `x ‖ y` (64 bytes), a G2 point `x.c1 ‖ x.c0 ‖ y.c1 ‖ y.c0` (128 bytes), every coordinate a 32-byte
//! big-endian integer below the field modulus: the layout of the EVM precompiles (EIP-196, EIP-197), in which the
//! point at infinity is all zeros.

use ark_bn254::{Fq, Fq2, G1Affine, G2Affine};
use ark_ec::AffineRepr;
use ark_ec::short_weierstrass::{Affine, SWCurveConfig};
use ark_ff::{BigInt, BigInteger, PrimeField};

use crate::avx512::{Avx512, LANES};
use crate::subgroup::{are_in_g2, is_in_g2};
use crate::{BlsError, backend};

/// Length of an encoded G1 point.
pub const G1_BYTES: usize = 64;
/// Length of an encoded G2 point.
pub const G2_BYTES: usize = 128;

const COORDINATE_BYTES: usize = 32;
const G1_COORDINATES: [&str; 2] = ["x", "y"];
const G2_COORDINATES: [&str; 4] = ["x.c1", "x.c0", "y.c1", "y.c0"];

/// Reads a G1 point; all zeros is the identity.
///
/// `what` names the value in errors.
///
/// # Errors
/// [`BlsError::WrongLength`], [`BlsError::NonCanonicalCoordinate`] or [`BlsError::NotOnCurve`]. G1 has prime order, so
/// a point of the curve is a point of the group.
pub fn decode_g1(bytes: &[u8], what: &'static str) -> Result<G1Affine, BlsError> {
    let [x, y] = decode_coordinates(bytes, what, G1_COORDINATES)?;
    on_curve_or_identity(x, y, what)
}

/// Reads a G2 point and checks its subgroup; all zeros is the identity.
///
/// # Errors
/// [`BlsError::WrongLength`], [`BlsError::NonCanonicalCoordinate`], [`BlsError::NotOnCurve`] or
/// [`BlsError::NotInSubgroup`].
pub fn decode_g2(bytes: &[u8], what: &'static str) -> Result<G2Affine, BlsError> {
    let point = decode_twist_point(bytes, what)?;
    if is_in_g2(&point) {
        Ok(point)
    } else {
        Err(BlsError::NotInSubgroup { what })
    }
}

/// Reads a G2 point of the twist, whatever its subgroup; all zeros is the identity.
fn decode_twist_point(bytes: &[u8], what: &'static str) -> Result<G2Affine, BlsError> {
    let [x_c1, x_c0, y_c1, y_c0] = decode_coordinates(bytes, what, G2_COORDINATES)?;
    on_curve_or_identity(Fq2::new(x_c0, x_c1), Fq2::new(y_c0, y_c1), what)
}

/// Writes a G1 point as `x ‖ y`, the identity as zeros.
#[must_use]
pub fn encode_g1(point: &G1Affine) -> [u8; G1_BYTES] {
    let mut bytes = [0; G1_BYTES];
    if let Some((x, y)) = point.xy() {
        encode_coordinates(&[x, y], &mut bytes);
    }
    bytes
}

/// Writes a G2 point as `x.c1 ‖ x.c0 ‖ y.c1 ‖ y.c0`, the identity as zeros.
#[must_use]
pub fn encode_g2(point: &G2Affine) -> [u8; G2_BYTES] {
    let mut bytes = [0; G2_BYTES];
    if let Some((x, y)) = point.xy() {
        encode_coordinates(&[x.c1, x.c0, y.c1, y.c0], &mut bytes);
    }
    bytes
}

/// Reads consecutive G1 points of 64 bytes each, as [`decode_g1`] reads one, several at once where the processor can.
///
/// # Errors
/// [`BlsError::PartialBatch`], or [`BlsError::InBatch`] with the first point that [`decode_g1`] rejects.
pub fn decode_g1_many(bytes: &[u8], what: &'static str) -> Result<Vec<G1Affine>, BlsError> {
    decode_many(bytes, G1_BYTES, what, read_eight_g1, |bytes| {
        decode_g1(bytes, what)
    })
}

/// Reads consecutive G2 points of 128 bytes each, as [`decode_g2`] reads one, several at once where the processor can.
///
/// # Errors
/// [`BlsError::PartialBatch`], or [`BlsError::InBatch`] with the first point that [`decode_g2`] rejects.
pub fn decode_g2_many(bytes: &[u8], what: &'static str) -> Result<Vec<G2Affine>, BlsError> {
    decode_many(bytes, G2_BYTES, what, read_eight_g2, |bytes| {
        decode_g2(bytes, what)
    })
}

/// Reads eights with `read_eight`, which gives nothing if one is bad; the rest one by one, to tell which is.
pub(crate) fn decode_many<T>(
    bytes: &[u8],
    size: usize,
    what: &'static str,
    read_eight: impl Fn(Avx512, &[u8]) -> Option<[T; LANES]>,
    decode: impl Fn(&[u8]) -> Result<T, BlsError>,
) -> Result<Vec<T>, BlsError> {
    if !bytes.len().is_multiple_of(size) {
        return Err(BlsError::PartialBatch {
            what,
            size,
            actual: bytes.len(),
        });
    }
    let mut decoded = Vec::with_capacity(bytes.len() / size);
    if let Some(avx512) = backend::avx512() {
        for eight in bytes.chunks_exact(LANES * size) {
            match read_eight(avx512, eight) {
                Some(eight) => decoded.extend(eight),
                None => break,
            }
        }
    }
    for chunk in bytes.chunks_exact(size).skip(decoded.len()) {
        let one = decode(chunk).map_err(|source| BlsError::InBatch {
            index: decoded.len(),
            source: Box::new(source),
        })?;
        decoded.push(one);
    }
    Ok(decoded)
}

/// Eight points of 64 bytes each, unless one is bad.
pub(crate) fn read_eight_g1(avx512: Avx512, bytes: &[u8]) -> Option<[G1Affine; LANES]> {
    let (coordinates, _) = bytes.as_chunks::<COORDINATE_BYTES>();
    let integer = |index: usize| big_endian_integer(&coordinates[index]);
    let x: [_; LANES] = core::array::from_fn(|lane| integer(2 * lane));
    let y: [_; LANES] = core::array::from_fn(|lane| integer(2 * lane + 1));
    if x.iter().chain(&y).any(|integer| *integer >= Fq::MODULUS) {
        return None;
    }
    let (points, on_curve) = avx512.read(&x.map(|x| x.0), &y.map(|y| y.0));
    (on_curve == u8::MAX).then_some(points)
}

/// Eight points of 128 bytes each, unless one is bad.
pub(crate) fn read_eight_g2(avx512: Avx512, bytes: &[u8]) -> Option<[G2Affine; LANES]> {
    let mut points = [G2Affine::identity(); LANES];
    for (point, bytes) in points.iter_mut().zip(bytes.chunks_exact(G2_BYTES)) {
        // The error's words come from reading it again.
        *point = decode_twist_point(bytes, "").ok()?;
    }
    are_in_g2(avx512, &points).then_some(points)
}

/// Reads consecutive encodings of `size` bytes each.
///
/// # Errors
/// [`BlsError::PartialBatch`], or [`BlsError::InBatch`] with the first element that `decode` rejects.
pub fn decode_batch<T>(
    bytes: &[u8],
    size: usize,
    what: &'static str,
    decode: impl Fn(&[u8]) -> Result<T, BlsError>,
) -> Result<Vec<T>, BlsError> {
    decode_many(bytes, size, what, |_, _| None, decode)
}

/// `points`, unless one is the identity.
pub(crate) fn none_at_infinity<P: AffineRepr>(points: [P; LANES]) -> Option<[P; LANES]> {
    (!points.iter().any(P::is_zero)).then_some(points)
}

/// `point`, unless it is the identity.
pub(crate) fn reject_identity<P: AffineRepr>(point: P, what: &'static str) -> Result<P, BlsError> {
    if point.is_zero() {
        Err(BlsError::Identity { what })
    } else {
        Ok(point)
    }
}

/// The integer that 32 big-endian bytes are.
pub(crate) fn big_endian_integer(bytes: &[u8; COORDINATE_BYTES]) -> BigInt<4> {
    let (words, _) = bytes.as_chunks::<8>();
    let limbs = core::array::from_fn(|limb| u64::from_be_bytes(words[3 - limb]));
    BigInt(limbs)
}

fn decode_coordinates<const N: usize>(
    bytes: &[u8],
    what: &'static str,
    names: [&'static str; N],
) -> Result<[Fq; N], BlsError> {
    let (chunks, rest) = bytes.as_chunks::<COORDINATE_BYTES>();
    if chunks.len() != N || !rest.is_empty() {
        return Err(BlsError::WrongLength {
            what,
            expected: N * COORDINATE_BYTES,
            actual: bytes.len(),
        });
    }
    let mut coordinates = [Fq::from(0_u8); N];
    for ((coordinate, chunk), name) in coordinates.iter_mut().zip(chunks).zip(names) {
        *coordinate =
            Fq::from_bigint(big_endian_integer(chunk)).ok_or(BlsError::NonCanonicalCoordinate {
                what,
                coordinate: name,
            })?;
    }
    Ok(coordinates)
}

fn encode_coordinates(coordinates: &[Fq], bytes: &mut [u8]) {
    for (chunk, coordinate) in bytes.chunks_exact_mut(COORDINATE_BYTES).zip(coordinates) {
        chunk.copy_from_slice(&coordinate.into_bigint().to_bytes_be());
    }
}

fn on_curve_or_identity<C: SWCurveConfig>(
    x: C::BaseField,
    y: C::BaseField,
    what: &'static str,
) -> Result<Affine<C>, BlsError> {
    if x == C::BaseField::default() && y == C::BaseField::default() {
        return Ok(Affine::identity());
    }
    let point = Affine::new_unchecked(x, y);
    if point.is_on_curve() {
        Ok(point)
    } else {
        Err(BlsError::NotOnCurve { what })
    }
}
