//! What the host tells a provider on its standard input.

use std::io::BufRead;

use base64::Engine as _;
use wasmcloud_provider_sdk::HostData;

/// A host's line is some kilobytes; this is what a provider is willing to buffer.
const MAX_LINE: u64 = 16 << 20;

/// Why there is no usable host data. Never quotes the data: it holds keys and secrets.
#[derive(Debug, thiserror::Error)]
pub enum HostDataError {
    /// Standard input could not be read.
    #[error("failed to read host data from standard input")]
    Read(#[source] std::io::Error),
    /// Standard input ended before a line of host data.
    #[error("standard input is empty: this program is started by a wasmCloud host")]
    Empty,
    /// The line is not base64.
    #[error("host data is not base64")]
    Encoding,
    /// The line is not the JSON of host data.
    #[error("host data is not what this version understands (line {line}, column {column})")]
    Format {
        /// Line in the decoded JSON.
        line: usize,
        /// Column in the decoded JSON.
        column: usize,
    },
}

/// Reads the one base64 line of JSON that a host writes.
///
/// The provider SDK can do this too, but its error quotes the whole document, secrets included.
pub(crate) fn read(input: impl BufRead) -> Result<HostData, HostDataError> {
    let mut line = String::new();
    input
        .take(MAX_LINE)
        .read_line(&mut line)
        .map_err(HostDataError::Read)?;
    let line = line.trim();
    if line.is_empty() {
        return Err(HostDataError::Empty);
    }
    let json = base64::engine::general_purpose::STANDARD
        .decode(line)
        .map_err(|_| HostDataError::Encoding)?;
    serde_json::from_slice(&json).map_err(|err| HostDataError::Format {
        line: err.line(),
        column: err.column(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str) -> String {
        base64::engine::general_purpose::STANDARD.encode(text)
    }

    #[test]
    fn a_line_of_base64_json_is_host_data() {
        let json = serde_json::to_string(&HostData {
            host_id: "NHOST".into(),
            provider_key: "VPROVIDER".into(),
            ..HostData::default()
        })
        .unwrap();
        let data = read(format!("  {}\r\n", encoded(&json)).as_bytes()).unwrap();
        assert_eq!(data.host_id, "NHOST");
        assert_eq!(data.provider_key, "VPROVIDER");
    }

    #[test]
    fn broken_host_data_is_never_quoted() {
        let broken = read(encoded(r#"{"host_id": hunter2"#).as_bytes()).unwrap_err();
        assert!(matches!(broken, HostDataError::Format { .. }));
        assert!(!format!("{broken:?} {broken}").contains("hunter2"));
        assert!(matches!(read(&b""[..]), Err(HostDataError::Empty)));
        assert!(matches!(read(&b"  \n"[..]), Err(HostDataError::Empty)));
        assert!(matches!(read(&b"{!}\n"[..]), Err(HostDataError::Encoding)));
    }
}
