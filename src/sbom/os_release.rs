//! os-release(5): what the image says its operating system is.

use super::{SbomError, cut, limits};

/// The fields of os-release that name a distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsRelease {
    /// `ID`: `debian`, `alpine` …; `linux` where the file says none, as os-release(5) has it.
    pub id: String,
    /// `VERSION_ID`: `13`; absent in rolling distributions.
    pub version_id: Option<String>,
    /// `VERSION_CODENAME`: `trixie`.
    pub codename: Option<String>,
    /// `PRETTY_NAME`: for people.
    pub pretty_name: Option<String>,
}

impl OsRelease {
    /// Reads the file; `path` is for errors. Lines that are not assignments, and other fields, are passed over.
    pub fn parse(path: &str, content: &[u8]) -> Result<Self, SbomError> {
        let malformed = |reason: String| SbomError::Malformed { path: cut(path), what: "an os-release file", reason };
        let text = String::from_utf8_lossy(content);
        let mut os = Self { id: "linux".to_owned(), version_id: None, codename: None, pretty_name: None };
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else { continue };
            let key = key.trim();
            if !matches!(key, "ID" | "VERSION_ID" | "VERSION_CODENAME" | "PRETTY_NAME") {
                continue;
            }
            let value = unquote(value.trim());
            if value.is_empty() {
                continue;
            }
            if value.len() > limits::FIELD {
                return Err(malformed(format!("{key} is longer than {} bytes", limits::FIELD)));
            }
            if key == "PRETTY_NAME" {
                os.pretty_name = Some(value);
                continue;
            }
            // They become parts of purls.
            if !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
                return Err(malformed(format!("{key} is {:?}, which os-release(5) does not allow", cut(&value))));
            }
            match key {
                "ID" => os.id = value.to_ascii_lowercase(),
                "VERSION_ID" => os.version_id = Some(value),
                _ => os.codename = Some(value),
            }
        }
        Ok(os)
    }

    /// The value of a purl's `distro` qualifier: `debian-13`, or the codename or nothing where there is no number.
    pub fn distro(&self) -> String {
        match self.version_id.as_ref().or(self.codename.as_ref()) {
            Some(version) => format!("{}-{version}", self.id),
            None => self.id.clone(),
        }
    }
}

/// The value of a shell-like assignment: quotes removed, backslash escapes resolved inside double quotes.
fn unquote(value: &str) -> String {
    if let Some(inner) = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return inner.to_owned();
    }
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut text = String::with_capacity(inner.len());
    let mut escaped = false;
    for character in inner.chars() {
        if character == '\\' && !escaped {
            escaped = true;
        } else {
            text.push(character);
            escaped = false;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_quoted_and_plain_values() {
        let os = OsRelease::parse(
            "etc/os-release",
            b"PRETTY_NAME=\"Debian \\\"x\\\" 13\"\nID=debian\nVERSION_ID='13'\n# c\nnonsense\nVERSION_CODENAME=trixie\n",
        )
        .unwrap();
        assert_eq!((os.id.as_str(), os.distro().as_str()), ("debian", "debian-13"));
        assert_eq!(os.pretty_name.as_deref(), Some("Debian \"x\" 13"));
    }

    #[test]
    fn is_linux_where_nothing_is_said() {
        let os = OsRelease::parse("etc/os-release", b"").unwrap();
        assert_eq!((os.id.as_str(), os.distro().as_str()), ("linux", "linux"));
        let rolling = OsRelease::parse("x", b"ID=debian\nVERSION_CODENAME=sid\n").unwrap();
        assert_eq!(rolling.distro(), "debian-sid");
    }

    #[test]
    fn refuses_names_that_would_reshape_a_purl() {
        for bad in ["ID=debian/../x", "VERSION_ID=\"13&x=y\"", "VERSION_CODENAME=a@b"] {
            assert!(OsRelease::parse("etc/os-release", bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
