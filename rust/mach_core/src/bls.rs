//! Bindings of `mach_bls`: keys, points and signatures; batches of them stand in `batches`.

mod batches;
mod errors;
mod octets;

use std::hash::{DefaultHasher, Hash, Hasher};

use mach_bls::BlsError as Cause;
use mach_bls::point;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use errors::Raised;

/// A BN254 secret key: a scalar in 1..r, overwritten in memory when the object goes away.
#[pyclass(frozen, module = "mach.bls")]
struct SecretKey(mach_bls::SecretKey);

#[pymethods]
impl SecretKey {
    /// Read a 32-byte big-endian scalar.
    ///
    /// Raises WrongLengthError or SecretKeyRangeError (zero, or not below the group order r).
    #[staticmethod]
    fn from_bytes(data: &[u8]) -> Result<Self, Raised> {
        Ok(Self(mach_bls::SecretKey::from_bytes(data)?))
    }

    /// Create a key from the operating system's random source.
    #[staticmethod]
    fn generate() -> Result<Self, Raised> {
        Ok(Self(mach_bls::SecretKey::generate()?))
    }

    /// The scalar as 32 big-endian bytes. The copy that Python holds is not overwritten.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.to_bytes().as_slice())
    }

    /// The public key in G1, which the chain stores and sums.
    #[getter]
    fn public_key_g1(&self, py: Python<'_>) -> PublicKeyG1 {
        PublicKeyG1(py.detach(|| self.0.public_key_g1()))
    }

    /// The public key in G2, which signatures are checked against.
    #[getter]
    fn public_key_g2(&self, py: Python<'_>) -> PublicKeyG2 {
        PublicKeyG2(py.detach(|| self.0.public_key_g2()))
    }

    /// Sign a 32-byte message (a digest): sk · hash_to_g1(message).
    ///
    /// Raises WrongLengthError.
    fn sign(&self, py: Python<'_>, message: &[u8]) -> Result<Signature, Raised> {
        let message = digest(message)?;
        Ok(Signature(py.detach(|| self.0.sign(message))))
    }

    /// Multiply a G1 point (64 bytes) that a contract hashed, for a registration: sk · point (64 bytes).
    ///
    /// Signing a point signs every message that hashes to it: pass only points that a trusted contract computed.
    /// Raises WrongLengthError, NonCanonicalCoordinateError, NotOnCurveError or IdentityError.
    fn sign_point<'py>(
        &self,
        py: Python<'py>,
        point: &[u8],
    ) -> Result<Bound<'py, PyBytes>, Raised> {
        let signed = py.detach(|| {
            let point = point::decode_g1(point, "point to sign")?;
            self.0.sign_point(&point)
        })?;
        Ok(PyBytes::new(py, &point::encode_g1(&signed)))
    }

    /// Sign both public keys, for an operator set kept outside EigenLayer: proof that their sum with others is safe.
    fn prove_possession(&self, py: Python<'_>) -> Signature {
        Signature(py.detach(|| self.0.prove_possession()))
    }

    /// Whether both are the same key, in a time that does not depend on where they differ.
    fn __eq__(&self, other: &Self) -> bool {
        let (left, right) = (self.0.to_bytes(), other.0.to_bytes());
        left.iter()
            .zip(right.iter())
            .fold(0, |difference, (a, b)| difference | (a ^ b))
            == 0
    }

    fn __hash__(&self, py: Python<'_>) -> u64 {
        let mut hasher = DefaultHasher::new();
        py.detach(|| self.0.public_key_g1()).hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let key = py.detach(|| self.0.public_key_g1());
        format!("SecretKey(operator_id={})", hex(&key.operator_id()))
    }
}

/// A BN254 public key in G1; never the point at infinity.
#[pyclass(frozen, eq, hash, module = "mach.bls")]
#[derive(PartialEq, Eq, Hash)]
struct PublicKeyG1(mach_bls::PublicKeyG1);

#[pymethods]
impl PublicKeyG1 {
    /// Read 64 bytes: x ‖ y, big-endian.
    ///
    /// Raises WrongLengthError, NonCanonicalCoordinateError, NotOnCurveError or IdentityError.
    #[staticmethod]
    fn from_bytes(data: &[u8]) -> Result<Self, Raised> {
        Ok(Self(mach_bls::PublicKeyG1::from_bytes(data)?))
    }

