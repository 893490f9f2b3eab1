//! The flags of every command that talks to a running Tidegate.

use std::path::PathBuf;

use serde_json::{Map, Value};
use tidegate_admin::client::{Client, Target};

use super::failure::Failure;
use super::screen::Screen;

/// Where Tidegate is, and what the answer looks like.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Connection {
    /// Where the admin API is.
    #[arg(
        long,
        value_name = "URL|unix:PATH",
        env = "TIDEGATE_ADMIN",
        hide_env_values = true,
        default_value = "http://127.0.0.1:9900",
        help_heading = "Connection"
    )]
    admin: Target,
    /// A file with the admin API's bearer token; needed where `[admin]` has a `token_file`.
    #[arg(
        long,
        value_name = "FILE",
        env = "TIDEGATE_TOKEN_FILE",
        hide_env_values = true,
        help_heading = "Connection"
    )]
    token_file: Option<PathBuf>,
    /// Print the API's JSON; the default where the output is not a terminal.
    #[arg(long, conflicts_with = "text", help_heading = "Output")]
    json: bool,
    /// Print text, even where the output is not a terminal.
    #[arg(long, help_heading = "Output")]
    text: bool,
}

impl Connection {
    /// A client, and the screen for what it brings.
    pub(crate) fn open(&self) -> Result<(Client, Screen), Failure> {
        let mut client = Client::new(self.admin.clone());
        let user = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
        if let Some(user) = user.filter(|user| !user.is_empty()) {
            client = client.with_actor(&user);
        }
        if let Some(path) = &self.token_file {
            client = client.with_token_file(path)?;
        }
        Ok((client, Screen::open(self.json, self.text)))
    }
}

impl Connection {
    /// Whether JSON was asked for, wherever the output goes.
    pub(crate) fn wants_json(&self) -> bool {
        self.json
    }
}

/// The flags of every change.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Intent {
    /// Why, for the history.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Say what would change, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl Intent {
    /// The path, marked when nothing is to be done.
    pub(crate) fn path(&self, path: &str) -> String {
        if self.dry_run { format!("{path}?dry_run=true") } else { path.to_owned() }
    }

    /// A body with the reason, and these fields where they have a value.
    pub(crate) fn body(&self, fields: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Value {
        let mut body = Map::new();
        for (name, value) in fields {
            if let Some(value) = value {
                body.insert(name.into(), value);
            }
        }
        if let Some(reason) = &self.reason {
            body.insert("reason".into(), reason.clone().into());
        }
        Value::Object(body)
    }
}
