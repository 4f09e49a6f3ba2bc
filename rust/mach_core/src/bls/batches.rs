//! Functions on many points laid end to end. They release the GIL and touch no Python object per point.

use mach_bls::point;
use mach_bls::{BlsError as Cause, PublicKeyG2, Signature, SignedMessage};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::digest;
use super::errors::Raised;
use super::octets::Octets;

/// The G2 public keys of an operator set, checked once, with their sum; signers are named by their index.
#[pyclass(frozen, module = "mach.bls")]
struct SignerSet(mach_bls::SignerSet);

#[pymethods]
impl SignerSet {
    /// Read n keys of 128 bytes each, laid end to end.
    ///
    /// Raises WrongLengthError, NonCanonicalCoordinateError, NotOnCurveError, NotInSubgroupError or IdentityError.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, public_keys: Octets<'_>) -> Result<Self, Raised> {
        let public_keys: &[u8] = &public_keys;
        Ok(Self(
            py.detach(|| mach_bls::SignerSet::from_bytes(public_keys))?,
        ))
    }

    /// The sum (128 bytes) of the keys of the signers `present`, by default of all.
    ///
    /// Costs one addition for each signer present or absent, whichever are fewer. Raises SignerIndexError.
    #[pyo3(signature = (present=None))]
    fn aggregate<'py>(
        &self,
        py: Python<'py>,
        present: Option<Vec<usize>>,
    ) -> Result<Bound<'py, PyBytes>, Raised> {
        let sum = py.detach(|| match present {
            Some(present) => self.0.aggregate(&present),
            None => Ok(*self.0.total()),
        })?;
        Ok(PyBytes::new(py, &point::encode_g2(&sum)))
    }

    /// Whether `signatures` (64 bytes each) sum to one by the signers `present`, by default all, over one message.
    ///
    /// What that proves, and what it does not, stands at `verify_aggregate`. Raises WrongLengthError,
    /// NonCanonicalCoordinateError, NotOnCurveError, IdentityError, CountMismatchError or SignerIndexError.
    #[pyo3(signature = (message, signatures, present=None))]
    fn verify_aggregate(
        &self,
        py: Python<'_>,
        message: &[u8],
        signatures: Octets<'_>,
        present: Option<Vec<usize>>,
    ) -> Result<bool, Raised> {
        let (message, signatures): (_, &[u8]) = (digest(message)?, &signatures);
        let verdict = py.detach(|| {
            let signatures = Signature::from_bytes_many(signatures)?;
            self.0
                .verify_aggregate(&self.or_all(present), message, &signatures)
        })?;
        Ok(verdict)
    }

    /// Positions in `present`, by default all signers, whose signatures (64 bytes each) are bad, ascending.
    ///
    /// As the function `find_invalid`, whose errors it raises, and SignerIndexError.
    #[pyo3(signature = (message, signatures, present=None))]
    fn find_invalid(
        &self,
        py: Python<'_>,
        message: &[u8],
        signatures: Octets<'_>,
        present: Option<Vec<usize>>,
    ) -> Result<Vec<usize>, Raised> {
        let (message, signatures): (_, &[u8]) = (digest(message)?, &signatures);
        let found = py.detach(|| {
            let signatures = Signature::from_bytes_many(signatures)?;
            let point = mach_bls::hash_to_g1(message);
            self.0
                .find_invalid(&self.or_all(present), &point, &signatures)
        })?;
        Ok(found)
    }

    /// The number of signers.
    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __repr__(&self) -> String {
        format!("SignerSet({} signers)", self.0.len())
    }
}

impl SignerSet {
    fn or_all(&self, present: Option<Vec<usize>>) -> Vec<usize> {
        present.unwrap_or_else(|| (0..self.0.len()).collect())
    }
}

/// The G1 point (64 bytes) of a 32-byte message, by EigenLayer's try-and-increment.
///
/// Raises WrongLengthError.
#[pyfunction]
fn hash_to_g1<'py>(py: Python<'py>, message: &[u8]) -> Result<Bound<'py, PyBytes>, Raised> {
    let message = digest(message)?;
    let point = py.detach(|| mach_bls::hash_to_g1(message));
    Ok(PyBytes::new(py, &point::encode_g1(&point)))
}

