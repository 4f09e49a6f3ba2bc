//! Bearer tokens: who may call, known by a secret that is read from a file and never shown.

use std::fmt;
use std::path::{Path, PathBuf};

use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;
use zeroize::Zeroizing;

/// A token must be as hard to guess as a 128-bit number in hex.
pub const MIN_TOKEN_BYTES: usize = 32;

/// The tokens that open the door; at least one.
pub struct BearerTokens {
    tokens: Vec<Zeroizing<String>>,
}

/// A token file cannot be used. Never says what the file holds.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("token file {}: {cause}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
    /// A line is too short or holds other characters than visible ASCII.
    #[error(
        "token file {}, line {line}: a token must be {MIN_TOKEN_BYTES} or more visible ASCII characters; make one with \
         `openssl rand -hex 32`",
        path.display()
    )]
    Weak {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The file holds no token.
    #[error("token file {} holds no token", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
}

impl fmt::Debug for BearerTokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "BearerTokens({} tokens)", self.tokens.len())
    }
}

impl BearerTokens {
    /// All tokens of `files`, one a line; empty lines and those that start with `#` are left out. `None` for no files.
    ///
    /// # Errors
    /// [`TokenError`] names the file and the line.
    pub fn from_files(files: &[PathBuf]) -> Result<Option<Self>, TokenError> {
        let mut tokens = Vec::new();
        for path in files {
            let before = tokens.len();
            read_file(path, &mut tokens)?;
            if tokens.len() == before {
                return Err(TokenError::Empty { path: path.clone() });
            }
        }
        Ok((!files.is_empty()).then_some(Self { tokens }))
    }

    /// Whether the value of an `Authorization` header carries one of the tokens. The time it takes tells at most which
    /// lengths tokens have.
    pub fn admits(&self, authorization: Option<&[u8]>) -> bool {
        let Some((scheme, presented)) = authorization.and_then(|value| value.split_at_checked(7))
        else {
            return false;
        };
        let matched = self.tokens.iter().fold(Choice::from(0), |matched, token| {
            matched | token.as_bytes().ct_eq(presented)
        });
        scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(matched)
    }
}

fn read_file(path: &Path, tokens: &mut Vec<Zeroizing<String>>) -> Result<(), TokenError> {
    let text =
        Zeroizing::new(
            std::fs::read_to_string(path).map_err(|cause| TokenError::Unreadable {
                path: path.to_owned(),
                cause,
            })?,
        );
    for (number, line) in text.lines().enumerate() {
        let token = line.trim();
        if token.is_empty() || token.starts_with('#') {
            continue;
        }
        if token.len() < MIN_TOKEN_BYTES || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Weak {
                path: path.to_owned(),
                line: number + 1,
            });
        }
        tokens.push(Zeroizing::new(token.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn tokens_of(text: &str) -> Result<Option<BearerTokens>, TokenError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        std::fs::write(&path, text).unwrap();
        BearerTokens::from_files(&[path])
    }

    #[test]
    fn one_of_the_tokens_is_admitted_and_nothing_else() {
        let tokens = tokens_of(&format!("# operators\n{TOKEN}\n\n  {TOKEN}ff \n"))
            .unwrap()
            .unwrap();
        for header in [format!("Bearer {TOKEN}"), format!("bearer {TOKEN}ff")] {
            assert!(tokens.admits(Some(header.as_bytes())));
        }
        for header in [
            "",
            "Bearer",
            "Bearer ",
            TOKEN,
            "Basic 0123456789abcdef0123456789abcdef",
        ] {
            assert!(!tokens.admits(Some(header.as_bytes())), "{header}");
        }
        assert!(!tokens.admits(Some(format!("Bearer {TOKEN}f").as_bytes())));
        assert!(!tokens.admits(None));
        assert_eq!(format!("{tokens:?}"), "BearerTokens(2 tokens)");
    }

    #[test]
    fn a_weak_or_missing_token_is_named_by_its_line_only() {
        let error = tokens_of(&format!("{TOKEN}\nhunter2\n"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("line 2") && !error.contains("hunter2"),
            "{error}"
        );
        assert!(matches!(
            tokens_of("# none\n"),
            Err(TokenError::Empty { .. })
        ));
        assert!(matches!(
            BearerTokens::from_files(&["/nowhere".into()]),
            Err(TokenError::Unreadable { .. })
        ));
        assert!(BearerTokens::from_files(&[]).unwrap().is_none());
    }
}
