//! Empty: this package only pins a dependency.
