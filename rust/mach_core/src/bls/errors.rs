//! The exceptions of `mach.bls`.

use mach_bls::BlsError as Cause;
use pyo3::prelude::*;

pyo3::import_exception!(mach.errors, MachError);
pyo3::create_exception!(
    mach.bls,
    BlsError,
    MachError,
    "Bytes are not the key, point or batch they should be."
);
pyo3::create_exception!(
    mach.bls,
    WrongLengthError,
    BlsError,
    "An encoding or a batch of them has a wrong length."
);
pyo3::create_exception!(
    mach.bls,
    NonCanonicalCoordinateError,
    BlsError,
    "A coordinate is not below the BN254 field modulus."
);
pyo3::create_exception!(
    mach.bls,
    NotOnCurveError,
    BlsError,
    "The coordinates are not those of a curve point."
);
pyo3::create_exception!(
    mach.bls,
    NotInSubgroupError,
    BlsError,
    "A G2 point is on the curve, but not in the subgroup of order r."
);
pyo3::create_exception!(
    mach.bls,
    IdentityError,
    BlsError,
    "The point at infinity stands where a key or a signature should."
);
pyo3::create_exception!(
    mach.bls,
    SecretKeyRangeError,
    BlsError,
    "A secret key is zero or not below the group order."
);
pyo3::create_exception!(
    mach.bls,
    CountMismatchError,
    BlsError,
    "There is not one signature for each public key."
);

pyo3::create_exception!(
    mach.bls,
    SignerIndexError,
    BlsError,
    "A signer is named that the signer set does not have, or one is named twice."
);

/// The Python exception of each cause; the text is the whole error's, with its position in a batch.
pub(crate) struct Raised(Cause);

impl From<Cause> for Raised {
    fn from(error: Cause) -> Self {
        Self(error)
    }
}

impl From<Raised> for PyErr {
    fn from(Raised(error): Raised) -> Self {
        let text = error.to_string();
        match error.cause() {
            Cause::WrongLength { .. } | Cause::PartialBatch { .. } => {
                WrongLengthError::new_err(text)
            }
            Cause::NonCanonicalCoordinate { .. } => NonCanonicalCoordinateError::new_err(text),
            Cause::NotOnCurve { .. } => NotOnCurveError::new_err(text),
            Cause::NotInSubgroup { .. } => NotInSubgroupError::new_err(text),
            Cause::Identity { .. } => IdentityError::new_err(text),
            Cause::SecretKeyZero | Cause::SecretKeyOutOfRange => SecretKeyRangeError::new_err(text),
            Cause::CountMismatch { .. } => CountMismatchError::new_err(text),
            Cause::UnknownSigner { .. } | Cause::RepeatedSigner { .. } => {
                SignerIndexError::new_err(text)
            }
            // `cause` never gives `InBatch`.
            Cause::NoRandomness { .. } | Cause::InBatch { .. } => BlsError::new_err(text),
        }
    }
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("BlsError", py.get_type::<BlsError>())?;
    module.add("WrongLengthError", py.get_type::<WrongLengthError>())?;
    module.add(
        "NonCanonicalCoordinateError",
        py.get_type::<NonCanonicalCoordinateError>(),
    )?;
    module.add("NotOnCurveError", py.get_type::<NotOnCurveError>())?;
    module.add("NotInSubgroupError", py.get_type::<NotInSubgroupError>())?;
    module.add("IdentityError", py.get_type::<IdentityError>())?;
    module.add("SecretKeyRangeError", py.get_type::<SecretKeyRangeError>())?;
    module.add("CountMismatchError", py.get_type::<CountMismatchError>())?;
    module.add("SignerIndexError", py.get_type::<SignerIndexError>())
}