    /// 64 bytes: x ‖ y, big-endian.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    /// keccak256(x ‖ y), 32 bytes: EigenLayer's name of the operator.
    #[getter]
    fn operator_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.operator_id())
    }

    fn __repr__(&self) -> String {
        format!("PublicKeyG1({})", hex(&self.0.to_bytes()))
    }
}

/// A BN254 public key in G2; in the subgroup of order r and never the point at infinity.
#[pyclass(frozen, eq, hash, module = "mach.bls")]
#[derive(PartialEq, Eq, Hash)]
struct PublicKeyG2(mach_bls::PublicKeyG2);

#[pymethods]
impl PublicKeyG2 {
    /// Read 128 bytes: x.c1 ‖ x.c0 ‖ y.c1 ‖ y.c0, big-endian, the order of the EVM precompiles.
    ///
    /// Raises WrongLengthError, NonCanonicalCoordinateError, NotOnCurveError, NotInSubgroupError or IdentityError.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> Result<Self, Raised> {
        Ok(Self(py.detach(|| mach_bls::PublicKeyG2::from_bytes(data))?))
    }

    /// 128 bytes: x.c1 ‖ x.c0 ‖ y.c1 ‖ y.c0, big-endian.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    fn __repr__(&self) -> String {
        format!("PublicKeyG2({})", hex(&self.0.to_bytes()))
    }
}

/// A signature: a G1 point other than the point at infinity.
#[pyclass(frozen, eq, hash, module = "mach.bls")]
#[derive(PartialEq, Eq, Hash)]
struct Signature(mach_bls::Signature);

#[pymethods]
impl Signature {
    /// Read 64 bytes: x ‖ y, big-endian.
    ///
    /// Raises WrongLengthError, NonCanonicalCoordinateError, NotOnCurveError or IdentityError.
    #[staticmethod]
    fn from_bytes(data: &[u8]) -> Result<Self, Raised> {
        Ok(Self(mach_bls::Signature::from_bytes(data)?))
    }

    /// 64 bytes: x ‖ y, big-endian.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    /// Whether the owner of `public_key` signed the 32-byte `message`.
    ///
    /// Raises WrongLengthError.
    fn verify(
        &self,
        py: Python<'_>,
        public_key: &PublicKeyG2,
        message: &[u8],
    ) -> Result<bool, Raised> {
        let message = digest(message)?;
        Ok(py.detach(|| self.0.verify(&public_key.0, message)))
    }

    fn __repr__(&self) -> String {
        format!("Signature({})", hex(&self.0.to_bytes()))
    }
}

/// Whether `proof` was made by `SecretKey.prove_possession` of the one secret of both keys.
#[pyfunction]
fn verify_possession(
    py: Python<'_>,
    key_g1: &PublicKeyG1,
    key_g2: &PublicKeyG2,
    proof: &Signature,
) -> bool {
    py.detach(|| mach_bls::verify_possession(&key_g1.0, &key_g2.0, &proof.0))
}

/// Whether EigenLayer's BLSApkRegistry accepts a registration: `signature` is sk · `registration_point` (64 bytes, what
/// the contract's pubkeyRegistrationMessageHash returns) and both keys are of the same sk.
///
/// Raises WrongLengthError, NonCanonicalCoordinateError or NotOnCurveError.
#[pyfunction]
fn verify_registration(
    py: Python<'_>,
    key_g1: &PublicKeyG1,
    key_g2: &PublicKeyG2,
    registration_point: &[u8],
    signature: &Signature,
) -> Result<bool, Raised> {
    let point = point::decode_g1(registration_point, "registration point")?;
    Ok(py.detach(|| mach_bls::verify_registration(&key_g1.0, &key_g2.0, &point, &signature.0)))
}

fn digest(message: &[u8]) -> Result<&[u8; 32], Cause> {
    message.try_into().map_err(|_| Cause::WrongLength {
        what: "message",
        expected: 32,
        actual: message.len(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::from("0x"), |text, byte| {
        text + &format!("{byte:02x}")
    })
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<SecretKey>()?;
    module.add_class::<PublicKeyG1>()?;
    module.add_class::<PublicKeyG2>()?;
    module.add_class::<Signature>()?;
    module.add_function(wrap_pyfunction!(verify_possession, module)?)?;
    module.add_function(wrap_pyfunction!(verify_registration, module)?)?;
    batches::register(module)?;
    errors::register(module)
}
