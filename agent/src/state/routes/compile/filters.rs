//! `filters` of rules and backends.
//!
//! Entry point: `Compiler::filters` (Gateway API, `HTTPRouteFilter`, `GRPCRouteFilter`).

use std::{collections::BTreeSet, sync::Arc};

use super::{Compiler, MOST_FILTERS, MOST_ORIGINS, MOST_VALUES, values};
use crate::{
    policy::field::FieldPath,
    state::routes::{
        filters::{
            Cors, Filters, HeaderModifier, Listed, Origin, PathModifier, Redirect, Rewrite, Scheme, Share,
        },
        matching::PathMatch,
        route::{Matches, MirrorRef, RouteKind},
        spec::{
            CorsSpec, FilterSpec, HeaderModifierSpec, HeaderSpec, MirrorSpec, PathModifierSpec, RedirectSpec,
            RewriteSpec,
        },
    },
};

/// Headers that say how a message is framed or where it goes: not for filters to change.
const FRAMING: [&str; 11] = [
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];

/// What a list of filters comes to.
#[derive(Default)]
pub(super) struct Compiled {
    pub(super) filters: Filters,
    pub(super) mirrors: Vec<MirrorRef>,
    /// Why not all of them can be applied.
    pub(super) unusable: Option<Arc<str>>,
}