/// The G1 points (n · 64 bytes) of n messages of 32 bytes each, laid end to end; several are hashed at once.
///
/// Raises WrongLengthError.
#[pyfunction]
fn hash_to_g1_many<'py>(
    py: Python<'py>,
    messages: Octets<'_>,
) -> Result<Bound<'py, PyBytes>, Raised> {
    let messages = digests(&messages)?;
    let encoded = py.detach(|| {
        let points = mach_bls::hash_to_g1_many(messages);
        points
            .iter()
            .flat_map(point::encode_g1)
            .collect::<Vec<u8>>()
    });
    Ok(PyBytes::new(py, &encoded))
}

/// The sum (64 bytes) of n signatures of 64 bytes each, laid end to end.
///
/// All zeros, the point at infinity, is accepted and may be the sum: that of no signatures, or of two opposite ones.
/// Raises WrongLengthError, NonCanonicalCoordinateError or NotOnCurveError, which name the position.
#[pyfunction]
fn aggregate_signatures<'py>(
    py: Python<'py>,
    signatures: Octets<'_>,
) -> Result<Bound<'py, PyBytes>, Raised> {
    sum_g1(py, &signatures, "signature")
}

/// The sum (64 bytes) of n G1 public keys of 64 bytes each, laid end to end: an operator set's aggregate public key.
///
/// All zeros, the point at infinity, is accepted and may be the sum.
/// Raises WrongLengthError, NonCanonicalCoordinateError or NotOnCurveError, which name the position.
#[pyfunction]
fn aggregate_public_keys_g1<'py>(
    py: Python<'py>,
    public_keys: Octets<'_>,
) -> Result<Bound<'py, PyBytes>, Raised> {
    sum_g1(py, &public_keys, "G1 public key")
}

/// The sum (128 bytes) of n G2 public keys of 128 bytes each, laid end to end.
///
/// All zeros, the point at infinity, is accepted and may be the sum.
/// Raises WrongLengthError, NonCanonicalCoordinateError, NotOnCurveError or NotInSubgroupError, with the position.
#[pyfunction]
fn aggregate_public_keys_g2<'py>(
    py: Python<'py>,
    public_keys: Octets<'_>,
) -> Result<Bound<'py, PyBytes>, Raised> {
    let public_keys: &[u8] = &public_keys;
    let what = "G2 public key";
    let sum = py.detach(|| {
        let points = point::decode_g2_many(public_keys, what)?;
        Ok::<_, Cause>(mach_bls::sum_g2(points))
    })?;
    Ok(PyBytes::new(py, &point::encode_g2(&sum)))
}

/// Whether n signatures (64 bytes each) sum to one by the sum of n G2 public keys (128 bytes each) over one message.
///
/// One pairing product, however many there are. True proves the aggregate, which is what the chain checks; errors in
/// two signatures can cancel out. False for no signatures and for keys that cancel out. For a set of keys that is used
/// more than once, a SignerSet is much faster: here each key is checked anew.
/// Raises WrongLengthError, NonCanonicalCoordinateError, NotOnCurveError, NotInSubgroupError, IdentityError or
/// CountMismatchError.
#[pyfunction]
fn verify_aggregate(
    py: Python<'_>,
    public_keys: Octets<'_>,
    message: &[u8],
    signatures: Octets<'_>,
) -> Result<bool, Raised> {
    let message = digest(message)?;
    let (public_keys, signatures): (&[u8], &[u8]) = (&public_keys, &signatures);
    let verdict = py.detach(|| {
        let signatures = Signature::from_bytes_many(signatures)?;
        mach_bls::verify_aggregate(
            &PublicKeyG2::from_bytes_many(public_keys)?,
            message,
            &signatures,
        )
    })?;
    Ok(verdict)
}

/// Whether each of n signatures (64 bytes each) is one by its own G2 public key (128 bytes each) over one message.
///
/// Each is weighed with 64 fresh random bits, so that errors cannot cancel out: a bad one passes with a probability of
/// 2⁻⁶⁴. False for no signatures. Raises what `verify_aggregate` raises.
#[pyfunction]
fn verify_each(
    py: Python<'_>,
    public_keys: Octets<'_>,
    message: &[u8],
    signatures: Octets<'_>,
) -> Result<bool, Raised> {
    let message = digest(message)?;
    let (public_keys, signatures): (&[u8], &[u8]) = (&public_keys, &signatures);
    let verdict = py.detach(|| {
        let signatures = Signature::from_bytes_many(signatures)?;
        mach_bls::verify_each(
            &PublicKeyG2::from_bytes_many(public_keys)?,
            message,
            &signatures,
        )
    })?;
    Ok(verdict)
}

