//! A certificate request: what a CA is asked, and whether it asks for what it may.
//!
//! Entry points: [`CertificateRequest`] and [`CertificateRequest::public_key`], which every provider that
//! signs calls first. The certificate is built from the identity and the public key alone, so nothing else
//! that a CSR (RFC 2986) carries could reach it; it is refused all the same, because whoever sends it
//! expects something that he will not get, or is up to no good.

use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SubjectPublicKeyInfo};
use rustls::pki_types::CertificateSigningRequestDer;
use x509_parser::{
    certification_request::X509CertificationRequest,
    cri_attributes::ParsedCriAttribute,
    extensions::{GeneralName, ParsedExtension, X509Extension},
    prelude::FromDer,
};

use super::CaError;
use crate::identity::Identity;

/// The longest CSR that is looked at, in octets; one for P-256 and a long identity has about 700.
const MAX_CSR: usize = 8 * 1024;

/// A request for the certificate of one identity.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    /// Whose certificate it is to be.
    pub identity: Identity,
    /// PKCS #10, signed by the key that the certificate is for.
    pub csr: CertificateSigningRequestDer<'static>,
}

impl CertificateRequest {
    /// The public key to certify, once the request has proved that it holds the private one.
    ///
    /// # Errors
    /// [`CaError::Invalid`] unless the CSR is signed by its own P-256 key and asks for `identity` as its only
    /// name, and for nothing else: no subject, no other name, no constraint, no usage.
    pub fn public_key(&self) -> Result<SubjectPublicKeyInfo, CaError> {
        if self.csr.len() > MAX_CSR {
            return Err(invalid(format!("the CSR has {} octets, {MAX_CSR} are allowed", self.csr.len())));
        }
        let (rest, csr) =
            X509CertificationRequest::from_der(&self.csr).map_err(|e| invalid(format!("the CSR: {e}")))?;
        if !rest.is_empty() {
            return Err(invalid("octets follow the CSR"));
        }
        let info = &csr.certification_request_info;
        let key = SubjectPublicKeyInfo::from_der(info.subject_pki.raw)
            .map_err(|e| invalid(format!("the CSR's key: {e}")))?;
        if key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(invalid("the CSR's key is not an ECDSA key on P-256"));
        }
        csr.verify_signature().map_err(|_| invalid("the CSR is not signed by its own key"))?;
        if info.subject.iter().next().is_some() {
            return Err(invalid(format!("the CSR asks for the subject {}", info.subject)));
        }
        self.asks_only_for_the_identity(&csr)?;
        Ok(key)
    }

    fn asks_only_for_the_identity(&self, csr: &X509CertificationRequest<'_>) -> Result<(), CaError> {
        let [attribute] = csr.certification_request_info.attributes() else {
            return Err(invalid("the CSR must have one attribute, its request for a name"));
        };
        let ParsedCriAttribute::ExtensionRequest(requested) = attribute.parsed_attribute() else {
            return Err(invalid(format!("the CSR has the attribute {}", attribute.oid)));
        };
        let [extension] = requested.extensions.as_slice() else {
            let oids: Vec<String> = requested.extensions.iter().map(|e| e.oid.to_string()).collect();
            return Err(invalid(format!(
                "the CSR must ask for a name and nothing else, not {}",
                oids.join(", ")
            )));
        };
        self.is_the_identity(extension)
    }

    fn is_the_identity(&self, extension: &X509Extension<'_>) -> Result<(), CaError> {
        let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else {
            return Err(invalid(format!("the CSR asks for the extension {}", extension.oid)));
        };
        match names.general_names.as_slice() {
            [GeneralName::URI(uri)] if *uri == self.identity.to_string() => Ok(()),
            other => {
                let other: Vec<String> = other.iter().map(ToString::to_string).collect();
                Err(invalid(format!("the CSR asks for {}, not for {}", other.join(", "), self.identity)))
            }
        }
    }
}

fn invalid(reason: impl Into<String>) -> CaError {
    CaError::Invalid(reason.into())
}

#[cfg(test)]
mod tests {
    use rcgen::{
        Attribute, BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
        IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType,
    };

    use super::*;
    use crate::identity::TrustDomain;

    fn identity() -> Identity {
        Identity::new(&TrustDomain::default(), "shop", "cart").expect("valid")
    }

