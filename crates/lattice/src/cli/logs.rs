//! `lattice logs`.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::error::Error;
use crate::process_tree::PROVIDERS;

/// How much of the end of a log is looked at for its last lines.
const TAIL: u64 = 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct Logs {
    /// The region, or `home`.
    region: String,
    /// One process; a provider writes to the log of its `host`.
    process: Option<String>,
    /// How many lines from the end.
    #[arg(short = 'n', long, default_value_t = 200)]
    lines: usize,
    /// Go on with what is written from now on.
    #[arg(short, long)]
    follow: bool,
}

impl Logs {
    pub(super) async fn run(self, directory: &Path) -> Result<ExitCode, Error> {
        let files = self.files(directory)?;
        let many = files.len() > 1;
        let mut open = Vec::new();
        for path in files {
            if many {
                say!("==> {} <==", path.display());
            }
            let file = self.tail(&path)?;
            open.push((path, file));
        }
        if !self.follow {
            return Ok(ExitCode::SUCCESS);
        }
        loop {
            for (path, file) in &mut open {
                let mut news = Vec::new();
                // Looked for before the old one is read, so that nothing of that is missed.
                let successor = successor(path, file);
                let _ = file.read_to_end(&mut news);
                if let Some(successor) = successor {
                    *file = successor;
                    let _ = file.read_to_end(&mut news);
                }
                let _ = std::io::stdout().write_all(&news);
            }
            let _ = std::io::stdout().flush();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn files(&self, directory: &Path) -> Result<Vec<PathBuf>, Error> {
        let logs = directory.join("logs");
        let mut names: Vec<String> = std::fs::read_dir(&logs)
            .map_err(|source| match source.kind() {
                ErrorKind::NotFound => Error::NeverRan(directory.to_owned()),
                _ => Error::io("read", &logs, source),
            })?
            .filter_map(|entry| {
                Some(
                    entry
                        .ok()?
                        .file_name()
                        .to_str()?
                        .strip_suffix(".log")?
                        .to_owned(),
                )
            })
            .collect();
        // An `up` that was refused leaves an empty directory.
        if names.is_empty() {
            return Err(Error::NeverRan(directory.to_owned()));
        }
        names.sort();
        let regions = |name: &String| Some(name.split_once('-')?.0.to_owned());
        let mut known: Vec<String> = names.iter().filter_map(regions).collect();
        known.dedup();
        let prefix = format!("{}-", self.region);
        let of_region: Vec<&String> = names
            .iter()
            .filter(|name| name.starts_with(&prefix))
            .collect();
        if of_region.is_empty() {
            return Err(Error::Unknown {
                kind: "region",
                name: self.region.clone(),
                known,
            });
        }
        let Some(process) = &self.process else {
            return Ok(of_region
                .iter()
                .map(|name| logs.join(format!("{name}.log")))
                .collect());
        };
        let process = if PROVIDERS.contains(&process.as_str()) {
            "host"
        } else {
            process
        };
        let wanted = format!("{prefix}{process}");
        if !of_region.contains(&&wanted) {
            return Err(Error::Unknown {
                kind: "process",
                name: process.to_owned(),
                known: of_region
                    .iter()
                    .map(|name| name[prefix.len()..].to_owned())
                    .collect(),
            });
        }
        Ok(vec![logs.join(format!("{wanted}.log"))])
    }

    fn tail(&self, path: &Path) -> Result<File, Error> {
        let wrong = |source| Error::io("read", path, source);
        let mut file = File::open(path).map_err(wrong)?;
        let length = file.metadata().map_err(wrong)?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))
            .map_err(wrong)?;
        let lines: Vec<Vec<u8>> = BufReader::new(&mut file)
            .split(b'\n')
            .collect::<Result<_, _>>()
            .map_err(wrong)?;
        let mut out = std::io::stdout().lock();
        for line in &lines[lines.len().saturating_sub(self.lines)..] {
            // A closed pipe (`| head`) is no error of ours.
            if out
                .write_all(line)
                .and_then(|()| out.write_all(b"\n"))
                .is_err()
            {
                break;
            }
        }
        Ok(file)
    }
}

/// The log that is written to now, when this one was put aside.
fn successor(path: &Path, file: &File) -> Option<File> {
    let now = File::open(path).ok()?;
    let same = now.metadata().ok()?.ino() == file.metadata().ok()?.ino();
    (!same).then_some(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_process_has_written_a_log_no_lattice_has_run() {
        let directory = tempfile::tempdir().unwrap();
        let logs = Logs {
            region: "iad".to_owned(),
            process: None,
            lines: 1,
            follow: false,
        };
        let files = || logs.files(directory.path());
        assert!(matches!(files(), Err(Error::NeverRan(_))));
        std::fs::create_dir(directory.path().join("logs")).unwrap();
        assert!(matches!(files(), Err(Error::NeverRan(_))));
        std::fs::write(directory.path().join("logs/fra-host.log"), "").unwrap();
        assert!(matches!(files(), Err(Error::Unknown { .. })));
    }
}