/// Positions of the bad ones among n signatures (64 bytes each) by n G2 public keys (128 bytes each) over one message.
///
/// Ascending. Each position named is of a bad signature; all the others sum to a good one, but errors in two of them
/// can cancel out, which `verify_each` would tell. Raises what `verify_aggregate` raises.
#[pyfunction]
fn find_invalid(
    py: Python<'_>,
    public_keys: Octets<'_>,
    message: &[u8],
    signatures: Octets<'_>,
) -> Result<Vec<usize>, Raised> {
    let message = digest(message)?;
    let (public_keys, signatures): (&[u8], &[u8]) = (&public_keys, &signatures);
    let found = py.detach(|| {
        let signatures = Signature::from_bytes_many(signatures)?;
        let point = mach_bls::hash_to_g1(message);
        mach_bls::find_invalid(
            &PublicKeyG2::from_bytes_many(public_keys)?,
            &point,
            &signatures,
        )
    })?;
    Ok(found)
}

/// Whether each of n signatures (64 bytes each) is one by its key (128 bytes each) over its own message (32 bytes each).
///
/// Signatures that share a key or a message cost less. Each is weighed with 64 fresh random bits: a bad one passes with
/// a probability of 2⁻⁶⁴. False for no signatures. Raises what `verify_aggregate` raises.
#[pyfunction]
fn verify_batch(
    py: Python<'_>,
    public_keys: Octets<'_>,
    messages: Octets<'_>,
    signatures: Octets<'_>,
) -> Result<bool, Raised> {
    let (public_keys, signatures): (&[u8], &[u8]) = (&public_keys, &signatures);
    let messages = digests(&messages)?;
    let verdict = py.detach(|| {
        let signatures = Signature::from_bytes_many(signatures)?;
        let public_keys = PublicKeyG2::from_bytes_many(public_keys)?;
        let counts = [public_keys.len(), messages.len()];
        if let Some(count) = counts.into_iter().find(|count| *count != signatures.len()) {
            return Err(Cause::CountMismatch {
                public_keys: count,
                signatures: signatures.len(),
            });
        }
        let items = public_keys.into_iter().zip(messages).zip(signatures);
        let batch: Vec<SignedMessage> = items
            .map(|((public_key, message), signature)| SignedMessage {
                public_key,
                message: *message,
                signature,
            })
            .collect();
        mach_bls::verify_batch(&batch)
    })?;
    Ok(verdict)
}

fn sum_g1<'py>(
    py: Python<'py>,
    points: &[u8],
    what: &'static str,
) -> Result<Bound<'py, PyBytes>, Raised> {
    let sum =
        py.detach(|| Ok::<_, Cause>(mach_bls::sum_g1(point::decode_g1_many(points, what)?)))?;
    Ok(PyBytes::new(py, &point::encode_g1(&sum)))
}

fn digests(messages: &[u8]) -> Result<&[[u8; 32]], Cause> {
    match messages.as_chunks() {
        (digests, []) => Ok(digests),
        _ => Err(Cause::PartialBatch {
            what: "message",
            size: 32,
            actual: messages.len(),
        }),
    }
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<SignerSet>()?;
    module.add_function(wrap_pyfunction!(hash_to_g1, module)?)?;
    module.add_function(wrap_pyfunction!(hash_to_g1_many, module)?)?;
    module.add_function(wrap_pyfunction!(aggregate_signatures, module)?)?;
    module.add_function(wrap_pyfunction!(aggregate_public_keys_g1, module)?)?;
    module.add_function(wrap_pyfunction!(aggregate_public_keys_g2, module)?)?;
    module.add_function(wrap_pyfunction!(verify_aggregate, module)?)?;
    module.add_function(wrap_pyfunction!(verify_each, module)?)?;
    module.add_function(wrap_pyfunction!(verify_batch, module)?)?;
    module.add_function(wrap_pyfunction!(find_invalid, module)?)
}