    fn honest() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![uri(&identity().to_string())];
        params
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().expect("ASCII"))
    }

    fn request(params: &CertificateParams, key: &KeyPair) -> CertificateRequest {
        let csr = params.serialize_request(key).expect("a CSR").der().clone();
        CertificateRequest { identity: identity(), csr }
    }

    fn refusal(params: &CertificateParams) -> String {
        let key = KeyPair::generate().expect("a key");
        request(params, &key).public_key().expect_err("it asks for too much").to_string()
    }

    #[test]
    fn an_honest_request_yields_its_own_public_key() {
        let key = KeyPair::generate().expect("a key");
        let public = request(&honest(), &key).public_key().expect("valid");
        assert_eq!(public.subject_public_key_info(), key.subject_public_key_info());
    }

    #[test]
    fn a_request_for_another_identity_is_refused() {
        for other in [
            "spiffe://cluster.local/ns/shop/sa/payments",
            "spiffe://cluster.local/ns/shop/sa/cart2",
            "spiffe://cluster.local/ns/shop/sa/cart/",
            "spiffe://other.example/ns/shop/sa/cart",
            "SPIFFE://cluster.local/ns/shop/sa/cart",
        ] {
            let mut params = honest();
            params.subject_alt_names = vec![uri(other)];
            let words = refusal(&params);
            assert!(words.contains(other) && words.contains("ns/shop/sa/cart"), "{words}");
        }
    }

    #[test]
    fn a_request_for_a_second_name_is_refused() {
        let seconds = [
            uri("spiffe://cluster.local/ns/shop/sa/payments"),
            uri(&identity().to_string()),
            SanType::DnsName("bank.example".try_into().expect("ASCII")),
            SanType::IpAddress([10, 0, 0, 1].into()),
            SanType::Rfc822Name("root@bank.example".try_into().expect("ASCII")),
        ];
        for second in seconds {
            let mut params = honest();
            params.subject_alt_names.push(second);
            assert!(refusal(&params).contains("asks for"));
        }
    }

    #[test]
    fn a_request_without_a_name_is_refused() {
        let mut params = honest();
        params.subject_alt_names.clear();
        assert!(refusal(&params).contains("one attribute"));
    }

    #[test]
    fn a_request_to_be_a_ca_or_for_any_usage_is_refused() {
        let ca = {
            let mut params = honest();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let usage = {
            let mut params = honest();
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params
        };
        let extended = {
            let mut params = honest();
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
            params
        };
        for params in [ca, usage, extended] {
            assert!(refusal(&params).contains("nothing else"));
        }
        let mut nameless = honest();
        nameless.subject_alt_names.clear();
        nameless.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        assert!(refusal(&nameless).contains("extension"));
    }

    #[test]
    fn a_request_for_a_subject_is_refused() {
        let mut params = honest();
        params.distinguished_name.push(DnType::CommonName, "payments");
        assert!(refusal(&params).contains("CN=payments"));
    }

    #[test]
    fn a_second_attribute_is_refused() {
        // A second extension request, hidden behind the honest one, that holds an empty list.
        let hidden = Attribute { oid: &[1, 2, 840, 113549, 1, 9, 14], values: vec![0x31, 0x02, 0x30, 0x00] };
        let key = KeyPair::generate().expect("a key");
        let csr =
            honest().serialize_request_with_attributes(&key, vec![hidden]).expect("a CSR").der().clone();
        let error =
            CertificateRequest { identity: identity(), csr }.public_key().expect_err("two attributes");
        assert!(error.to_string().contains("one attribute"), "{error}");
    }

    #[test]
    fn a_request_whose_signature_is_not_of_its_key_is_refused() {
        let key = KeyPair::generate().expect("a key");
        let honest = request(&honest(), &key);
        let mut forged = honest.csr.to_vec();
        let other = KeyPair::generate().expect("a key");
        let (own, foreign) = (key.public_key_raw(), other.public_key_raw());
        let at = forged.windows(own.len()).position(|w| w == own).expect("the CSR holds its key");
        forged[at..at + own.len()].copy_from_slice(foreign);
        let forged = CertificateRequest { identity: identity(), csr: forged.into() };
        let error = forged.public_key().expect_err("another's key");
        assert!(error.to_string().contains("not signed by its own key"), "{error}");
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
            let key = KeyPair::generate_for(algorithm).expect("a key");
            let error = request(&honest(), &key).public_key().expect_err("not P-256");
            assert!(error.to_string().contains("P-256"), "{error}");
        }
    }

    #[test]
    fn garbage_is_refused_without_a_panic() {
        let key = KeyPair::generate().expect("a key");
        let whole = request(&honest(), &key).csr.to_vec();
        let mut longer = whole.clone();
        longer.push(0);
        let mut cases = vec![Vec::new(), vec![0x30], vec![0xff; 100], vec![0x30; MAX_CSR + 1], longer];
        cases.extend((1..whole.len()).map(|end| whole[..end].to_vec()));
        for csr in cases {
            let request = CertificateRequest { identity: identity(), csr: csr.clone().into() };
            assert!(matches!(request.public_key(), Err(CaError::Invalid(_))), "{csr:02x?}");
        }
    }

    #[test]
    fn no_flipped_bit_certifies_another_key() {
        let key = KeyPair::generate().expect("a key");
        let whole = request(&honest(), &key).csr.to_vec();
        let mut refused = 0;
        for at in 0..whole.len() * 8 {
            let mut csr = whole.clone();
            csr[at / 8] ^= 1 << (at % 8);
            // The wrapping around what is signed has octets that parsers read with leniency.
            match (CertificateRequest { identity: identity(), csr: csr.into() }).public_key() {
                Ok(certified) => {
                    assert_eq!(certified.subject_public_key_info(), key.subject_public_key_info())
                }
                Err(_) => refused += 1,
            }
        }
        assert!(refused > whole.len() * 7, "{refused} of {} flips were refused", whole.len() * 8);
    }
}
