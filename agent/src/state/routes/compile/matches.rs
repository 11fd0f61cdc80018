//! `rules[].matches`.
//!
//! Entry points: `Compiler::http_matches`, `Compiler::grpc_matches` (Gateway API, `HTTPRouteMatch`,
//! `GRPCRouteMatch`). A rule of which one match is unsupported is dropped as a whole.

use super::{Compiler, MOST_MATCHES, MOST_VALUES, values};
use crate::{
    policy::field::FieldPath,
    state::routes::{
        matching::{GrpcMatch, HttpMatch, PathMatch, ValueMatch},
        pattern::{Pattern, TextMatch},
        route::Matches,
        spec::{GrpcMatchSpec, GrpcMethodSpec, HttpMatchSpec, PathMatchSpec, ValueMatchSpec},
    },
};

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// Whether names are those of headers, in any case, or of query parameters, in their own.
#[derive(Clone, Copy, PartialEq)]
enum Names {
    Headers,
    Parameters,
}

impl Compiler<'_> {
    /// None when a match is wrong or unsupported.
    pub(super) fn http_matches(&mut self, path: &FieldPath, given: &[HttpMatchSpec]) -> Option<Matches> {
        self.at_most(path, given.len(), MOST_MATCHES);
        let everything = [HttpMatchSpec::default()];
        let given = if given.is_empty() { &everything } else { given };
        let matches: Vec<_> =
            given.iter().enumerate().map(|(index, of)| self.http_match(&path.index(index), of)).collect();
        Some(Matches::Http(matches.into_iter().collect::<Option<_>>()?))
    }

    fn http_match(&mut self, path: &FieldPath, given: &HttpMatchSpec) -> Option<HttpMatch> {
        let root = PathMatchSpec::default();
        let of_path = self.path_match(&path.key("path"), given.path.as_ref().unwrap_or(&root));
        let of_headers = given.headers.as_deref().unwrap_or_default();
        let headers = self.values(&path.key("headers"), of_headers, Names::Headers);
        let of_query = given.query_params.as_deref().unwrap_or_default();
        let query = self.values(&path.key("queryParams"), of_query, Names::Parameters);
        let method = given.method.as_deref();
        if let Some(method) = method.filter(|method| !METHODS.contains(method)) {
            self.unsupported(&path.key("method"), method, format!("known methods: {}", METHODS.join(", ")));
            return None;
        }
        Some(HttpMatch { path: of_path?, method: method.map(Box::from), headers: headers?, query: query? })
    }

    fn path_match(&mut self, path: &FieldPath, given: &PathMatchSpec) -> Option<PathMatch> {
        let text = given.value.as_deref().unwrap_or("/");
        let value = path.key("value");
        match given.kind.as_deref().unwrap_or("PathPrefix") {
            "Exact" => {
                let exact = self.parsed(value, text, values::path(text))?;
                Some(PathMatch::Exact(exact.into()))
            }
            "PathPrefix" => {
                let prefix = self.parsed(value, text, values::path(text))?;
                Some(PathMatch::Prefix(prefix.strip_suffix('/').unwrap_or(&prefix).into()))
            }
            "RegularExpression" => Some(PathMatch::Regex(self.pattern(value, text)?)),
            other => {
                self.unsupported(&path.key("type"), other, "known: Exact, PathPrefix, RegularExpression");
                None
            }
        }
    }

    fn pattern(&mut self, path: FieldPath, text: &str) -> Option<Pattern> {
        if text.len() > 4096 {
            self.faults.add(path, format!("{} characters", text.len()), "must be at most 4096 characters");
            return None;
        }
        self.parsed(path, text, Pattern::parse(text))
    }

    /// Of entries with one name the first counts.
    fn values(
        &mut self,
        path: &FieldPath,
        given: &[ValueMatchSpec],
        names: Names,
    ) -> Option<Vec<ValueMatch>> {
        self.at_most(path, given.len(), MOST_VALUES);
        let mut compiled: Vec<ValueMatch> = Vec::new();
        let mut right = true;
        for (index, given) in given.iter().enumerate() {
            let path = path.index(index);
            match self.value(&path, given, names) {
                Some(value) if compiled.iter().any(|other| other.name == value.name) => {
                    self.warn(
                        &path.key("name"),
                        "an entry before has this name, so that this one counts nothing",
                    );
                }
                Some(value) => compiled.push(value),
                None => right = false,
            }
        }
        right.then_some(compiled)
    }

    fn value(&mut self, path: &FieldPath, given: &ValueMatchSpec, names: Names) -> Option<ValueMatch> {
        let name = match names {
            Names::Headers => values::header_name(&given.name),
            Names::Parameters => values::parameter_name(&given.name).map(|()| given.name.as_str().into()),
        };
        let name = self.parsed(path.key("name"), &given.name, name);
        let text = given.value.as_str();
        let value = match given.kind.as_deref().unwrap_or("Exact") {
            "RegularExpression" if !text.is_empty() => {
                TextMatch::Regex(self.pattern(path.key("value"), text)?)
            }
            "Exact" | "RegularExpression" => {
                let checked = match names {
                    Names::Headers => values::header_value(text),
                    Names::Parameters if text.is_empty() || text.len() > 1024 => {
                        Err("must have 1 to 1024 characters".into())
                    }
                    Names::Parameters => Ok(()),
                };
                self.parsed(path.key("value"), text, checked)?;
                TextMatch::Exact(text.into())
            }
            other => {
                self.unsupported(&path.key("type"), other, "known: Exact, RegularExpression");
                return None;
            }
        };
        Some(self.host(path, ValueMatch { name: name?, value }, names))
    }

    /// The host is compared as requests have it: in lower case and without port.
    fn host(&mut self, path: &FieldPath, of: ValueMatch, names: Names) -> ValueMatch {
        match of {
            ValueMatch { name, value: TextMatch::Exact(host) }
                if names == Names::Headers && &*name == "host" =>
            {
                if host.contains(':') && !host.ends_with(']') {
                    self.warn(
                        &path.key("value"),
                        "a host is compared without its port, so this never matches",
                    );
                }
                ValueMatch { name, value: TextMatch::Exact(host.to_ascii_lowercase().into()) }
            }
            other => other,
        }
    }

    /// None when a match is wrong or unsupported.
    pub(super) fn grpc_matches(&mut self, path: &FieldPath, given: &[GrpcMatchSpec]) -> Option<Matches> {
        self.at_most(path, given.len(), MOST_MATCHES);
        let everything = [GrpcMatchSpec::default()];
        let given = if given.is_empty() { &everything } else { given };
        let matches: Vec<_> =
            given.iter().enumerate().map(|(index, of)| self.grpc_match(&path.index(index), of)).collect();
        Some(Matches::Grpc(matches.into_iter().collect::<Option<_>>()?))
    }

    fn grpc_match(&mut self, path: &FieldPath, given: &GrpcMatchSpec) -> Option<GrpcMatch> {
        let of_headers = given.headers.as_deref().unwrap_or_default();
        let headers = self.values(&path.key("headers"), of_headers, Names::Headers);
        let (service, method) = match &given.method {
            None => (None, None),
            Some(given) => self.grpc_method(&path.key("method"), given)?,
        };
        Some(GrpcMatch { service, method, headers: headers? })
    }

    fn grpc_method(
        &mut self,
        path: &FieldPath,
        given: &GrpcMethodSpec,
    ) -> Option<(Option<TextMatch>, Option<TextMatch>)> {
        let said = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (service, method) = (said(&given.service), said(&given.method));
        if service.is_none() && method.is_none() {
            self.faults.add(path.clone(), "{}", "must have service or method");
            return None;
        }
        let exact = match given.kind.as_deref().unwrap_or("Exact") {
            "Exact" => true,
            "RegularExpression" => false,
            other => {
                self.unsupported(&path.key("type"), other, "known: Exact, RegularExpression");
                return None;
            }
        };
        let mut part = |key: &str, text: Option<String>, dots: bool| {
            let Some(text) = text else {
                return Some(None);
            };
            let path = path.key(key);
            if !exact {
                return Some(Some(TextMatch::Regex(self.pattern(path, &text)?)));
            }
            self.parsed(path, &text, grpc_name(&text, dots))?;
            // A leading dot is how protobuf writes a name in full; on the wire there is none.
            Some(Some(TextMatch::Exact(text.strip_prefix('.').unwrap_or(&text).into())))
        };
        let (service, method) = (part("service", service, true), part("method", method, false));
        Some((service?, method?))
    }
}

/// Names of protobuf: of a service with its package, of a method without.
fn grpc_name(text: &str, dots: bool) -> Result<(), String> {
    let is_part = |part: &str| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        part.bytes().all(allowed) && part.bytes().next().is_some_and(|b| !b.is_ascii_digit())
    };
    let name = if dots { text.strip_prefix('.').unwrap_or(text) } else { text };
    let right = if dots { name.split('.').all(is_part) } else { is_part(name) };
    if right && text.len() <= 1024 {
        return Ok(());
    }
    Err("must be a name as protobuf has it: letters, digits and _, of a service with its package before it"
        .into())
}
