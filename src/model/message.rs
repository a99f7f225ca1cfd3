//! What hooks send to people and other services.

use serde::{Deserialize, Serialize};

/// A mail in plain text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mail {
    /// Who gets it; nobody named is whom the connection's `to` names.
    pub to: Vec<String>,
    /// Its subject, in one line.
    pub subject: String,
    /// What it says.
    pub text: String,
    /// What fills the connection's template, which then takes the place of subject and text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<serde_json::Map<String, serde_json::Value>>,
}

/// A call of another service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Webhook {
    /// Where: `https://pager.example.test/hook`, or the name of a connection of kind webhook.
    pub url: String,
    /// What is sent, as JSON.
    pub body: serde_json::Value,
    /// How, where a hook says more.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub options: serde_json::Map<String, serde_json::Value>,
}
