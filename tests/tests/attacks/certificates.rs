//! Certificates for attackers: of the mesh's own root, as if a workload's key had leaked, and of another.
//!
//! Entry point: [`Forger`].

use std::path::{Path, PathBuf};

use anyhow::Result;
use weir_tests::{Node, Topology};

/// `sh -c … sh CA FILE NAME`: a key and a certificate for the URI `NAME`, in one file.
const ISSUE: &str = r#"set -e
openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$2.key"
openssl req -new -key "$2.key" -subj / -out "$2.csr"
printf 'subjectAltName=critical,%s\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n' "$3" > "$2.ext"
openssl x509 -req -in "$2.csr" -CA "$1/ca.pem" -CAkey "$1/ca.key" -days 1 -extfile "$2.ext" -out "$2.crt"
cat "$2.key" "$2.crt" > "$2"
"#;

/// `sh -c … sh DIR`: a root that looks like the mesh's.
const ROOT: &str = r#"set -e
mkdir "$1"
openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1/ca.key"
openssl req -x509 -new -key "$1/ca.key" -days 1 -subj "/O=cluster.local" -out "$1/ca.pem" \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
"#;

/// Makes certificates on a node that the root's files lie on.
pub(crate) struct Forger {
    node: Node,
    dir: PathBuf,
}

impl Forger {
    /// Works with the authority of `topology`.
    pub(crate) fn new(topology: &Topology) -> Self {
        Self { node: topology.node("a").clone(), dir: topology.dir() }
    }

    /// A file with key and certificate of `spiffe://cluster.local/ns/shop/sa/<account>`, of the mesh's root.
    pub(crate) fn of_the_mesh(&self, account: &str) -> Result<String> {
        self.issue(&self.node.ca_dir(), account, &format!("URI:spiffe://cluster.local/ns/shop/sa/{account}"))
    }

    /// The same of a root that only looks like the mesh's.
    pub(crate) fn of_another_root(&self, account: &str) -> Result<String> {
        let root = self.dir.join("another-root");
        self.run(ROOT, &[&root])?;
        let names = format!("URI:spiffe://cluster.local/ns/shop/sa/{account}");
        self.issue(&root, &format!("another-{account}"), &names)
    }

    /// Of the mesh's root, with any names (`subjectAltName` as openssl writes it).
    pub(crate) fn with_names(&self, file: &str, names: &str) -> Result<String> {
        self.issue(&self.node.ca_dir(), file, names)
    }

    fn issue(&self, ca: &Path, file: &str, names: &str) -> Result<String> {
        let file = self.dir.join(format!("{file}.pem"));
        self.run(ISSUE, &[ca, &file, Path::new(names)])?;
        Ok(file.display().to_string())
    }

    fn run(&self, script: &str, arguments: &[&Path]) -> Result<()> {
        let arguments = arguments.iter().map(|path| path.display().to_string());
        let words = ["sh", "-c", script, "sh"].map(str::to_owned).into_iter().chain(arguments);
        self.node.run(words)?.success().map(drop)
    }
}
