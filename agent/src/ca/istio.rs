//! Istio's certificate service as it is on the wire: `istio.v1.auth.IstioCertificateService/CreateCertificate`.
//!
//! Entry points: [`PATH`], [`Request`], [`Response`] and what reads them. The one protocol by which agents ask
//! `weir controller`, or an istiod, and by which a ztunnel may ask `weir controller`. Knows no sockets.

use std::collections::HashMap;

use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, pem::PemObject};

use super::{CaError, CertificateRequest, Issued};
use crate::identity::Identity;

/// The method's path.
pub(crate) const PATH: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
/// The field of a request's metadata that says for whom a node asks.
pub(crate) const IMPERSONATED: &str = "ImpersonatedIdentity";
/// The longest message that is read, in octets; a request has about 1 000, a response with two roots 4 000.
pub(crate) const MAX_MESSAGE: usize = 64 * 1024;
/// Certificates in one answer, at most.
const MOST: usize = 16;

/// `istio.v1.auth.IstioCertificateRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Request {
    /// The CSR, PEM.
    #[prost(string, tag = "1")]
    pub(crate) csr: String,
    /// For how many seconds the certificate should be good; 0 leaves it to the authority.
    #[prost(int64, tag = "3")]
    pub(crate) validity_duration: i64,
    /// What else is to be known.
    #[prost(message, optional, tag = "4")]
    pub(crate) metadata: Option<Fields>,
}

/// `google.protobuf.Struct`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Fields {
    #[prost(map = "string, message", tag = "1")]
    pub(crate) fields: HashMap<String, Value>,
}

/// `google.protobuf.Value`, of which only texts are looked at.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Value {
    #[prost(string, optional, tag = "3")]
    pub(crate) text: Option<String>,
}

/// `istio.v1.auth.IstioCertificateResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Response {
    /// PEM: the leaf, what leads to a root, and last all roots that are to be trusted.
    #[prost(string, repeated, tag = "1")]
    pub(crate) cert_chain: Vec<String>,
}

impl Request {
    /// What asks for `request`.
    pub(crate) fn new(request: &CertificateRequest) -> Self {
        let identity = Value { text: Some(request.identity.to_string()) };
        let metadata = Fields { fields: HashMap::from([(IMPERSONATED.to_owned(), identity)]) };
        Self { csr: pem("CERTIFICATE REQUEST", &request.csr), validity_duration: 0, metadata: Some(metadata) }
    }

    /// What is asked for.
    ///
    /// # Errors
    /// [`CaError::Invalid`] with the field that is wrong.
    pub(crate) fn read(&self) -> Result<CertificateRequest, CaError> {
        let invalid = |what: String| Err(CaError::Invalid(what));
        let fields = self.metadata.as_ref().map(|metadata| &metadata.fields);
        let named =
            fields.and_then(|fields| fields.get(IMPERSONATED)).and_then(|value| value.text.as_deref());
        let Some(named) = named else {
            return invalid(format!("metadata.{IMPERSONATED} is missing: for whom is the certificate?"));
        };
        let identity = match named.parse::<Identity>() {
            Ok(identity) => identity,
            Err(error) => return invalid(format!("metadata.{IMPERSONATED}: {error}")),
        };
        match CertificateSigningRequestDer::from_pem_slice(self.csr.as_bytes()) {
            Ok(csr) => Ok(CertificateRequest { identity, csr }),
            Err(error) => invalid(format!("csr: {error}")),
        }
    }
}

impl Response {
    /// What answers with `issued`.
    pub(crate) fn new(issued: &Issued) -> Self {
        let mut cert_chain: Vec<String> = issued.chain.iter().map(|c| pem("CERTIFICATE", c)).collect();
        cert_chain.push(bundle(&issued.roots));
        Self { cert_chain }
    }

