//! Asking in a process of its own.

use std::env;
use std::fmt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use spire_mesh::hint::Hint;
use spire_mesh::mesh::EksCluster;
use spire_mesh_eks::describe;

/// What has to be in no output.
pub(crate) const SECRET: &str = "wJalrXUtnFEMIsecret";

const NAME: &str = "TEST_CLUSTER";
const REGION: &str = "TEST_REGION";
const PROFILE: &str = "TEST_PROFILE";
const ROLE: &str = "TEST_ROLE";
const MARK: &str = "answer: ";

/// A question, and the environment in which it is asked. Nothing of the environment of the tests is in it.
pub(crate) struct Question(Command);

impl Question {
    /// Asks for a cluster, without a region and without credentials.
    pub(crate) fn bare(name: &str, home: &Path) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "question::asked_by_the_other_tests", "--ignored", "--nocapture"]);
        command.env_clear().env("HOME", home).env(NAME, name);
        command.env("PATH", env::var_os("PATH").unwrap());
        // The only source of credentials and region that is not in environment or home.
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        Self(command)
    }

    /// Asks for a cluster in `eu-west-1`, with credentials.
    pub(crate) fn new(name: &str, endpoint: &str, home: &Path) -> Self {
        Self::bare(name, home)
            .env("AWS_ENDPOINT_URL", endpoint)
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    pub(crate) fn region(self, region: &str) -> Self {
        self.env(REGION, region)
    }

    pub(crate) fn profile(self, profile: &str) -> Self {
        self.env(PROFILE, profile)
    }

    pub(crate) fn role(self, arn: &str) -> Self {
        self.env(ROLE, arn)
    }

    pub(crate) fn ask(mut self) -> Answer {
        let output = self.0.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!text.contains(SECRET), "credentials in the output");
        let answer = text.lines().find_map(|line| line.strip_prefix(MARK));
        let answer = answer.unwrap_or_else(|| panic!("no answer, but: {text}"));
        Answer(serde_json::from_str(answer).unwrap())
    }
}

/// An error with its hint, or what a test looks at of a description.
pub(crate) struct Answer(Value);

impl Answer {
    pub(crate) fn get(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_else(|| panic!("no `{key}`, but: {self}"))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let lines: Vec<String> = self
            .0
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| format!("{key}: {}", text(value)))
            .collect();
        f.write_str(&lines.join("\n"))
    }
}

#[tokio::test]
#[ignore = "the other tests run it, with an environment of its own"]
async fn asked_by_the_other_tests() {
    let cluster = EksCluster {
        name: env::var(NAME).unwrap(),
        region: env::var(REGION).ok(),
        profile: env::var(PROFILE).ok(),
        role_arn: env::var(ROLE).ok(),
    };
    let answer = match describe(&cluster).await {
        Ok(described) => {
            assert!(!format!("{described:?}").contains(SECRET));
            json!({
                "arn": described.arn,
                "version": described.version,
                "server": described.server.as_str(),
                "ca": described.certificate_authority.pem(),
                "access": format!("{:?}", described.access),
                "from another VPC": described.from_another_vpc(),
                "let in": described.let_in(),
                "warnings": described.warnings,
            })
        }
        Err(error) => {
            assert!(!format!("{error:?}").contains(SECRET));
            let source = std::error::Error::source(&error).map(ToString::to_string);
            let mut answer = json!({"error": error.to_string(), "hint": error.hint()});
            if let Some(source) = source {
                answer["source"] = json!(source);
            }
            answer
        }
    };
    eprintln!("{MARK}{answer}");
}