impl Compiler<'_> {
    pub(super) fn filters(
        &mut self,
        path: &FieldPath,
        given: &[FilterSpec],
        matches: Option<&Matches>,
    ) -> Compiled {
        self.at_most(path, given.len(), MOST_FILTERS);
        let before = self.unsupported.len();
        let mut compiled = Compiled::default();
        let mut seen = BTreeSet::new();
        for (index, filter) in given.iter().enumerate() {
            let path = path.index(index);
            let repeatable = matches!(&*filter.kind, "RequestMirror" | "ExtensionRef");
            if !seen.insert(&filter.kind) && !repeatable {
                self.faults.add(path.key("type"), &filter.kind, "must not be repeated");
            }
            self.only_its_own_field(&path, filter);
            self.filter(&path, filter, matches, &mut compiled);
        }
        if compiled.filters.redirect.is_some() && compiled.filters.rewrite.is_some() {
            let message = "RequestRedirect and URLRewrite exclude each other";
            self.faults.add(path.clone(), "RequestRedirect, URLRewrite", message);
        }
        let why = self.unsupported.get(before).map(|fault| format!("{}: {}", fault.field, fault.message));
        compiled.unusable = why.map(Arc::from);
        compiled
    }

    /// The field that the type names is there, and no other.
    fn only_its_own_field(&mut self, path: &FieldPath, given: &FilterSpec) {
        let fields = [
            ("RequestHeaderModifier", "requestHeaderModifier", given.request_header_modifier.is_some()),
            ("ResponseHeaderModifier", "responseHeaderModifier", given.response_header_modifier.is_some()),
            ("RequestMirror", "requestMirror", given.request_mirror.is_some()),
            ("RequestRedirect", "requestRedirect", given.request_redirect.is_some()),
            ("URLRewrite", "urlRewrite", given.url_rewrite.is_some()),
            ("CORS", "cors", given.cors.is_some()),
            ("ExternalAuth", "externalAuth", given.external_auth.is_some()),
            ("ExtensionRef", "extensionRef", given.extension_ref.is_some()),
        ];
        for (kind, field, present) in fields {
            if present != (kind == given.kind) {
                let message = if present { "is not of the type that type names" } else { "is missing" };
                self.faults.add(path.key(field), "", message);
            }
        }
    }

    fn filter(
        &mut self,
        path: &FieldPath,
        given: &FilterSpec,
        matches: Option<&Matches>,
        into: &mut Compiled,
    ) {
        let http = self.key.kind == RouteKind::Http;
        match (&*given.kind, given) {
            ("RequestHeaderModifier", FilterSpec { request_header_modifier: Some(of), .. }) => {
                into.filters.request_headers = Some(self.headers(&path.key("requestHeaderModifier"), of));
            }
            ("ResponseHeaderModifier", FilterSpec { response_header_modifier: Some(of), .. }) => {
                into.filters.response_headers = Some(self.headers(&path.key("responseHeaderModifier"), of));
            }
            ("RequestMirror", FilterSpec { request_mirror: Some(of), .. }) => {
                into.mirrors.extend(self.mirror(&path.key("requestMirror"), of));
            }
            ("RequestRedirect", FilterSpec { request_redirect: Some(of), .. }) if http => {
                into.filters.redirect = self.redirect(&path.key("requestRedirect"), of, matches);
            }
            ("URLRewrite", FilterSpec { url_rewrite: Some(of), .. }) if http => {
                into.filters.rewrite = self.rewrite(&path.key("urlRewrite"), of, matches);
            }
            ("CORS", FilterSpec { cors: Some(of), .. }) if http => {
                into.filters.cors = Some(self.cors(&path.key("cors"), of));
            }
            // The field is missing, which is already said.
            (
                "RequestHeaderModifier"
                | "ResponseHeaderModifier"
                | "RequestMirror"
                | "RequestRedirect"
                | "URLRewrite"
                | "CORS",
                _,
            ) if http => {}
            (other, _) => {
                let kind = self.key.kind;
                let message =
                    format!("is no filter that Weir has for a {kind}: requests of the rule are refused");
                self.unsupported(&path.key("type"), other, message);
            }
        }
    }

    fn headers(&mut self, path: &FieldPath, given: &HeaderModifierSpec) -> HeaderModifier {
        let mut seen: BTreeSet<Arc<str>> = BTreeSet::new();
        let set = self.header_pairs(&path.key("set"), given.set.as_deref(), &mut seen);
        let add = self.header_pairs(&path.key("add"), given.add.as_deref(), &mut seen);
        let remove = path.key("remove");
        let names = given.remove.as_deref().unwrap_or_default();
        self.at_most(&remove, names.len(), MOST_VALUES);
        let names = names.iter().enumerate();
        let remove = names.filter_map(|(index, name)| self.header(remove.index(index), name, &mut seen));
        HeaderModifier { remove: remove.collect(), set, add }
    }

    fn header_pairs(
        &mut self,
        path: &FieldPath,
        given: Option<&[HeaderSpec]>,
        seen: &mut BTreeSet<Arc<str>>,
    ) -> Vec<(Arc<str>, Arc<str>)> {
        let given = given.unwrap_or_default();
        self.at_most(path, given.len(), MOST_VALUES);
        let mut pairs = Vec::with_capacity(given.len());
        for (index, HeaderSpec { name, value }) in given.iter().enumerate() {
            let path = path.index(index);
            let right = self.parsed(path.key("value"), value, values::header_value(value));
            let name = self.header(path.key("name"), name, seen);
            pairs.extend(right.and(name).map(|name| (name, Arc::from(value.as_str()))));
        }
        pairs
    }

    /// A header to change: one that may be, and is not changed already.
    fn header(&mut self, path: FieldPath, text: &str, seen: &mut BTreeSet<Arc<str>>) -> Option<Arc<str>> {
        let name: Arc<str> = self.parsed(path.clone(), text, values::header_name(text))?.into();
        if FRAMING.contains(&&*name) {
            let message = "says how a message is framed or where it goes, so no filter changes it (for the \
                           host: URLRewrite)";
            self.faults.add(path, text, message);
            return None;
        }
        if !seen.insert(name.clone()) {
            self.faults.add(path, text, "has a change already: one header has one");
            return None;
        }
        Some(name)
    }

    fn mirror(&mut self, path: &FieldPath, given: &MirrorSpec) -> Option<MirrorRef> {
        let share = match (given.percent, &given.fraction) {
            (None, None) => Some(Share::ALL),
            (Some(percent), None) => {
                let percent = self.within(path.key("percent"), percent, 0, 100);
                percent.map(|numerator| Share { numerator, denominator: 100 })
            }
            (None, Some(fraction)) => {
                let path = path.key("fraction");
                let most = i32::MAX.cast_unsigned();
                let denominator = fraction.denominator.unwrap_or(100);
                let denominator = self.within(path.key("denominator"), denominator, 1, most);
                let numerator = fraction.numerator.unwrap_or(-1);
                let numerator = self.within(path.key("numerator"), numerator, 0, denominator.unwrap_or(most));
                numerator.zip(denominator).map(|(numerator, denominator)| Share { numerator, denominator })
            }
            (Some(percent), Some(_)) => {
                self.faults.add(path.key("percent"), percent, "excludes fraction");
                None
            }
        };
        let at = path.key("backendRef");
        let Some(backend) = &given.backend_ref else {
            self.faults.add(at, "", "is missing");
            return None;
        };
        let reference = self.reference(&at, backend);
        Some(MirrorRef { reference: reference?, share: share? })
    }

    fn redirect(
        &mut self,
        path: &FieldPath,
        given: &RedirectSpec,
        matches: Option<&Matches>,
    ) -> Option<Redirect> {
        let scheme = match given.scheme.as_deref() {
            None | Some("") => Some(None),
            Some("http") => Some(Some(Scheme::Http)),
            Some("https") => Some(Some(Scheme::Https)),
            Some(other) => {
                self.unsupported(&path.key("scheme"), other, "known: http, https");
                None
            }
        };
        let status = match given.status_code.unwrap_or(302) {
            status @ (301 | 302 | 303 | 307 | 308) => u16::try_from(status).ok(),
            other => {
                self.unsupported(&path.key("statusCode"), other, "known: 301, 302, 303, 307, 308");
                None
            }
        };
        let hostname = self.hostname(path.key("hostname"), given.hostname.as_deref());
        let port = given.port.and_then(|port| self.port(path.key("port"), port));
        let new_path = given.path.as_ref().and_then(|of| self.path_modifier(&path.key("path"), of, matches));
        Some(Redirect { status: status?, scheme: scheme?, hostname, port, path: new_path })
    }

    fn rewrite(
        &mut self,
        path: &FieldPath,
        given: &RewriteSpec,
        matches: Option<&Matches>,
    ) -> Option<Rewrite> {
        let hostname = self.hostname(path.key("hostname"), given.hostname.as_deref());
        let path = given.path.as_ref().and_then(|of| self.path_modifier(&path.key("path"), of, matches));
        Some(Rewrite { hostname, path })
    }

    fn hostname(&mut self, path: FieldPath, given: Option<&str>) -> Option<Arc<str>> {
        let given = given.filter(|hostname| !hostname.is_empty())?;
        self.parsed(path, given, values::name(given).map(|()| Arc::from(given)))
    }

    fn path_modifier(
        &mut self,
        path: &FieldPath,
        given: &PathModifierSpec,
        matches: Option<&Matches>,
    ) -> Option<PathModifier> {
        let fields = [
            ("ReplaceFullPath", "replaceFullPath", given.replace_full_path.as_deref()),
            ("ReplacePrefixMatch", "replacePrefixMatch", given.replace_prefix_match.as_deref()),
        ];
        let mut value = None;
        for (kind, field, text) in fields {
            let path = path.key(field);
            match (kind == given.kind, text) {
                (true, None) => self.faults.add(path, "", "is missing"),
                (false, Some(text)) => self.faults.add(path, text, "is not of the type that type names"),
                (true, Some(text)) => {
                    // An empty path is `/`.
                    let whole = if text.starts_with('/') { text.into() } else { format!("/{text}") };
                    value = self.parsed(path, text, values::path(&whole));
                }
                (false, None) => {}
            }
        }
        match &*given.kind {
            "ReplaceFullPath" => value.map(|path| PathModifier::Full(path.into())),
            "ReplacePrefixMatch" => {
                let prefix = match matches {
                    Some(Matches::Http(matches)) => match &matches[..] {
                        [of] => match &of.path {
                            PathMatch::Prefix(prefix) => Some(prefix),
                            PathMatch::Exact(_) | PathMatch::Regex(_) => None,
                        },
                        _ => None,
                    },
                    // What is wrong with the matches is already said.
                    _ => return None,
                };
                let Some(prefix) = prefix else {
                    let message = "needs a rule with exactly one match, whose path is a PathPrefix";
                    self.faults.add(path.key("type"), &given.kind, message);
                    return None;
                };
                let value = value?;
                let replacement = value.strip_suffix('/').unwrap_or(&value).into();
                Some(PathModifier::Prefix { prefix: Arc::from(&**prefix), replacement })
            }
            other => {
                self.unsupported(&path.key("type"), other, "known: ReplaceFullPath, ReplacePrefixMatch");
                None
            }
        }
    }

    fn cors(&mut self, path: &FieldPath, given: &CorsSpec) -> Cors {
        let at = path.key("allowOrigins");
        let given_origins = given.allow_origins.as_deref().unwrap_or_default();
        self.at_most(&at, given_origins.len(), MOST_ORIGINS);
        let mut origins = Vec::new();
        for (index, text) in given_origins.iter().enumerate() {
            let origin = Origin::parse(text).filter(|_| text.len() <= 253).ok_or_else(|| {
                "must be like https://shop.example, https://*.shop.example, https://shop.example:8443 or *"
                    .into()
            });
            origins.extend(self.parsed(at.index(index), text, origin));
        }
        if origins.contains(&Origin::Any) && origins.len() > 1 {
            self.faults.add(at, "*", "must stand alone");
        }
        let method = |text: &str| match text {
            "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE" | "PATCH" => Ok(()),
            _ => Err("must be a method in upper case, or *".to_string()),
        };
        let header = |text: &str| values::header_name(text).map(|_| ());
        let methods = self.listed(&path.key("allowMethods"), given.allow_methods.as_deref(), true, method);
        let headers = self.listed(&path.key("allowHeaders"), given.allow_headers.as_deref(), true, header);
        let expose = self.listed(&path.key("exposeHeaders"), given.expose_headers.as_deref(), false, header);
        let most = i32::MAX.cast_unsigned();
        let max_age = self.within(path.key("maxAge"), given.max_age.unwrap_or(5), 1, most).unwrap_or(5);
        Cors {
            origins,
            credentials: given.allow_credentials.unwrap_or(false),
            methods,
            headers,
            expose,
            max_age,
        }
    }

    fn listed(
        &mut self,
        path: &FieldPath,
        given: Option<&[String]>,
        star_alone: bool,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Listed {
        let given = given.unwrap_or_default();
        self.at_most(path, given.len(), MOST_ORIGINS);
        for (index, text) in given.iter().enumerate().filter(|(_, text)| *text != "*") {
            self.parsed(path.index(index), text, check(text));
        }
        if given.iter().any(|text| text == "*") {
            if star_alone && given.len() > 1 {
                self.faults.add(path.clone(), "*", "must stand alone");
            }
            return Listed::All;
        }
        Listed::These(given.join(",").into())
    }
}
