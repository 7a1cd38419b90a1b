//! Headless Chromium through chromedriver.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use nix::sys::signal::{killpg, Signal};
use nix::unistd::Pid;
use serde_json::{json, Value};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::wait::seconds;

/// What Chromium is started with: no window, nothing that needs rights, nothing that calls home.
const ARGUMENTS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
];

/// A browser with a profile of its own. Dropping it ends it.
pub struct Browser {
    client: Client,
    driver: Child,
    group: Pid,
    // Kept open: chromedriver may print more, and must find somebody who listens.
    _output: Output,
    _profile: tempfile::TempDir,
}

impl std::fmt::Debug for Browser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Browser")
            .field("driver", &self.driver)
            .finish_non_exhaustive()
    }
}

impl Browser {
    /// Starts a browser, or says on the terminal that `test` is skipped, as there is none.
    ///
    /// # Panics
    ///
    /// There is one, and it does not start.
    pub async fn open(test: &str) -> Option<Self> {
        let chromium = [
            "chromium",
            "chromium-browser",
            "google-chrome",
            "google-chrome-stable",
        ];
        let (Some(driver), Some(chromium)) = (
            on_path("chromedriver"),
            chromium.iter().find_map(|name| on_path(name)),
        ) else {
            crate::tell(&format!(
                "SKIPPED: {test}: no chromedriver or no chromium on the PATH; install the packages chromium and chromium-driver"
            ));
            return None;
        };
        let profile = tempfile::tempdir().expect("a directory for the profile");
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Of its own group, so that its browser can be ended with it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver can be run");
        let pid = driver.id().expect("it runs");
        let group = Pid::from_raw(pid.try_into().expect("a process id"));
        let (port, output) = port_of(&mut driver).await;
        let mut arguments: Vec<String> = ARGUMENTS.map(str::to_owned).into();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let capabilities = json!({
            "goog:chromeOptions": { "binary": chromium, "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "pageLoad": 20_000, "script": 20_000, "implicit": 0 },
        });
        let capabilities: Capabilities = match capabilities {
            Value::Object(capabilities) => capabilities,
            _ => Capabilities::default(),
        };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("a browser");
        Some(Self {
            client,
            driver,
            group,
            _output: output,
            _profile: profile,
        })
    }

    /// Loads a page.
    pub async fn goto(&self, url: &str) {
        self.client.goto(url).await.expect("a page");
    }

    /// Loads it again.
    pub async fn reload(&self) {
        self.client.refresh().await.expect("a page");
    }

    /// The text of the element; `None` without the element, or when the page went away meanwhile.
    pub async fn text(&self, css: &str) -> Option<String> {
        let element = self.client.find(Locator::Css(css)).await.ok()?;
        element.text().await.ok()
    }

    /// An attribute of the element; `None` without the element or the attribute, or when the page
    /// went away meanwhile.
    pub async fn attribute(&self, css: &str, name: &str) -> Option<String> {
        let element = self.client.find(Locator::Css(css)).await.ok()?;
        element.attr(name).await.ok()?
    }

    /// A number in an attribute of the element.
    ///
    /// # Panics
    ///
    /// There is none.
    pub async fn number(&self, css: &str, name: &str) -> u64 {
        let text = self.attribute(css, name).await;
        let number = text.as_deref().and_then(|text| text.parse().ok());
        number.unwrap_or_else(|| panic!("{css} has {name} {text:?}"))
    }

    /// What a script returns.
    pub async fn script(&self, script: &str) -> Value {
        self.client
            .execute(script, Vec::new())
            .await
            .expect("a script that runs")
    }

    /// A command of the DevTools protocol.
    pub async fn devtools(&self, command: &'static str, parameters: Value) -> Value {
        let command = DevTools {
            command,
            parameters,
        };
        self.client
            .issue_cmd(command)
            .await
            .expect("a command Chromium knows")
    }

    /// What the console said since it was asked last: messages, errors, refused resources.
    pub async fn console(&self) -> Vec<String> {
        let log = self
            .client
            .issue_cmd(ConsoleLog)
            .await
            .expect("the console's log");
        let entries = log.as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .map(|entry| format!("{}: {}", entry["level"], entry["message"]))
            .collect()
    }

    /// Saves what is seen to `target/screenshots/NAME.png`.
    pub async fn screenshot(&self, name: &str) -> PathBuf {
        let picture = self.client.screenshot().await.expect("a picture");
        let directory = crate::target().join("screenshots");
        std::fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join(format!("{name}.png"));
        std::fs::write(&path, picture).expect("a file");
        path
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium does not end with its driver, but it is in the driver's group.
        let _ = killpg(self.group, Signal::SIGKILL);
    }
}

type Output = Lines<BufReader<ChildStdout>>;

async fn port_of(driver: &mut Child) -> (u16, Output) {
    let mut lines = BufReader::new(driver.stdout.take().expect("its output")).lines();
    let port = async {
        while let Ok(Some(line)) = lines.next_line().await {
            // "ChromeDriver was started successfully on port 40123."
            let Some((_, port)) = line.split_once("successfully on port ") else {
                continue;
            };
            return port.trim_end_matches('.').parse().ok();
        }
        None
    };
    let port = timeout(seconds(20), port)
        .await
        .expect("chromedriver starts");
    (
        port.expect("chromedriver says on which port it listens"),
        lines,
    )
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|path| Path::is_file(path))
}

#[derive(Debug)]
struct DevTools {
    command: &'static str,
    parameters: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        base.join(&format!(
            "session/{}/goog/cdp/execute",
            session.unwrap_or_default()
        ))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        let body = json!({ "cmd": self.command, "params": self.parameters });
        (http::Method::POST, Some(body.to_string()))
    }
}

#[derive(Debug)]
struct ConsoleLog;

impl WebDriverCompatibleCommand for ConsoleLog {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (
            http::Method::POST,
            Some(json!({ "type": "browser" }).to_string()),
        )
    }
}