    /// What was issued.
    ///
    /// # Errors
    /// [`CaError::Invalid`] when it is not a chain with its roots.
    pub(crate) fn read(&self) -> Result<Issued, CaError> {
        let [chain @ .., roots] = self.cert_chain.as_slice() else {
            return Err(CaError::Invalid("an empty chain came".into()));
        };
        let chain = chain.iter().map(|text| read(text)).collect::<Result<Vec<_>, _>>()?.concat();
        let roots = read(roots)?;
        if chain.is_empty() || chain.len() + roots.len() > MOST {
            let (chain, roots) = (chain.len(), roots.len());
            return Err(CaError::Invalid(format!("a chain of {chain} certificates came with {roots} roots")));
        }
        Ok(Issued { chain, roots })
    }
}

fn read(text: &str) -> Result<Vec<CertificateDer<'static>>, CaError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).take(MOST + 1).collect();
    found.map_err(|error| CaError::Invalid(format!("what came is not PEM: {error}")))
}

/// Certificates in one text, PEM.
pub(crate) fn bundle(certificates: &[CertificateDer<'_>]) -> String {
    certificates.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect()
}

/// RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::{
        ca::signer::{self, Signer, Texts},
        identity::TrustDomain,
    };

    fn issued() -> Issued {
        let now = std::time::SystemTime::now();
        let domain = TrustDomain::default();
        let (certificate, key) = signer::make(&domain, None, now).expect("a root");
        let texts = Texts { certificate: &certificate, key: &key, roots: None };
        let roots = Signer::read(texts, &domain, now).expect("a signer").roots;
        Issued { chain: vec![roots[0].clone()], roots: vec![roots[0].clone(), roots[0].clone()] }
    }

    #[test]
    fn an_answer_with_several_roots_is_read_as_it_was_written() {
        let issued = issued();
        let octets = Response::new(&issued).encode_to_vec();
        let read = Response::decode(&octets[..]).expect("a message").read().expect("an answer");
        assert_eq!((read.chain, read.roots), (issued.chain, issued.roots));
    }

    #[test]
    fn an_answer_that_is_no_chain_with_roots_is_refused() {
        let leaf = pem("CERTIFICATE", &issued().chain[0]);
        for cert_chain in
            [vec![], vec![leaf.clone()], vec!["-----BEGIN".into(), leaf.clone()], vec![leaf; 40]]
        {
            assert!(matches!(Response { cert_chain }.read(), Err(CaError::Invalid(_))));
        }
    }

    #[test]
    fn a_request_says_for_whom_and_is_refused_when_it_does_not() {
        let csr = pem("CERTIFICATE REQUEST", b"not looked at here");
        let of = |named: Option<&str>| {
            let value = Value { text: named.map(str::to_owned) };
            let fields = HashMap::from([(IMPERSONATED.to_owned(), value)]);
            Request { csr: csr.clone(), validity_duration: 0, metadata: Some(Fields { fields }) }
        };
        let named = "spiffe://cluster.local/ns/shop/sa/cart";
        let octets = of(Some(named)).encode_to_vec();
        let read = Request::decode(&octets[..]).expect("a message").read().expect("a request");
        assert_eq!(read.identity.to_string(), named);
        for (request, word) in [
            (of(None), "ImpersonatedIdentity is missing"),
            (Request { metadata: None, ..of(None) }, "ImpersonatedIdentity is missing"),
            (of(Some("cart")), "\"cart\""),
            (Request { csr: "none".into(), ..of(Some(named)) }, "csr: "),
        ] {
            let error = request.read().expect_err("not a request").to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn the_octets_are_those_of_the_published_messages() {
        // csr = "c", validity_duration = 1, metadata = {fields: {"ImpersonatedIdentity": {string_value: "i"}}}
        let octets = b"\x0a\x01c\x18\x01\x22\x1d\x0a\x1b\x0a\x14ImpersonatedIdentity\x12\x03\x1a\x01i";
        let request = Request::decode(&octets[..]).expect("a message");
        assert_eq!((request.csr.as_str(), request.validity_duration), ("c", 1));
        let metadata = request.metadata.clone().expect("present");
        assert_eq!(metadata.fields[IMPERSONATED].text.as_deref(), Some("i"));
        assert_eq!(request.encode_to_vec(), octets);
    }
}
